//! Which backup becomes which database, and who waits meanwhile? Restore: one restore, from its preflight to the end of its rollback.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has a type_ and a json_path of its own")]

mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use super::backup::Assertion;
use super::destination::Destination;
use super::job::{JobSettings, Scratch};
use super::policy::DatabaseRef;
use super::postgres_database::SecretRef;
use super::span::SpanUnit;

pub use status::*;

/// Restores a backup. What is restored, how, where and beside which workloads cannot be changed once it exists; all else can.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "pgreeve.dev",
    version = "v1alpha1",
    kind = "Restore",
    plural = "restores",
    shortname = "prs",
    category = "pgreeve",
    namespaced,
    status = "RestoreStatus",
    derive = "PartialEq",
    doc = "Restores a backup into a database, with the workloads scaled down meanwhile and back to what they had.",
    cel,
    selectable = ".spec.databaseRef.name",
    printcolumn(name = "Complete", type_ = "string", json_path = r#".status.conditions[?(@.type=="Complete")].status"#),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Strategy", type_ = "string", json_path = ".spec.strategy"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backup"),
    printcolumn(name = "Database", type_ = "string", json_path = ".status.database"),
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
    validation = Rule::new("self.databaseRef == oldSelf.databaseRef && self.source == oldSelf.source && has(self.targetDatabase) == has(oldSelf.targetDatabase) && (!has(self.targetDatabase) || self.targetDatabase == oldSelf.targetDatabase) && self.strategy == oldSelf.strategy && (has(self.workloads) ? self.workloads : []) == (has(oldSelf.workloads) ? oldSelf.workloads : [])")
        .message("what a Restore restores, where and beside which workloads cannot be changed; create another Restore"),
    validation = Rule::new("self.strategy != 'New' || has(self.targetDatabase)").message("strategy New makes a database: give targetDatabase").field_path(".targetDatabase"),
    validation = Rule::new("!has(self.targetDatabase) || size(bytes(self.targetDatabase)) <= 63").message("targetDatabase is longer than the 63 bytes of a PostgreSQL name").field_path(".targetDatabase"),
    validation = Rule::new("self.strategy != 'New' || !has(self.workloads) || self.workloads.size() == 0").message("a new database disturbs nobody: workloads go with strategy Swap or Replace").field_path(".workloads"),
    validation = Rule::new("self.strategy == 'Replace' || !self.skipSafetyBackup").message("only strategy Replace drops a database and makes a safety backup of it before").field_path(".skipSafetyBackup"),
    validation = Rule::new("self.strategy == 'Swap' || !self.rollback").message("only strategy Swap keeps the previous database to roll back to").field_path(".rollback"),
    validation = Rule::new("self.strategy == 'Swap' || self.keepPrevious == '24h'").message("only strategy Swap keeps the previous database").field_path(".keepPrevious")
)]
pub struct RestoreSpec {
    /// The PostgresDatabase on whose server the backup is restored.
    pub database_ref: DatabaseRef,
    /// Which backup.
    pub source: RestoreSource,
    /// The database that is restored; by default that of the PostgresDatabase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub target_database: Option<String>,
    /// How it takes the place of what is there.
    #[serde(default)]
    pub strategy: Strategy,
    /// The name of the database that is replaced, or its name, `@` and the server's system identifier, which pins the server too. Without it the
    /// preflight is done and the plan shown, and nothing else. Strategy New replaces nothing and needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 90))]
    pub confirm: Option<String>,
    /// Does the preflight, writes the plan and goes no further.
    #[serde(default)]
    pub dry_run: bool,
    /// What is scaled to nothing while the database is replaced, and back to what it had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub workloads: Vec<Workload>,
    /// How long the replaced database is kept for a rollback. Then it is dropped. Only strategy Swap keeps it.
    #[serde(default = "RestoreSpec::keep_previous")]
    pub keep_previous: Span,
    /// Puts the replaced database back, as long as it is kept; false again puts the restored one back. With strategy Swap.
    #[serde(default)]
    pub rollback: bool,
    /// Whether workloads come back when the restore fails, which may be said afterwards too. After strategy Replace has dropped the database they
    /// stay down in any case; with strategy New there are none.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What must be so before the restored database takes the place of the other.
    #[serde(default)]
    pub verify: RestoreVerify,
    /// Whether strategy Replace drops the database without a backup of it as it is now. What was written since the restored backup is then lost
    /// for good.
    #[serde(default)]
    pub skip_safety_backup: bool,
    /// How long the workloads and sessions may take to go, all in all, and with strategy Replace how long the backup and the drop of the database
    /// may go on failing. Then the restore gives up, and everything comes back. Strategy New waits for nobody.
    #[serde(default = "RestoreSpec::quiesce_timeout")]
    pub quiesce_timeout: Span,
    /// Room for a backup of format Directory. By default the node's own disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// The Pod that restores.
    #[serde(default)]
    pub job: JobSettings,
}

