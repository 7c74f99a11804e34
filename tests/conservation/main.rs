//! Is every row in exactly one place, whatever dies? Over source tables, archive tables and exported objects, while writers write.
//!
//! The operator is a process of its own before a real API server, its Jobs are processes, and both die by SIGKILL; the database server
//! crashes, and a standby that has not heard of the last commits takes its place.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod checker;
mod failover;
mod kills;
mod ledger;
mod node;
mod operator;
mod world;
