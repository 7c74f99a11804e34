//! Do partitions get into object stores whole, whatever breaks, and back again?
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod azure;
mod certificate;
mod duckdb;
mod export;
mod faults;
mod memory;
mod restore;
mod types;
mod volume;
mod world;
