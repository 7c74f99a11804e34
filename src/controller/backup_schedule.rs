//! What does a pass of BackupSchedule do? It makes Backups, has them tried, lets old ones go, and finds those of a former cluster.

mod acts;
mod catalog;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use self::catalog::Catalog;
use super::Context;
use super::kind::{self, Report};
use crate::api::backup::{REPLACED_BY_ANNOTATION, SCHEDULE_LABEL};
use crate::api::backup_schedule::BackupFact;
use crate::api::{Backup, BackupSchedule, BackupScheduleStatus, Mode, PostgresDatabase, Reason, Restore};
use crate::cluster::objects;
use crate::metrics::{BackupSeries, ScheduleLabels};
use crate::plan::action::Blocked;
use crate::plan::backup::round::{self, Deed, Round, Seen, Whose};
use crate::plan::backup::tidings::{Tidings, report};
use crate::plan::backup::uses::Uses;
use crate::plan::backup::{check, slots};
use crate::plan::status::State;

/// The kind, for the driver.
pub(crate) struct Schedules {
    context: Context,
}

/// What a pass came to.
struct Passed {
    round: Round,
    /// What was done, for an event.
    done: Vec<String>,
    /// Why something could not be done.
    failed: Option<Blocked>,
}

impl Passed {
    /// Takes down what a look through the store came to.
    fn learn(&mut self, catalog: Option<Catalog>, now: Timestamp) {
        let status = &mut self.round.status;
        match catalog {
            None => {}
            Some(Catalog::Unseen(why)) => status.catalog_message = Some(why),
            Some(Catalog::Complete(adopted, unread)) => {
                status.catalog_at = Some(Time(now));
                self.done.extend((adopted > 0).then(|| format!("{adopted} backups found in the store")));
                self.done.extend(unread.clone());
                status.catalog_message = unread;
            }
        }
    }
}

impl Schedules {
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    fn now(&self) -> Timestamp {
        self.context.config.clock.now()
    }

    fn backups(&self, schedule: &BackupSchedule) -> Api<Backup> {
        Api::namespaced(self.context.client.clone(), &schedule.namespace().unwrap_or_default())
    }

    async fn work(&self, schedule: &BackupSchedule, requested: Option<&str>) -> Result<Passed, Blocked> {
        let before = schedule.status.clone().unwrap_or_default();
        if let Some(wrong) = check::check(&schedule.spec, self.now()).into_iter().next() {
            return Err(Blocked::new(Reason::InvalidSpec, format!("BackupSchedule {}: {wrong}", schedule.name_any())));
        }
        let database = self.database(schedule).await?;
        // Before the first backup of its own: what a former cluster has left in the store.
        let catalog = if before.catalog_at.is_none() { Some(self.adopt(schedule, &database).await?) } else { None };
        let uses = self.uses(&schedule.namespace().unwrap_or_default()).await?;
        let seen = self.seen(schedule, &uses).await?;
        let retains = schedule.spec.retention.as_ref().is_some_and(|retention| retention.mode == Mode::Apply);
        let hindrance = uses.trouble().filter(|_| retains);
        let (namespace, name) = (schedule.namespace().unwrap_or_default(), schedule.name_any());
        let whose = Whose {
            namespace: &namespace,
            name: &name,
            created: schedule.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |at| at.0),
            requested: requested.filter(|value| Some(*value) != before.last_handled_reconcile_at.as_deref()),
            hindrance: hindrance.as_deref(),
        };
        let round = round::round(&schedule.spec, whose, &before, &seen, self.now());
        let mut round = round.map_err(|what| Blocked::new(Reason::InvalidSpec, format!("BackupSchedule {name}: {what}")))?;
        let mut passed = Passed { done: vec![], failed: None, round: round.clone() };
        passed.learn(catalog, self.now());
        for deed in std::mem::take(&mut round.deeds) {
            match self.act(schedule, &deed).await {
                // It has begun after all.
                Ok(None) if matches!(deed, Deed::GiveUp(_)) => passed.round.undo(&deed, &before),
                Ok(said) => passed.done.extend(said),
                Err(blocked) => {
                    passed.round.undo(&deed, &before);
                    passed.failed.get_or_insert(blocked);
                }
            }
        }
        Ok(passed)
    }

    /// UID of its PostgresDatabase.
    async fn database(&self, schedule: &BackupSchedule) -> Result<String, Blocked> {
        let (namespace, name) = (schedule.namespace().unwrap_or_default(), &schedule.spec.database_ref.name);
        let api: Api<PostgresDatabase> = Api::namespaced(self.context.client.clone(), &namespace);
        let found = api.get_metadata_opt(name).await;
        let found = found.map_err(|error| objects::unavailable(&format!("PostgresDatabase {name}"), &error))?;
        let message =
            || format!("no PostgresDatabase {name} in namespace {namespace}; create it, or correct spec.databaseRef.name");
        found.and_then(|found| found.uid()).ok_or_else(|| Blocked::new(Reason::DatabaseNotFound, message()))
    }

    /// Its backups, as they are now.
    async fn seen(&self, schedule: &BackupSchedule, uses: &Uses) -> Result<Vec<Seen>, Blocked> {
        let (namespace, whose) = (schedule.namespace().unwrap_or_default(), schedule.name_any());
        let wanted = ListParams::default().labels(&format!("{SCHEDULE_LABEL}={whose}"));
        let found = objects::list_whole::<Backup>(&self.context.client, &namespace, wanted).await;
        let found = found.map_err(|error| objects::unavailable("Backups", &error))?;
        let mut seen = Vec::new();
        for fetched in found {
            let name = fetched.raw.name_any();
            // One that cannot be read might be the last good one.
            let backup = fetched.typed.map_err(|error| {
                Blocked::new(Reason::InvalidSpec, format!("Backup {name} cannot be read: {error}; correct it or delete it"))
            })?;
            let url = backup.status.as_ref().and_then(|status| status.url.as_deref());
            seen.push(Seen {
                created: backup.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |at| at.0),
                is_deleted: backup.metadata.deletion_timestamp.is_some(),
                held: backup.spec.hold,
                used_by: uses.restore(&whose, &name, url).cloned(),
                leaves_for: backup.annotations().get(REPLACED_BY_ANNOTATION).cloned(),
                place: backup.spec.settings.destination.place(),
                foreign: backup.is_foreign(),
                status: backup.status.unwrap_or_default(),
                name,
            });
        }
        Ok(seen)
    }

    /// What Restores need that have not ended.
    async fn uses(&self, namespace: &str) -> Result<Uses, Blocked> {
        let found = objects::list_whole::<Restore>(&self.context.client, namespace, ListParams::default()).await;
        let mut uses = Uses::default();
        for fetched in found.map_err(|error| objects::unavailable("Restores", &error))? {
            let name = fetched.raw.name_any();
            match fetched.typed {
                Ok(restore) if restore.status.is_some() || fetched.raw.data["status"].is_null() => uses.note(&name, &restore),
                Ok(_) => uses.note_unread(&name, &fetched.raw.data["status"], "its status was written by another version"),
                Err(why) => uses.note_unread(&name, &fetched.raw.data["status"], &why),
            }
        }
        Ok(uses)
    }

    fn measure(&self, schedule: &BackupSchedule, status: &BackupScheduleStatus) {
        let second = |at: &jiff::Timestamp| at.as_second();
        let proof = |fact: &Option<BackupFact>| Some(fact.as_ref()?.proven_at.as_ref()?.0.as_second());
        self.context.metrics.set_backups(
            &labels(schedule),
            &BackupSeries {
                last_success: status.last_backup.as_ref().map(|fact| second(&fact.completed_at.0)),
                last_verified: status.last_verified.as_ref().map(|fact| second(&fact.completed_at.0)),
                last_restored: status.last_restored.as_ref().map(|fact| second(&fact.completed_at.0)),
                last_proof: proof(&status.last_verified),
                last_restore_proof: proof(&status.last_restored),
                next_run: status.next_run.as_ref().map(|at| second(&at.0)),
                interval: slots::interval(&schedule.spec, self.now()).map(|interval| interval.as_secs()),
                failures: status.failures.into(),
                missed: status.missed,
                complete: status.backups.complete.into(),
                bytes: status.last_backup.as_ref().map(|fact| fact.size_bytes),
                seconds: status.last_backup.as_ref().and_then(|fact| fact.seconds),
                suspended: schedule.spec.suspend,
            },
        );
    }
}

