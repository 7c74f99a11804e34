//! Which of the two databases has the name? How that changes, what is noted of it, and what is said of it in the end.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Outcome;
use super::turn::Turn;
use crate::api::Reason;
use crate::api::restore::{RestoreSpec, RestoreStatus, Step, Strategy};
use crate::plan::action::Blocked;
use crate::plan::restore::is_up;
use crate::plan::restore::names::{self, Proof, Role, Witness};
use crate::plan::restore::report::Said;
use crate::plan::restore::sight::Database;
use crate::postgres::databases::{self, Swap, Swapped};

/// What a restore says that has come to its end.
pub(super) fn settled(spec: &RestoreSpec, status: &RestoreStatus) -> Said {
    let database = status.database.as_deref().unwrap_or_default();
    let backup = status.backup.as_deref().unwrap_or_default();
    if let Some(failure) = &status.failure {
        let down = match is_up(&status.workloads) {
            true => "",
            false => "; workloads stay down until the Restore is deleted or its onFailure is ScaleUp",
        };
        return Said::new(Reason::RestoreFailed, format!("{failure}{down}"));
    }
    match (spec.rollback, status.rolled_back) {
        (true, true) => {
            Said::new(Reason::RolledBack, format!("database {database} is the one that backup {backup} had replaced"))
        }
        (false, false) => Said::new(Reason::Restored, format!("database {database} was restored from {backup}")),
        (wanted, is_back) => {
            let which = if wanted { "that was replaced" } else { "that was restored" };
            let message = format!(
                "spec.rollback is {wanted}, but the database {which} cannot take the name {database}: it is not kept any more, or somebody has given the name to another one; set spec.rollback to {is_back}"
            );
            Said::new(Reason::InvalidSpec, message)
        }
    }
}

impl Turn<'_> {
    pub(super) async fn swap(&mut self, leaves: Option<Database>, comes: Option<Database>) -> Result<Outcome, Blocked> {
        let uid = &self.owner.uid;
        let is_restored = |database: &Database| self.status.restored_oid == Some(database.oid.into());
        let completes = comes.as_ref().is_some_and(is_restored);
        let leaves = leaves.map(|leaves| {
            let (role, name) = match is_restored(&leaves) {
                true => (Role::Restored, names::beside(&self.target, uid)),
                false => (Role::Previous, names::previous(&self.target, uid)),
            };
            let witness = Witness::new(uid, role, leaves.own_comment(uid));
            let witness = Witness { proof: self.proof().filter(|_| role == Role::Restored), ..witness };
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

    /// What was proven of the restored database: it goes with it wherever it goes.
    fn proof(&self) -> Option<Proof> {
        let verification = self.status.verification.as_ref()?;
        Some(Proof {
            at: verification.at.0,
            rows: verification.rows_matched,
            assertions: verification.assertions,
            seconds: verification.restore_seconds.unwrap_or_default(),
            omitted: self.status.omitted.clone(),
        })
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
        self.status.rolled_back = self.status.completed_at.is_some() && !completes;
        self.status.setback = None;
        if !was_away {
            self.status.fenced_millis = Some(i64::try_from(away.as_millis()).unwrap_or(i64::MAX));
        }
        self.enter(Step::ScalingUp);
        Outcome::done(message)
    }

    /// What a swap whose record was lost comes to.
    pub(super) fn complete(&mut self) -> Outcome {
        let now = self.now();
        self.status.completed_at = Some(Time(now));
        self.status.failure = None;
        let previous = self.sight.databases.iter().find(|database| database.is(&self.owner.uid, Role::Previous));
        self.status.previous_database = previous.map(|previous| previous.name.clone());
        self.enter(Step::ScalingUp);
        Outcome::done(format!("database {} is the restored one", self.target))
    }

    /// Which of the two databases has the name, as it was seen.
    pub(super) fn note_which(&mut self) {
        self.status.rolled_back = self.status.completed_at.is_some() && self.places().is_as_before();
    }

    pub(super) fn put_off(&mut self, message: String) -> Outcome {
        let setback = self.setback(message.clone());
        let outcome = self.begin_step(Step::ScalingUp);
        self.status.setback = Some(setback);
        Outcome { said: Said::new(Reason::Restoring, message.clone()), applied: Some(message), ..outcome }
    }

    pub(super) fn undone(&mut self) -> Outcome {
        self.status.completed_at = None;
        self.status.previous_database = None;
        self.status.rollback_until = None;
        self.enter(Step::Swapping);
        Outcome::done(format!("the server has lost that database {} was restored, as after a failover", self.target))
    }

    /// What is said while the other database is kept.
    pub(super) fn kept(&self, until: jiff::Timestamp) -> Said {
        let previous = self.status.previous_database.as_deref().unwrap_or_default();
        let settled = settled(&self.object.spec, &self.status);
        match self.object.spec.strategy {
            Strategy::Swap => Said::new(settled.reason, format!("{}; {previous} is kept until {until:.0}", settled.message)),
            Strategy::Replace | Strategy::New => settled,
        }
    }
}
