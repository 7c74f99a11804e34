//! How do the rows of a plain table leave? Which of them, where to, with whom, and how gently.

use serde::{Deserialize, Serialize};

use super::super::action::Relation;
use crate::api::TableName;
use crate::api::job::JobSettings;
use crate::api::partition_policy::Encoding;
use crate::api::row_retention::{RowAction, VacuumAfter};

/// The rows of a plain table that are older than a moment are archived or deleted, those that refer to them first. A Job does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveRows {
    /// The table.
    pub table: Relation,
    /// Its owner.
    pub role: String,
    /// The column that tells a row's age.
    pub column: String,
    /// The column's type, to compare in.
    pub type_name: String,
    /// How its values tell the time. A value that does not look so (a uuid of another version, say) keeps its row.
    pub encoding: Encoding,
    /// Rows below this value go: the text of a literal.
    pub before: String,
    /// Stretches of the column that are held: their rows stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldRange>,
    /// What a row must meet as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Columns of the primary key, or of another unique index whose columns are NOT NULL.
    pub key: Vec<String>,
    /// Whether rows move or are deleted. In JSON `action` is the name of the whole.
    #[serde(rename = "rowAction")]
    pub action: RowAction,
    /// The archive table, where they move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<TableName>,
    /// Tables whose rows refer to these, in the order in which they go: a table before those that it refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependents: Vec<DependentRows>,
    /// Foreign keys of tables that are not dependents: a row that they refer to stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keepers: Vec<Reference>,
    /// How gently.
    pub pace: Pace,
    /// Rows that go in this run, at most.
    pub max_rows: i64,
    /// What follows.
    pub vacuum: VacuumAfter,
    /// The Pod that does it.
    pub job: JobSettings,
}

/// A foreign key that refers to a table whose rows go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// The table that refers.
    pub table: Relation,
    /// The constraint's name.
    pub constraint: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table that it refers to.
    pub target: Relation,
    /// The columns there.
    pub target_columns: Vec<String>,
}

/// Rows that refer to rows that go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DependentRows {
    /// How they refer.
    pub reference: Reference,
    /// Whether they move or are deleted.
    pub action: RowAction,
    /// Their archive table, where they move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<TableName>,
}

/// A stretch of a column that is held, by the texts of literals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldRange {
    /// Its first value; the beginning by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The first value after it; the end by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// How gently rows are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Rows in one transaction.
    pub rows: i32,
    /// Share of the time that batches may take, in percent.
    pub max_load: i32,
    /// Shortest pause between two batches, in milliseconds.
    pub pause_ms: i64,
    /// Batches wait while a standby is further behind, in milliseconds.
    pub max_replication_lag_ms: i64,
    /// Batches wait while more of the table is dead rows, in percent.
    pub max_dead_tuple_percent: i32,
}

impl ArchiveRows {
    /// Which rows go where, in a few words.
    pub fn describe(&self) -> String {
        let condition = self.condition.as_ref().map(|condition| format!(" and {condition}")).unwrap_or_default();
        let to = self.archive.as_ref().map(|archive| format!(" to {archive}")).unwrap_or_default();
        let dependents = match self.dependents.len() {
            0 => String::new(),
            _ => {
                let names: Vec<&str> =
                    self.dependents.iter().map(|dependent| dependent.reference.table.table.name.as_str()).collect();
                format!(", {} first", names.join(", "))
            }
        };
        format!("{} before {}{condition}{to}, at most {} rows{dependents}", self.column, self.before, self.max_rows)
    }
}
