//! What does a pass of Backup do? Waits for its turn, has the database dumped and the dump proven, and takes its objects away at the end.

mod dump;
mod proof;
mod record;
mod removal;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;

use super::Context;
use super::jobs::Progress;
use super::kind::{self, Report};
use super::unread;
use crate::api::backup::{
    BackupStatus, DeletionPolicy, REPLACED_BY_ANNOTATION, RESTORE_TEST_ANNOTATION, SCHEDULE_LABEL, VerifyLevel,
};
use crate::api::condition::{FAILED, VERIFIED, is_true};
use crate::api::{Backup, Reason};
use crate::cluster::jobs::Owner;
use crate::cluster::objects;
use crate::metrics::{BackupLabels, ObjectLabels};
use crate::plan::action::{Action, Blocked, ObjectId};
use crate::plan::backup::course::{self, Course, Next, PROOFS};
use crate::{job, stores};

/// The kind, for the driver.
pub(crate) struct Backups {
    context: Context,
}

/// What a pass came to: the facts, and what there is to say.
struct Passed {
    status: BackupStatus,
    said: Said,
    /// The tasks whose Jobs are still needed; `None` where that is not known, so that every Job stays as it is.
    tasks: Option<Vec<Action>>,
    /// What has just ended, for an event.
    news: Option<(Reason, String)>,
}

/// Owned, as [`Course`] is not.
enum Said {
    Settled,
    Queued(String),
    Runs(String, u32),
    Refused(Blocked, u32),
    Hopeless(Blocked),
}

impl Backups {
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    fn now(&self) -> Timestamp {
        self.context.config.clock.now()
    }

    async fn work(&self, backup: &Backup, status: BackupStatus) -> Passed {
        let test = backup.annotations().get(RESTORE_TEST_ANNOTATION).map(String::as_str);
        match course::next(&backup.spec, &status, test) {
            Next::Settled => Passed { status, said: Said::Settled, tasks: Some(vec![]), news: None },
            Next::Dump => self.dump(backup, status).await,
            Next::Prove(level) => self.prove(backup, status, (level, test)).await,
        }
    }

    /// What a Job reports of a task, or how far it is.
    async fn run(&self, backup: &Backup, action: &Action) -> Result<job::Report, Said> {
        let database = &backup.spec.database_ref.name;
        let Some(owner) = Owner::of(backup) else {
            return Err(Said::Refused(Blocked::new(Reason::KubernetesUnavailable, "the object has no UID"), 0));
        };
        self.unchanged(backup, &owner).await.map_err(|blocked| Said::Refused(blocked, 0))?;
        let progress = self.context.jobs.run(&owner, database, action).await;
        self.heard(&owner, database, action, progress)
    }

    /// What was read before may be what another operator has acted on meanwhile: a Job that it has removed, since the backup is complete or
    /// gone, would be made anew.
    async fn unchanged(&self, backup: &Backup, owner: &Owner) -> Result<(), Blocked> {
        let fetched = objects::fetch::<Backup>(&self.context.client, &owner.namespace, &owner.name).await;
        let fetched = fetched.map_err(|error| objects::unavailable(&format!("Backup {}", owner.name), &error))?;
        let is_same = |now: &Backup| {
            now.status == backup.status
                && now.uid() == backup.uid()
                && now.metadata.deletion_timestamp == backup.metadata.deletion_timestamp
        };
        match fetched.and_then(|fetched| fetched.typed.ok()).filter(is_same) {
            Some(_) => Ok(()),
            None => Err(Blocked::new(Reason::Stale, "the Backup has changed meanwhile; the next pass goes on")),
        }
    }

