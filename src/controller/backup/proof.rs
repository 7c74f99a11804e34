//! How is a complete backup proven? A Job reads it back or restores it, with what must be true of it.

use kube::ResourceExt as _;

use super::record::{note, stored};
use super::{Backups, Passed, Said, strange};
use crate::api::backup::{Assertion, BackupStatus, SCHEDULE_LABEL, VerifyLevel};
use crate::api::{Backup, BackupSchedule, Reason};
use crate::cluster::objects;
use crate::job;
use crate::plan::action::{Action, Blocked};
use crate::plan::backup::VerifyBackup;
use crate::plan::backup::course::PROOFS;

impl Backups {
    /// Has a complete backup proven.
    pub(super) async fn prove(
        &self,
        backup: &Backup,
        mut status: BackupStatus,
        (level, test): (VerifyLevel, Option<&str>),
    ) -> Passed {
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
