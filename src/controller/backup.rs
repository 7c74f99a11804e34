//! What does a pass of Backup do? Waits for its turn, has the database dumped and the dump proven, and takes its objects away at the end.

mod removal;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;

use super::Context;
use super::jobs::Progress;
use super::kind::{self, Report};
use crate::api::backup::{
    BackupStatus, DIRECTORY_ANNOTATION, DeletionPolicy, REPLACED_BY_ANNOTATION, RESTORE_TEST_ANNOTATION, SCHEDULE_LABEL, Tables,
    Verification, VerifyLevel,
};
use crate::api::condition::{FAILED, is_true};
use crate::api::{Backup, BackupSchedule, Reason};
use crate::cluster::jobs::Owner;
use crate::cluster::objects;
use crate::job::{self, backup::BackedUp};
use crate::plan::action::{Action, Blocked, ObjectId};
use crate::plan::backup::check;
use crate::plan::backup::course::{self, Course, Next, PROOFS};
use crate::plan::backup::manifest::Verified;
use crate::plan::backup::progress;
use crate::plan::backup::{DumpDatabase, Stored, VerifyBackup, directory};
use crate::plan::size::bytes;
use crate::postgres::server;
use crate::{pass, stores};

/// The kind, for the driver.
pub(crate) struct Backups {
    context: Context,
}

/// What a pass came to: the facts, and what there is to say.
struct Passed {
    status: BackupStatus,
    said: Said,
    /// The tasks whose Jobs are still needed.
    tasks: Vec<Action>,
    /// What has just ended, for an event.
    news: Option<(Reason, String)>,
}

