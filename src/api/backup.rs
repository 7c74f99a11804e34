//! What is a backup, and when does it count? Backup: one dump of one database, and what is known of it.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has a type_ and a json_path of its own")]

mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TableName;
use super::destination::Destination;
use super::job::{JobSettings, Scratch};
use super::policy::DatabaseRef;
use super::postgres_database::SecretRef;

pub use status::*;

/// Label of a Backup: the BackupSchedule that made it.
pub const SCHEDULE_LABEL: &str = "pgreeve.dev/schedule";
/// Annotation of a Backup that asks for a restore test; any new value counts as a new request.
pub const RESTORE_TEST_ANNOTATION: &str = "pgreeve.dev/restoreTest";
/// Annotation of a Backup that was found in a store: key of its directory there. Nothing is dumped for it.
pub const DIRECTORY_ANNOTATION: &str = "pgreeve.dev/directory";
/// Annotation of a Backup that the retention lets go, with its objects: key of the directory of a newer backup, which must be whole.
pub const REPLACED_BY_ANNOTATION: &str = "pgreeve.dev/replacedBy";
/// On a Backup that was found in its store and made for another PostgresDatabase: its UID there, or `unknown`.
pub const MADE_FOR_ANNOTATION: &str = "pgreeve.dev/madeFor";

/// One backup: made by a BackupSchedule, or by whoever creates this. What it is cannot be changed; whether it is held and what
/// becomes of its objects can.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "pgreeve.dev",
    version = "v1alpha1",
    kind = "Backup",
    plural = "backups",
    shortname = "pbk",
    category = "pgreeve",
    namespaced,
    status = "BackupStatus",
    derive = "PartialEq",
    doc = "One backup of one database: a dump in an object store, complete when its manifest is there.",
    cel,
    selectable = ".spec.databaseRef.name",
    printcolumn(name = "Complete", type_ = "string", json_path = r#".status.conditions[?(@.type=="Complete")].status"#),
    printcolumn(name = "Verified", type_ = "string", json_path = ".status.verification.level"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Database", type_ = "string", json_path = ".spec.databaseRef.name"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completedAt", priority = "1"),
    printcolumn(name = "Rows", type_ = "integer", json_path = ".status.tables.rows", priority = "1"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.databaseRef == oldSelf.databaseRef && self.content == oldSelf.content && self.format == oldSelf.format && self.jobs == oldSelf.jobs && self.compression == oldSelf.compression && self.destination == oldSelf.destination && has(self.encryption) == has(oldSelf.encryption) && (!has(self.encryption) || self.encryption == oldSelf.encryption) && self.verify == oldSelf.verify && (has(self.assertions) ? self.assertions : []) == (has(oldSelf.assertions) ? oldSelf.assertions : []) && has(self.scratch) == has(oldSelf.scratch) && (!has(self.scratch) || self.scratch == oldSelf.scratch) && self.job == oldSelf.job")
    .message("a backup cannot become another one: only hold and deletionPolicy can be changed; create another Backup"))]
pub struct BackupSpec {
    /// The database.
    pub database_ref: DatabaseRef,
    /// What is dumped, how, and where to.
    #[serde(flatten)]
    pub settings: BackupSettings,
    /// Keeps the backup whatever the retention of its schedule says. One that was found in the store and was made for another PostgresDatabase, as
    /// of a former cluster, is held (annotation `pgreeve.dev/madeFor`); false says that it is this one's.
    #[serde(default)]
    pub hold: bool,
    /// What becomes of its objects when this is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

impl Backup {
    /// Whether it was found in its store, was made for another PostgresDatabase, and nobody has said yet that it is this one's, by ending its
    /// hold.
    pub fn is_foreign(&self) -> bool {
        self.spec.hold && self.metadata.annotations.as_ref().is_some_and(|notes| notes.contains_key(MADE_FOR_ANNOTATION))
    }
}

/// What a backup contains, how it is written and where to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.format == 'Directory' || self.jobs == 1").message("jobs above 1 goes with format Directory: only that is written in parallel").field_path(".jobs"),
    validation = Rule::new("self.format != 'Plain' || self.verify != 'Restore'").message("a plain dump is not restored by pgreeve, because it is a script: use format Custom or Directory, or verify Catalog").field_path(".verify"),
    validation = Rule::new("self.verify != 'Restore' || self.content.what != 'DataOnly'").message("data without its tables cannot be restored into an empty server: verify Catalog, or what All").field_path(".verify"),
    validation = Rule::new("self.verify != 'Restore' || !has(self.encryption) || has(self.encryption.identitySecretRef)").message("an encrypted backup is restored only with its identity: give encryption.identitySecretRef, or verify Catalog").field_path(".verify")
)]
pub struct BackupSettings {
    /// What is dumped.
    #[serde(default)]
    pub content: Content,
    /// The dump's format.
    #[serde(default)]
    pub format: DumpFormat,
    /// How many tables are dumped at a time, with format Directory. Each takes a connection.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub jobs: i32,
    /// How it is compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Where to.
    pub destination: Destination,
    /// Encrypts every object before it leaves the Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// How far a backup is proven before it counts as verified.
    #[serde(default)]
    pub verify: VerifyLevel,
    /// What must be true of the restored database, with verify Restore and in restore tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub assertions: Vec<Assertion>,
    /// Room for what cannot be streamed: parallel dumps, and the server of a restore test. By default the node's own disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// The Pod that does it.
    #[serde(default)]
    pub job: JobSettings,
}

