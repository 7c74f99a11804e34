//! What may go, when, and after which proof? RetentionPolicy: the end of life of one table's data.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has a type_ and a json_path of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::destination::Destination;
use super::partition_policy::{Encoding, PartitionKey};
use super::policy::utc;
use super::row_retention::RowRetention;
use super::span::SpanUnit;
use super::{PolicySettings, PolicyStatus, Span, TableName};

/// Removes what is old from one table, by whole partitions or by rows, and never without its proof.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "pgreeve.dev",
    version = "v1alpha1",
    kind = "RetentionPolicy",
    plural = "retentionpolicies",
    shortname = "rpol",
    category = "pgreeve",
    namespaced,
    status = "RetentionPolicyStatus",
    derive = "PartialEq",
    doc = "Lets the data of one table leave on time: partitions or rows, exported or archived first, never without proof.",
    cel,
    selectable = ".spec.databaseRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Table", type_ = "string", json_path = ".spec.table.name"),
    printcolumn(name = "Keep", type_ = "string", json_path = ".spec.keep.age"),
    printcolumn(name = "Expired", type_ = "integer", json_path = ".status.expired.partitions"),
    printcolumn(name = "Next run", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.partitions) != has(self.rows)").message("give either partitions (for a partitioned table) or rows (for a plain one)"),
    validation = Rule::new("has(self.partitions) || has(self.keep.age)").message("rows are kept by age: give keep.age").field_path(".keep.age"),
    validation = Rule::new("has(self.partitions) || !(has(self.keep.count) || has(self.keep.totalSize))")
        .message("keep.count and keep.totalSize count partitions; rows are kept by age").field_path(".keep"),
    validation = Rule::new("has(self.partitions) || !has(self.export)").message("rows are not exported: archive them, or partition the table").field_path(".export"),
    validation = Rule::new("!has(self.export) || !has(self.partitions) || !has(self.partitions.action) || self.partitions.action in ['Drop', 'Detach']")
        .message("a partition that moves stays in the database: export goes with the actions Drop and Detach").field_path(".export")
)]
pub struct RetentionPolicySpec {
    /// What every policy has.
    #[serde(flatten)]
    pub policy: PolicySettings,
    /// The table.
    #[x_kube(validation = Rule::new("self == oldSelf").message("table cannot be changed; delete this policy (nothing is dropped) and create one for the other table"))]
    pub table: TableName,
    /// How the partition key tells the time, where it is not a date or a timestamp. Without it, the key is taken as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PartitionKey>,
    /// What is kept. All that is given must allow a removal.
    pub keep: Keep,
    /// When a run begins: five cron fields. Every night at three by default.
    #[serde(default = "nightly")]
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,
    /// IANA time zone of the schedule and of keep.age.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// Removes whole partitions of a partitioned table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionRetention>,
    /// Removes rows of a plain table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowRetention>,
    /// Writes each partition to an object store, reads it back and compares it before it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
    /// What must be so before anything goes.
    #[serde(default)]
    pub guards: Guards,
}

fn nightly() -> String {
    "0 3 * * *".into()
}

/// What is kept. A partition may go when every given field allows it; the newest one that holds the present and what lies after it,
/// the default partition, what cannot be read and what is held never go.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.age) || has(self.count) || has(self.totalSize)").message("say what is kept: give age, count or totalSize"))]
pub struct Keep {
    /// How old data must be, such as `6 months`. A partition is as old as its upper bound, a row as the value of its column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Span>,
    /// How many partitions are kept, the newest first; those that lie wholly in the future are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub count: Option<i32>,
    /// How much of the table is kept, the newest partitions first, indexes and TOAST included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<Amount>,
    /// How many partitions stay in any case, those of the future not counted.
    #[serde(default = "Keep::min_partitions")]
    #[schemars(range(min = 1, max = 100_000))]
    pub min_partitions: i32,
}

impl Keep {
    fn min_partitions() -> i32 {
        1
    }
}

/// What becomes of an expired partition.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.action) && self.action == 'MoveToSchema') == has(self.schema)").message("schema goes with action MoveToSchema, and is needed there").field_path(".schema"),
    validation = Rule::new("(has(self.action) && self.action == 'MoveToTable') == has(self.archiveTable)").message("archiveTable goes with action MoveToTable, and is needed there").field_path(".archiveTable")
)]
pub struct PartitionRetention {
    /// What becomes of it.
    #[serde(default)]
    pub action: PartitionAction,
    /// How long a detached partition stays as a table of its own before it is dropped. Counts from the detach.
    #[serde(default = "PartitionRetention::grace")]
    pub grace: Span,
    /// The schema that it moves to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub schema: Option<String>,
    /// The partitioned table that it becomes a partition of. It must be divided by the same column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_table: Option<TableName>,
}

impl PartitionRetention {
    fn grace() -> Span {
        Span::new(24, SpanUnit::Hour)
    }
}

impl Default for PartitionRetention {
    fn default() -> Self {
        Self { action: PartitionAction::default(), grace: Self::grace(), schema: None, archive_table: None }
    }
}

/// What becomes of an expired partition.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum PartitionAction {
    /// It is detached, and dropped when the grace is over.
    #[default]
    Drop,
    /// It is detached and stays as a table of its own.
    Detach,
    /// It is detached and moves to another schema, with its name.
    MoveToSchema,
    /// It is detached and becomes a partition of the archive table, with its bounds; no row moves.
    MoveToTable,
}

