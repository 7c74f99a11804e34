//! How is Kubernetes talked to? Objects read by name, Secrets read by name, statuses applied, events published, Jobs run.
//!
//! Nothing here knows PostgreSQL.

pub mod backups;
pub mod events;
pub mod jobs;
pub mod objects;
pub mod secrets;
