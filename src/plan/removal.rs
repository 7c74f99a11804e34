//! How does data leave? The actions that take it away, and those that first make sure that nothing is lost.
//!
//! A partition leaves in steps, each an action of its own: it is exported ([`ExportPartition`]), detached ([`DetachPartition`]), loses
//! its foreign keys ([`DropForeignKey`]) and is dropped ([`DropTable`]). Rows of a plain table leave in batches ([`ArchiveRows`]).

use serde::{Deserialize, Serialize};

use super::action::{Change, Relation};
use crate::api::job::JobSettings;
use crate::api::partition_policy::Encoding;
use crate::api::retention_policy::{ExportCompression, ExportFormat};
use crate::api::row_retention::{RowAction, VacuumAfter};
use crate::api::{Destination, TableName};

/// A partition, closed to writes, is written to an object store, read back and compared. A Job does it.
///
/// It is closed by a CHECK that no row meets, which stands until the partition is dropped or opened again; its comment holds the
/// identifier of the export that closed it, and so does the manifest: a drop asks for both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportPartition {
    /// The partitioned table.
    pub parent: Relation,
    /// The partition.
    pub partition: Relation,
    /// Its bounds, as `pg_get_expr` prints them under `TimeZone=UTC, DateStyle=ISO`.
    pub bound: String,
    /// Its owner, as whom it is closed and read.
    pub role: String,
    /// Where to.
    pub destination: Destination,
    /// File format.
    pub format: ExportFormat,
    /// Compression.
    pub compression: ExportCompression,
    /// The Pod that does it.
    pub job: JobSettings,
}

/// A partition stops being part of its table. From then on a comment on it says where it came from and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DetachPartition {
    /// The partitioned table.
    pub parent: Relation,
    /// The partition.
    pub partition: Relation,
    /// Its bounds, as the catalog prints them.
    pub bound: String,
    /// Owner of the parent and of the partition.
    pub role: String,
    /// Whether without a lock that writers of the tables feel that refer to it; then it takes two transactions, and it waits for every
    /// older one that uses the table.
    pub concurrently: bool,
    /// Tables that refer to the parent, which a plain DETACH locks.
    pub referencing: Vec<String>,
    /// What becomes of it.
    pub then: Afterlife,
    /// The comment that it has, which is kept.
    pub comment: Option<String>,
    /// The policy that says so.
    pub policy: String,
    /// Whether it must be exported first, and by which export it has been.
    pub export: ExportProof,
}

/// What becomes of a detached partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Afterlife {
    /// It is dropped when its grace is over.
    Drop,
    /// It stays as a table of its own.
    Stay,
    /// It moves to another schema.
    Move,
}

/// Whether a partition must have been exported, and by which export it has been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "export", rename_all = "camelCase")]
pub enum ExportProof {
    /// No export is asked for.
    NotAsked,
    /// One is asked for and not yet there: the action waits for it.
    Awaited,
    /// The export of this identifier was read back and matched.
    Verified(String),
}

/// A detach that was broken off between its two transactions is brought to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinalizeDetach {
    /// The partitioned table.
    pub parent: Relation,
    /// The partition, which takes no rows and shows none through its parent meanwhile.
    pub partition: Relation,
    /// Owner of the parent.
    pub role: String,
}

/// A partition that was closed to writes for an export, and does not go after all, takes rows again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReopenPartition {
    /// The partition.
    pub partition: Relation,
    /// Its owner.
    pub role: String,
}

/// A partition becomes a partition of the archive table, with its bounds, in one transaction. No row moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveToArchive {
    /// The partitioned table.
    pub parent: Relation,
    /// The partition.
    pub partition: Relation,
    /// The archive table.
    pub archive: Relation,
    /// The bounds, as the catalog prints them.
    pub bound: String,
    /// The key column.
    pub column: String,
    /// Its type.
    pub type_name: String,
    /// Lower bound: the text of a literal, or `MINVALUE`.
    pub lower: String,
    /// Upper bound: the text of a literal, or `MAXVALUE`.
    pub upper: String,
    /// Owner of all three.
    pub role: String,
}

