//! How is PostgreSQL talked to? Connecting, observing the catalog, and executing scripts. Nothing here knows Kubernetes.

pub mod catalog;
pub mod claim;
pub mod connect;
pub mod databases;
pub mod details;
pub mod error;
pub mod execute;
pub mod fence;
pub mod lock;
pub mod pooler;
pub mod retention;
pub mod rows;
pub mod server;
pub mod survey;
mod tls;

pub use connect::{Session, Target};
pub use error::Fault;
