//! What does a pass of BackupSchedule do? It makes Backups, has them tried, lets old ones go, and finds those of a former cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::Context;
use super::kind::{self, Report};
use crate::api::backup::{DIRECTORY_ANNOTATION, REPLACED_BY_ANNOTATION, RESTORE_TEST_ANNOTATION, SCHEDULE_LABEL};
use crate::api::{Backup, BackupSchedule, BackupScheduleStatus, BackupSpec, PostgresDatabase, Reason, Restore};
use crate::cluster::objects;
use crate::job::backup::catalog;
use crate::metrics::{BackupSeries, ScheduleLabels};
use crate::plan::action::Blocked;
use crate::plan::backup::round::{self, Deed, Round, Seen, Whose};
use crate::plan::backup::tidings::{Tidings, report};
use crate::plan::backup::{check, slots};
use crate::plan::status::State;
use crate::stores;

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
        self.database(schedule).await?;
        // Before the first backup of its own: what a former cluster has left in the store.
        let found = if before.catalog_at.is_none() { self.adopt(schedule).await? } else { None };
        let seen = self.seen(schedule).await?;
        let (namespace, name) = (schedule.namespace().unwrap_or_default(), schedule.name_any());
        let whose = Whose {
            namespace: &namespace,
            name: &name,
            created: schedule.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |at| at.0),
            requested: requested.filter(|value| Some(*value) != before.last_handled_reconcile_at.as_deref()),
        };
        let round = round::round(&schedule.spec, whose, &before, &seen, self.now());
        let mut round = round.map_err(|what| Blocked::new(Reason::InvalidSpec, format!("BackupSchedule {name}: {what}")))?;
        let mut passed = Passed { done: vec![], failed: None, round: round.clone() };
        if let Some(found) = found {
            passed.round.status.catalog_at = Some(Time(self.now()));
            passed.done.extend((found > 0).then(|| format!("{found} backups found in the store")));
        }
        for deed in std::mem::take(&mut round.deeds) {
            match self.act(schedule, &deed).await {
                Ok(said) => passed.done.extend(said),
                Err(blocked) => {
                    // A moment is answered when its backup is there.
                    if matches!(deed, Deed::Create(_)) {
                        passed.round.status.last_slot.clone_from(&before.last_slot);
                        passed.round.status.missed = before.missed;
                        passed.round.status.active = None;
                        passed.round.is_answered = false;
                    }
                    if matches!(deed, Deed::Test { .. }) {
                        passed.round.status.last_test_slot.clone_from(&before.last_test_slot);
                    }
                    passed.failed.get_or_insert(blocked);
                }
            }
        }
        Ok(passed)
    }

    async fn database(&self, schedule: &BackupSchedule) -> Result<(), Blocked> {
        let (namespace, name) = (schedule.namespace().unwrap_or_default(), &schedule.spec.database_ref.name);
        let api: Api<PostgresDatabase> = Api::namespaced(self.context.client.clone(), &namespace);
        let found = api.get_metadata_opt(name).await;
        let found = found.map_err(|error| objects::unavailable(&format!("PostgresDatabase {name}"), &error))?;
        let message =
            || format!("no PostgresDatabase {name} in namespace {namespace}; create it, or correct spec.databaseRef.name");
        found.map(drop).ok_or_else(|| Blocked::new(Reason::DatabaseNotFound, message()))
    }

    /// Its backups, as they are now.
    async fn seen(&self, schedule: &BackupSchedule) -> Result<Vec<Seen>, Blocked> {
        let namespace = schedule.namespace().unwrap_or_default();
        let users = self.users(&namespace).await?;
        let wanted = ListParams::default().labels(&format!("{SCHEDULE_LABEL}={}", schedule.name_any()));
        let found = objects::list_whole::<Backup>(&self.context.client, &namespace, wanted).await;
        let found = found.map_err(|error| objects::unavailable("Backups", &error))?;
        let mut seen = Vec::new();
        for fetched in found {
            let name = fetched.raw.name_any();
            // One that cannot be read might be the last good one.
            let backup = fetched.typed.map_err(|error| {
                Blocked::new(Reason::InvalidSpec, format!("Backup {name} cannot be read: {error}; correct it or delete it"))
            })?;
            seen.push(Seen {
                created: backup.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |at| at.0),
                is_deleted: backup.metadata.deletion_timestamp.is_some(),
                held: backup.spec.hold,
                used_by: users.get(&name).cloned(),
                is_leaving: backup.annotations().contains_key(REPLACED_BY_ANNOTATION),
                status: backup.status.unwrap_or_default(),
                name,
            });
        }
        Ok(seen)
    }

    /// Backups that a Restore which has not ended needs, with its name.
    async fn users(&self, namespace: &str) -> Result<BTreeMap<String, String>, Blocked> {
        let found = objects::list_whole::<Restore>(&self.context.client, namespace, ListParams::default()).await;
        let found = found.map_err(|error| objects::unavailable("Restores", &error))?;
        let restores = found.into_iter().filter_map(|fetched| fetched.typed.ok());
        let under_way = restores.filter_map(|restore| {
            let status = restore.status.clone().unwrap_or_default();
            let asked = restore.spec.source.backup_ref.as_ref().map(|backup| backup.name.clone());
            let backup = status.backup.clone().or(asked)?;
            status.completed_at.is_none().then(|| (backup, restore.name_any()))
        });
        Ok(under_way.collect())
    }

    /// Does one thing, and says what was done.
    async fn act(&self, schedule: &BackupSchedule, deed: &Deed) -> Result<Option<String>, Blocked> {
        match deed {
            Deed::Create(name) => {
                self.create(schedule, name, None).await.map(|is_new| is_new.then(|| format!("Backup {name} begins")))
            }
            Deed::Test { backup, request } => {
                let annotation = json!({"metadata": {"annotations": {RESTORE_TEST_ANNOTATION: request}}});
                self.patch(schedule, backup, &annotation).await?;
                Ok(Some(format!("a restore of Backup {backup} is tried")))
            }
            Deed::Evict { backup, replaced_by } => {
                let gone = self.evict(schedule, backup, replaced_by.as_deref()).await?;
                Ok(gone.then(|| format!("Backup {backup} goes")))
            }
            Deed::Spare(backup) => {
                let annotation = json!({"metadata": {"annotations": {REPLACED_BY_ANNOTATION: null}}});
                self.patch(schedule, backup, &annotation).await?;
                Ok(None)
            }
        }
    }

    /// Makes a Backup, or finds the one that is there. `directory` is where a former one lies. Says whether it is new.
    async fn create(&self, schedule: &BackupSchedule, name: &str, directory: Option<&str>) -> Result<bool, Blocked> {
        let annotations = directory.map(|directory| [(DIRECTORY_ANNOTATION.to_owned(), directory.to_owned())].into());
        let backup = Backup {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([(SCHEDULE_LABEL.to_owned(), schedule.name_any())].into()),
                annotations,
                ..ObjectMeta::default()
            },
            spec: BackupSpec {
                database_ref: schedule.spec.database_ref.clone(),
                settings: schedule.spec.backup.clone(),
                hold: false,
                deletion_policy: schedule.spec.deletion_policy,
            },
            status: None,
        };
        let api = self.backups(schedule);
        let unavailable = |error| objects::unavailable(&format!("Backup {name}"), &error);
        match api.create(&PostParams::default(), &backup).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = api.get_metadata_opt(name).await.map_err(unavailable)?;
                let is_ours = found.is_none_or(|found| found.labels().get(SCHEDULE_LABEL) == Some(&schedule.name_any()));
                let message = format!("Backup {name} exists and is of another schedule; delete or rename that one");
                if is_ours { Ok(false) } else { Err(Blocked::new(Reason::InvalidSpec, message)) }
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn patch(&self, schedule: &BackupSchedule, backup: &str, change: &Value) -> Result<(), Blocked> {
        let patched = self.backups(schedule).patch(backup, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.map(drop).map_err(|error| objects::unavailable(&format!("Backup {backup}"), &error))
    }

    /// Lets a Backup go, unless somebody has changed it since it was looked at, as by holding it. Its own pass removes the objects.
    async fn evict(&self, schedule: &BackupSchedule, backup: &str, replaced_by: Option<&str>) -> Result<bool, Blocked> {
        let api = self.backups(schedule);
        let unavailable = |error| objects::unavailable(&format!("Backup {backup}"), &error);
        let Some(found) = api.get_opt(backup).await.map_err(unavailable)? else { return Ok(false) };
        if found.spec.hold || found.metadata.deletion_timestamp.is_some() {
            return Ok(false);
        }
        let mut version = found.resource_version();
        if let Some(directory) = replaced_by {
            let change = json!({"metadata": {
                "resourceVersion": version,
                "annotations": {REPLACED_BY_ANNOTATION: directory},
                "finalizers": finalizers(&found),
            }});
            let patched =
                api.patch_metadata(backup, &PatchParams::default(), &Patch::Merge(change)).await.map_err(unavailable)?;
            version = patched.resource_version();
        }
        let preconditions = Some(Preconditions { uid: found.uid(), resource_version: version });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        match api.delete(backup, &parameters).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Makes a Backup of each backup of this schedule that lies in the store and has none: the catalog of an empty cluster. Says how many;
    /// `None` while the store cannot be reached. Where only a Job can look into it, `pgreeve backups` lists what is there.
    async fn adopt(&self, schedule: &BackupSchedule) -> Result<Option<usize>, Blocked> {
        let (namespace, name) = (schedule.namespace().unwrap_or_default(), schedule.name_any());
        let what = format!("BackupSchedule {name}");
        let Some(store) = stores::open(&self.context.client, &namespace, &what, &schedule.spec.backup.destination).await? else {
            return Ok(Some(0));
        };
        let (found, _) = match catalog::list(&store, &schedule.spec.database_ref.name).await {
            Err(blocked) if blocked.reason == Reason::DestinationUnavailable => return Ok(None),
            listed => listed?,
        };
        let mut adopted = 0;
        let mut names = BTreeSet::new();
        // The newest first: of two with one name, it is the one that bears it.
        for (directory, manifest) in found.iter().rev().filter(|(_, manifest)| manifest.schedule.as_ref() == Some(&name)) {
            let last = directory.rsplit('/').next().unwrap_or_default();
            let name = if names.insert(&manifest.backup) { &manifest.backup } else { last };
            adopted += usize::from(self.create(schedule, name, Some(directory)).await?);
        }
        Ok(Some(adopted))
    }

    fn measure(&self, schedule: &BackupSchedule, status: &BackupScheduleStatus) {
        let second = |at: &jiff::Timestamp| at.as_second();
        self.context.metrics.set_backups(
            &labels(schedule),
            &BackupSeries {
                last_success: status.last_backup.as_ref().map(|fact| second(&fact.completed_at.0)),
                last_verified: status.last_verified.as_ref().map(|fact| second(&fact.completed_at.0)),
                last_restored: status.last_restored.as_ref().map(|fact| second(&fact.completed_at.0)),
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

/// Its finalizers with ours among them: from here on it must not go without its objects.
fn finalizers(backup: &Backup) -> Vec<String> {
    let ours = <super::backup::Backups as kind::Kind>::FINALIZER.unwrap_or_default();
    let others = backup.finalizers().iter().filter(|found| *found != ours).cloned();
    others.chain([ours.to_owned()]).collect()
}
