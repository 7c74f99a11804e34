//! What is a Job told? One task: the action, and how its database is reached. Plain data without any secret.
//!
//! The operator hands it to the Pod as JSON; the command line runs the same value in-process.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::action::{Action, ObjectId};
use super::backup::Stored;
use super::hex;
use crate::api::Destination;
use crate::api::backup::VerifyLevel;
use crate::api::job::{JobSettings, Scratch};
use crate::api::postgres_database::{Connection, Limits, SecretRef};

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
    /// How it is reached, where the task [needs it](Self::needs_database); credentials come from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
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
            Action::DumpDatabase(dump) => Some(&dump.settings.job),
            Action::VerifyBackup(verify) => Some(&verify.job),
            Action::InspectBackup(inspect) => Some(&inspect.job),
            Action::RestoreDump(restore) => Some(&restore.job),
            Action::RemoveBackup(remove) => Some(&remove.job),
            _ => None,
        }
    }

    /// Where its objects go, if it makes any.
    pub fn destination(&self) -> Option<&Destination> {
        match &self.action {
            Action::ExportPartition(export) => Some(&export.destination),
            Action::DumpDatabase(dump) => Some(&dump.settings.destination),
            action => stored(action).map(|stored| &stored.destination),
        }
    }

    /// Whether it needs the database at all: what only concerns a store gets no credentials for a server.
    pub fn needs_database(&self) -> bool {
        match &self.action {
            Action::VerifyBackup(_) | Action::RemoveBackup(_) => false,
            Action::DumpDatabase(dump) => !dump.exists,
            _ => true,
        }
    }

    /// Whether it logs in as the admin of the PostgresDatabase where there is one: databases are made and filled by whom may do so.
    pub const fn wants_admin(&self) -> bool {
        matches!(self.action, Action::InspectBackup(_) | Action::RestoreDump(_))
    }

    /// The major version of PostgreSQL whose programs it needs, if it needs any.
    pub const fn tools(&self) -> Option<i32> {
        match &self.action {
            Action::DumpDatabase(dump) if dump.exists => None,
            Action::DumpDatabase(dump) => Some(dump.major),
            Action::VerifyBackup(verify) => Some(verify.major),
            Action::RestoreDump(restore) => Some(restore.major),
            _ => None,
        }
    }

    /// Whether a PostgreSQL server of its own runs beside it: one that a restore is tried in.
    pub fn runs_server(&self) -> bool {
        matches!(&self.action, Action::VerifyBackup(verify) if verify.level == VerifyLevel::Restore)
    }

    /// Where it has room, if that is not the node's own disk.
    pub fn scratch(&self) -> Option<&Scratch> {
        match &self.action {
            Action::DumpDatabase(dump) => dump.settings.scratch.as_ref(),
            Action::VerifyBackup(verify) => verify.scratch.as_ref(),
            Action::RestoreDump(restore) => restore.scratch.as_ref(),
            _ => None,
        }
    }

    /// The Secret with the age recipients of what it writes.
    pub fn recipients(&self) -> Option<&SecretRef> {
        match &self.action {
            Action::DumpDatabase(dump) => Some(&dump.settings.encryption.as_ref()?.recipients_secret_ref),
            _ => None,
        }
    }

    /// The Secret with the age identity of what it reads.
    pub fn identity(&self) -> Option<&SecretRef> {
        match &self.action {
            // A manifest is not encrypted, and of what is there or goes nothing else is read.
            Action::InspectBackup(_) | Action::RemoveBackup(_) => None,
            Action::DumpDatabase(dump) if dump.exists => None,
            Action::DumpDatabase(dump) => dump.settings.encryption.as_ref()?.identity_secret_ref.as_ref(),
            action => stored(action)?.identity.as_ref(),
        }
    }
}

/// The backup that an action reads or removes.
fn stored(action: &Action) -> Option<&Stored> {
    match action {
        Action::VerifyBackup(verify) => Some(&verify.stored),
        Action::InspectBackup(inspect) => Some(&inspect.stored),
        Action::RestoreDump(restore) => Some(&restore.stored),
        Action::RemoveBackup(remove) => Some(&remove.stored),
        _ => None,
    }
}

/// Twenty hexadecimal digits of SHA-256 over whose task it is and what is to be done. How the database is reached does not count: another
/// host is no other task.
pub fn digest(owner_uid: &str, database: &str, action: &Action) -> String {
    let mut hash = Sha256::new();
    // All three serialise from plain data with string keys, which cannot fail; an error would only change the digest.
    hash.update(serde_json::to_vec(&(owner_uid, database, action)).unwrap_or_default());
    hex(&hash.finalize()[..10])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(action: Value) -> Value {
        json!({
            "version": VERSION,
            "object": {"kind": "RetentionPolicy", "namespace": "shop", "name": "events"},
            "database": "orders",
            "connection": {"secretRef": {"name": "orders-app"}, "keys": {}, "tls": {"mode": "VerifyFull"}},
            "limits": {"connections": 4, "lockTimeout": "2s", "statementTimeout": "10m"},
            "action": action,
        })
    }

    fn survives(action: Value) {
        let wanted = task(action);
        let task: Task = serde_json::from_value(wanted.clone()).unwrap();
        assert!(task.settings().is_some(), "{wanted}");
        let text = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
        assert_eq!(serde_json::from_str::<Task>(&text).unwrap(), task);
    }

    #[test]
    fn an_export_reads_as_it_was_written() {
        survives(json!({
            "action": "exportPartition",
            "parent": {"oid": 1, "schema": "public", "name": "events"},
            "partition": {"oid": 2, "schema": "public", "name": "events_y2025m01"},
            "bound": "FOR VALUES FROM ('2025-01-01') TO ('2025-02-01')",
            "role": "owner",
            "destination": {"s3": {"bucket": "archive"}},
            "format": "Parquet", "compression": "Zstd",
            "job": {"activeDeadline": "2h"},
        }));
    }

    #[test]
    fn an_archival_reads_as_it_was_written() {
        survives(json!({
            "action": "archiveRows",
            "table": {"oid": 1, "schema": "public", "name": "sessions"},
            "role": "owner",
            "column": "at", "typeName": "timestamp with time zone", "encoding": "Native", "before": "2026-01-01 00:00:00+00",
            "key": ["id"],
            "rowAction": "Archive", "archive": {"schema": "public", "name": "sessions_archive"},
            "pace": {"rows": 100, "maxLoad": 50, "pauseMs": 100, "maxReplicationLagMs": 60000, "maxDeadTuplePercent": 20},
            "maxRows": 1_000_000, "vacuum": "Suggest",
            "job": {"activeDeadline": "2h"},
        }));
    }
}
