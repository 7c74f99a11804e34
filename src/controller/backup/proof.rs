//! How is a complete backup proven? A Job reads it back or restores it, with what must be true of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::record::{note, stored};
use super::{Backups, Passed, Said, strange};
use crate::api::backup::{Assertion, BackupStatus, SCHEDULE_LABEL, Unproven, VerifyLevel};
use crate::api::condition::{MESSAGE_LIMIT, shorten};
use crate::api::{Backup, BackupSchedule, Reason};
use crate::cluster::jobs::{self, Owner};
use crate::cluster::objects;
use crate::job;
use crate::plan::action::{Action, Blocked};
use crate::plan::backup::VerifyBackup;
use crate::plan::backup::course;

impl Backups {
    /// Has a complete backup proven, or says that this is given up.
    pub(super) async fn prove(
        &self,
        backup: &Backup,
        mut status: BackupStatus,
        (level, test): (VerifyLevel, Option<&str>),
    ) -> Passed {
        let task = self.proof(backup, &status, level).await.map_err(|blocked| Said::Refused(blocked, 0));
        let proven = match &task {
            Ok(action) => self.proven(backup, &status, action).await,
            Err(_) => Err(Said::Settled),
        };
        let (action, said) = match (task, proven) {
            (Ok(_), Ok(job::Report::Verified(proof))) => {
                status.last_restore_test = test.map(str::to_owned).or(status.last_restore_test);
                let news = (Reason::Verified, format!("verified: {}", proof.level));
                note(&mut status, proof);
                return Passed { status, said: Said::Settled, tasks: Some(vec![]), news: Some(news) };
            }
            (Ok(action), Ok(other)) => (Some(action), Said::Refused(strange(&other), 0)),
            (Ok(action), Err(said)) => (Some(action), said),
            (Err(said), _) => (None, said),
        };
        match said {
            Said::Refused(blocked, times) if course::is_proof_over(&status, blocked.reason, times, self.now()) => {
                status.last_restore_test = test.map(str::to_owned).or(status.last_restore_test);
                status.failures = status.failures.max(i32::try_from(times).unwrap_or(i32::MAX));
                status.unproven = Some(Unproven {
                    level,
                    at: Time(self.now()),
                    reason: blocked.reason.to_string(),
                    message: shorten(jobs::last_words(&blocked.message), MESSAGE_LIMIT),
                });
                Passed { status, said: Said::Settled, tasks: Some(vec![]), news: None }
            }
            said => Passed { status, said, tasks: action.map(|action| vec![action]), news: None },
        }
    }

    /// What a Job reports of a proof. One that has failed often enough is not tried again.
    async fn proven(&self, backup: &Backup, status: &BackupStatus, action: &Action) -> Result<job::Report, Said> {
        if let Some(owner) = Owner::of(backup) {
            let found = self.context.jobs.found(&owner, |found| found == action).await;
            let found = found.map_err(|blocked| Said::Refused(blocked, 0))?.map(|(_, progress)| progress);
            let heard = found.map(|progress| self.heard(&owner, &backup.spec.database_ref.name, action, progress));
            let is_over = |blocked: &Blocked, times| course::is_proof_over(status, blocked.reason, times, self.now());
            match heard {
                Some(Err(Said::Refused(blocked, times))) if is_over(&blocked, times) => {
                    return Err(Said::Refused(blocked, times));
                }
                // It is tried again when its time has come.
                None | Some(Err(Said::Refused(..))) => {}
                Some(heard) => return heard,
            }
        }
        self.run(backup, action).await
    }

    /// The task of a proof.
    async fn proof(&self, backup: &Backup, status: &BackupStatus, level: VerifyLevel) -> Result<Action, Blocked> {
        let settings = &backup.spec.settings;
        let major = status.server_version.as_deref().and_then(|version| version.split('.').next()?.parse().ok());
        Ok(Action::VerifyBackup(Box::new(VerifyBackup {
            backup: backup.name_any(),
            stored: stored(backup, status),
            level,
            assertions: self.assertions(backup).await?,
            major: major.unwrap_or_default(),
            scratch: settings.scratch.clone(),
            job: settings.job.clone(),
        })))
    }

    /// What must be true of the restored database: what the Backup says, and what its schedule's restore test says.
    async fn assertions(&self, backup: &Backup) -> Result<Vec<Assertion>, Blocked> {
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
}
