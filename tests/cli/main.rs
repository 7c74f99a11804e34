//! Does the program do what its help says? The real binary, on real files and real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod apply;
mod check;
mod demo;
mod generated;
mod job;
mod plan;
mod program;
mod retention;
mod rows;
mod shop;
mod small;
mod validate;
