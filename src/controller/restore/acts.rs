//! How is each thing done that a pass of a Restore may do? One function for each; what it changes in the status is the record of it.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::jobs::Progress;
use super::turn::Turn;

use super::{Outcome, Then, source};
use crate::api::Reason;
use crate::api::backup::{Verification, VerifyLevel};
use crate::api::restore::{Chosen, RestoreSpec, RestoreStatus, Step, Strategy};
use crate::cluster::workloads::{self, Lowered};
use crate::job::Report as JobReport;
use crate::job::backup::inspect::Inspected;
use crate::pass;
use crate::plan::action::{Action, Blocked};
use crate::plan::backup::{InspectBackup, RestoreDump, Stored};
use crate::plan::restore::names::{self, Proof, Role, Witness};
use crate::plan::restore::report::Said;
use crate::plan::restore::sight::Database;
use crate::plan::restore::{self, Act, preflight};
use crate::postgres::Fault;
use crate::postgres::databases::{self, Swap};
use crate::sql::restore as sql;

/// How soon is looked again whether Pods are gone or workloads are back.
const SOON: SignedDuration = SignedDuration::from_secs(1);

/// What a restore says that has come to its end.
pub(super) fn settled(spec: &RestoreSpec, status: &RestoreStatus) -> Said {
    let database = status.database.as_deref().unwrap_or_default();
    let backup = status.backup.as_deref().unwrap_or_default();
    match &status.failure {
        Some(failure) => Said::new(Reason::RestoreFailed, failure),
        None if spec.rollback => {
            Said::new(Reason::RolledBack, format!("database {database} is the one that backup {backup} had replaced"))
        }
        None => Said::new(Reason::Restored, format!("database {database} was restored from {backup}")),
    }
}

