//! When is a database backed up, which backups are kept, and when is a restore tried? BackupSchedule.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has a type_ and a json_path of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use super::backup::{BackupSettings, DeletionPolicy};
use super::policy::{DatabaseRef, Mode, PlanStatus, utc};
use super::span::SpanUnit;

/// Makes a Backup of one database again and again, tries restores of them, and removes what is old.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "pgreeve.dev",
    version = "v1alpha1",
    kind = "BackupSchedule",
    plural = "backupschedules",
    shortname = "pbs",
    category = "pgreeve",
    namespaced,
    status = "BackupScheduleStatus",
    derive = "PartialEq",
    doc = "Backs one database up on time, proves that the backups restore, and removes what is old.",
    cel,
    validation = Rule::new("!has(self.metadata.name) || self.metadata.name.size() <= 63").message("metadata.name is longer than 63 characters: write a shorter one, which its Backups can bear as the label pgreeve.dev/schedule"),
    selectable = ".spec.databaseRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Backups", type_ = "integer", json_path = ".status.backups.complete"),
    printcolumn(name = "Last backup", type_ = "date", json_path = ".status.lastBackup.completedAt"),
    printcolumn(name = "Last verified", type_ = "date", json_path = ".status.lastVerified.completedAt"),
    printcolumn(name = "Next run", type_ = "string", json_path = ".status.nextRun", priority = "1"),
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
    validation = Rule::new("!has(self.restoreTest) || self.backup.format != 'Plain'").message("a plain dump is not restored by pgreeve, because it is a script: use format Custom or Directory, or no restoreTest").field_path(".restoreTest"),
    validation = Rule::new("!has(self.restoreTest) || self.backup.content.what != 'DataOnly'").message("data without its tables cannot be restored into an empty server: use what All or SchemaOnly, or no restoreTest").field_path(".restoreTest"),
    validation = Rule::new("!has(self.restoreTest) || !has(self.backup.encryption) || has(self.backup.encryption.identitySecretRef)").message("an encrypted backup is restored only with its identity: give backup.encryption.identitySecretRef, or no restoreTest").field_path(".restoreTest")
)]
pub struct BackupScheduleSpec {
    /// The database. It cannot be changed: a schedule for another database is another schedule.
    #[x_kube(validation = Rule::new("self == oldSelf").message("databaseRef cannot be changed; delete this schedule (its backups stay) and create one for the other database"))]
    pub database_ref: DatabaseRef,
    /// When a backup begins: five cron fields. A time that the clock skips in spring counts as the first moment after the gap; one that
    /// comes twice in autumn counts once, the first time. Only where the hour field names every hour (`*`) is it otherwise: then a backup
    /// begins whenever the clock shows the minutes, and at no other moment.
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,
    /// IANA time zone of all schedules here, and of the days, weeks and months of the retention.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// How late a backup may begin, after the operator was away or while another backup of the database is under way. Later than that it is
    /// missed and counted; of several that are due only the last one is made.
    #[serde(default = "BackupScheduleSpec::starting_deadline")]
    pub starting_deadline: Span,
    /// Backups begin up to this much after their time, each schedule by an amount of its own that does not change: many schedules of one
    /// time do not all begin at once.
    #[serde(default = "BackupScheduleSpec::jitter")]
    pub jitter: Span,
    /// Stops new backups, restore tests and removals until it is false again. A backup that is under way ends.
    #[serde(default)]
    pub suspend: bool,
    /// What a backup is.
    pub backup: BackupSettings,
    /// What becomes of the objects of a Backup that somebody deletes. What the retention removes, it removes with its objects.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Which backups are kept; all of them where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<BackupRetention>,
    /// Restores the newest complete backup into a server made for that, again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_test: Option<RestoreTest>,
}

impl BackupScheduleSpec {
    fn starting_deadline() -> Span {
        Span::new(1, SpanUnit::Hour)
    }

    fn jitter() -> Span {
        Span::new(0, SpanUnit::Second)
    }
}

/// Which backups are kept: each one that a rule names. The newest verified one, held ones and those under way are never removed, a
/// backup only after a newer one is as well proven, and nothing while the last backup has failed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.keepLast) || has(self.keepDaily) || has(self.keepWeekly) || has(self.keepMonthly) || has(self.keepYearly) || has(self.maxAge)").message("say what is kept: give keepLast, keepDaily, keepWeekly, keepMonthly, keepYearly or maxAge"))]
pub struct BackupRetention {
    /// The newest so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub keep_last: Option<i32>,
    /// The newest of each of the last so many days that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub keep_daily: Option<i32>,
    /// The newest of each of the last so many weeks (Monday to Sunday) that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub keep_weekly: Option<i32>,
    /// The newest of each of the last so many months that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub keep_monthly: Option<i32>,
    /// The newest of each of the last so many years that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_yearly: Option<i32>,
    /// How old a backup may become, whatever the other rules keep. By itself, everything younger is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// Observe shows what would go and removes nothing.
    #[serde(default)]
    pub mode: Mode,
}

/// When a restore is tried.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreTest {
    /// When: five cron fields, read as those of the schedule and in its time zone. It begins after a backup that is under way.
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,
    /// What must be true of the restored database, besides what backup.assertions says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub assertions: Vec<super::backup::Assertion>,
}

/// How the backups of a schedule are.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupScheduleStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and the abnormal-true Reconciling and Stalled.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The Backup that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// The newest complete one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<BackupFact>,
    /// The newest one that was read back whole or restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified: Option<BackupFact>,
    /// The newest one that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_restored: Option<BackupFact>,
    /// How many there are.
    #[serde(default)]
    pub backups: BackupCounts,
    /// Times at which no backup began within startingDeadline, since this schedule was made.
    #[serde(default)]
    pub missed: i64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_missed: Option<Time>,
    /// Backups that have failed since the last complete one.
    #[serde(default)]
    pub failures: i32,
    /// The last moment of the schedule that was answered, by a backup or as missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_slot: Option<Time>,
    /// The last moment of restoreTest.schedule that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_test_slot: Option<Time>,
    /// When the store was looked through for backups that a former cluster has left; each has a Backup since. Absent where only a Job can
    /// look into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_at: Option<Time>,
    /// Why the store was not looked through, or which manifests in it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_message: Option<String>,
    /// When the next backup begins, its jitter included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
    /// When the next restore is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_restore_test: Option<Time>,
    /// Which backups would go now, and why; absent where none would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// The last value of the annotation `pgreeve.dev/requestedAt` that a pass has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// One backup, in short.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupFact {
    /// Its name.
    pub name: String,
    /// When its manifest was written.
    pub completed_at: Time,
    /// When its snapshot was taken: the moment that a restore leads back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_at: Option<Time>,
    /// Bytes that it takes in the store.
    #[serde(default)]
    pub size_bytes: i64,
    /// How long it took, in seconds, with what it waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// When it was last read back whole or restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Time>,
}

/// How many backups there are.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupCounts {
    /// Complete ones.
    pub complete: i32,
    /// Of them those that were read back whole or restored.
    pub verified: i32,
    /// Failed ones that are still listed.
    pub failed: i32,
    /// Bytes that the complete ones take in the store.
    pub bytes: i64,
}