    /// The same of a look that was taken.
    fn heard(&self, owner: &Owner, database: &str, action: &Action, progress: Progress) -> Result<job::Report, Said> {
        match progress {
            Progress::Running { message, failures } => Err(Said::Runs(message, failures)),
            Progress::Done(report) => serde_json::from_value(report).map_err(|error| {
                Said::Refused(Blocked::new(Reason::JobFailed, format!("its report cannot be read: {error}")), 0)
            }),
            Progress::Refused(blocked) => {
                let times = self.context.jobs.failures(owner, database, std::slice::from_ref(action));
                Err(Said::Refused(blocked, times))
            }
        }
    }

    async fn store(&self, backup: &Backup) -> Result<Option<crate::storage::Store>, Blocked> {
        let namespace = backup.namespace().unwrap_or_default();
        let what = format!("Backup {}", backup.name_any());
        stores::open(&self.context.client, &namespace, &what, &backup.spec.settings.destination).await
    }

    fn report(&self, backup: &Backup, requested: Option<&str>, passed: Passed) -> Report {
        let course = match &passed.said {
            Said::Settled => Course::Settled,
            Said::Queued(message) => Course::Queued(message),
            Said::Runs(message, failures) => Course::Runs(message, *failures),
            Said::Refused(blocked, times) => Course::Refused(blocked, *times),
            Said::Hopeless(blocked) => Course::Hopeless(blocked),
        };
        let now = self.now();
        let wanted = backup.spec.settings.verify;
        let (status, state) = course::report(wanted, passed.status, backup.metadata.generation, requested, course, now);
        let test = backup.annotations().get(RESTORE_TEST_ANNOTATION).map(String::as_str);
        // What comes next, such as the proof of a backup that has just become complete, need not wait.
        let has_begun = status.started_at.is_some() != backup.status.as_ref().is_some_and(|before| before.started_at.is_some());
        let is_settled = matches!(passed.said, Said::Settled);
        let goes_on = has_begun || is_settled && course::next(&backup.spec, &status, test) != Next::Settled;
        // Before it is written: of one that is gone by then the series goes too.
        if let Some(owner) = Owner::of(backup) {
            self.count_failures(&owner, &status);
        }
        self.say_failed(backup, &status);
        let applied = passed.news.map(|(reason, what)| (reason, format!("{what}; {}", state.message)));
        let status = serde_json::to_value(status).unwrap_or_default();
        Report { status, state, applied, due: goes_on.then_some(now), pending: 0, tasks: passed.tasks }
    }

    /// One that no schedule has made has nobody else who says that it has failed.
    fn say_failed(&self, backup: &Backup, status: &BackupStatus) {
        if backup.labels().contains_key(SCHEDULE_LABEL) {
            return;
        }
        let labels = BackupLabels {
            namespace: backup.namespace().unwrap_or_default(),
            database: backup.spec.database_ref.name.clone(),
            backup: backup.name_any(),
        };
        self.context.metrics.set_backup_failed(&labels, is_true(&status.conditions, FAILED));
    }

    /// How often in a row its Job has failed, as long as something is to come of it: what has failed for good, or does not hold, is said elsewhere.
    fn count_failures(&self, owner: &Owner, status: &BackupStatus) {
        let labels = ObjectLabels {
            kind: <Self as kind::Kind>::NAME,
            namespace: owner.namespace.clone().into(),
            name: owner.name.clone().into(),
        };
        let failures = u32::try_from(status.failures).unwrap_or(0);
        let failures = match () {
            () if is_true(&status.conditions, FAILED) || course::is_doubtful(status) => 0,
            // Where no Job could be made either.
            () if status.unproven.is_some() => failures.max(PROOFS),
            () => failures,
        };
        self.context.metrics.set_job_failures(&labels, failures);
    }

    /// Who waits for it: its schedule, and younger Backups of the same database.
    async fn tell(&self, backup: &Backup) {
        let namespace = backup.namespace().unwrap_or_default();
        if let Some(schedule) = backup.labels().get(SCHEDULE_LABEL) {
            self.context.nudges.now("BackupSchedule", &namespace, schedule);
        }
        let wanted = of_database(&backup.spec.database_ref.name);
        // Without an answer they look again by themselves.
        let Ok(found) = objects::list_whole::<Backup>(&self.context.client, &namespace, wanted).await else { return };
        for other in found.into_iter().filter_map(|fetched| fetched.typed.ok()).filter(is_under_way) {
            if other.name_any() != backup.name_any() {
                self.context.nudges.now("Backup", &namespace, &other.name_any());
            }
        }
    }
}