impl Turn<'_> {
    /// Decides, and does it.
    pub async fn act(&mut self) -> Result<Outcome, Blocked> {
        match restore::next(&self.facts()) {
            Act::Inspect => self.inspect().await,
            Act::Refuse(blocked) => Err(blocked),
            Act::Await(message) => {
                self.enter(Step::AwaitingConfirmation);
                Ok(Outcome::new(Said::new(Reason::ApprovalPending, message), Then::Wait))
            }
            Act::Enter(step) => Ok(self.begin_step(step)),
            Act::Create => self.create().await,
            Act::Witness(database) => self.witness(&database).await,
            Act::Fill(database) => self.fill(&database).await,
            Act::Drop(database) => self.remove(&database).await,
            Act::Record => self.record().await,
            Act::Lower => self.lower().await,
            Act::Swap(leaves, comes) => self.swap(leaves, comes).await,
            Act::Open(database) => self.open(&database).await,
            Act::Raise => self.raise().await,
            Act::GiveUp(failure) => {
                self.status.failure = Some(failure.clone());
                Ok(Outcome::done(format!("gives up: {failure}")))
            }
            Act::Keep(until) => {
                self.status.rollback_until = Some(Time(until));
                Ok(Outcome::new(self.kept(until), Then::At(until)))
            }
            Act::Rest => Ok(Outcome::new(settled(&self.object.spec, &self.status), Then::Wait)),
        }
    }

    fn now(&self) -> jiff::Timestamp {
        self.context.config.clock.now()
    }

    fn fault(&self, what: &str, fault: &Fault) -> Blocked {
        pass::blocked(what, fault)
    }

    fn enter(&mut self, step: Step) {
        if self.status.step != step {
            self.status.step = step;
            self.status.step_at = Some(Time(self.now()));
        }
    }

    fn begin_step(&mut self, step: Step) -> Outcome {
        self.enter(step);
        if step == Step::Restoring {
            self.status.started_at.get_or_insert(Time(self.context.config.clock.now()));
            self.status.restored_database = Some(names::beside(&self.target, &self.owner.uid));
        }
        if step == Step::Done {
            self.status.restored_database = None;
            self.status.previous_database = None;
            self.status.rollback_until = None;
        }
        Outcome { then: Then::Again, ..Outcome::new(Said::new(Reason::Restoring, format!("goes on to {step:?}")), Then::Again) }
    }

    /// What has a Job's work done, or how far it is.
    async fn job(&self, action: &Action) -> Result<Result<JobReport, Outcome>, Blocked> {
        match self.context.jobs.run(self.owner, &self.object.spec.database_ref.name, action).await {
            Progress::Running { message, .. } => {
                let outcome = Outcome::new(Said::new(Reason::JobRunning, message), Then::Wait);
                Ok(Err(Outcome { task: Some(action.clone()), ..outcome }))
            }
            Progress::Done(report) => {
                let unreadable = |error| Blocked::new(Reason::JobFailed, format!("the report of a Job cannot be read: {error}"));
                serde_json::from_value(report).map(Ok).map_err(unreadable)
            }
            Progress::Refused(blocked) => Err(blocked),
        }
    }

    async fn inspect(&mut self) -> Result<Outcome, Blocked> {
        let source = &self.object.spec.source;
        let (backup, stored) = source::find_source(&self.context.client, &self.owner.namespace, source).await?;
        let inspect = InspectBackup {
            backup: backup.clone(),
            stored: stored.clone(),
            database: self.target.clone(),
            job: self.object.spec.job.clone(),
        };
        let report = match self.job(&Action::InspectBackup(Box::new(inspect))).await? {
            Ok(JobReport::Inspected(inspected)) => *inspected,
            Ok(other) => return Err(unexpected(&other)),
            Err(running) => return Ok(running),
        };
        let workloads = workloads::find(&self.context.client, &self.owner.namespace, &self.object.spec.workloads).await?;
        let chosen = self.choose(report, stored);
        self.status.plan = Some(preflight::plan(&self.facts(), &chosen, &workloads));
        self.status.backup = Some(backup);
        self.status.chosen = Some(chosen);
        Ok(Outcome {
            then: Then::Again,
            ..Outcome::new(Said::new(Reason::Restoring, "the backup and the server fit"), Then::Again)
        })
    }

    fn choose(&self, found: Inspected, stored: Stored) -> Chosen {
        let live = self.sight.databases.iter().find(|database| database.name == self.target);
        Chosen {
            url: found.url,
            destination: stored.destination,
            directory: stored.directory,
            identity_secret_ref: stored.identity,
            manifest: found.manifest,
            system_identifier: self.sight.system_identifier.clone(),
            replaces: live.map(|live| live.oid.into()),
            snapshot_at: Time(found.snapshot_at),
            bytes: found.bytes,
            tables: found.tables,
            like: found.like,
        }
    }

    fn chosen(&self) -> Result<&Chosen, Blocked> {
        let none =
            || Blocked::new(Reason::Stale, "status.chosen is gone: somebody has removed it, and nothing can be done without it");
        self.status.chosen.as_ref().ok_or_else(none)
    }

    async fn create(&mut self) -> Result<Outcome, Blocked> {
        let name = names::beside(&self.target, &self.owner.uid);
        let create = sql::create(&name, &self.chosen()?.like, self.sight.version_num);
        let created = databases::run(&self.session, &create).await;
        created.map_err(|fault| self.fault(&format!("making database {name}"), &fault))?;
        self.status.attempts += 1;
        self.status.restored_oid = None;
        let message = format!("made database {name}");
        let witness = Witness::new(&self.owner.uid, Role::Restored, None).text();
        let noted = databases::run(&self.session, &sql::comment(&name, Some(&witness))).await;
        noted.map_err(|fault| self.fault(&message, &fault))?;
        Ok(Outcome::done(message))
    }

    async fn witness(&mut self, database: &Database) -> Result<Outcome, Blocked> {
        let witness = Witness::new(&self.owner.uid, Role::Restored, None).text();
        let noted = databases::run(&self.session, &sql::comment(&database.name, Some(&witness))).await;
        noted.map_err(|fault| self.fault(&format!("database {}", database.name), &fault))?;
        Ok(Outcome::done(format!("database {} belongs to this restore", database.name)))
    }

    async fn fill(&mut self, database: &Database) -> Result<Outcome, Blocked> {
        self.status.restored_oid = Some(database.oid.into());
        let chosen = self.chosen()?;
        let spec = &self.object.spec;
        let fill = RestoreDump {
            stored: Stored {
                destination: chosen.destination.clone(),
                directory: chosen.directory.clone(),
                identity: chosen.identity_secret_ref.clone(),
            },
            manifest: chosen.manifest.clone(),
            database: database.name.clone(),
            oid: database.oid,
            witness: Witness::new(&self.owner.uid, Role::Restored, None).text(),
            row_counts: spec.verify.row_counts,
            assertions: spec.verify.assertions.clone(),
            major: self.sight.version_num / 10_000,
            scratch: spec.scratch.clone(),
            job: spec.job.clone(),
        };
        match self.job(&Action::RestoreDump(Box::new(fill))).await {
            Ok(Ok(JobReport::Restored(proof))) => Ok(self.filled(&proof)),
            Ok(Ok(other)) => Err(unexpected(&other)),
            Ok(Err(running)) => Ok(running),
            // The next one is made anew.
            Err(blocked) if blocked.reason == Reason::NotEmpty => self.remove(database).await,
            Err(blocked) if matches!(blocked.reason, Reason::VerificationFailed | Reason::BackupDamaged) => {
                self.status.failure = Some(blocked.message);
                Ok(Outcome::done("gives up"))
            }
            Err(blocked) => Err(blocked),
        }
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

    async fn remove(&mut self, database: &Database) -> Result<Outcome, Blocked> {
        let removed = databases::remove(&self.session, database).await;
        removed.map_err(|fault| self.fault(&format!("dropping database {}", database.name), &fault))?;
        if self.status.restored_oid == Some(database.oid.into()) && self.status.step < Step::Quiescing {
            self.status.restored_oid = None;
        }
        self.status.verification = self.status.verification.take().filter(|_| self.status.step >= Step::Quiescing);
        Ok(Outcome::done(format!("dropped database {}", database.name)))
    }

    async fn record(&mut self) -> Result<Outcome, Blocked> {
        let found = workloads::find(&self.context.client, &self.owner.namespace, &self.object.spec.workloads).await?;
        self.status.workloads = found;
        self.enter(Step::Quiescing);
        Ok(Outcome::new(Said::new(Reason::Quiescing, "workloads go to nothing"), Then::Again))
    }

    async fn lower(&mut self) -> Result<Outcome, Blocked> {
        let mut there = Vec::new();
        for workload in &mut self.status.workloads {
            let lowered = workloads::lower(&self.context.client, &self.owner.namespace, self.owner, workload).await?;
            if let Lowered::Pods(count) = lowered {
                there.push(format!("{} {} ({count} Pods)", workload.kind, workload.name));
            }
        }
        if there.is_empty() {
            return Ok(self.begin_step(Step::Fencing));
        }
        let said = Said::new(Reason::Quiescing, format!("waits for {} to go", there.join(", ")));
        Ok(Outcome::new(said, Then::At(self.now() + SOON)))
    }

    async fn swap(&mut self, leaves: Option<Database>, comes: Database) -> Result<Outcome, Blocked> {
        let uid = &self.owner.uid;
        let leaves = leaves.map(|leaves| {
            let is_restored = self.status.restored_oid == Some(leaves.oid.into());
            let (role, name) = match is_restored {
                true => (Role::Restored, names::beside(&self.target, uid)),
                false => (Role::Previous, names::previous(&self.target, uid)),
            };
            let witness = Witness::new(uid, role, leaves.comment.clone()).text();
            (leaves, name, witness)
        });
        let comment = comes.witness(uid).and_then(|witness| witness.comment);
        let swap = Swap { comes: (comes, comment), name: self.target.clone(), leaves };
        let swapped = databases::swap(&self.session, &swap).await;
        let fenced = match swapped {
            Ok(fenced) => fenced,
            Err(fault) => {
                // Nobody waits for the next try. Where there is no answer it opens the database itself.
                if let (Some((leaves, ..)), false) = (&swap.leaves, self.session.is_closed()) {
                    drop(databases::run(&self.session, &sql::allow_connections(&leaves.name, true)).await);
                }
                return Err(self.fault(&format!("giving the name {} to the other database", self.target), &fault));
            }
        };
        let now = self.now();
        self.status.completed_at.get_or_insert(Time(now));
        self.status.previous_database = swap.leaves.map(|(_, name, _)| name);
        self.status.fenced_millis = Some(i64::try_from(fenced.as_millis()).unwrap_or(i64::MAX));
        self.enter(Step::ScalingUp);
        Ok(Outcome::done(format!("database {} accepts connections again after {} ms", self.target, fenced.as_millis())))
    }

    async fn open(&mut self, database: &Database) -> Result<Outcome, Blocked> {
        let opened = databases::run(&self.session, &sql::allow_connections(&database.name, true)).await;
        opened.map_err(|fault| self.fault(&format!("opening database {}", database.name), &fault))?;
        Ok(Outcome::done(format!("database {} accepts connections", database.name)))
    }

    async fn raise(&mut self) -> Result<Outcome, Blocked> {
        let mut there = Vec::new();
        for workload in &mut self.status.workloads {
            if !workloads::raise(&self.context.client, &self.owner.namespace, self.owner, workload).await? {
                there.push(format!("{} {}", workload.kind, workload.name));
            }
        }
        if there.is_empty() {
            return Ok(Outcome::done("workloads are back"));
        }
        let said = Said::new(Reason::Restoring, format!("brings back {}", there.join(", ")));
        Ok(Outcome::new(said, Then::At(self.now() + SOON)))
    }

    /// What is said while the other database is kept.
    fn kept(&self, until: jiff::Timestamp) -> Said {
        let previous = self.status.previous_database.as_deref().unwrap_or_default();
        let settled = settled(&self.object.spec, &self.status);
        match self.object.spec.strategy {
            Strategy::Swap => Said::new(settled.reason, format!("{}; {previous} is kept until {until:.0}", settled.message)),
            Strategy::Replace | Strategy::New => settled,
        }
    }
}

fn unexpected(report: &JobReport) -> Blocked {
    Blocked::new(Reason::JobFailed, format!("a Job has reported what it was not asked for: {report:?}"))
}
