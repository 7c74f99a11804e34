//! What can be watched? Prometheus metrics with bounded labels, each declared once.

mod backups;
mod restores;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use backups::BackupSeries;

/// Labels of a table that a policy keeps. Its texts are shared by all its series: there may be ten thousand policies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableLabels {
    /// Namespace of the policy.
    pub namespace: Arc<String>,
    /// Its PostgresDatabase.
    pub database: Arc<String>,
    /// The policy.
    pub policy: Arc<String>,
    /// The table, with its schema.
    pub table: Arc<String>,
}

/// Labels of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ObjectLabels {
    /// Kind.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: Arc<String>,
    /// Name.
    pub name: Arc<String>,
}

impl ObjectLabels {
    fn ready(&self, reason: &'static str) -> ReadyLabels {
        ReadyLabels { kind: self.kind, namespace: self.namespace.clone(), name: self.name.clone(), reason }
    }
}

/// Labels of an object's readiness.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReadyLabels {
    /// Kind.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: Arc<String>,
    /// Name.
    pub name: Arc<String>,
    /// Reason of its condition Ready.
    pub reason: &'static str,
}

/// Labels of passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PassLabels {
    /// Kind.
    pub kind: &'static str,
    /// What the pass came to.
    pub reason: &'static str,
}

/// Label of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// Kind.
    pub kind: &'static str,
}

/// Labels of actions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActionLabels {
    /// Its verb.
    pub action: &'static str,
    /// What became of it.
    pub result: &'static str,
}

/// Labels of a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DatabaseLabels {
    /// Namespace.
    pub namespace: String,
    /// Name of the PostgresDatabase.
    pub name: String,
}

/// Labels of a BackupSchedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScheduleLabels {
    /// Namespace.
    pub namespace: String,
    /// Its PostgresDatabase.
    pub database: String,
    /// The schedule.
    pub schedule: String,
}

/// Labels of a Backup.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BackupLabels {
    /// Namespace.
    pub namespace: String,
    /// Its PostgresDatabase.
    pub database: String,
    /// The Backup.
    pub backup: String,
}

/// Labels of a Restore.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RestoreLabels {
    /// Namespace.
    pub namespace: String,
    /// Its PostgresDatabase.
    pub database: String,
    /// The Restore.
    pub restore: String,
}

/// Passes take a few milliseconds to connect and read; lock ladders end after two seconds by default.
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

