//! What is sent to PostgreSQL? Each [`Action`](crate::plan::Action) as a [`Script`]: statements, the transactions they form, and their locks.
//!
//! Pure: text from data. Every name is quoted, every value is a quoted literal, every object is qualified, so that neither
//! `search_path` nor a hostile name changes what is done.

pub mod action;
pub mod export;
pub mod partition;
pub mod quote;
pub mod range;
pub mod removal;
pub mod restore;
pub mod rows;
pub mod script;

pub use action::script;
pub use script::{Check, Lock, LockMode, Script, Step, Transaction};
