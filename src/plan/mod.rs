//! What is to be done? Pure functions from a spec, what was observed, and a moment, to a [`Plan`].
//!
//! No I/O, no clock, no client: whatever a plan depends on is an argument, so that the controller, the command line and the
//! tests reach the same plan from the same facts.

pub mod action;
pub mod adopt;
pub mod backup;
mod change;
mod civil;
pub mod connection;
pub mod database;
pub mod finding;
pub mod fingerprint;
pub mod gate;
pub mod grid;
pub mod hex;
pub mod key;
pub mod naming;
pub mod outcome;
pub mod partition;
pub mod removal;
pub mod restore;
pub mod retention;
pub mod rows;
pub mod schedule;
pub mod size;
pub mod snapshot;
pub mod status;
pub mod task;
pub mod window;
pub mod wrong;

pub use action::{Action, Blocked, Note, ObjectId, Plan};
pub use gate::Gate;
pub use hex::hex;
pub use outcome::Outcome;