impl RestoreSpec {
    fn keep_previous() -> Span {
        Span::new(24, SpanUnit::Hour)
    }

    fn quiesce_timeout() -> Span {
        Span::new(5, SpanUnit::Minute)
    }
}

/// Which backup: exactly one of these.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.backupRef), has(self.scheduleRef), has(self.url)].filter(given, given).size() == 1").message("give exactly one of backupRef, scheduleRef and url"),
    validation = Rule::new("has(self.url) == has(self.destination)").message("url names the manifest of a backup and destination says how its store is opened: give both").field_path(".destination"),
    validation = Rule::new("has(self.url) || !has(self.identitySecretRef)").message("the identity of a Backup is that of its encryption; identitySecretRef goes with url").field_path(".identitySecretRef")
)]
pub struct RestoreSource {
    /// A Backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_ref: Option<DatabaseRef>,
    /// The newest Backup of a BackupSchedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_ref: Option<ScheduleSource>,
    /// The URL of a backup's manifest, as status.url shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(s3|gs|az|pvc)://\S+/manifest\.json$"), length(max = 2048))]
    pub url: Option<String>,
    /// How the store of the URL is opened; the URL must lie in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// A Secret whose key `identity` holds the age identity that decrypts what the URL names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_secret_ref: Option<SecretRef>,
}

/// The newest backup of a schedule.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSource {
    /// Name of a BackupSchedule in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Which of its backups. Those that hold a part of their database are passed over, unless the strategy is New.
    #[serde(default)]
    pub pick: Pick,
}

/// Which backup of a schedule.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Pick {
    /// The newest one that was read back whole or restored.
    #[default]
    LatestVerified,
    /// The newest complete one.
    Latest,
}

/// How a restored database takes the place of what is there.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Strategy {
    /// It is restored and verified beside the other while that is in use, then the two change names; the other is kept for a rollback.
    #[default]
    Swap,
    /// The other is dropped first, where the server has no room for two.
    Replace,
    /// It becomes a database of a name that is not taken.
    New,
}

/// Something that is scaled to nothing: by name, or by a label selector.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.name) != has(self.selector)").message("give either name or selector"))]
pub struct Workload {
    /// Kind: Deployment, StatefulSet, CronJob (which is suspended), or any other that has a scale.
    #[schemars(regex(pattern = r"^[A-Z][A-Za-z0-9]{0,62}$"))]
    pub kind: String,
    /// API version, such as `argoproj.io/v1alpha1`; that of Kubernetes' own kinds is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([a-z0-9.-]+/)?v[0-9][a-z0-9]*$"), length(max = 253))]
    pub api_version: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Labels of all that are meant, such as `tier=backend,app in (api-gateway, ml-service)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub selector: Option<String>,
}

/// Whether workloads come back after a failure.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OnFailure {
    /// They come back.
    #[default]
    ScaleUp,
    /// They stay down until the Restore is deleted.
    StayDown,
}

/// What must be so before a restored database is used.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreVerify {
    /// How rows are compared with the manifest.
    #[serde(default)]
    pub row_counts: RowCounts,
    /// What must be true of the restored database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub assertions: Vec<Assertion>,
}

/// How rows are compared.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum RowCounts {
    /// Every table has exactly the rows that were dumped.
    #[default]
    Exact,
    /// They are not counted.
    Skip,
}
