//! What is particular to Restore in the operator? A pass sees the server, decides, does one thing and writes it down; the next one follows at
//! once, until there is something to wait for.

mod acts;
mod held;
mod leave;
mod source;
mod stuck;
mod tasks;
mod turn;
mod which;

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;

use super::Context;
use super::kind::{Kind, Report};
use super::unread;
use crate::api::restore::{RestoreStatus, Step, Strategy};
use crate::api::{Reason, Restore};
use crate::cluster::jobs::Owner;
use crate::metrics::RestoreLabels;
use crate::plan::action::{Action, Blocked, ObjectId};
use crate::plan::restore::check::check;
use crate::plan::restore::report::{Said, report};
use crate::plan::restore::{Act, DOWN, at_rest};
use held::Held;
use turn::Turn;

/// The kind, for the driver.
pub(crate) struct Restores {
    context: Context,
    held: Held,
}

/// When the next pass is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// At once.
    Again,
    /// At this moment.
    At(Timestamp),
    /// When something happens.
    Wait,
}

/// What a pass came to.
struct Outcome {
    said: Said,
    then: Then,
    /// The task whose Job is still needed.
    task: Option<Action>,
    /// Whether its Job is at work, or about to be, and no try has failed before.
    runs_well: bool,
    /// What was done, for an event.
    applied: Option<String>,
}

impl Outcome {
    fn new(said: Said, then: Then) -> Self {
        Self { said, then, task: None, runs_well: false, applied: None }
    }

    /// Something was done, and the next pass goes on.
    fn done(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { applied: Some(message.clone()), ..Self::new(Said::new(Reason::Restoring, message), Then::Again) }
    }
}

impl Restores {
    pub fn new(context: Context) -> Self {
        Self { context, held: Held::default() }
    }

    fn now(&self) -> Timestamp {
        self.context.config.clock.now()
    }

    /// One pass: what it came to, and the status as it is then.
    async fn work(&self, object: &Restore, owner: &Owner) -> (RestoreStatus, Result<Outcome, Blocked>) {
        let status = object.status.clone().unwrap_or_default();
        if status.step == Step::Done {
            return self.rest(object, owner, status).await;
        }
        // What is wrong later stops nothing: a restore that is under way goes on, or puts everything back.
        if status.step <= Step::AwaitingConfirmation
            && let Some(wrong) = check(&object.spec, self.now()).first()
        {
            return (status, Err(Blocked::new(Reason::InvalidSpec, wrong.to_string())));
        }
        let mut turn = match Turn::begin(&self.context, object, owner, status.clone()).await {
            Ok(turn) => turn,
            Err(blocked) => {
                let (status, outcome) = self.stuck(object, owner, status, blocked).await;
                self.measure(object, &status, None);
                return (status, outcome);
            }
        };
        let (outcome, is_closed) = (turn.act().await, turn.is_closed());
        let (status, session) = turn.end();
        self.measure(object, &status, Some(is_closed));
        self.held.keep(owner, session);
        (status, outcome)
    }

    /// One pass over a Restore that is done: workloads that have stayed down come back once that is wanted. No server is needed for it.
    async fn rest(
        &self,
        object: &Restore,
        owner: &Owner,
        mut status: RestoreStatus,
    ) -> (RestoreStatus, Result<Outcome, Blocked>) {
        let there = match at_rest(&object.spec, &status) {
            Act::Raise => acts::raise_all(&self.context, owner, &mut status).await,
            _ => Ok(vec![]),
        };
        self.measure(object, &status, Some(false));
        let outcome = there.map(|there| {
            let then = if there.is_empty() { Then::Wait } else { Then::At(self.now() + acts::SOON) };
            Outcome::new(which::settled(&object.spec, &status), then)
        });
        (status, outcome)
    }

