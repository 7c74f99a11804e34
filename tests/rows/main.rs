//! Do the rows of plain tables leave whole, once, and without anybody noticing? On real PostgreSQL servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod conservation;
mod kills;
mod ledger;
mod pace;
mod references;
mod refusals;
mod world;
