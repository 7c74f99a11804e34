//! How is each thing done that a pass of a Restore may do? One function for each; what it changes in the status is the record of it.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::Context;
use super::turn::Turn;
use super::which::settled;
use super::{Outcome, Then};
use crate::api::Reason;
use crate::api::restore::{RestoreStatus, Setback, Step};
use crate::cluster::jobs::Owner;
use crate::cluster::workloads::{self, Lowered};
use crate::pass;
use crate::plan::action::Blocked;
use crate::plan::restore::names::{self, Role, Witness};
use crate::plan::restore::replace::{self, broken_off};
use crate::plan::restore::report::Said;
use crate::plan::restore::sight::Database;
use crate::plan::restore::{self, Act};
use crate::postgres::{Fault, databases, fence};
use crate::sql::restore as sql;

/// How soon is looked again whether Pods are gone or workloads are back.
pub(super) const SOON: SignedDuration = SignedDuration::from_secs(1);

impl Turn<'_> {
    /// Decides, and does it.
    pub async fn act(&mut self) -> Result<Outcome, Blocked> {
        if self.is_dropped() && self.status.step > Step::AwaitingConfirmation {
            self.status.dropped_at.get_or_insert(Time(self.context.config.clock.now()));
        }
        let is_away = replace::is_away(&self.facts(), &self.places());
        let act = restore::next(&self.facts());
        match self.carry_out(act).await {
            Err(blocked) if is_away => self.hold_up(blocked),
            Ok(outcome) if is_away && (outcome.then == Then::Again || outcome.runs_well) => {
                self.status.setback = None;
                Ok(outcome)
            }
            outcome => outcome,
        }
    }

    /// What is to be done before a database is dropped has failed: everything can still be put back.
    fn hold_up(&mut self, blocked: Blocked) -> Result<Outcome, Blocked> {
        match replace::gives_up(&self.facts(), &blocked) {
            Some(failure) => {
                self.status.setback = None;
                Ok(self.give_up(failure))
            }
            None => {
                if replace::counts(&blocked) {
                    let setback = self.setback(blocked.message.clone());
                    self.status.setback.get_or_insert(setback);
                }
                Err(blocked)
            }
        }
    }

    pub(super) fn setback(&self, message: String) -> Setback {
        Setback { message, at: Time(self.now()), generation: self.object.metadata.generation }
    }

    fn give_up(&mut self, failure: String) -> Outcome {
        self.status.failure = Some(failure.clone());
        Outcome::done(format!("gives up: {failure}"))
    }

    /// Puts back what a Restore that somebody has deleted had touched. `None` when nothing is left to do.
    pub async fn let_go(&mut self) -> Result<Option<Outcome>, Blocked> {
        match restore::letting_go(&self.facts()) {
            Act::Rest => Ok(None),
            act => self.carry_out(act).await.map(Some),
        }
    }

    async fn carry_out(&mut self, act: Act) -> Result<Outcome, Blocked> {
        match act {
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
            Act::Prove => self.prove().await,
            Act::Safeguard(database) => self.safeguard(&database).await,
            Act::Record => self.record().await,
            Act::Lower => self.lower().await,
            Act::Swap(leaves, comes) => self.swap(leaves, comes).await,
            Act::Complete => Ok(self.complete()),
            Act::Open(database) => self.open(&database).await,
            Act::Raise => self.raise().await,
            Act::Wait(message) => Ok(Outcome::new(Said::new(Reason::Quiescing, message), Then::At(self.now() + SOON))),
            Act::PutOff(message) => Ok(self.put_off(message)),
            Act::Undone => Ok(self.undone()),
            Act::GiveUp(failure) => Ok(self.give_up(failure)),
            Act::TryAgain(failure, at) => {
                self.status.failure = Some(failure.clone());
                Ok(Outcome::new(Said::new(Reason::VerificationFailed, failure), Then::At(at)))
            }
            Act::Keep(kept, until) => {
                // The record of a swap may have been lost.
                self.status.previous_database = Some(kept.name);
                self.status.rollback_until = Some(Time(until));
                self.status.setback = None;
                self.note_which();
                Ok(Outcome::new(self.kept(until), Then::At(until)))
            }
            Act::Rest => Ok(Outcome::new(settled(&self.object.spec, &self.status), Then::Wait)),
        }
    }

    pub(super) fn now(&self) -> jiff::Timestamp {
        self.context.config.clock.now()
    }

    pub(super) fn fault(&self, what: &str, fault: &Fault) -> Blocked {
        pass::blocked(what, fault)
    }

    pub(super) fn enter(&mut self, step: Step) {
        if self.status.step != step {
            self.status.step = step;
            self.status.step_at = Some(Time(self.now()));
        }
    }

    pub(super) fn begin_step(&mut self, step: Step) -> Outcome {
        self.enter(step);
        if matches!(step, Step::Restoring | Step::Verifying) {
            self.status.started_at.get_or_insert(Time(self.context.config.clock.now()));
            self.status.restored_database = Some(names::beside(&self.target, &self.owner.uid));
        }
        if step == Step::ScalingUp {
            self.note_which();
        }
        if step == Step::Done {
            self.status.setback = None;
            self.status.restored_database = None;
            self.status.previous_database = None;
            self.status.rollback_until = None;
        }
        Outcome { then: Then::Again, ..Outcome::new(Said::new(Reason::Restoring, format!("goes on to {step:?}")), Then::Again) }
    }

    pub(super) async fn create(&mut self) -> Result<Outcome, Blocked> {
        let name = names::beside(&self.target, &self.owner.uid);
        let create = sql::create(&name, &self.chosen()?.like, self.sight.version_num);
        let created = databases::run_at_leisure(&self.session, &create).await;
        if let Err(fault) = created {
            let blocked = self.fault(&format!("making database {name}"), &fault);
            if blocked.reason != Reason::ConnectionLost {
                self.note_failure(&blocked.message);
            }
            return Err(blocked);
        }
        self.status.attempts += 1;
        // What was known of another one does not hold of this one.
        (self.status.restored_oid, self.status.verification) = (None, None);
        self.status.omitted.clear();
        let message = format!("made database {name}");
        let witness = Witness::new(&self.owner.uid, Role::Restored, None).text();
        let noted = databases::run(&self.session, &sql::comment(&name, Some(&witness))).await;
        noted.map_err(|fault| self.fault(&message, &fault))?;
        Ok(Outcome::done(message))
    }

    pub(super) async fn witness(&mut self, database: &Database) -> Result<Outcome, Blocked> {
        let witness = Witness::new(&self.owner.uid, Role::Restored, None).text();
        let noted = databases::run(&self.session, &sql::comment(&database.name, Some(&witness))).await;
        noted.map_err(|fault| self.fault(&format!("database {}", database.name), &fault))?;
        Ok(Outcome::done(format!("database {} belongs to this restore", database.name)))
    }

    pub(super) async fn remove(&mut self, database: &Database) -> Result<Outcome, Blocked> {
        if let Some(failure) = database.witness(&self.owner.uid).and_then(|witness| witness.failure) {
            self.note_failure(&failure.message);
        }
        let removed = databases::remove(&self.session, database).await;
        removed.map_err(|fault| self.fault(&format!("dropping database {}", database.name), &fault))?;
        if self.status.restored_oid == Some(database.oid.into()) && self.status.step < Step::Quiescing {
            self.status.restored_oid = None;
        }
        self.status.verification = self.status.verification.take().filter(|_| self.status.step >= Step::Quiescing);
        Ok(Outcome::done(format!("dropped database {}", database.name)))
    }

    /// Why a try broke off that could not put back what was dropped. What follows is another try.
    pub(super) fn note_failure(&mut self, message: &str) {
        if self.is_dropped() {
            self.status.failure = Some(broken_off(message));
        }
    }

    /// Workloads that are gone since the preflight, or since they went for the restore, need not make way.
    async fn record(&mut self) -> Result<Outcome, Blocked> {
        let wanted = &self.object.spec.workloads;
        let (found, gone) = workloads::find_left(&self.context.client, &self.owner.namespace, wanted).await?;
        self.status.workloads = found;
        self.status.quiescing_since = Some(Time(self.now()));
        self.enter(Step::Quiescing);
        let outcome = Outcome::new(Said::new(Reason::Quiescing, "workloads go to nothing"), Then::Again);
        let applied = (!gone.is_empty()).then(|| format!("goes on without what is gone meanwhile: {}", gone.join(", ")));
        Ok(Outcome { applied, ..outcome })
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

    async fn open(&mut self, database: &Database) -> Result<Outcome, Blocked> {
        let opened = fence::open(&self.session, database, &self.owner.uid).await;
        opened.map_err(|fault| self.fault(&format!("opening database {}", database.name), &fault))?;
        Ok(Outcome::done(format!("database {} accepts connections", database.name)))
    }

    async fn raise(&mut self) -> Result<Outcome, Blocked> {
        let there = raise_all(self.context, self.owner, &mut self.status).await?;
        if there.is_empty() {
            return Ok(Outcome::done("workloads are back"));
        }
        let said = Said::new(Reason::Restoring, format!("brings back {}", there.join(", ")));
        Ok(Outcome::new(said, Then::At(self.now() + SOON)))
    }
}

/// Brings all workloads back, one whatever becomes of the others. Answers which are not back yet.
pub(super) async fn raise_all(context: &Context, owner: &Owner, status: &mut RestoreStatus) -> Result<Vec<String>, Blocked> {
    let (mut there, mut refused) = (Vec::new(), None);
    for workload in &mut status.workloads {
        let raised = workloads::raise(&context.client, &owner.namespace, owner, workload).await;
        if raised != Ok(true) {
            // It may be up with its annotation still there, or something still held for it.
            workload.state = Some(workloads::DOWN.into());
        }
        match raised {
            Ok(true) => {}
            Ok(false) => there.push(format!("{} {}", workload.kind, workload.name)),
            Err(blocked) => drop(refused.get_or_insert(blocked)),
        }
    }
    refused.map_or(Ok(there), Err)
}
