//! What will be done, and what will not? A [`Plan`]: one value that is printed, fingerprinted, approved, carried out and reported.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backup::{DumpDatabase, InspectBackup, RemoveBackup, RestoreDump, VerifyBackup};
pub use super::change::Change;
use super::fingerprint;
use super::removal::{
    ArchiveRows, CreateArchiveTable, DetachPartition, DropForeignKey, DropTable, ExportPartition, ExportProof,
    ExtendArchiveTable, FinalizeDetach, MoveToArchive, MoveToSchema, ReopenPartition,
};
use super::snapshot::Oid;
use crate::api::{Reason, TableName};

/// The object that a plan belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// Kind, such as `PartitionPolicy`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A table by OID and name: the OID says which, the name is for people and for SQL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Relation {
    /// Its OID, which the name must still have when an action begins.
    pub oid: Oid,
    /// Schema and name.
    #[serde(flatten)]
    pub table: TableName,
}

/// One change, small enough to be carried out whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum Action {
    /// A new partition: created like its parent and siblings, then attached.
    CreatePartition(CreatePartition),
    /// A default partition where the policy wants one.
    CreateDefault(CreateDefault),
    /// Makes a partition like the template again.
    RepairPartition(RepairPartition),
    /// Takes away the CHECK that a broken-off run left on a default partition; it rejects rows while it stands.
    DropGuard(DropGuard),
    /// `CREATE EXTENSION`.
    CreateExtension(CreateExtension),
    /// A partition is written to an object store before it goes. A task.
    ExportPartition(Box<ExportPartition>),
    /// Rows of a plain table are archived or deleted. A task.
    ArchiveRows(Box<ArchiveRows>),
    /// The archive table that rows move to.
    CreateArchiveTable(Box<CreateArchiveTable>),
    /// An archive table follows its source.
    ExtendArchiveTable(Box<ExtendArchiveTable>),
    /// A detach that was broken off is brought to its end.
    FinalizeDetach(FinalizeDetach),
    /// A partition that was closed for an export takes rows again.
    ReopenPartition(ReopenPartition),
    /// A partition stops being part of its table.
    DetachPartition(DetachPartition),
    /// A partition becomes one of the archive table.
    MoveToArchive(MoveToArchive),
    /// A detached partition moves to another schema.
    MoveToSchema(MoveToSchema),
    /// A detached partition loses a foreign key.
    DropForeignKey(DropForeignKey),
    /// A detached partition is dropped.
    DropTable(DropTable),
    /// A database is dumped into an object store. A task.
    DumpDatabase(Box<DumpDatabase>),
    /// A backup is read back, or restored to try it. A task.
    VerifyBackup(Box<VerifyBackup>),
    /// A backup's manifest is read before it is restored. A task.
    InspectBackup(Box<InspectBackup>),
    /// A backup is restored into a database. A task.
    RestoreDump(Box<RestoreDump>),
    /// A backup's objects are removed. A task where the operator cannot do it.
    RemoveBackup(Box<RemoveBackup>),
}

/// See [`Action::CreatePartition`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatePartition {
    /// The partitioned table.
    pub parent: Relation,
    /// The new partition's name; it is created in the parent's schema.
    pub name: String,
    /// Lower bound, inclusive: the text of a literal, or `MINVALUE`.
    pub lower: String,
    /// Upper bound, exclusive: the text of a literal, or `MAXVALUE` where the key's type ends.
    pub upper: String,
    /// The role that creates it: the parent's owner.
    pub role: String,
    /// What it gets beyond what its parent gives it.
    pub properties: Vec<Change>,
    /// Tables on which ATTACH takes SHARE ROW EXCLUSIVE because of foreign keys.
    pub foreign_keys: Vec<String>,
    /// The default partition, if there is one: it is locked, and scanned unless a guard spares that.
    pub default: Option<DefaultAtAttach>,
}

/// How a default partition takes part in an ATTACH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultAtAttach {
    /// The default partition.
    pub relation: Relation,
    /// The key column that a guard constrains.
    pub column: String,
    /// The type to compare in.
    pub type_name: String,
    /// Name of the CHECK that is validated first, so that ATTACH need not scan under ACCESS EXCLUSIVE. Absent where the
    /// default partition is so small that the scan is shorter than the extra locks.
    pub guard: Option<String>,
}

/// See [`Action::CreateDefault`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateDefault {
    /// The partitioned table.
    pub parent: Relation,
    /// Its name.
    pub name: String,
    /// The role that creates it.
    pub role: String,
    /// What it gets beyond what its parent gives it.
    pub properties: Vec<Change>,
    /// Tables on which ATTACH takes SHARE ROW EXCLUSIVE because of foreign keys.
    pub foreign_keys: Vec<String>,
}

