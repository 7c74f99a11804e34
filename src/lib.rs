//! pgreeve: your PostgreSQL runbook, declared.
//!
//! A reader's tour, in the order in which a pass goes:
//! - [`api`] is what a user declares, and [`plan`] what follows from it: pure functions from facts to a [`plan::Plan`].
//! - `sql` turns each action into statements with their locks.
//! - `postgres` connects, observes the catalog and executes; `cluster` does the same for Kubernetes; `target` says where a
//!   PostgresDatabase leads.
//! - `job` does what takes long: a task in, a report out; `storage` holds the objects that it writes, and `stores` says what opens the one that an
//!   object of the cluster declares.
//! - `controller` drives passes from watches and timers, `cli` from a command line; both use the same engine, `pass`.
//!
//! Without the default feature `io` only the pure part compiles, which keeps it pure.

pub mod api;
#[cfg(feature = "io")]
pub mod cli;
#[cfg(feature = "io")]
pub mod clock;
#[cfg(feature = "io")]
pub mod cluster;
#[cfg(feature = "io")]
pub mod controller;
#[cfg(feature = "io")]
pub mod job;
#[cfg(feature = "io")]
pub mod leader;
#[cfg(feature = "io")]
pub mod metrics;
#[cfg(feature = "io")]
pub mod operator;
#[cfg(feature = "io")]
pub mod pass;
pub mod plan;
#[cfg(feature = "io")]
pub mod postgres;
#[cfg(feature = "io")]
pub mod serve;
#[cfg(feature = "io")]
pub mod signals;
pub mod sql;
#[cfg(feature = "io")]
pub mod storage;
#[cfg(feature = "io")]
pub mod stores;
#[cfg(feature = "io")]
pub mod target;
#[cfg(feature = "io")]
pub mod telemetry;
#[cfg(feature = "io")]
pub mod yaml;

#[cfg(test)]
mod structure;
