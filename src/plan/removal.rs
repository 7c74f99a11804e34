//! How does data leave? The actions that take it away, and those that first make sure that nothing is lost.
//!
//! A partition leaves in steps, each an action of its own: it is exported ([`ExportPartition`]), detached ([`DetachPartition`]), loses
//! its foreign keys ([`DropForeignKey`]) and is dropped ([`DropTable`]). Rows of a plain table leave in batches ([`ArchiveRows`]).

mod archive_table;
mod rows;

use serde::{Deserialize, Serialize};

use super::action::Relation;
use crate::api::job::JobSettings;
use crate::api::retention_policy::{ExportCompression, ExportFormat};
use crate::api::{Destination, TableName};

pub use archive_table::{ArchiveColumn, CreateArchiveTable, ExtendArchiveTable};
pub use rows::{ArchiveRows, DependentRows, HeldRange, Pace, Reference};

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