/// See [`Action::RepairPartition`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairPartition {
    /// The partition.
    pub partition: Relation,
    /// The role that changes it: its owner.
    pub role: String,
    /// What is changed, in order.
    pub changes: Vec<Change>,
}

/// See [`Action::DropGuard`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropGuard {
    /// The default partition.
    pub default: Relation,
    /// The constraint.
    pub constraint: String,
    /// The role that drops it.
    pub role: String,
}

/// See [`Action::CreateExtension`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateExtension {
    /// Its name.
    pub name: String,
}

/// Something that a plan does not do, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// Why.
    #[serde(serialize_with = "reason_name", skip_deserializing, default = "invalid_spec")]
    pub reason: Reason,
    /// The object, the value and the next step.
    pub message: String,
}

impl Blocked {
    /// A refusal.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

fn reason_name<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.as_str())
}

fn invalid_spec() -> Reason {
    Reason::InvalidSpec
}

/// Something that a reader of the plan should know, with an identifier for `pgreeve explain`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Identifier, such as `PGR-204`.
    pub id: String,
    /// The object concerned.
    pub object: String,
    /// What is so.
    pub message: String,
}

/// What a pass would do to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The object that asks for it.
    pub object: ObjectId,
    /// What the plan is about, such as `public.events  RANGE(created_at) every 1 month  42 partitions`.
    pub headline: String,
    /// The changes, in the order in which they are carried out.
    pub actions: Vec<Action>,
    /// What is not done, and why.
    pub blocked: Vec<Blocked>,
    /// What a reader should know.
    pub notes: Vec<Note>,
    /// When the clock next asks for something, if it does.
    #[serde(skip)]
    pub due: Option<Timestamp>,
    /// Why the plan needs a person's word even where the policy asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wants_approval: Option<String>,
}

impl Plan {
    /// A plan without changes.
    pub fn empty(object: ObjectId, headline: impl Into<String>) -> Self {
        Self {
            object,
            headline: headline.into(),
            actions: vec![],
            blocked: vec![],
            notes: vec![],
            due: None,
            wants_approval: None,
        }
    }

    /// A plan that only says why nothing can be planned.
    pub fn refused(object: ObjectId, headline: impl Into<String>, blocked: Blocked) -> Self {
        Self { blocked: vec![blocked], ..Self::empty(object, headline) }
    }

    /// Identifies the object and its actions, OIDs and bounds included: sixteen hexadecimal digits. The moment of planning, sizes
    /// and notes do not count.
    pub fn fingerprint(&self) -> String {
        fingerprint::of(&self.object, &self.actions)
    }

    /// Whether there is nothing to do and nothing in the way.
    pub fn is_settled(&self) -> bool {
        self.actions.is_empty() && self.blocked.is_empty()
    }

    /// The plan in one line, such as `3 to create, 1 to repair, 1 blocked`.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (verb, count) in self.counts() {
            if count > 0 {
                parts.push(format!("{count} {verb}"));
            }
        }
        if parts.is_empty() { "no changes".into() } else { parts.join(", ") }
    }

    fn counts(&self) -> Vec<(String, usize)> {
        let count = |wanted: &str| self.actions.iter().filter(|action| action.verb() == wanted).count();
        let mut counts: Vec<(String, usize)> = VERBS.iter().map(|verb| (format!("to {verb}"), count(verb))).collect();
        counts.push(("blocked".into(), self.blocked.len()));
        counts
    }
}

/// The verbs of all actions, in the order of summaries.
const VERBS: [&str; 17] = [
    "create",
    "repair",
    "clean up",
    "finish detaching",
    "reopen",
    "export",
    "archive",
    "delete from",
    "detach",
    "move",
    "release",
    "drop",
    "back up",
    "verify",
    "inspect",
    "restore",
    "remove",
];

