//! How is each thing done that a pass of a Restore may do? One function for each; what it changes in the status is the record of it.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::Context;
use super::turn::Turn;

use super::{Outcome, Then};
use crate::api::Reason;
use crate::api::restore::{RestoreSpec, RestoreStatus, Step, Strategy};
use crate::cluster::jobs::Owner;
use crate::cluster::workloads::{self, Lowered};
use crate::pass;
use crate::plan::action::Blocked;
use crate::plan::restore::names::{self, Role, Witness};
use crate::plan::restore::replace::broken_off;
use crate::plan::restore::report::Said;
use crate::plan::restore::sight::Database;
use crate::plan::restore::{self, Act};
use crate::postgres::databases::{self, Swap, Swapped};
use crate::postgres::{Fault, fence};
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
        self.carry_out(restore::next(&self.facts())).await
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
            Act::GiveUp(failure) => {
                self.status.failure = Some(failure.clone());
                Ok(Outcome::done(format!("gives up: {failure}")))
            }
            Act::TryAgain(failure, at) => {
                self.status.failure = Some(failure.clone());
                Ok(Outcome::new(Said::new(Reason::VerificationFailed, failure), Then::At(at)))
            }
            Act::Keep(kept, until) => {
                // The record of a swap may have been lost.
                self.status.previous_database = Some(kept.name);
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
        if matches!(step, Step::Restoring | Step::Verifying) {
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
        self.status.restored_oid = None;
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

    async fn swap(&mut self, leaves: Option<Database>, comes: Option<Database>) -> Result<Outcome, Blocked> {
        let uid = &self.owner.uid;
        let is_restored = |database: &Database| self.status.restored_oid == Some(database.oid.into());
        let completes = comes.as_ref().is_some_and(is_restored);
        let leaves = leaves.map(|leaves| {
            let (role, name) = match is_restored(&leaves) {
                true => (Role::Restored, names::beside(&self.target, uid)),
                false => (Role::Previous, names::previous(&self.target, uid)),
            };
            let witness = Witness::new(uid, role, leaves.own_comment(uid));
            (leaves, name, witness)
        });
        let comes = comes.map(|comes| {
            let comment = comes.witness(uid).and_then(|witness| witness.comment);
            (comes, comment)
        });
        let swap = Swap { comes, name: self.target.clone(), leaves };
        let swapped = databases::swap(&self.session, &swap).await;
        let what = format!("giving the name {} to the other database", self.target);
        let swapped = swapped.map_err(|fault| self.fault(&what, &fault))?;
        Ok(self.swapped(swap, completes, swapped))
    }

    fn swapped(&mut self, swap: Swap, completes: bool, Swapped { away, by_privileges }: Swapped) -> Outcome {
        let target = &self.target;
        let was_away = swap.leaves.is_none();
        let message = match (&swap.comes, &swap.leaves) {
            (None, _) => format!("database {target} has given its name away"),
            (Some(_), None) => format!("there is a database {target} again"),
            (Some(_), Some(_)) => format!("database {target} accepts connections again after {} ms", away.as_millis()),
        };
        let message = match by_privileges {
            true => format!("{message}; the server refuses ALLOW_CONNECTIONS, so superusers could connect all the time"),
            false => message,
        };
        self.status.previous_database = swap.leaves.map(|(_, name, _)| name);
        if swap.comes.is_none() {
            self.enter(Step::Restoring);
            return Outcome::done(message);
        }
        if completes {
            let now = self.now();
            self.status.completed_at.get_or_insert(Time(now));
            self.status.failure = None;
        }
        if !was_away {
            self.status.fenced_millis = Some(i64::try_from(away.as_millis()).unwrap_or(i64::MAX));
        }
        self.enter(Step::ScalingUp);
        Outcome::done(message)
    }

    /// What a swap whose record was lost comes to.
    fn complete(&mut self) -> Outcome {
        let now = self.now();
        self.status.completed_at = Some(Time(now));
        self.status.failure = None;
        let previous = self.sight.databases.iter().find(|database| database.is(&self.owner.uid, Role::Previous));
        self.status.previous_database = previous.map(|previous| previous.name.clone());
        self.enter(Step::ScalingUp);
        Outcome::done(format!("database {} is the restored one", self.target))
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