/// Owned, as [`Course`] is not.
enum Said {
    Settled,
    Queued(String),
    Runs(String),
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
            Next::Settled => Passed { status, said: Said::Settled, tasks: vec![], news: None },
            Next::Dump => self.dump(backup, status).await,
            Next::Prove(level) => self.prove(backup, status, (level, test)).await,
        }
    }

    /// Has the database dumped, or the backup that a store holds confirmed.
    async fn dump(&self, backup: &Backup, mut status: BackupStatus) -> Passed {
        let refused = |status, blocked| Passed { status, said: Said::Refused(blocked, 0), tasks: vec![], news: None };
        if let Some(wrong) = check::check_backup(&backup.spec).into_iter().next() {
            let blocked = Blocked::new(Reason::InvalidSpec, wrong.to_string());
            return Passed { status, said: Said::Hopeless(blocked), tasks: vec![], news: None };
        }
        match self.older(backup).await {
            Ok(None) => {}
            Ok(Some(older)) => {
                let message = format!("waits for Backup {older} of the same database");
                return Passed { status, said: Said::Queued(message), tasks: vec![], news: None };
            }
            Err(blocked) => return refused(status, blocked),
        }
        if status.started_at.is_none() {
            // Written down before anything is made, so that whoever deletes it finds what it may have left.
            status.started_at = Some(Time(self.now()));
            return Passed { status, said: Said::Runs("is about to begin".into()), tasks: vec![], news: None };
        }
        let (task, percent) = match self.task(backup).await {
            Ok(found) => found,
            Err(blocked) => return refused(status, blocked),
        };
        status.progress_percent = percent;
        status.directory.get_or_insert(task.directory.clone());
        let action = Action::DumpDatabase(Box::new(task.clone()));
        let done = if task.exists { self.confirm(backup, &task).await } else { Ok(None) };
        let progress = match done {
            Ok(Some(done)) => Ok(done),
            Ok(None) => self.run(backup, &action).await,
            Err(blocked) => Err(Said::Refused(blocked, 0)),
        };
        match progress {
            Ok(job::Report::BackedUp(done)) => {
                fill(&mut status, *done);
                let news = (Reason::Completed, "complete".to_owned());
                Passed { status, said: Said::Settled, tasks: vec![], news: Some(news) }
            }
            Ok(other) => refused(status, strange(&other)),
            Err(said) => Passed { status, said, tasks: vec![action], news: None },
        }
    }

    /// Has a complete backup proven.
    async fn prove(&self, backup: &Backup, mut status: BackupStatus, (level, test): (VerifyLevel, Option<&str>)) -> Passed {
        let assertions = match self.assertions(backup).await {
            Ok(assertions) => assertions,
            Err(blocked) => return Passed { status, said: Said::Refused(blocked, 0), tasks: vec![], news: None },
        };
        let settings = &backup.spec.settings;
        let major = status.server_version.as_deref().and_then(|version| version.split('.').next()?.parse().ok());
        let task = VerifyBackup {
            backup: backup.name_any(),
            stored: stored(backup, &status),
            level,
            assertions,
            major: major.unwrap_or_default(),
            scratch: settings.scratch.clone(),
            job: settings.job.clone(),
        };
        let action = Action::VerifyBackup(Box::new(task));
        match self.run(backup, &action).await {
            Ok(job::Report::Verified(proof)) => {
                status.last_restore_test = test.map(str::to_owned).or(status.last_restore_test);
                let news = (Reason::Verified, format!("verified: {}", proof.level));
                note(&mut status, proof);
                Passed { status, said: Said::Settled, tasks: vec![], news: Some(news) }
            }
            Ok(other) => Passed { status, said: Said::Refused(strange(&other), 0), tasks: vec![], news: None },
            Err(said) => {
                if let Said::Refused(blocked, times) = &said
                    && matches!(blocked.reason, Reason::VerificationFailed | Reason::BackupDamaged)
                    && *times >= PROOFS
                {
                    status.last_restore_test = test.map(str::to_owned).or(status.last_restore_test);
                }
                Passed { status, said, tasks: vec![action], news: None }
            }
        }
    }

    /// What a Job reports of a task, or how far it is.
    async fn run(&self, backup: &Backup, action: &Action) -> Result<job::Report, Said> {
        let database = &backup.spec.database_ref.name;
        let Some(owner) = Owner::of(backup) else {
            return Err(Said::Refused(Blocked::new(Reason::KubernetesUnavailable, "the object has no UID"), 0));
        };
        match self.context.jobs.run(&owner, database, action).await {
            Progress::Running { message } => Err(Said::Runs(message)),
            Progress::Done(report) => serde_json::from_value(report).map_err(|error| {
                Said::Refused(Blocked::new(Reason::JobFailed, format!("its report cannot be read: {error}")), 1)
            }),
            Progress::Refused(blocked) => {
                let times = self.context.jobs.failures(&owner, database, std::slice::from_ref(action));
                Err(Said::Refused(blocked, times))
            }
        }
    }

    /// The Backup of the same database that goes first, if there is one.
    async fn older(&self, backup: &Backup) -> Result<Option<String>, Blocked> {
        let wanted = of_database(&backup.spec.database_ref.name);
        let namespace = backup.namespace().unwrap_or_default();
        let found = objects::list_whole::<Backup>(&self.context.client, &namespace, wanted).await;
        let found = found.map_err(|error| objects::unavailable("Backups", &error))?;
        let order = |backup: &Backup| (backup.creation_timestamp().map(|time| time.0), backup.name_any());
        let others = found.into_iter().filter_map(|fetched| fetched.typed.ok()).filter(is_under_way);
        let first = others.filter(|other| order(other) < order(backup)).min_by_key(order);
        Ok(first.map(|first| first.name_any()))
    }

    async fn task(&self, backup: &Backup) -> Result<(DumpDatabase, Option<i32>), Blocked> {
        let exists = backup.annotations().contains_key(DIRECTORY_ANNOTATION);
        let (major, percent) = if exists { (0, None) } else { self.server(backup).await? };
        let task = DumpDatabase {
            backup: backup.name_any(),
            schedule: backup.labels().get(SCHEDULE_LABEL).cloned(),
            directory: key(backup),
            major,
            settings: backup.spec.settings.clone(),
            exists,
            recipients: vec![],
        };
        Ok((task, percent))
    }

    /// The server's major version, asked anew each time, since it may have been upgraded; and how far a dump is, if one is under way.
    async fn server(&self, backup: &Backup) -> Result<(i32, Option<i32>), Blocked> {
        let (namespace, database) = (backup.namespace().unwrap_or_default(), &backup.spec.database_ref.name);
        let mut lease = self.context.databases.acquire(&namespace, database).await?;
        let session = lease.take()?;
        let blocked = |fault| pass::blocked(&format!("PostgresDatabase {database}"), &fault);
        let found = server::observe(&session).await.map_err(blocked)?;
        let dump = server::session_named(&session, &progress::prefix(&key(backup))).await.map_err(blocked)?;
        lease.put(session);
        Ok((found.version_num / 10_000, dump.and_then(|name| progress::percent(&name))))
    }

    /// What the store says of a backup that is there; `None` where only a Job can ask it.
    async fn confirm(&self, backup: &Backup, task: &DumpDatabase) -> Result<Option<job::Report>, Blocked> {
        let Some(store) = self.store(backup).await? else { return Ok(None) };
        match job::backup::confirm(&store, &task.directory).await {
            Ok(done) => Ok(Some(job::Report::BackedUp(Box::new(done)))),
            // The operator's network may be another one than the Jobs'.
            Err(blocked) if blocked.reason == Reason::DestinationUnavailable => Ok(None),
            Err(blocked) => Err(blocked),
        }
    }

    async fn store(&self, backup: &Backup) -> Result<Option<crate::storage::Store>, Blocked> {
        let namespace = backup.namespace().unwrap_or_default();
        let what = format!("Backup {}", backup.name_any());
        stores::open(&self.context.client, &namespace, &what, &backup.spec.settings.destination).await
    }

    /// What must be true of the restored database: what the Backup says, and what its schedule's restore test says.
    async fn assertions(&self, backup: &Backup) -> Result<Vec<crate::api::backup::Assertion>, Blocked> {
        let mut assertions = backup.spec.settings.assertions.clone();
        let Some(schedule) = backup.labels().get(SCHEDULE_LABEL) else { return Ok(assertions) };
        let namespace = backup.namespace().unwrap_or_default();
        let found = objects::fetch::<BackupSchedule>(&self.context.client, &namespace, schedule).await;
        let found = found.map_err(|error| objects::unavailable(&format!("BackupSchedule {schedule}"), &error))?;
        let unreadable = |error| {
            let message = format!(
                "BackupSchedule {schedule} cannot be read, and its restore test may assert something: {error}; correct it"
            );
            Blocked::new(Reason::InvalidSpec, message)
        };
        let found = found.map(|fetched| fetched.typed.map_err(unreadable)).transpose()?;
        let test = found.and_then(|schedule| schedule.spec.restore_test);
        for assertion in test.into_iter().flat_map(|test| test.assertions) {
            assertions.retain(|known| known.name != assertion.name);
            assertions.push(assertion);
        }
        Ok(assertions)
    }

    fn report(&self, backup: &Backup, requested: Option<&str>, passed: Passed) -> Report {
        let course = match &passed.said {
            Said::Settled => Course::Settled,
            Said::Queued(message) => Course::Queued(message),
            Said::Runs(message) => Course::Runs(message),
            Said::Refused(blocked, times) => Course::Refused(blocked, *times),
            Said::Hopeless(blocked) => Course::Hopeless(blocked),
        };
        let now = self.now();
        let (status, state) = course::report(passed.status, backup.metadata.generation, requested, course, now);
        let test = backup.annotations().get(RESTORE_TEST_ANNOTATION).map(String::as_str);
        // What comes next, such as the proof of a backup that has just become complete, need not wait.
        let has_begun = status.started_at.is_some() != backup.status.as_ref().is_some_and(|before| before.started_at.is_some());
        let is_settled = matches!(passed.said, Said::Settled);
        let goes_on = has_begun || is_settled && course::next(&backup.spec, &status, test) != Next::Settled;
        let applied = passed.news.map(|(reason, what)| (reason, format!("{what}; {}", state.message)));
        let status = serde_json::to_value(status).unwrap_or_default();
        Report { status, state, applied, due: goes_on.then_some(now), pending: 0, tasks: Some(passed.tasks) }
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
        let (Some(owner), Some(tasks)) = (Owner::of(backup), &report.tasks) else { return };
        let settled = self.context.jobs.keep_only(&owner, &backup.spec.database_ref.name, tasks).await;
        if let Err(blocked) = settled {
            tracing::debug!(error = %blocked.message, "Jobs that are not needed any more");
        }
        let before = serde_json::to_value(&backup.status).unwrap_or_default();
        if before != report.status {
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

    fn unreadable(&self, previous: &Value, generation: Option<i64>, blocked: &Blocked) -> Report {
        let previous: BackupStatus = serde_json::from_value(previous.clone()).unwrap_or_default();
        let (status, state) = course::report(previous, generation, None, Course::Refused(blocked, 0), self.now());
        let status = serde_json::to_value(status).unwrap_or_default();
        Report { status, state, applied: None, due: None, pending: 0, tasks: None }
    }

    fn forget(&self, namespace: &str, name: &str) {
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

/// Key of the directory of its objects: that where it was found, or one of its own.
fn key(backup: &Backup) -> String {
    let adopted = backup.annotations().get(DIRECTORY_ANNOTATION).cloned();
    let own = || directory(&backup.spec.database_ref.name, &backup.name_any(), &backup.uid().unwrap_or_default());
    adopted.unwrap_or_else(own)
}

/// Where its objects are.
fn stored(backup: &Backup, status: &BackupStatus) -> Stored {
    let settings = &backup.spec.settings;
    Stored {
        destination: settings.destination.clone(),
        directory: status.directory.clone().unwrap_or_else(|| key(backup)),
        identity: settings.encryption.as_ref().and_then(|encryption| encryption.identity_secret_ref.clone()),
    }
}

/// Takes down what a backup is.
fn fill(status: &mut BackupStatus, done: BackedUp) {
    status.completed_at = Some(Time(done.completed_at));
    status.snapshot_at = Some(Time(done.snapshot_at));
    status.directory = Some(done.directory);
    status.url = Some(done.url);
    status.size_bytes = Some(done.bytes);
    status.size = Some(bytes(done.bytes));
    status.raw_bytes = Some(done.raw_bytes);
    status.sha256 = Some(done.sha256);
    status.server_version = Some(done.server_version);
    status.dump_version = Some(done.dump_version);
    status.snapshot_lsn = done.lsn;
    status.tables = Some(Tables { count: done.tables, rows: done.rows });
    status.omitted = done.omitted;
    status.progress_percent = None;
    if let Some(proof) = done.verified {
        note(status, proof);
    }
}

/// Takes down what was proven. A doubt that there was is answered by it.
fn note(status: &mut BackupStatus, proof: Verified) {
    status.verification = Some(Verification {
        level: proof.level,
        at: Time(proof.at),
        rows_matched: proof.rows_matched,
        assertions: proof.assertions,
        restore_seconds: proof.restore_seconds,
    });
    status.conditions.retain(|condition| condition.type_ != crate::api::condition::VERIFIED);
    status.failures = 0;
}
