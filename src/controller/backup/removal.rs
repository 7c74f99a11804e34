//! What goes with a Backup that is deleted? Its objects, where it says so, removed by the operator or by a Job, which keep no namespace.

use kube::ResourceExt as _;

use super::super::kind::Report;
use super::record::stored;
use super::{Backups, Said, strange};
use crate::api::backup::{DIRECTORY_ANNOTATION, DeletionPolicy, REPLACED_BY_ANNOTATION};
use crate::api::{Backup, Reason};
use crate::cluster::jobs::{self, Owner};
use crate::job;
use crate::plan::action::{Action, Blocked};
use crate::plan::backup::RemoveBackup;
use crate::plan::backup::course::{self, Course};
use crate::plan::status::State;

impl Backups {
    /// What is removed when the object goes; nothing where all of it stays.
    fn removal(&self, backup: &Backup) -> Option<RemoveBackup> {
        let status = backup.status.clone().unwrap_or_default();
        let replaced_by = backup.annotations().get(REPLACED_BY_ANNOTATION).cloned();
        let is_complete = status.completed_at.is_some();
        let goes = replaced_by.is_some() || backup.spec.deletion_policy == DeletionPolicy::Delete;
        // One that was never begun, or lies where it was found, has left nothing of ours.
        if status.started_at.is_none() || (!goes && (is_complete || backup.annotations().contains_key(DIRECTORY_ANNOTATION))) {
            return None;
        }
        Some(RemoveBackup {
            backup: backup.name_any(),
            stored: stored(backup, &status),
            replaced_by: replaced_by.filter(|newer| !newer.is_empty()),
            leftovers: !goes,
            job: backup.spec.settings.job.clone(),
        })
    }

    /// Removes the objects, here or by a Job.
    async fn remove(&self, backup: &Backup, task: RemoveBackup) -> Result<(), Said> {
        let refused = |blocked| Said::Refused(blocked, 0);
        if let Some(store) = self.store(backup).await.map_err(refused)? {
            match job::backup::catalog::remove(&store, &task).await {
                Ok(_) => return Ok(()),
                Err(blocked) if blocked.reason == Reason::DestinationUnavailable => {}
                Err(blocked) => return Err(refused(blocked)),
            }
        }
        let action = Action::RemoveBackup(Box::new(task));
        match self.run(backup, &action).await? {
            job::Report::Removed(_) => Ok(()),
            other => Err(refused(strange(&other))),
        }
    }

    /// What a deleted Backup that cannot go yet says.
    fn waits(&self, backup: &Backup, said: &Said) -> Report {
        let what = match said {
            Said::Refused(blocked, _) | Said::Hopeless(blocked) => blocked.message.clone(),
            Said::Runs(message) | Said::Queued(message) => message.clone(),
            Said::Settled => "its Jobs end".into(),
        };
        let message = format!(
            "deleted; its objects are being removed: {what}. Set spec.deletionPolicy to Retain to let it go with its objects left behind"
        );
        let reason = if let Said::Refused(blocked, _) = said { blocked.reason } else { Reason::Removing };
        let blocked = Blocked::new(reason, message);
        let status = backup.status.clone().unwrap_or_default();
        let (status, _) = course::report(status, backup.metadata.generation, None, Course::Refused(&blocked, 0), self.now());
        let state = State { ready: false, reason, message: blocked.message, drifted: false };
        let status = serde_json::to_value(status).unwrap_or_default();
        Report { status, state, applied: None, due: None, pending: 1, tasks: None }
    }

    /// Lets a deleted Backup go, or says what is still to be done.
    pub(super) async fn removed(&self, backup: &Backup) -> Result<Option<Report>, Blocked> {
        let (Some(owner), Some(task)) = (Owner::of(backup), self.removal(backup)) else { return Ok(None) };
        let database = &backup.spec.database_ref.name;
        let action = Action::RemoveBackup(Box::new(task.clone()));
        // A dump that went on would write what is being removed.
        self.context.jobs.stop_others(&owner, database, &action).await?;
        let Err(said) = self.remove(backup, task).await else {
            // A Job that was made while the store could not be reached from here has nothing left to do.
            self.context.jobs.stop(&owner).await?;
            self.tell(backup).await;
            return Ok(None);
        };
        if jobs::is_terminating(&self.context.client, &owner.namespace).await {
            // Nothing of ours keeps a namespace, whose Secrets and Jobs are gone before its Backups.
            tracing::warn!(backup = %backup.name_any(), "goes with its namespace; its objects stay in the store");
            return Ok(None);
        }
        Ok(Some(self.waits(backup, &said)))
    }
}
