//! What is known of a restore: how far it is, what was chosen, what workloads had.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::backup::{Encryption, Tables, Verification};
use super::super::destination::Destination;
use super::super::policy::PlanStatus;
use super::super::postgres_database::SecretRef;

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
    /// What the backup was told not to hold of its database: such a one becomes a database of its own, and takes the place of none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// What else it does not hold although the database did, such as the rows of unlogged tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
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
    /// The tablespace that it lies in, where that is not the usual one, and our role may make something in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
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
