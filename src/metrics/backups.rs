//! What is shown of a BackupSchedule? Its series, all set at once from its status.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{BackupLabels, Metrics, ScheduleLabels, lock};

/// What a BackupSchedule's status says, as numbers. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupSeries {
    /// Of the newest complete backup.
    pub last_success: Option<i64>,
    /// Of the newest that was read back or restored.
    pub last_verified: Option<i64>,
    /// Of the newest that was restored.
    pub last_restored: Option<i64>,
    /// When the newest that was read back or restored was last proven.
    pub last_proof: Option<i64>,
    /// When the newest that was restored was.
    pub last_restore_proof: Option<i64>,
    /// When the next one begins.
    pub next_run: Option<i64>,
    /// The longest time between two of them, in seconds.
    pub interval: Option<i64>,
    /// Failed ones since the last complete one.
    pub failures: i64,
    /// Missed ones since the schedule was made.
    pub missed: i64,
    /// Complete ones.
    pub complete: i64,
    /// Bytes of the newest complete one.
    pub bytes: Option<i64>,
    /// How long that took, in seconds.
    pub seconds: Option<i64>,
    /// Whether the schedule is suspended.
    pub suspended: bool,
}

impl Metrics {
    /// Sets all series of a schedule; what is unknown has none.
    pub fn set_backups(&self, labels: &ScheduleLabels, series: &BackupSeries) {
        lock(&self.schedules).insert(labels.clone());
        let values = [
            series.last_success,
            series.last_verified,
            series.last_restored,
            series.last_proof,
            series.last_restore_proof,
            series.next_run,
            series.interval,
            Some(series.failures),
            Some(series.complete),
            series.bytes,
            series.seconds,
            Some(series.suspended.into()),
        ];
        for (family, value) in self.of_schedules().into_iter().zip(values) {
            match value {
                Some(value) => drop(family.get_or_create(labels).set(value)),
                None => drop(family.remove(labels)),
            }
        }
        let missed = self.backup_missed.get_or_create(labels);
        missed.inc_by(u64::try_from(series.missed).unwrap_or(0).saturating_sub(missed.get()));
    }

    /// Forgets a schedule that is gone.
    pub fn forget_backups(&self, namespace: &str, schedule: &str) {
        lock(&self.schedules).retain(|labels| {
            let is_it = labels.namespace == namespace && labels.schedule == schedule;
            if is_it {
                for family in self.of_schedules() {
                    family.remove(labels);
                }
                self.backup_missed.remove(labels);
            }
            !is_it
        });
    }

    /// Sets whether a Backup that no schedule has made has failed for good. The others are spoken of by their schedule.
    pub fn set_backup_failed(&self, labels: &BackupLabels, has_failed: bool) {
        if has_failed {
            lock(&self.failed_backups).insert(labels.clone());
            self.backup_failed.get_or_create(labels).set(1);
        } else if lock(&self.failed_backups).remove(labels) {
            self.backup_failed.remove(labels);
        }
    }

    /// Forgets a Backup that is gone.
    pub fn forget_backup(&self, namespace: &str, backup: &str) {
        lock(&self.failed_backups).retain(|labels| {
            let is_it = labels.namespace == namespace && labels.backup == backup;
            if is_it {
                self.backup_failed.remove(labels);
            }
            !is_it
        });
    }

    pub(super) fn forget_all_backups(&self) {
        lock(&self.failed_backups).clear();
        self.backup_failed.clear();
        lock(&self.schedules).clear();
        for family in self.of_schedules() {
            family.clear();
        }
        self.backup_missed.clear();
    }

    /// In the order of [`Metrics::set_backups`].
    fn of_schedules(&self) -> [&Family<ScheduleLabels, Gauge>; 12] {
        [
            &self.backup_last_success,
            &self.backup_last_verified,
            &self.backup_last_restored,
            &self.backup_last_proof,
            &self.backup_last_restore_proof,
            &self.backup_next_run,
            &self.backup_interval,
            &self.backup_failures,
            &self.backups,
            &self.backup_bytes,
            &self.backup_duration,
            &self.backup_suspended,
        ]
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_schedule_shows_what_is_known_and_nothing_once_it_is_gone() {
        let metrics = Metrics::new();
        let labels = ScheduleLabels { namespace: "shop".into(), database: "orders".into(), schedule: "nightly".into() };
        let known = BackupSeries {
            last_success: Some(1000),
            last_restored: Some(900),
            last_restore_proof: Some(950),
            ..BackupSeries::default()
        };
        let series = BackupSeries { missed: 3, next_run: Some(2000), ..known };
        metrics.set_backups(&labels, &series);
        metrics.set_backups(&labels, &BackupSeries { next_run: None, suspended: true, ..series });
        let text = metrics.text(Timestamp::UNIX_EPOCH);
        let line =
            |name: &str| text.lines().find(|line| line.starts_with(&format!("{name}{{"))).map(|line| line.rsplit(' ').next());
        assert_eq!(line("pgreeve_backup_last_success_timestamp_seconds"), Some(Some("1000")));
        assert_eq!(line("pgreeve_backup_last_restored_timestamp_seconds"), Some(Some("900")));
        assert_eq!(line("pgreeve_backup_last_restore_proof_timestamp_seconds"), Some(Some("950")));
        assert_eq!(line("pgreeve_backup_last_proof_timestamp_seconds"), None);
        assert_eq!(line("pgreeve_backup_missed_total"), Some(Some("3")));
        assert_eq!(line("pgreeve_backup_suspended"), Some(Some("1")));
        assert_eq!(line("pgreeve_backup_next_run_timestamp_seconds"), None);
        assert_eq!(line("pgreeve_backup_last_verified_timestamp_seconds"), None);
        metrics.forget_backups("shop", "nightly");
        assert!(!metrics.text(Timestamp::UNIX_EPOCH).contains("nightly"));
    }

    #[test]
    fn a_backup_that_no_schedule_has_made_says_itself_that_it_has_failed() {
        let metrics = Metrics::new();
        let labels = BackupLabels { namespace: "shop".into(), database: "orders".into(), backup: "before-release".into() };
        let shown = r#"pgreeve_backup_failed{namespace="shop",database="orders",backup="before-release"} 1"#;
        let shows = || metrics.text(Timestamp::UNIX_EPOCH).contains(shown);
        metrics.set_backup_failed(&labels, false);
        assert!(!metrics.text(Timestamp::UNIX_EPOCH).contains("before-release"));
        metrics.set_backup_failed(&labels, true);
        assert!(shows());
        metrics.forget_backup("elsewhere", "before-release");
        assert!(shows());
        metrics.forget_backup("shop", "before-release");
        assert!(!shows());
    }
}
