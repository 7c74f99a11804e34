//! How is a database backed up, proven and restored? What Jobs are told, when backups begin, and which may go.

pub mod check;
pub mod course;
pub mod keep;
pub mod manifest;
pub mod newest;
pub mod partial;
pub mod progress;
pub mod round;
pub mod segments;
pub mod slots;
pub mod tidings;
pub mod uses;

pub use manifest::Manifest;

use serde::{Deserialize, Serialize};

use crate::api::Destination;
use crate::api::backup::{Assertion, BackupSettings, VerifyLevel};
use crate::api::job::{JobSettings, Scratch};
use crate::api::postgres_database::SecretRef;
use crate::api::restore::RowCounts;

/// A database is dumped into an object store and read back. A Job does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DumpDatabase {
    /// Name of the Backup.
    pub backup: String,
    /// The BackupSchedule that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// UID of the PostgresDatabase that it is made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_for: Option<String>,
    /// Key of the directory of its objects; see [`directory`].
    pub directory: String,
    /// Major version of the server, whose tools the Job needs.
    pub major: i32,
    /// What, how and where to.
    pub settings: BackupSettings,
    /// Whether it is there already, made by a former cluster: then nothing is dumped, and what it is is reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exists: bool,
    /// The age recipients that it is encrypted for, where no Secret names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
}

impl DumpDatabase {
    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.settings.encryption.is_some() || !self.recipients.is_empty()
    }
}

/// A backup is read back, or restored into a server made for that. A Job does it, and needs no connection to the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyBackup {
    /// Name of the Backup.
    pub backup: String,
    /// Where its objects are.
    pub stored: Stored,
    /// How far it is proven.
    pub level: VerifyLevel,
    /// What must be true of the restored database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assertions: Vec<Assertion>,
    /// Major version of the server that it came from, whose tools the Job needs.
    pub major: i32,
    /// Room for what cannot be streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// The Pod that does it.
    pub job: JobSettings,
}

/// A backup's manifest is read, and what the server lacks for its restore is looked for. A Job does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InspectBackup {
    /// Name of the Backup, or its URL.
    pub backup: String,
    /// Where its objects are.
    pub stored: Stored,
    /// The database of the server that it would take the place of: another one is connected to.
    pub database: String,
    /// The Pod that does it.
    pub job: JobSettings,
}

/// A backup is restored into a database that exists for it, and compared with its manifest. A Job does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreDump {
    /// The backup.
    pub stored: Stored,
    /// SHA-256 of its manifest, which was chosen.
    pub manifest: String,
    /// The database that it is restored into.
    pub database: String,
    /// Its OID.
    pub oid: u32,
    /// The comment that it must have, or nothing is touched.
    pub witness: String,
    /// Whether only tables and the like are restored, without their rows, to see that our role may do so there; nothing is compared then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rehearses: bool,
    /// How rows are compared.
    pub row_counts: RowCounts,
    /// What must be true of the restored database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assertions: Vec<Assertion>,
    /// Major version of the server that it is restored on, whose tools the Job needs.
    pub major: i32,
    /// Room for what cannot be streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// The Pod that does it.
    pub job: JobSettings,
}

/// A backup's objects are removed, the manifest first. A Job does it where the operator cannot reach the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoveBackup {
    /// Name of the Backup.
    pub backup: String,
    /// Where its objects are.
    pub stored: Stored,
    /// Key of the directory of a newer backup in the same store: unless that is whole, nothing is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
    /// Whether only what no manifest names is removed: a backup that is there stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leftovers: bool,
    /// The Pod that does it.
    pub job: JobSettings,
}

/// Where the objects of a backup are, and what decrypts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// The store.
    pub destination: Destination,
    /// Key of the directory.
    pub directory: String,
    /// The Secret with the age identity, where the backup is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<SecretRef>,
}

/// Directory of a new backup: `<database>/<backup>-<uid8>`. The UID tells a Backup from a former one of the same name.
pub fn directory(database: &str, backup: &str, uid: &str) -> String {
    let short: String = uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{database}/{backup}-{short}")
}

impl VerifyBackup {
    /// How it is proven, in a line.
    pub fn describe(&self) -> String {
        match self.level {
            VerifyLevel::Restore => "by a restore into a server made for that".into(),
            VerifyLevel::None | VerifyLevel::Catalog => "by reading all of it back".into(),
        }
    }
}
