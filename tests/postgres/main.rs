//! Does pgreeve get along with real PostgreSQL servers, 14 to 18?
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod certificates;
mod connections;
mod defaults;
mod fixture;
mod locks;
mod partitions;
mod poolers;
mod retention;
