//! Which rows of a plain table go, and how gently? The `rows` of a RetentionPolicy.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::partition_policy::Encoding;
use super::span::SpanUnit;
use super::{Span, TableName};

/// Removes rows of a plain table, in batches.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.action) || self.action == 'Archive' || !has(self.archiveTable)").message("archiveTable goes with action Archive").field_path(".archiveTable"))]
pub struct RowRetention {
    /// The column that tells a row's age. It must lead an index. Rows in which it is NULL stay.
    #[schemars(length(min = 1, max = 63))]
    pub column: String,
    /// How its values tell the time.
    #[serde(default)]
    pub encoding: Encoding,
    /// A condition that a row must meet as well, as SQL over the columns of the table: no subquery, no function that changes anything.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub condition: Option<String>,
    /// Whether rows move to an archive table or are deleted for good.
    #[serde(default)]
    pub action: RowAction,
    /// The archive table; by default the table's name with `_archive`, in its schema. It is created like the table, with a column
    /// `archived_at`, and gets the columns that the table gets later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_table: Option<TableName>,
    /// How gently.
    #[serde(default)]
    pub batch: Batch,
    /// Tables whose rows refer to the removed ones, and what becomes of those rows; they go first. A table that refers to them and is
    /// not named here keeps the rows that it refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["table".into()]))]
    pub dependents: Vec<Dependent>,
    /// What follows a run that leaves many dead rows.
    #[serde(default)]
    pub vacuum: VacuumAfter,
    /// The Pod that does it.
    #[serde(default)]
    pub job: super::job::JobSettings,
}

/// What becomes of a row.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum RowAction {
    /// It moves to the archive table, in the transaction that deletes it.
    #[default]
    Archive,
    /// It is deleted for good.
    Delete,
}

impl RowAction {
    /// The verb in plans.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Delete => "delete from",
        }
    }
}

/// What follows a run that leaves many dead rows.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum VacuumAfter {
    /// The status says so.
    #[default]
    Suggest,
    /// The run ends with VACUUM (ANALYZE).
    Run,
}

/// How gently rows are removed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Rows in one transaction.
    #[serde(default = "Batch::rows")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rows: i32,
    /// The share of the time that batches may take, in percent; the rest is pauses.
    #[serde(default = "Batch::max_load")]
    #[schemars(range(min = 1, max = 100))]
    pub max_load: i32,
    /// The shortest pause between two batches.
    #[serde(default = "Batch::pause")]
    pub pause: Span,
    /// Batches wait while a standby is further behind than this.
    #[serde(default = "Batch::max_replication_lag")]
    pub max_replication_lag: Span,
    /// Batches wait for autovacuum while more than this share of the table is dead rows, in percent; 100 never waits.
    #[serde(default = "Batch::max_dead_tuple_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub max_dead_tuple_percent: i32,
}

impl Batch {
    fn rows() -> i32 {
        10_000
    }
    fn max_load() -> i32 {
        50
    }
    fn pause() -> Span {
        Span::new(100, SpanUnit::Millisecond)
    }
    fn max_replication_lag() -> Span {
        Span::new(30, SpanUnit::Second)
    }
    fn max_dead_tuple_percent() -> i32 {
        50
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            rows: Self::rows(),
            max_load: Self::max_load(),
            pause: Self::pause(),
            max_replication_lag: Self::max_replication_lag(),
            max_dead_tuple_percent: Self::max_dead_tuple_percent(),
        }
    }
}

/// A table whose rows refer to the removed ones by a foreign key.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.action) || self.action == 'Archive' || !has(self.archiveTable)").message("archiveTable goes with action Archive").field_path(".archiveTable"))]
pub struct Dependent {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub table: String,
    /// Its schema; that of the policy's table by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub schema: Option<String>,
    /// What becomes of its rows.
    #[serde(default)]
    pub action: RowAction,
    /// Its archive table; by default its name with `_archive`, in its schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_table: Option<TableName>,
}