/// How a partition is written to an object store before it goes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.compression) || self.compression != 'Gzip' || (has(self.format) && self.format == 'Csv')").message("Parquet is compressed with Zstd; Gzip goes with format Csv").field_path(".compression"))]
pub struct Export {
    /// Where to.
    pub destination: Destination,
    /// File format.
    #[serde(default)]
    pub format: ExportFormat,
    /// Compression.
    #[serde(default)]
    pub compression: ExportCompression,
    /// The Pod that writes it.
    #[serde(default)]
    pub job: super::job::JobSettings,
}

/// A file format.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ExportFormat {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// PostgreSQL's CSV with a header.
    Csv,
}

/// A compression.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ExportCompression {
    /// Zstandard.
    #[default]
    Zstd,
    /// gzip, for CSV.
    Gzip,
}

/// What must be so before anything goes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Guards {
    /// A backup that must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupGuard>,
    /// How many partitions go in one run, at most; the oldest first.
    #[serde(default = "Guards::max_partitions_per_run")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_partitions_per_run: i32,
    /// How many rows of a plain table go in one run, at most, those of dependents not counted.
    #[serde(default = "Guards::max_rows_per_run")]
    #[schemars(range(min = 1))]
    pub max_rows_per_run: i64,
    /// A first run, or the first one after keep was edited, waits for approval if more than this share of the table expires that did
    /// not before, in percent: 0 asks every time, 100 never.
    #[serde(default = "Guards::approve_above_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub approve_above_percent: i32,
}

impl Guards {
    fn max_partitions_per_run() -> i32 {
        10
    }
    fn max_rows_per_run() -> i64 {
        50_000_000
    }
    fn approve_above_percent() -> i32 {
        50
    }
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            backup: None,
            max_partitions_per_run: Self::max_partitions_per_run(),
            max_rows_per_run: Self::max_rows_per_run(),
            approve_above_percent: Self::approve_above_percent(),
        }
    }
}

/// A backup that must exist before anything goes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BackupGuard {
    /// The BackupSchedule whose backups count.
    #[x_kube(validation = Rule::new("self.name.size() <= 63").message("no BackupSchedule has a name of more than 63 characters").field_path(".name"))]
    pub schedule_ref: super::policy::DatabaseRef,
    /// How old the newest one may be.
    pub within: Span,
    /// Whether it must have been verified.
    #[serde(default = "yes")]
    pub verified: bool,
}

fn yes() -> bool {
    true
}

impl RetentionPolicySpec {
    /// How the key tells the time.
    pub fn encoding(&self) -> Encoding {
        self.key.as_ref().map_or(Encoding::Native, |key| key.encoding)
    }
}

/// What was found, what went, and what is to go.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicyStatus {
    /// What every policy reports.
    #[serde(flatten)]
    pub policy: PolicyStatus,
    /// What has expired and is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<Expired>,
    /// The oldest partition that is kept, with its bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_kept: Option<String>,
    /// Bytes that have expired and are still there, detached tables included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_bytes: Option<i64>,
    /// Detached partitions that wait for the end of their grace, the first ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<Retired>,
    /// What would have gone and does not, each with the reason; the first ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// The last exports, the newest first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Exported>,
    /// How the rows of a plain table are coming along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowProgress>,
    /// The run that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RetentionRun>,
    /// The moment of the schedule that the last run answered; the first one counts from the policy's creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_slot: Option<Time>,
    /// The terms that have been accepted, by a run or by an approval; see guards.approveAbovePercent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Keep>,
}

/// What has expired and is still there.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expired {
    /// Partitions.
    pub partitions: i32,
    /// Their size, indexes and TOAST included.
    pub bytes: i64,
    /// Rows, by PostgreSQL's statistics.
    pub rows: i64,
}

/// A detached partition that waits for the end of its grace.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retired {
    /// The table.
    pub table: String,
    /// When it was detached.
    pub detached_at: Time,
    /// When it is dropped; absent where it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_after: Option<Time>,
}

/// A partition in an object store.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// The partition.
    pub partition: String,
    /// Its OID.
    pub oid: i64,
    /// Identifier of the export, which the partition's constraint and the manifest bear too.
    pub export: String,
    /// The manifest's URL.
    pub url: String,
    /// Rows.
    pub rows: i64,
    /// Size of the data object.
    pub bytes: i64,
    /// Checksum of the content, which does not depend on the order of the rows.
    pub checksum: String,
    /// When the object was read back and matched.
    pub verified_at: Time,
}

/// How the rows of a plain table are coming along.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowProgress {
    /// Rows that the last run archived or deleted, those of dependents not counted.
    pub removed: i64,
    /// Rows of dependents that it archived or deleted.
    pub dependents: i64,
    /// Rows per second, those of dependents included.
    pub per_second: i64,
    /// What the rows are older than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Why it went slower than it could, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_by: Option<String>,
    /// Why the run ended before everything had gone, if so; the next one goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_early: Option<String>,
    /// What to run by hand because of the dead rows that are left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// A run that is under way: what it is for does not change until it ends.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionRun {
    /// When it began.
    pub started_at: Time,
    /// The fingerprint of the plan that it began with.
    pub fingerprint: String,
    /// OIDs of the partitions that it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<i64>,
}
