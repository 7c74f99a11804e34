//! What is a Job told? One task: the action, and how its database is reached. Plain data without any secret.
//!
//! The operator hands it to the Pod as JSON; the command line runs the same value in-process.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::action::{Action, ObjectId};
use crate::api::Destination;
use crate::api::job::JobSettings;
use crate::api::postgres_database::{Connection, Limits};

/// The form of a task. A Job runs the image of the operator that made it, so the two differ only where somebody mixes images.
pub const VERSION: u32 = 1;

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// [`VERSION`] of the operator that made it.
    pub version: u32,
    /// Who asks for it.
    pub object: ObjectId,
    /// The PostgresDatabase, which is in the object's namespace.
    pub database: String,
    /// How it is reached; credentials come from files.
    pub connection: Connection,
    /// What may be used of the server.
    pub limits: Limits,
    /// What is to be done, as the plan has it.
    pub action: Action,
}

impl Task {
    /// In what kind of Pod it is done; `None` for an action that is no task.
    pub fn settings(&self) -> Option<&JobSettings> {
        match &self.action {
            Action::ExportPartition(export) => Some(&export.job),
            Action::ArchiveRows(rows) => Some(&rows.job),
            _ => None,
        }
    }

    /// Where its objects go, if it makes any.
    pub fn destination(&self) -> Option<&Destination> {
        match &self.action {
            Action::ExportPartition(export) => Some(&export.destination),
            _ => None,
        }
    }
}

/// Twenty hexadecimal digits of SHA-256 over whose task it is and what is to be done. How the database is reached does not count: another
/// host is no other task.
pub fn digest(owner_uid: &str, database: &str, action: &Action) -> String {
    let mut hash = Sha256::new();
    // All three serialise from plain data with string keys, which cannot fail; an error would only change the digest.
    hash.update(serde_json::to_vec(&(owner_uid, database, action)).unwrap_or_default());
    hash.finalize().iter().take(10).fold(String::with_capacity(20), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
