//! Does pgreeve behave on a real API server as its users and their tools expect?
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod conventions;
mod malformed;
mod meaning;
mod partition_policy;
mod postgres_database;
mod rights;
mod sessions;
mod world;
