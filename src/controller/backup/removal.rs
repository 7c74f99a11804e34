//! What goes with a Backup that is deleted? Its objects, where it says so, removed by the operator or by a Job, which keep no namespace.

use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};

use super::super::kind::Report;
use super::record::stored;
use super::{Backups, Said, strange};
use crate::api::backup::{DIRECTORY_ANNOTATION, DeletionPolicy, REPLACED_BY_ANNOTATION};
use crate::api::reason::Class;
use crate::api::{Backup, Reason};
use crate::cluster::jobs::{self, Owner};
use crate::job;
use crate::plan::action::{Action, Blocked};
use crate::plan::backup::RemoveBackup;
use crate::plan::backup::course::{self, Course, PATIENCE};
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
    async fn remove(&self, backup: &Backup, action: Action) -> Result<(), Said> {
        let refused = |blocked| Said::Refused(blocked, 0);
        if let (Action::RemoveBackup(task), Some(store)) = (&action, self.store(backup).await.map_err(refused)?) {
            match job::backup::catalog::remove(&store, task).await {
                Ok(_) => return Ok(()),
                Err(blocked) if blocked.reason == Reason::DestinationUnavailable => {}
                Err(blocked) => return Err(refused(blocked)),
            }
        }
        match self.run(backup, &action).await? {
            job::Report::Removed(_) => Ok(()),
            other => Err(refused(strange(&other))),
        }
    }

    /// What a deleted Backup that cannot go yet says.
    fn waits(&self, backup: &Backup, said: &Said) -> Report {
        let message = format!("deleted; its objects are being removed: {}. {}", words(said), remedy(backup));
        let reason = if let Said::Refused(blocked, _) = said { blocked.reason } else { Reason::Removing };
        let blocked = Blocked::new(reason, message);
        let status = backup.status.clone().unwrap_or_default();
        let (wanted, refused) = (backup.spec.settings.verify, Course::Refused(&blocked, 0));
        let (status, _) = course::report(wanted, status, backup.metadata.generation, None, refused, self.now());
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
        let Err(said) = self.remove(backup, action).await else {
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
        if self.is_left(backup, &said) {
            self.context.jobs.stop(&owner).await?;
            let (destination, directory) = (&task.stored.destination, &task.stored.directory);
            let message =
                format!("let go; what its tries have left may still lie in {destination}/{directory}: {}", words(&said));
            let reason = if let Said::Refused(blocked, _) = &said { blocked.reason } else { Reason::Removing };
            self.context.events.publish(&backup.object_ref(&()), reason, true, &message).await;
            self.tell(backup).await;
            return Ok(None);
        }
        Ok(Some(self.waits(backup, &said)))
    }

    /// Whether what is no backup is left where it is: somebody would have to act first, or it takes too long.
    fn is_left(&self, backup: &Backup, said: &Said) -> bool {
        let is_for_somebody = matches!(said, Said::Refused(blocked, _) if blocked.reason.class() == Class::Stalled);
        !is_complete(backup) && (is_for_somebody || let_go_at(backup).is_some_and(|at| at <= self.now()))
    }
}

fn is_complete(backup: &Backup) -> bool {
    backup.status.as_ref().is_some_and(|status| status.completed_at.is_some())
}

fn words(said: &Said) -> String {
    match said {
        Said::Refused(blocked, _) | Said::Hopeless(blocked) => blocked.message.clone(),
        Said::Runs(message, _) | Said::Queued(message) => message.clone(),
        Said::Settled => "its Jobs end".into(),
    }
}

/// When a deleted Backup goes that is no backup.
fn let_go_at(backup: &Backup) -> Option<Timestamp> {
    backup.metadata.deletion_timestamp.as_ref()?.0.saturating_add(PATIENCE).ok()
}

/// What somebody can do who does not want to wait.
fn remedy(backup: &Backup) -> String {
    let retain = "set spec.deletionPolicy to Retain";
    let goes = backup.spec.deletion_policy == DeletionPolicy::Delete;
    let how = match backup.annotations().contains_key(REPLACED_BY_ANNOTATION) {
        true if goes => format!("Remove the annotation {REPLACED_BY_ANNOTATION} and {retain}"),
        true => format!("Remove the annotation {REPLACED_BY_ANNOTATION}"),
        false if !is_complete(backup) => {
            let at = let_go_at(backup).unwrap_or(Timestamp::MAX);
            return format!("It is no backup, and is let go at {at:.0} whatever is left of it");
        }
        false => "Set spec.deletionPolicy to Retain".into(),
    };
    format!("{how} to let it go with its objects left behind")
}
