//! What do Jobs do for a Restore? They inspect the backup, prove it, back up what is dropped, and restore.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::jobs::Progress;
use super::source::{self, Found};
use super::turn::Turn;
use super::{Outcome, Then};
use crate::api::Reason;
use crate::api::backup::{BackupSettings, Compression, Content, DumpFormat, Verification, VerifyLevel};
use crate::api::restore::{Chosen, Strategy};
use crate::cluster::workloads;
use crate::job::Report as JobReport;
use crate::job::backup::inspect::Inspected;
use crate::plan::action::{Action, Blocked};
use crate::plan::backup::{DumpDatabase, InspectBackup, RestoreDump, Stored, VerifyBackup};
use crate::plan::restore::names::{self, Failure, Proof, Role, Witness};
use crate::plan::restore::report::Said;
use crate::plan::restore::sight::Database;
use crate::plan::restore::{ATTEMPTS, preflight};

impl Turn<'_> {
    /// What has a Job's work done, or how far it is.
    async fn job(&self, action: &Action) -> Result<Result<JobReport, Outcome>, Blocked> {
        self.job_in(None, action).await
    }

    /// The same, in another database of the server.
    async fn job_in(&self, other: Option<&str>, action: &Action) -> Result<Result<JobReport, Outcome>, Blocked> {
        match self.context.jobs.run_in(self.owner, &self.object.spec.database_ref.name, other, action).await {
            Progress::Running { message, failures } => {
                let outcome = Outcome::new(Said::new(Reason::JobRunning, message), Then::Wait);
                Ok(Err(Outcome { task: Some(action.clone()), runs_well: failures == 0, ..outcome }))
            }
            Progress::Done(report) => {
                let unreadable = |error| Blocked::new(Reason::JobFailed, format!("the report of a Job cannot be read: {error}"));
                serde_json::from_value(report).map(Ok).map_err(unreadable)
            }
            Progress::Refused(blocked) => Err(blocked),
        }
    }

    pub(super) async fn inspect(&mut self) -> Result<Outcome, Blocked> {
        let source = &self.object.spec.source;
        let found = source::find_source(&self.context.client, &self.owner.namespace, source, self.object.spec.strategy).await?;
        let inspect = InspectBackup {
            backup: found.backup.clone(),
            stored: found.stored.clone(),
            database: self.target.clone(),
            job: self.object.spec.job.clone(),
        };
        let report = match self.job(&Action::InspectBackup(Box::new(inspect))).await? {
            Ok(JobReport::Inspected(inspected)) => *inspected,
            Ok(other) => return Err(unexpected(&other)),
            Err(running) => return Ok(running),
        };
        let workloads = workloads::find(&self.context.client, &self.owner.namespace, &self.object.spec.workloads).await?;
        if !report.recipients.is_empty() && found.stored.identity.is_none() {
            let message = "the backup is encrypted, and what decrypts it is not named: give encryption.identitySecretRef of the Backup, or identitySecretRef beside the URL";
            return Err(Blocked::new(Reason::SecretNotFound, message));
        }
        let backup = found.backup.clone();
        let chosen = self.choose(report, found);
        self.status.plan = Some(preflight::plan(&self.facts(), &chosen, &workloads));
        self.status.backup = Some(backup);
        self.status.chosen = Some(chosen);
        Ok(Outcome {
            then: Then::Again,
            ..Outcome::new(Said::new(Reason::Restoring, "the backup and the server fit"), Then::Again)
        })
    }

    fn choose(&self, inspected: Inspected, found: Found) -> Chosen {
        let Found { stored, encryption, .. } = found;
        let live = self.sight.databases.iter().find(|database| database.name == self.target);
        Chosen {
            url: inspected.url,
            destination: stored.destination,
            directory: stored.directory,
            identity_secret_ref: stored.identity,
            encryption,
            recipients: inspected.recipients,
            manifest: inspected.manifest,
            major: inspected.major,
            system_identifier: self.sight.system_identifier.clone(),
            replaces: live.map(|live| live.oid.into()),
            snapshot_at: Time(inspected.snapshot_at),
            bytes: inspected.bytes,
            tables: inspected.tables,
            like: inspected.like,
            lacks: inspected.lacks,
            omitted: inspected.omitted,
        }
    }

    pub(super) fn chosen(&self) -> Result<&Chosen, Blocked> {
        let none =
            || Blocked::new(Reason::Stale, "status.chosen is gone: somebody has removed it, and nothing can be done without it");
        self.status.chosen.as_ref().ok_or_else(none)
    }

    pub(super) async fn fill(&mut self, database: &Database) -> Result<Outcome, Blocked> {
        self.status.restored_oid = Some(database.oid.into());
        if let Some(proof) = database.witness(&self.owner.uid).and_then(|witness| witness.proof) {
            // The report may be lost, and the database take no more sessions by then.
            return Ok(self.filled(&proof));
        }
        self.stay_down().await?;
        let spec = &self.object.spec;
        let fill = Action::RestoreDump(Box::new(self.restores(database, false)?));
        match self.job(&fill).await {
            Ok(Ok(JobReport::Restored(proof))) => Ok(self.filled(&proof)),
            Ok(Ok(other)) => Err(unexpected(&other)),
            Ok(Err(running)) => Ok(running),
            // The next one is made anew.
            Err(blocked) if blocked.reason == Reason::NotEmpty => self.remove(database).await,
            Err(blocked)
                if matches!(blocked.reason, Reason::VerificationFailed | Reason::BackupDamaged)
                    && spec.strategy != Strategy::Replace =>
            {
                self.status.failure = Some(blocked.message);
                Ok(Outcome::done("gives up"))
            }
            Err(blocked) => {
                if blocked.reason != Reason::KubernetesUnavailable {
                    self.note_failure(&blocked.message);
                }
                Err(blocked)
            }
        }
    }

    /// What a Job is told that restores into this database, or rehearses that.
    fn restores(&self, database: &Database, rehearses: bool) -> Result<RestoreDump, Blocked> {
        let chosen = self.chosen()?;
        let spec = &self.object.spec;
        Ok(RestoreDump {
            stored: stored(chosen),
            manifest: chosen.manifest.clone(),
            database: database.name.clone(),
            oid: database.oid,
            witness: Witness::new(&self.owner.uid, Role::Restored, None).text(),
            rehearses,
            row_counts: spec.verify.row_counts,
            assertions: if rehearses { vec![] } else { spec.verify.assertions.clone() },
            major: self.sight.version_num / 10_000,
            scratch: spec.scratch.clone(),
            job: spec.job.clone(),
        })
    }

    fn filled(&mut self, proof: &Proof) -> Outcome {
        self.status.verification = Some(Verification {
            level: VerifyLevel::Restore,
            at: Time(proof.at),
            rows_matched: proof.rows,
            assertions: proof.assertions,
            restore_seconds: Some(proof.seconds),
        });
        self.status.omitted = proof.omitted.clone();
        let rows = proof.rows.map(|rows| format!("{rows} rows are")).unwrap_or_else(|| "its rows were not counted".into());
        Outcome::done(format!(
            "restored the backup beside the database and compared it: {rows} as dumped, {} assertions hold",
            proof.assertions
        ))
    }

    /// Proves the backup before a database is dropped for it.
    pub(super) async fn prove(&mut self) -> Result<Outcome, Blocked> {
        if self.status.rehearsed_at.is_none() {
            return self.rehearse().await;
        }
        let chosen = self.chosen()?;
        let spec = &self.object.spec;
        let verify = VerifyBackup {
            backup: self.status.backup.clone().unwrap_or_default(),
            stored: stored(chosen),
            level: VerifyLevel::Restore,
            assertions: spec.verify.assertions.clone(),
            major: chosen.major,
            scratch: spec.scratch.clone(),
            job: spec.job.clone(),
        };
        match self.job(&Action::VerifyBackup(Box::new(verify))).await {
            Ok(Ok(JobReport::Verified(verified))) => {
                self.status.proven = Some(Verification {
                    level: verified.level,
                    at: Time(verified.at),
                    rows_matched: verified.rows_matched,
                    assertions: verified.assertions,
                    restore_seconds: verified.restore_seconds,
                });
                Ok(Outcome::done("restored the backup into a server made for that: it is whole"))
            }
            Ok(Ok(other)) => Err(unexpected(&other)),
            Ok(Err(running)) => Ok(running),
            Err(blocked) if matches!(blocked.reason, Reason::VerificationFailed | Reason::BackupDamaged) => {
                self.status.failure = Some(blocked.message);
                Ok(Outcome::done("gives up"))
            }
            Err(blocked) => Err(blocked),
        }
    }

    /// Restores the backup without its rows on this very server, as this role: what it may not do is known before a database is dropped for it.
    async fn rehearse(&mut self) -> Result<Outcome, Blocked> {
        let name = names::beside(&self.target, &self.owner.uid);
        let found = self.sight.databases.iter().find(|database| database.name == name).cloned();
        let Some(database) = found else { return self.create().await };
        if database.is_invalid {
            return self.remove(&database).await;
        }
        match database.witness(&self.owner.uid) {
            None if database.comment.is_none() => return self.witness(&database).await,
            None => {
                let message = format!("somebody has made a database {name} meanwhile: drop or rename it");
                return Err(Blocked::new(Reason::NameTaken, message));
            }
            Some(Witness { failure: Some(failure), .. }) => return self.rehearse_again(&database, failure).await,
            Some(_) => {}
        }
        self.status.restored_oid = Some(database.oid.into());
        let rehearsal = Action::RestoreDump(Box::new(self.restores(&database, true)?));
        match self.job(&rehearsal).await {
            Ok(Ok(JobReport::Restored(_))) => {
                self.remove(&database).await?;
                self.status.rehearsed_at = Some(Time(self.context.config.clock.now()));
                self.status.attempts = 0;
                Ok(Outcome::done("restored the backup without its rows: the role may do that here"))
            }
            Ok(Ok(other)) => Err(unexpected(&other)),
            Ok(Err(running)) => Ok(running),
            Err(blocked) if blocked.reason == Reason::NotEmpty => {
                let failure = Failure { message: blocked.message, at: self.context.config.clock.now(), for_good: false };
                self.rehearse_again(&database, failure).await
            }
            Err(blocked) => Err(blocked),
        }
    }

    /// What broke off a rehearsal may pass. What does not is no reason to touch anything.
    async fn rehearse_again(&mut self, database: &Database, failure: Failure) -> Result<Outcome, Blocked> {
        if self.status.attempts < ATTEMPTS && !failure.for_good {
            return self.remove(database).await;
        }
        let failure = format!("the backup cannot be restored here as role {}: {}", self.sight.role, failure.message);
        self.status.failure = Some(failure);
        Ok(Outcome::done("gives up"))
    }

    /// Backs up a database that is to be dropped, as it is now.
    pub(super) async fn safeguard(&mut self, database: &Database) -> Result<Outcome, Blocked> {
        self.stay_down().await?;
        let chosen = self.chosen()?;
        let spec = &self.object.spec;
        let dump = DumpDatabase {
            backup: format!("before-{}", self.owner.name),
            schedule: None,
            made_for: None,
            directory: names::safety(&self.target, &self.owner.name, &self.owner.uid),
            major: self.sight.version_num / 10_000,
            exists: false,
            recipients: if chosen.encryption.is_some() { vec![] } else { chosen.recipients.clone() },
            settings: BackupSettings {
                content: Content::default(),
                format: DumpFormat::default(),
                jobs: 1,
                compression: Compression::default(),
                destination: chosen.destination.clone(),
                encryption: chosen.encryption.clone(),
                verify: VerifyLevel::Catalog,
                assertions: vec![],
                scratch: spec.scratch.clone(),
                job: spec.job.clone(),
            },
        };
        match self.job_in(Some(&database.name), &Action::DumpDatabase(Box::new(dump))).await? {
            Ok(JobReport::BackedUp(done)) => {
                self.status.safety_backup = Some(done.url.clone());
                Ok(Outcome::done(format!("backed database {} up as it is now: {}", self.target, done.url)))
            }
            Ok(other) => Err(unexpected(&other)),
            Err(running) => Ok(running),
        }
    }

    /// Workloads that somebody has scaled up while there is no database go down again.
    async fn stay_down(&mut self) -> Result<(), Blocked> {
        if self.object.spec.strategy == Strategy::Replace {
            for workload in &mut self.status.workloads {
                workloads::lower(&self.context.client, &self.owner.namespace, self.owner, workload).await?;
            }
        }
        Ok(())
    }
}

/// Where the chosen backup lies.
fn stored(chosen: &Chosen) -> Stored {
    Stored {
        destination: chosen.destination.clone(),
        directory: chosen.directory.clone(),
        identity: chosen.identity_secret_ref.clone(),
    }
}

fn unexpected(report: &JobReport) -> Blocked {
    Blocked::new(Reason::JobFailed, format!("a Job has reported what it was not asked for: {report:?}"))
}
