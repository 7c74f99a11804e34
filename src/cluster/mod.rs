//! How is Kubernetes talked to? Objects read by name, Secrets read by name, statuses applied, events published, Jobs run,
//! workloads scaled.
//!
//! Nothing here knows PostgreSQL.

pub mod backups;
pub mod events;
pub mod jobs;
pub mod objects;
pub mod secrets;
pub mod workloads;
