//! Does a database come back as it was, with everybody who uses it, whatever breaks on the way?
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod command_line;
mod crashes;
mod fence;
mod fills;
mod leave;
mod locks;
mod majors;
mod moved;
#[path = "../faults/operator.rs"]
#[allow(dead_code, reason = "scenarios without Jobs play at another moment")]
mod operator;
mod play;
mod server;
mod sources;
mod stuck;
mod swap;
mod unread;
mod versions;
mod waits;
mod watch;
mod world;