impl kind::Kind for Backups {
    type Object = Backup;
    const NAME: &'static str = "Backup";
    const FIELD_MANAGER: &'static str = "pgreeve-backup";
    const FINALIZER: Option<&'static str> = Some("pgreeve.dev/objects");

    async fn pass(&self, backup: &Backup, requested: Option<&str>) -> Report {
        let passed = self.work(backup, backup.status.clone().unwrap_or_default()).await;
        self.report(backup, requested, passed)
    }

    async fn written(&self, backup: &Backup, report: &Report) {
        let Some(owner) = Owner::of(backup) else { return };
        let status: BackupStatus = serde_json::from_value(report.status.clone()).unwrap_or_default();
        let jobs = &self.context.jobs;
        let settled = match &report.tasks {
            // What has failed must not become a backup later.
            _ if is_true(&status.conditions, FAILED) => jobs.stop(&owner).await,
            Some(tasks) => jobs.keep_only(&owner, &backup.spec.database_ref.name, tasks).await,
            None => Ok(()),
        };
        if let Err(blocked) = settled {
            tracing::debug!(error = %blocked.message, "Jobs that are not needed any more");
        }
        if serde_json::to_value(&backup.status).unwrap_or_default() != report.status {
            self.tell(backup).await;
        }
    }

    fn needs_finalizer(&self, backup: &Backup) -> bool {
        let is_complete = backup.status.as_ref().is_some_and(|status| status.completed_at.is_some());
        let goes = backup.spec.deletion_policy == DeletionPolicy::Delete;
        goes || !is_complete || backup.annotations().contains_key(REPLACED_BY_ANNOTATION)
    }

    async fn finalize(&self, backup: &Backup) -> Result<Option<Report>, Blocked> {
        self.removed(backup).await
    }

    /// While it stands, the store says what became of it. Where its objects are, only its status says.
    fn unread(&self, status: &Value, is_deleted: bool) -> Vec<String> {
        if is_deleted { unread::fields::<BackupStatus>(status) } else { vec![] }
    }

    fn unreadable(&self, previous: &Value, generation: Option<i64>, blocked: &Blocked) -> Report {
        let previous: BackupStatus = serde_json::from_value(previous.clone()).unwrap_or_default();
        let refused = Course::Refused(blocked, 0);
        // How far it is to be proven cannot be read: what it says of that stays.
        let wanted = if is_true(&previous.conditions, VERIFIED) { VerifyLevel::None } else { VerifyLevel::Restore };
        let (status, state) = course::report(wanted, previous, generation, None, refused, self.now());
        let status = serde_json::to_value(status).unwrap_or_default();
        Report { status, state, applied: None, due: None, pending: 0, tasks: None }
    }

    fn forget(&self, namespace: &str, name: &str) {
        self.context.metrics.forget_backup(namespace, name);
        self.context.jobs.forgive(&ObjectId { kind: Self::NAME.into(), namespace: namespace.into(), name: name.into() });
    }
}

/// What lists the Backups of a database.
fn of_database(name: &str) -> ListParams {
    ListParams::default().fields(&format!("spec.databaseRef.name={name}"))
}

fn is_under_way(backup: &Backup) -> bool {
    let status = backup.status.clone().unwrap_or_default();
    backup.metadata.deletion_timestamp.is_none() && status.completed_at.is_none() && !is_true(&status.conditions, FAILED)
}

fn strange(report: &job::Report) -> Blocked {
    Blocked::new(Reason::JobFailed, format!("its Job has reported something else: {report:?}"))
}