impl kind::Kind for Schedules {
    type Object = BackupSchedule;
    const NAME: &'static str = "BackupSchedule";
    const FIELD_MANAGER: &'static str = "pgreeve-backupschedule";
    const PUNCTUAL: bool = true;

    async fn pass(&self, schedule: &BackupSchedule, requested: Option<&str>) -> Report {
        let before = schedule.status.clone().unwrap_or_default();
        let passed = self.work(schedule, requested).await;
        let tidings = match &passed {
            Ok(Passed { failed: Some(blocked), round, .. }) => Tidings::Hindered(round, blocked),
            Ok(passed) => Tidings::Rounded(&passed.round),
            Err(blocked) => Tidings::Refused(blocked),
        };
        let suspended = schedule.spec.suspend;
        let (status, state) = report(&before, schedule.metadata.generation, requested, tidings, suspended, self.now());
        self.measure(schedule, &status);
        let (done, due, pending) = match &passed {
            Ok(passed) => {
                (passed.done.join(", "), passed.round.due, passed.round.status.plan.as_ref().map_or(0, |plan| plan.actions.len()))
            }
            Err(_) => (String::new(), None, 0),
        };
        let applied = (!done.is_empty()).then_some((Reason::Applied, done));
        let status = serde_json::to_value(status).unwrap_or_default();
        Report { status, state, applied, due, pending, tasks: None }
    }

    fn unreadable(&self, previous: &Value, generation: Option<i64>, blocked: &Blocked) -> Report {
        let previous: BackupScheduleStatus = serde_json::from_value(previous.clone()).unwrap_or_default();
        let (status, state): (_, State) = report(&previous, generation, None, Tidings::Refused(blocked), false, self.now());
        let status = serde_json::to_value(status).unwrap_or_default();
        Report { status, state, applied: None, due: None, pending: 0, tasks: None }
    }

    fn forget(&self, namespace: &str, name: &str) {
        self.context.metrics.forget_backups(namespace, name);
    }
}

fn labels(schedule: &BackupSchedule) -> ScheduleLabels {
    ScheduleLabels {
        namespace: schedule.namespace().unwrap_or_default(),
        database: schedule.spec.database_ref.name.clone(),
        schedule: schedule.name_any(),
    }
}