/// A detached partition moves to another schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveToSchema {
    /// The table.
    pub table: Relation,
    /// The schema.
    pub schema: String,
    /// Its owner.
    pub role: String,
}

/// A detached partition loses a foreign key, so that its drop locks no other table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropForeignKey {
    /// The table.
    pub table: Relation,
    /// The constraint.
    pub constraint: String,
    /// The table that it refers to.
    pub target: TableName,
    /// The table's owner.
    pub role: String,
}

/// A detached partition is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropTable {
    /// The table.
    pub table: Relation,
    /// The bounds that it had.
    pub bound: String,
    /// Its owner.
    pub role: String,
    /// Whether it must have been exported, and by which export it has been.
    pub export: ExportProof,
    /// What it takes on disk, in bytes. Not part of the plan's identity.
    #[serde(skip)]
    pub bytes: i64,
}

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

/// A new archive table, like the table whose rows it will hold, and without anything that could refuse a row that has once been in it:
/// columns with their types, no NOT NULL, no default, no CHECK, no foreign key, and every index, none of them unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateArchiveTable {
    /// The table whose rows it will hold.
    pub source: Relation,
    /// Its name.
    pub archive: TableName,
    /// Who creates and owns it: the owner of the source.
    pub role: String,
    /// Columns that LIKE makes NOT NULL and that may be NULL in the archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nullable: Vec<String>,
    /// What follows `ON table` in the definitions of its indexes.
    pub indexes: Vec<String>,
    /// Grants and row security, as the source has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Change>,
}

/// An archive table follows its source: columns that came, and types that became wider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtendArchiveTable {
    /// The table whose rows it holds.
    pub source: Relation,
    /// The archive table.
    pub archive: Relation,
    /// Its owner.
    pub role: String,
    /// Columns that it lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<ArchiveColumn>,
    /// Columns whose type has become wider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widen: Vec<ArchiveColumn>,
    /// NOT NULL columns that may be NULL in the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nullable: Vec<String>,
}

/// A column of an archive table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveColumn {
    /// Its name.
    pub name: String,
    /// Its type as `format_type` prints it, qualified where it is not one of PostgreSQL's own.
    pub type_name: String,
    /// Its collation, quoted and qualified, where it is not that of its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
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

impl ExportPartition {
    /// Where to and how, in a few words.
    pub fn describe(&self) -> String {
        format!("to {} as {:?}", self.destination, self.format)
    }
}

impl DetachPartition {
    /// How, and what follows, in a few words.
    pub fn describe(&self) -> String {
        let how = if self.concurrently { "concurrently" } else { "in one step" };
        let then = match self.then {
            Afterlife::Drop => "",
            Afterlife::Stay => ", it stays as a table of its own",
            Afterlife::Move => ", then it moves",
        };
        format!("{how}{then}{}", self.export.waits())
    }
}

impl DropTable {
    /// What is known of it, in a few words.
    pub fn describe(&self) -> String {
        format!("which held {}{}", self.bound.trim_start_matches("FOR VALUES "), self.export.waits())
    }
}

impl ExportProof {
    /// The condition, in a few words.
    const fn waits(&self) -> &'static str {
        match self {
            Self::NotAsked => "",
            Self::Awaited => ", only after the export's row count and checksum match",
            Self::Verified(_) => ", its export is verified",
        }
    }
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

impl ExtendArchiveTable {
    /// What changes, in a few words.
    pub fn describe(&self) -> String {
        let column = |verb: &str, column: &ArchiveColumn| format!("{verb} {} {}", column.name, column.type_name);
        let mut parts: Vec<String> = self.add.iter().map(|added| column("add", added)).collect();
        parts.extend(self.widen.iter().map(|wider| column("widen", wider)));
        parts.extend(self.nullable.iter().map(|name| format!("{name} may be NULL")));
        format!("{}, as in {}", parts.join(", "), self.source.table)
    }
}