impl Action {
    /// The verb of this action in summaries.
    pub fn verb(&self) -> &'static str {
        match self {
            Action::CreatePartition(_)
            | Action::CreateDefault(_)
            | Action::CreateExtension(_)
            | Action::CreateArchiveTable(_) => "create",
            Action::RepairPartition(_) | Action::ExtendArchiveTable(_) => "repair",
            Action::DropGuard(_) => "clean up",
            Action::ExportPartition(_) => "export",
            Action::ArchiveRows(rows) => rows.action.verb(),
            Action::FinalizeDetach(_) => "finish detaching",
            Action::ReopenPartition(_) => "reopen",
            Action::DetachPartition(_) => "detach",
            Action::MoveToArchive(_) | Action::MoveToSchema(_) => "move",
            Action::DropForeignKey(_) => "release",
            Action::DropTable(_) => "drop",
            Action::DumpDatabase(_) => "back up",
            Action::VerifyBackup(_) => "verify",
            Action::InspectBackup(_) => "inspect",
            Action::RestoreDump(_) => "restore",
            Action::RemoveBackup(_) => "remove",
        }
    }

    /// Whether it is carried out by a Job, because it moves data or runs long.
    pub const fn is_task(&self) -> bool {
        matches!(
            self,
            Action::ExportPartition(_)
                | Action::ArchiveRows(_)
                | Action::DumpDatabase(_)
                | Action::VerifyBackup(_)
                | Action::InspectBackup(_)
                | Action::RestoreDump(_)
                | Action::RemoveBackup(_)
        )
    }

    /// Whether the action waits for another one of the same plan: what it needs is not there yet.
    pub const fn waits(&self) -> bool {
        let (Action::DetachPartition(DetachPartition { export, .. }) | Action::DropTable(DropTable { export, .. })) = self else {
            return false;
        };
        matches!(export, ExportProof::Awaited)
    }

    /// The table that leaves, where one does: its steps follow each other.
    pub fn leaves(&self) -> Option<Oid> {
        match self {
            Action::ExportPartition(export) => Some(export.partition.oid),
            Action::FinalizeDetach(finalize) => Some(finalize.partition.oid),
            Action::DetachPartition(detach) => Some(detach.partition.oid),
            Action::MoveToArchive(moved) => Some(moved.partition.oid),
            Action::MoveToSchema(moved) => Some(moved.table.oid),
            Action::DropForeignKey(key) => Some(key.table.oid),
            Action::DropTable(drop) => Some(drop.table.oid),
            _ => None,
        }
    }

    /// What the action is about, such as a partition's name.
    pub fn subject(&self) -> &str {
        match self {
            Action::CreatePartition(create) => &create.name,
            Action::CreateDefault(create) => &create.name,
            Action::RepairPartition(repair) => &repair.partition.table.name,
            Action::DropGuard(guard) => &guard.default.table.name,
            Action::CreateExtension(extension) => &extension.name,
            Action::ExportPartition(export) => &export.partition.table.name,
            Action::ArchiveRows(rows) => &rows.table.table.name,
            Action::CreateArchiveTable(create) => &create.archive.name,
            Action::ExtendArchiveTable(extend) => &extend.archive.table.name,
            Action::FinalizeDetach(finalize) => &finalize.partition.table.name,
            Action::ReopenPartition(reopen) => &reopen.partition.table.name,
            Action::DetachPartition(detach) => &detach.partition.table.name,
            Action::MoveToArchive(moved) => &moved.partition.table.name,
            Action::MoveToSchema(moved) => &moved.table.table.name,
            Action::DropForeignKey(key) => &key.table.table.name,
            Action::DropTable(drop) => &drop.table.table.name,
            Action::DumpDatabase(dump) => &dump.backup,
            Action::VerifyBackup(verify) => &verify.backup,
            Action::InspectBackup(inspect) => &inspect.backup,
            Action::RestoreDump(restore) => &restore.database,
            Action::RemoveBackup(remove) => &remove.backup,
        }
    }

    /// What the action does to its subject, in a line.
    pub fn detail(&self) -> String {
        match self {
            Action::CreatePartition(create) => format!("[{}, {})", create.lower, create.upper),
            Action::CreateDefault(_) => "DEFAULT".into(),
            Action::RepairPartition(repair) => repair.changes.iter().map(Change::describe).collect::<Vec<_>>().join(", "),
            Action::DropGuard(guard) => format!("drop constraint {} left by a broken-off run", guard.constraint),
            Action::CreateExtension(_) => "extension".into(),
            Action::ExportPartition(export) => export.describe(),
            Action::ArchiveRows(rows) => rows.describe(),
            Action::CreateArchiveTable(create) => format!("for rows of {}", create.source.table),
            Action::ExtendArchiveTable(extend) => extend.describe(),
            Action::FinalizeDetach(_) => "a broken-off DETACH CONCURRENTLY".into(),
            Action::ReopenPartition(_) => "to writes: it does not go after all".into(),
            Action::DetachPartition(detach) => detach.describe(),
            Action::MoveToArchive(moved) => format!("to {}, {}", moved.archive.table, moved.bound),
            Action::MoveToSchema(moved) => format!("to schema {}", moved.schema),
            Action::DropForeignKey(key) => format!("from its foreign key {} to {}", key.constraint, key.target),
            Action::DropTable(drop) => drop.describe(),
            Action::DumpDatabase(dump) => format!("to {}/{}", dump.settings.destination, dump.directory),
            Action::VerifyBackup(verify) => verify.describe(),
            Action::InspectBackup(inspect) => format!("in {}/{}", inspect.stored.destination, inspect.stored.directory),
            Action::RestoreDump(restore) => format!("from {}/{}", restore.stored.destination, restore.stored.directory),
            Action::RemoveBackup(remove) => format!("from {}/{}", remove.stored.destination, remove.stored.directory),
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.verb(), self.subject(), self.detail())
    }
}
