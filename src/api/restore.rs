//! Which backup becomes which database, and who waits meanwhile? Restore: one restore, from its preflight to the end of its rollback.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has a type_ and a json_path of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use super::backup::{Assertion, Encryption, Tables, Verification};
use super::destination::Destination;
use super::job::{JobSettings, Scratch};
use super::policy::{DatabaseRef, PlanStatus};
use super::postgres_database::SecretRef;
use super::span::SpanUnit;

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
    /// Which of its backups.
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

/// How far a restore is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Complete: the restored database has taken its place and workloads are back. It stays true after a rollback, of which Ready tells (RolledBack).
    /// Failed: it has not, and all that can be put back was. Progressing; Ready, and the abnormal-true Reconciling and Stalled.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Where it is.
    #[serde(default)]
    pub step: Step,
    /// What it does, step by step, with what the preflight found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// What was chosen, once and for all, before anything was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
    /// Name of the Backup, or its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// The database that is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The database that the backup is restored into, until it takes its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_database: Option<String>,
    /// OID of the database that the backup is restored into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_oid: Option<i64>,
    /// How often a database was made to restore into: what a broken-off try has left in one is no place for the next.
    #[serde(default)]
    pub attempts: i32,
    /// The replaced database, as long as it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_database: Option<String>,
    /// When strategy Replace had restored the backup on this server without its rows, so that its role is known to be able to, before it dropped
    /// the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed_at: Option<Time>,
    /// What strategy Replace proved of the backup before it dropped the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Verification>,
    /// URL of the backup that strategy Replace made of the database before it dropped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_backup: Option<String>,
    /// Whether the replaced database has its name again.
    #[serde(default)]
    pub rolled_back: bool,
    /// When strategy Replace was seen to have dropped the database: from then on the restore does not give up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_at: Option<Time>,
    /// What has kept a rollback from coming about, or strategy Replace from dropping the database that has another name already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setback: Option<Setback>,
    /// Until when spec.rollback has an effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_until: Option<Time>,
    /// What was scaled to nothing, and what it comes back to. Written before the first one is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<ScaledWorkload>,
    /// Why it failed, once it has; what follows puts things back, or tries again where strategy Replace has dropped the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What was proven of the restored database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// What of the backup could not be put back, such as a setting that only a superuser may give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_at: Option<Time>,
    /// When workloads began to go, the last time: spec.quiesceTimeout counts from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiescing_since: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// For how long the database accepted no connection while the names changed, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced_millis: Option<i64>,
    /// The last value of the annotation `pgreeve.dev/requestedAt` that a pass has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// What a restore is bound to from its preflight on.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chosen {
    /// The manifest's URL.
    pub url: String,
    /// The store of the backup.
    pub destination: Destination,
    /// Key of the directory of its objects.
    pub directory: String,
    /// The Secret with the age identity that decrypts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_secret_ref: Option<SecretRef>,
    /// How it is encrypted, where that is known: a safety backup is encrypted alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// The age recipients that it is encrypted for: a safety backup is encrypted for them where `encryption` is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// Major version of the server that it came from.
    pub major: i32,
    /// The server's system identifier, where the role may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// OID of the database that is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<i64>,
    /// When the backup's snapshot was taken: the moment that the database goes back to.
    pub snapshot_at: Time,
    /// Size of the backed up database on its server's disk in bytes.
    pub bytes: i64,
    /// Tables and their rows.
    pub tables: Tables,
    /// How the database is made.
    pub like: Like,
}

/// How a database is made.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Like {
    /// Its owner.
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
}

/// Where a restore is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub enum Step {
    /// Everything is looked at; nothing is touched.
    #[default]
    Preflight,
    /// The plan waits for spec.confirm.
    AwaitingConfirmation,
    /// A Job restores the backup beside the database, or in its place, and compares it with its manifest.
    Restoring,
    /// A Job proves the backup before strategy Replace touches anything.
    Verifying,
    /// Workloads go to nothing.
    Quiescing,
    /// The database accepts no connection, and its sessions end.
    Fencing,
    /// The two databases change names.
    Swapping,
    /// The database accepts connections.
    Unfencing,
    /// Workloads come back to what they had.
    ScalingUp,
    /// The restored database is in use; the other one is kept for a rollback.
    Keeping,
    /// All is done.
    Done,
}

/// Why something has not come about.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Setback {
    /// Why.
    pub message: String,
    /// When that was seen first.
    pub at: Time,
    /// The generation of the spec then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

/// Something that was scaled to nothing.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaledWorkload {
    /// API version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// UID: another one of the same name is left alone.
    pub uid: String,
    /// Replicas that it had; absent for a CronJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Whether a CronJob was suspended already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
    /// What would scale it up meanwhile, such as `ScaledObject api`, and is held; after a colon, why one is not, so that what it does is undone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// How often somebody scaled it up meanwhile, and it was scaled down again.
    #[serde(default)]
    pub fought: i32,
    /// Where it is: Down, Up, or why it is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}
