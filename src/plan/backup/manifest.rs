//! What says that a backup exists? Its manifest, written last and never replaced.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::TableName;
use crate::api::backup::{CompressionMethod, Content, DumpFormat, VerifyLevel, What};

/// Format of the manifests that this version writes; a reader refuses a later one.
pub const VERSION: i32 = 1;

/// Name of a manifest in its directory.
pub const NAME: &str = "manifest.json";

/// Name of what was proven of a backup after its manifest was written: the last and best of it.
pub const VERIFICATION: &str = "verification.json";

/// Everything about a backup that its dump does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Format of the manifest.
    pub version: i32,
    /// What wrote it, such as `pgreeve 0.1.0`.
    pub writer: String,
    /// Name of the Backup.
    pub backup: String,
    /// The BackupSchedule that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// UID of the PostgresDatabase that it was made for: what tells one cluster's backups from another's that shares the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_for: Option<String>,
    /// When the dump began.
    pub started_at: Timestamp,
    /// When the manifest was written.
    pub completed_at: Timestamp,
    /// The database as it was.
    pub database: Database,
    /// The moment of the dump.
    pub snapshot: Snapshot,
    /// What of the database was dumped.
    pub content: Content,
    /// Format of the dump.
    pub format: DumpFormat,
    /// Version of `pg_dump`, such as `16.14`.
    pub dump_version: String,
    /// Extensions that the database has.
    #[serde(default)]
    pub extensions: Vec<Extension>,
    /// Roles that own something in it or were granted something: they must exist where it is restored.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Tables with rows of their own and how many there were, counted in the snapshot.
    pub tables: Vec<TableRows>,
    /// Tables that were dumped without any rows of their own: partitioned ones, and all of a dump of definitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub definitions: Vec<TableName>,
    /// Of a dump of chosen tables, the schemas that they lie in: such a dump does not create them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<Schema>,
    /// Large objects in the snapshot.
    pub large_objects: i64,
    /// What the dump does not hold although the database does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
    /// The dump.
    pub data: Object,
    /// Roles and tablespaces, without passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub globals: Option<Object>,
    /// That all of it was read back before this was written, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back: Option<Verified>,
}

/// A database, with what a dump of it does not carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its OID.
    pub oid: u32,
    /// The server's system identifier, where the role may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// PostgreSQL's version, such as `16.14`.
    pub server_version: String,
    /// The same as a number, such as 160014.
    pub version_num: i32,
    /// Size on the server's disk in bytes.
    pub bytes: i64,
    /// How it was made and what was granted on it.
    pub properties: Properties,
    /// Tablespaces that something of it lies in beside the usual one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tablespaces: Vec<String>,
    /// Its subscriptions to publications elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<String>,
}

/// What `pg_dump` writes only with `--create`, which pins the name: it is put back by us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Properties {
    /// Owner.
    pub owner: String,
    /// Encoding, such as `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// Locale provider: `libc`, `icu` or `builtin`.
    pub provider: String,
    /// Locale of the provider, where that is not libc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Rules of an ICU collation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icu_rules: Option<String>,
    /// The tablespace that it lies in, where that is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// Most connections; -1 is no limit.
    pub connection_limit: i32,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Grants; none where nobody has changed what is granted from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Grant>>,
    /// `ALTER DATABASE … SET` and `ALTER ROLE … IN DATABASE … SET`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// Its security labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// What a provider of labels, such as SELinux, says of a database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Label {
    /// The provider.
    pub provider: String,
    /// The label.
    pub label: String,
}

/// A privilege on a database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Who has it; empty for PUBLIC.
    pub grantee: String,
    /// `CONNECT`, `CREATE` or `TEMPORARY`.
    pub privilege: String,
    /// Whether it may be granted on.
    pub grantable: bool,
}

/// A setting that every session of a database, or of a role in it, begins with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// The role; empty for every one.
    pub role: String,
    /// Its name.
    pub name: String,
    /// Its value, as the catalog has it.
    pub value: String,
}

/// The moment of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// When it was taken, by the server's clock.
    pub at: Timestamp,
    /// Position in the write-ahead log, where the role may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
}

/// An extension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
}

/// A table and its rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableRows {
    /// The table.
    #[serde(flatten)]
    pub table: TableName,
    /// How many rows it had in the snapshot, those of its partitions not counted.
    pub rows: i64,
}

/// An object in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// Its name in the directory.
    pub name: String,
    /// Size in bytes.
    pub bytes: i64,
    /// SHA-256 of it as it lies there, in hexadecimal.
    pub sha256: String,
    /// Size before compression and encryption.
    pub raw_bytes: i64,
    /// SHA-256 before compression and encryption.
    pub raw_sha256: String,
    /// How it is compressed.
    pub compression: CompressionMethod,
    /// The age recipients that it is encrypted for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Where it is divided into several objects: bytes of each but the last. The second one's name is `NAME.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<i64>,
}

impl Object {
    /// The objects that hold it: the name of each in the directory, and its bytes.
    pub fn segments(&self) -> Vec<(String, i64)> {
        let (bytes, segment) = (self.bytes.max(0).unsigned_abs(), self.segment_bytes.map(|bytes| bytes.max(0).unsigned_abs()));
        let found = super::segments::of(&self.name, bytes, segment).into_iter();
        found.map(|(name, bytes)| (name, i64::try_from(bytes).unwrap_or(i64::MAX))).collect()
    }
}

/// What was proven of a backup after it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// How far.
    pub level: VerifyLevel,
    /// When.
    pub at: Timestamp,
    /// Rows that were counted in the restored database and are as many as were dumped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_matched: Option<i64>,
    /// Assertions that held.
    #[serde(default)]
    pub assertions: i32,
    /// How long a restore took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_seconds: Option<i64>,
    /// What was otherwise in the restored database than in the original, though the proof holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Why it is none that this version understands.
    pub fn read(content: &[u8]) -> Result<Self, String> {
        let version =
            |value: &serde_json::Value| Some((value.get("version")?.as_i64()?, value.get("writer")?.as_str()?.to_owned()));
        let value: serde_json::Value = serde_json::from_slice(content).map_err(|error| format!("is no manifest: {error}"))?;
        match version(&value) {
            Some((version, writer)) if version > i64::from(VERSION) => {
                Err(format!("was written by {writer}, in a format that this version does not know"))
            }
            _ => serde_json::from_value(value).map_err(|error| format!("is no manifest: {error}")),
        }
    }

    /// Rows of all tables.
    pub fn rows(&self) -> i64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// Bytes of all objects in the store, the manifest itself not counted.
    pub fn bytes(&self) -> i64 {
        self.data.bytes + self.globals.as_ref().map_or(0, |globals| globals.bytes)
    }

    /// Whether the dump holds the database's extensions: a choice of schemas or tables leaves them out.
    pub const fn holds_extensions(&self) -> bool {
        self.content.schemas.is_empty() && self.content.tables.is_empty()
    }

    /// Whether the dump holds the database's large objects: definitions are without them too.
    pub fn holds_large_objects(&self) -> bool {
        self.holds_extensions() && self.content.what != What::SchemaOnly
    }

    /// Major version of the server.
    pub const fn major(&self) -> i32 {
        self.database.version_num / 10_000
    }
}
