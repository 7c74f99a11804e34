//! What is known of a backup: where it lies, what it holds, and how far it is proven.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VerifyLevel;

/// What is known of a backup.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Complete, Failed, Progressing and Verified, which is true once the backup is proven as far as `spec.verify` says; Ready, and the
    /// abnormal-true Reconciling and Stalled.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// When the first Job was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the manifest was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Key of the directory of its objects below the destination; the manifest is `manifest.json` in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// URL of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Bytes that it takes in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// The same, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Bytes of the dump before it was compressed and encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_bytes: Option<i64>,
    /// SHA-256 of the data object as it lies in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Version of the server, such as 16.14.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Version of `pg_dump`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump_version: Option<String>,
    /// Write-ahead log position of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_lsn: Option<String>,
    /// When the snapshot was taken: the moment that a restore leads back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_at: Option<Time>,
    /// Tables and their rows, counted in the snapshot of the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Tables>,
    /// What was proven last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// The proof that was asked for last and was given up, after as many tries as a proof has. It is tried again when somebody asks with the
    /// annotation `pgreeve.dev/restoreTest`, and is gone once such a proof holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<Unproven>,
    /// What the dump does not hold although the database does, such as large objects beside a choice of schemas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
    /// How much of the database has been read, by its size: an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_percent: Option<i32>,
    /// How many tries in a row have failed of what is being done, or was given up: the dump, and once that is complete, the proof.
    #[serde(default)]
    pub failures: i32,
    /// The last value of the annotation `pgreeve.dev/restoreTest` that was answered, by a restore or by its failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_restore_test: Option<String>,
    /// The last value of the annotation `pgreeve.dev/requestedAt` that a pass has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

impl BackupStatus {
    /// The moment that it is of, once it is complete. That is none after its end: the server's clock may have been ahead of the one that its Job
    /// went by, and a backup of the future would be the newest until then.
    pub fn moment(&self) -> Option<&Time> {
        [&self.snapshot_at, &self.completed_at].into_iter().flatten().min_by_key(|at| at.0)
    }
}

/// How much a dump holds.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tables {
    /// Tables with rows of their own, partitions counted and partitioned tables not.
    pub count: i32,
    /// Their rows, counted exactly.
    pub rows: i64,
}

/// A proof that was given up.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unproven {
    /// How far it was to be proven.
    pub level: VerifyLevel,
    /// When it was given up.
    pub at: Time,
    /// Why: BackupDamaged and VerificationFailed say that the backup does not hold, any other that nobody could find out.
    pub reason: String,
    /// The same, for people.
    pub message: String,
}

/// What was proven, when and how.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// How far.
    pub level: VerifyLevel,
    /// When.
    pub at: Time,
    /// Rows that were counted in the restored database and are as many as were dumped, table by table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_matched: Option<i64>,
    /// Assertions that held.
    #[serde(default)]
    pub assertions: i32,
    /// How long a restore took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_seconds: Option<i64>,
}