macro_rules! metrics {
    ($($field:ident: $type:ty = $make:expr, $name:literal, $help:literal;)*) => {
        /// Every metric.
        #[expect(missing_docs, reason = "the help text is the documentation")]
        #[derive(Debug)]
        pub struct Metrics { $(pub $field: $type,)* registry: Mutex<Registry>, ready_reasons: Mutex<HashMap<ObjectLabels, &'static str>>, covered_until: Mutex<HashMap<TableLabels, Timestamp>>, schedules: Mutex<HashSet<ScheduleLabels>>, failed_backups: Mutex<HashSet<BackupLabels>>, restores: Mutex<HashSet<RestoreLabels>> }

        impl Metrics {
            /// Name and help of every metric, for the reference.
            pub const ALL: &'static [(&'static str, &'static str)] = &[$(($name, $help)),*];

            /// All metrics, at zero.
            pub fn new() -> Self {
                let mut registry = Registry::default();
                $(let $field: $type = $make; registry.register($name, $help.trim_end_matches('.'), $field.clone());)*
                Self { $($field,)* registry: Mutex::new(registry), ready_reasons: Mutex::default(), covered_until: Mutex::default(), schedules: Mutex::default(), failed_backups: Mutex::default(), restores: Mutex::default() }
            }
        }
    };
}

metrics! {
    horizon: Family<TableLabels, Gauge> = Family::default(), "pgreeve_partition_horizon_seconds",
        "Seconds from now to the end of the unbroken run of partitions that holds the present; 0 if rows have no place now.";
    partitions: Family<TableLabels, Gauge> = Family::default(), "pgreeve_partitions",
        "Partitions that the policy keeps.";
    unmanaged: Family<TableLabels, Gauge> = Family::default(), "pgreeve_unmanaged_partitions",
        "Partitions off the grid or unreadable; they are never touched.";
    default_rows: Family<TableLabels, Gauge> = Family::default(), "pgreeve_default_partition_rows",
        "Rows in default partitions; 0 is exact, more is PostgreSQL's estimate.";
    expired: Family<TableLabels, Gauge> = Family::default(), "pgreeve_retention_expired_partitions",
        "Partitions that have expired, are not held and are still attached.";
    overdue: Family<TableLabels, Gauge> = Family::default(), "pgreeve_retention_overdue_partitions",
        "Partitions that had expired when the last run was due, are not held and are still attached.";
    overdue_rows: Family<TableLabels, Gauge> = Family::default(), "pgreeve_retention_overdue_rows",
        "Rows of a plain table that had expired when the last run was due, are not held and are still there; counted up to 100,000.";
    held: Family<TableLabels, Gauge> = Family::default(), "pgreeve_retention_held_partitions",
        "Partitions that have expired and that a RetentionHold keeps.";
    backlog: Family<TableLabels, Gauge> = Family::default(), "pgreeve_retention_backlog_bytes",
        "Bytes that have expired and are still there, detached tables that wait to be dropped included.";
    pending: Family<ObjectLabels, Gauge> = Family::default(), "pgreeve_plan_pending_changes",
        "Changes that a plan holds and that are not carried out yet.";
    job_failures: Family<ObjectLabels, Gauge> = Family::default(), "pgreeve_job_failures",
        "How many times in a row a Job that the object waits for has failed; absent while none has.";
    ready: Family<ReadyLabels, Gauge> = Family::default(), "pgreeve_policy_ready",
        "1 if the object's condition Ready is True, else 0; reason is that of the condition.";
    duration: Family<KindLabel, Histogram> = Family::new_with_constructor(|| Histogram::new(SECONDS)), "pgreeve_reconcile_duration_seconds",
        "How long a pass takes.";
    passes: Family<PassLabels, Counter> = Family::default(), "pgreeve_reconciles",
        "Passes, by what they came to.";
    actions: Family<ActionLabels, Counter> = Family::default(), "pgreeve_actions",
        "Actions that were tried, by what became of them.";
    lock_tries: Counter = Counter::default(), "pgreeve_lock_tries",
        "Tries for locks that successful actions needed; more than one try each means that the application holds them often.";
    database_up: Family<DatabaseLabels, Gauge> = Family::default(), "pgreeve_database_up",
        "1 if the database answered the last pass, else 0.";
    backup_last_success: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_last_success_timestamp_seconds",
        "When the newest complete backup of the schedule was written; absent while there is none.";
    backup_last_verified: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_last_verified_timestamp_seconds",
        "When the newest backup that was read back whole or restored was written; absent while there is none.";
    backup_last_restored: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_last_restored_timestamp_seconds",
        "When the newest backup that was restored to try it was written; absent while there is none.";
    backup_last_proof: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_last_proof_timestamp_seconds",
        "When the newest backup that was read back whole or restored was last proven so; absent while there is none.";
    backup_last_restore_proof: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_last_restore_proof_timestamp_seconds",
        "When the newest backup that was restored to try it was last proven; absent while there is none.";
    backup_next_run: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_next_run_timestamp_seconds",
        "When the next backup begins; absent while the schedule is suspended.";
    backup_interval: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_interval_seconds",
        "The longest time between two of the schedule's next moments: how old its newest backup may become.";
    backup_failures: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_failures",
        "Backups that have failed since the last complete one.";
    backup_missed: Family<ScheduleLabels, Counter> = Family::default(), "pgreeve_backup_missed",
        "Times at which no backup began within startingDeadline, since the schedule was made.";
    backups: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backups",
        "Complete backups of the schedule.";
    backup_bytes: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_bytes",
        "Bytes that the newest complete backup takes in the store.";
    backup_duration: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_duration_seconds",
        "How long the newest complete backup took, with what it waited for.";
    backup_suspended: Family<ScheduleLabels, Gauge> = Family::default(), "pgreeve_backup_suspended",
        "1 if the schedule is suspended, else 0.";
    backup_failed: Family<BackupLabels, Gauge> = Family::default(), "pgreeve_backup_failed",
        "1 while a Backup that no schedule has made has failed for good; absent otherwise.";
    restore_workloads_down: Family<RestoreLabels, Gauge> = Family::default(), "pgreeve_restore_workloads_down",
        "Workloads that the restore keeps at nothing.";
    restore_fenced: Family<RestoreLabels, Gauge> = Family::default(), "pgreeve_restore_fenced",
        "1 while the restore keeps its database closed to change names, else 0.";
    leader: Gauge = Gauge::default(), "pgreeve_leader",
        "1 if this operator is the one that works, else 0.";
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The text that Prometheus reads (OpenMetrics 1.0). Horizons are as of `now`: they shrink while a database is away, too.
    pub fn text(&self, now: Timestamp) -> String {
        for (labels, until) in lock(&self.covered_until).iter() {
            self.horizon.get_or_create(labels).set(until.as_second().saturating_sub(now.as_second()).max(0));
        }
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &lock(&self.registry));
        out
    }

    /// Sets up to when a table is covered; `None` where that has no meaning, as for a plain integer step.
    pub fn set_covered_until(&self, labels: &TableLabels, until: Option<Timestamp>) {
        match until {
            Some(until) => drop(lock(&self.covered_until).insert(labels.clone(), until)),
            None => {
                lock(&self.covered_until).remove(labels);
                self.horizon.remove(labels);
            }
        }
    }

    /// Forgets every object: another operator leads now, and only one may speak of them.
    pub fn forget_all(&self) {
        lock(&self.covered_until).clear();
        lock(&self.ready_reasons).clear();
        for family in self.of_tables() {
            family.clear();
        }
        self.pending.clear();
        self.job_failures.clear();
        self.ready.clear();
        self.database_up.clear();
        self.forget_all_backups();
        self.forget_all_restores();
    }

    /// Sets an object's readiness; its series under a former reason goes.
    pub fn set_ready(&self, object: &ObjectLabels, is_ready: bool, reason: &'static str) {
        let former = lock(&self.ready_reasons).insert(object.clone(), reason);
        if let Some(former) = former.filter(|former| *former != reason) {
            self.ready.remove(&object.ready(former));
        }
        self.ready.get_or_create(&object.ready(reason)).set(is_ready.into());
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, object: &ObjectLabels) {
        if let Some(reason) = lock(&self.ready_reasons).remove(object) {
            self.ready.remove(&object.ready(reason));
        }
        self.pending.remove(object);
        self.job_failures.remove(object);
    }

    /// Sets how often in a row an object's Job has failed.
    pub fn set_job_failures(&self, object: &ObjectLabels, times: u32) {
        match times {
            0 => drop(self.job_failures.remove(object)),
            times => drop(self.job_failures.get_or_create(object).set(times.into())),
        }
    }

    /// Forgets the table of a policy that is gone.
    pub fn forget_table(&self, labels: &TableLabels) {
        lock(&self.covered_until).remove(labels);
        for family in self.of_tables() {
            family.remove(labels);
        }
    }

    fn of_tables(&self) -> [&Family<TableLabels, Gauge>; 9] {
        [
            &self.horizon,
            &self.partitions,
            &self.unmanaged,
            &self.default_rows,
            &self.expired,
            &self.overdue,
            &self.overdue_rows,
            &self.held,
            &self.backlog,
        ]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Arc<String> {
        Arc::new(text.to_owned())
    }

    fn labels() -> TableLabels {
        TableLabels { namespace: text("n"), database: text("d"), policy: text("p"), table: text("t") }
    }

    #[test]
    fn the_horizon_shrinks_with_time_and_ends_at_zero() {
        let metrics = Metrics::new();
        metrics.set_covered_until(&labels(), Some(Timestamp::from_second(100).unwrap()));
        let at = |second: i64| metrics.text(Timestamp::from_second(second).unwrap());
        assert!(at(40).contains("table=\"t\"} 60"), "{}", at(40));
        assert!(at(1_000).contains("table=\"t\"} 0"));
    }

    #[test]
    fn an_operator_that_no_longer_leads_says_nothing_of_objects() {
        let metrics = Metrics::new();
        metrics.set_covered_until(&labels(), Some(Timestamp::UNIX_EPOCH));
        let object = ObjectLabels { kind: "k", namespace: text("n"), name: text("p") };
        metrics.set_ready(&object, true, "UpToDate");
        metrics.set_ready(&object, false, "Deferred");
        let text = metrics.text(Timestamp::UNIX_EPOCH);
        assert!(text.contains("Deferred") && !text.contains("UpToDate"), "one readiness an object");
        metrics.forget_all();
        assert!(!metrics.text(Timestamp::UNIX_EPOCH).contains("namespace="));
    }
}
