//! Does the program do what its help says? The real binary, on real files and real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod apply;
mod generated;
mod plan;
mod program;
mod shop;
mod small;
mod validate;