fn one() -> i32 {
    1
}

/// What of the database is dumped.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
// pg_dump, --table: `--schema` has no effect beside it.
#[x_kube(validation = Rule::new("!has(self.schemas) || !has(self.tables) || self.schemas.size() == 0 || self.tables.size() == 0").message("pg_dump ignores a choice of schemas beside one of tables: give either schemas or tables").field_path(".tables"))]
pub struct Content {
    /// Only these schemas; all where empty. A dump of some schemas has neither extensions nor large objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub schemas: Vec<String>,
    /// Only these tables; all where empty. A dump of some tables has neither extensions nor large objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub tables: Vec<TableName>,
    /// Tables that are left out, with their rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub exclude_tables: Vec<TableName>,
    /// Tables whose rows are left out, while the tables themselves are dumped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub exclude_rows: Vec<TableName>,
    /// Whether definitions, rows or both are dumped.
    #[serde(default)]
    pub what: What,
    /// Whether roles and tablespaces are dumped as well, as an object of their own, without passwords.
    #[serde(default = "yes")]
    pub globals: bool,
}

fn yes() -> bool {
    true
}

impl Default for Content {
    fn default() -> Self {
        Self {
            schemas: vec![],
            tables: vec![],
            exclude_tables: vec![],
            exclude_rows: vec![],
            what: What::default(),
            globals: true,
        }
    }
}

/// Definitions, rows or both.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum What {
    /// Definitions and rows.
    #[default]
    All,
    /// Definitions only.
    SchemaOnly,
    /// Rows only.
    DataOnly,
}

/// A format of `pg_dump`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum DumpFormat {
    /// One archive, streamed to the store without a local disk.
    #[default]
    Custom,
    /// A file for each table, dumped in parallel on the Job's scratch volume and packed into one object.
    Directory,
    /// A script of SQL, for people and other tools; pgreeve does not restore it.
    Plain,
}

/// How a dump is compressed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// The method.
    #[serde(default)]
    pub method: CompressionMethod,
    /// The level of Zstandard, 1 (fast) to 19 (small).
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 19))]
    pub level: i32,
}

fn three() -> i32 {
    3
}

impl Default for Compression {
    fn default() -> Self {
        Self { method: CompressionMethod::default(), level: three() }
    }
}

/// A method of compression.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum CompressionMethod {
    /// Zstandard, with a checksum in each frame.
    #[default]
    Zstd,
    /// None.
    None,
}

/// Encryption with age, by the Job: whoever has the store has nothing.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// A Secret whose key `recipients` holds age recipients (`age1…`), one a line: whoever holds an identity of one of them can decrypt.
    pub recipients_secret_ref: SecretRef,
    /// A Secret whose key `identity` holds an age identity (`AGE-SECRET-KEY-1…`). Only Jobs that verify or restore are given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_secret_ref: Option<SecretRef>,
}

/// How far a backup is proven.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub enum VerifyLevel {
    /// Not at all: it is complete when its manifest is there.
    None,
    /// It is read back from the store: size and both checksums match, and the archive can be read to its end.
    #[default]
    Catalog,
    /// It is restored into a server made for that in the Job: every table has the rows that it had when it was dumped, and the
    /// assertions hold.
    Restore,
}

impl std::fmt::Display for VerifyLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// Something that must be true of a restored database.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.atLeast) || has(self.atMost) || has(self.equals)").message("say what the query must come to: give atLeast, atMost or equals"),
    validation = Rule::new("!has(self.equals) || (!has(self.atLeast) && !has(self.atMost))").message("a number that is given needs no bounds: equals goes alone").field_path(".equals"),
    validation = Rule::new("!has(self.atLeast) || !has(self.atMost) || self.atLeast <= self.atMost").message("no number is enough: atMost is less than atLeast").field_path(".atMost")
)]
pub struct Assertion {
    /// What it is called in the status.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A query that answers one whole number. It runs in a transaction that is rolled back, with the settings that the database has for every role,
    /// such as `search_path`.
    #[schemars(length(min = 1, max = 2000))]
    pub sql: String,
    /// The least that the number may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<i64>,
    /// The most that the number may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<i64>,
    /// What the number must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<i64>,
}

/// What becomes of a backup's objects when its Backup is deleted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay.
    #[default]
    Retain,
    /// They are removed, the manifest first.
    Delete,
}