    /// Whether the database was seen to be closed is `None` where it could not be looked at: then it counts as closed once it may be.
    fn measure(&self, object: &Restore, status: &RestoreStatus, is_closed: Option<bool>) {
        let labels = RestoreLabels {
            namespace: object.namespace().unwrap_or_default(),
            database: object.spec.database_ref.name.clone(),
            restore: object.name_any(),
        };
        let down = status.workloads.iter().filter(|workload| workload.state.as_deref() == Some(DOWN)).count();
        let is_closed = is_closed.unwrap_or(object.spec.strategy != Strategy::New);
        let is_fenced = is_closed && matches!(status.step, Step::Fencing | Step::Swapping | Step::Unfencing);
        self.context.metrics.set_restore(&labels, down, is_fenced);
    }

    fn reported(
        &self,
        status: RestoreStatus,
        generation: Option<i64>,
        requested: Option<&str>,
        outcome: Result<Outcome, Blocked>,
    ) -> (Report, Then) {
        // A pass that came to nothing does not know which Jobs are needed.
        let knows_tasks = outcome.is_ok();
        let outcome = outcome.unwrap_or_else(|blocked| {
            let is_soon = stuck::is_soon(&status, blocked.reason);
            let then = if is_soon { Then::At(self.now() + stuck::SOON) } else { Then::Wait };
            Outcome::new(Said::new(blocked.reason, blocked.message), then)
        });
        let (status, state) = report(status, generation, requested, &outcome.said, self.now());
        let due = match outcome.then {
            Then::At(at) => Some(at),
            Then::Again | Then::Wait => None,
        };
        let pending = usize::from(!matches!(status.step, Step::Keeping | Step::Done));
        let status = serde_json::to_value(status).unwrap_or_default();
        let applied = outcome.applied.map(|message| (Reason::Applied, message));
        let report =
            Report { status, state, applied, due, pending, tasks: knows_tasks.then(|| outcome.task.into_iter().collect()) };
        (report, outcome.then)
    }
}

impl Kind for Restores {
    type Object = Restore;
    const NAME: &'static str = "Restore";
    const FIELD_MANAGER: &'static str = "pgreeve-restore";

    async fn pass(&self, object: &Restore, requested: Option<&str>) -> Report {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let generation = object.metadata.generation;
        let Some(owner) = Owner::of(object) else {
            let blocked = Blocked::new(Reason::KubernetesUnavailable, "the object has no UID");
            return self.reported(RestoreStatus::default(), generation, requested, Err(blocked)).0;
        };
        // Of a pass whose status could not be written.
        self.held.release(&owner).await;
        let (status, outcome) = self.work(object, &owner).await;
        let (report, then) = self.reported(status, generation, requested, outcome);
        if then == Then::Again {
            self.context.nudges.now(Self::NAME, &namespace, &name);
        }
        report
    }

    async fn written(&self, object: &Restore, report: &Report) {
        let Some(owner) = Owner::of(object) else { return };
        self.held.release(&owner).await;
        let Some(tasks) = &report.tasks else { return };
        let settled = self.context.jobs.keep_only(&owner, &object.spec.database_ref.name, tasks).await;
        if let Err(blocked) = settled {
            tracing::debug!(error = %blocked.message, "Jobs that are not needed any more");
        }
    }

    const FINALIZER: Option<&'static str> = Some("pgreeve.dev/restore");

    fn needs_finalizer(&self, object: &Restore) -> bool {
        leave::needs_finalizer(object)
    }

    async fn finalize(&self, object: &Restore) -> Result<Option<Report>, Blocked> {
        match Owner::of(object) {
            Some(owner) => self.leave(object, &owner).await,
            None => Ok(None),
        }
    }

    fn unread(&self, status: &Value, _is_deleted: bool) -> Vec<String> {
        unread::fields::<RestoreStatus>(status)
    }

    fn unreadable(&self, previous: &Value, generation: Option<i64>, blocked: &Blocked) -> Report {
        let previous: RestoreStatus = serde_json::from_value(previous.clone()).unwrap_or_default();
        let (report, _) = self.reported(previous, generation, None, Err(blocked.clone()));
        Report { tasks: None, ..report }
    }

    fn forget(&self, namespace: &str, name: &str) {
        self.held.forget(namespace, name);
        self.context.metrics.forget_restore(namespace, name);
        let object = ObjectId { kind: Self::NAME.into(), namespace: namespace.to_owned(), name: name.to_owned() };
        self.context.jobs.forgive(&object);
    }
}
