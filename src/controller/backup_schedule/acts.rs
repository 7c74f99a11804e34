//! How are the deeds of a schedule done? Backups are made, tried, given up, let go and spared, each one so that it may be repeated.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::super::{backup, kind};
use super::Schedules;
use crate::api::backup::{
    DIRECTORY_ANNOTATION, DeletionPolicy, MADE_FOR_ANNOTATION, REPLACED_BY_ANNOTATION, RESTORE_TEST_ANNOTATION, SCHEDULE_LABEL,
};
use crate::api::{Backup, BackupSchedule, BackupSpec, Reason};
use crate::cluster::objects;
use crate::plan::action::Blocked;
use crate::plan::backup::round::Deed;

/// What is known of a backup that was found in the store; nothing of a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found<'a> {
    /// Where it lies.
    pub directory: Option<&'a str>,
    /// The other PostgresDatabase that it was made for.
    pub made_for: Option<&'a str>,
}

impl Schedules {
    /// Does one thing, and says what was done.
    pub(super) async fn act(&self, schedule: &BackupSchedule, deed: &Deed) -> Result<Option<String>, Blocked> {
        match deed {
            Deed::Create(name) => {
                self.create(schedule, name, &Found::default()).await.map(|is_new| is_new.then(|| format!("Backup {name} begins")))
            }
            Deed::GiveUp(backup) => {
                let gone = self.give_up(schedule, backup).await?;
                Ok(gone.then(|| format!("Backup {backup} is given up: it could not begin within startingDeadline")))
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
            Deed::Relieve { backup, replaced_by } => {
                let annotation = json!({"metadata": {"annotations": {REPLACED_BY_ANNOTATION: replaced_by}}});
                self.patch(schedule, backup, &annotation).await?;
                Ok(None)
            }
        }
    }

    /// Makes a Backup, or finds the one that is there. Says whether it is new.
    pub(super) async fn create(&self, schedule: &BackupSchedule, name: &str, found: &Found<'_>) -> Result<bool, Blocked> {
        let notes = [(DIRECTORY_ANNOTATION, found.directory), (MADE_FOR_ANNOTATION, found.made_for)];
        let notes = notes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let annotations: BTreeMap<String, String> = notes.collect();
        let is_foreign = found.made_for.is_some();
        let backup = Backup {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([(SCHEDULE_LABEL.to_owned(), schedule.name_any())].into()),
                annotations: (!annotations.is_empty()).then_some(annotations),
                ..ObjectMeta::default()
            },
            spec: BackupSpec {
                database_ref: schedule.spec.database_ref.clone(),
                settings: schedule.spec.backup.clone(),
                // Nothing of ours removes what somebody else may live by, until a person says that nobody does.
                hold: is_foreign,
                deletion_policy: if is_foreign { DeletionPolicy::Retain } else { schedule.spec.deletion_policy },
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
                let message = format!(
                    "Backup {name} exists and is not of this schedule, whose backup of that time cannot be made; delete it"
                );
                if is_ours { Ok(false) } else { Err(Blocked::new(Reason::InvalidSpec, message)) }
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn patch(&self, schedule: &BackupSchedule, backup: &str, change: &Value) -> Result<(), Blocked> {
        let patched = self.backups(schedule).patch(backup, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.map(drop).map_err(|error| objects::unavailable(&format!("Backup {backup}"), &error))
    }

    /// Lets a Backup go that nobody has begun, since it has left nothing. Says whether it was so.
    async fn give_up(&self, schedule: &BackupSchedule, backup: &str) -> Result<bool, Blocked> {
        let found = self.backups(schedule).get_opt(backup).await;
        let found = found.map_err(|error| objects::unavailable(&format!("Backup {backup}"), &error))?;
        match found.filter(|found| found.status.as_ref().is_none_or(|status| status.started_at.is_none())) {
            Some(waiting) => self.delete(schedule, &waiting, waiting.resource_version()).await,
            None => Ok(false),
        }
    }

    /// Deletes a Backup as it was seen. Says whether it was there.
    async fn delete(&self, schedule: &BackupSchedule, backup: &Backup, version: Option<String>) -> Result<bool, Blocked> {
        let name = backup.name_any();
        let preconditions = Some(Preconditions { uid: backup.uid(), resource_version: version });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        match self.backups(schedule).delete(&name, &parameters).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => Err(objects::unavailable(&format!("Backup {name}"), &error)),
        }
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
        self.delete(schedule, &found, version).await
    }
}

/// Its finalizers with ours among them: from here on it must not go without its objects.
fn finalizers(backup: &Backup) -> Vec<String> {
    let ours = <backup::Backups as kind::Kind>::FINALIZER.unwrap_or_default();
    let others = backup.finalizers().iter().filter(|found| *found != ours).cloned();
    others.chain([ours.to_owned()]).collect()
}
