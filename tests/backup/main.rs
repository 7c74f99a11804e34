//! Is a backup whole, or not there at all, whatever breaks; and does it become the same database again?
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod azure;
mod bucket;
mod content;
mod damage;
mod faults;
mod google;
mod memory;
mod program;
mod secrets;
mod source;
mod verdict;
mod workload_identity;
mod world;
