//! How is it reported? The common part of every policy's status, from what a pass found and did.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::action::{Action, Blocked, Plan};
use super::gate::Gate;
use super::outcome::{ActionResult, Outcome};
use crate::api::condition::{Conditions, DRIFTED, MESSAGE_LIMIT, READY, RECONCILING, STALLED, shorten};
use crate::api::policy::{LastRun, PlanStatus, RunOutcome};
use crate::api::reason::Class;
use crate::api::{PolicyStatus, Reason};

/// Actions listed in a status; the rest is counted.
const LISTED: usize = 10;

/// What a pass came to.
#[derive(Clone, Debug)]
pub enum Finding<'a> {
    /// The object is suspended; nothing was looked at.
    Suspended,
    /// Nothing could be planned.
    Refused(&'a Blocked),
    /// A plan was made.
    Planned {
        /// What is left to do after the run, if there was one.
        left: &'a Plan,
        /// Whether what is left may be done.
        gate: &'a Gate,
        /// The run, if there was one.
        run: Option<Run<'a>>,
        /// What to say when everything is as it should be.
        settled: &'a str,
    },
}

/// A run of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// What became of each action.
    pub outcome: &'a Outcome,
}

/// The state that a finding amounts to: what `Ready` says, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `Ready`.
    pub ready: bool,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence with the next step.
    pub message: String,
    /// The database differs from the policy.
    pub drifted: bool,
}

/// The state that a finding amounts to.
pub fn state(finding: &Finding<'_>) -> State {
    match finding {
        Finding::Suspended => {
            fine(Reason::Suspended, "suspended: nothing is planned or changed until spec.suspend is false", false)
        }
        Finding::Refused(blocked) => unready(blocked.reason, blocked.message.clone(), false),
        Finding::Planned { left, gate, run, settled } => planned(left, gate, run.as_ref(), settled),
    }
}

fn planned(left: &Plan, gate: &Gate, run: Option<&Run<'_>>, settled: &str) -> State {
    let drifted = !left.actions.is_empty();
    if let Some(blocked) = left.blocked.first() {
        let more = left.blocked.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        return unready(blocked.reason, format!("{}{more}", blocked.message), drifted);
    }
    if let Some((action, result)) = run.and_then(|run| run.outcome.first_problem())
        && drifted
    {
        let (reason, message) = problem(action, result);
        // What runs is as it should be.
        let ready = matches!(result, ActionResult::Running { .. });
        return State { ready, reason, message, drifted };
    }
    match gate {
        Gate::Hold { reason, message, .. } => fine(*reason, message, drifted),
        Gate::Go if drifted => {
            unready(Reason::Stale, format!("{} after this run; the next pass carries on", left.summary()), drifted)
        }
        Gate::Go | Gate::Nothing => fine(Reason::UpToDate, settled, drifted),
    }
}

fn fine(reason: Reason, message: &str, drifted: bool) -> State {
    State { ready: true, reason, message: message.to_owned(), drifted }
}

fn unready(reason: Reason, message: String, drifted: bool) -> State {
    State { ready: false, reason, message, drifted }
}

/// Reason and message of an action that was not carried out.
pub fn problem(action: &Action, result: &ActionResult) -> (Reason, String) {
    let what = format!("{} {}", action.verb(), action.subject());
    match result {
        ActionResult::Done { .. } => (Reason::Applied, what),
        ActionResult::Deferred { blockers } if blockers.is_empty() => {
            (Reason::Deferred, format!("{what} is put off: its locks were not free within their budget"))
        }
        ActionResult::Deferred { blockers } => {
            let who: Vec<String> = blockers.iter().map(ToString::to_string).collect();
            (Reason::Deferred, format!("{what} is put off: {}", who.join("; ")))
        }
        ActionResult::OtherOperator => {
            (Reason::OtherOperator, format!("{what} is put off: another pgreeve is changing this database"))
        }
        ActionResult::Running { message } => (Reason::JobRunning, format!("{what}: {message}")),
        ActionResult::Refused(blocked) => (blocked.reason, format!("{what}: {}", blocked.message)),
        ActionResult::Stale { message } => (Reason::Stale, format!("{what} was not done: {message}; a new plan follows")),
        ActionResult::Failed { sqlstate: Some(code), message } => {
            (Reason::ActionFailed, format!("{what} failed: {message} (SQLSTATE {code})"))
        }
        ActionResult::Failed { sqlstate: None, message } => (Reason::ConnectionLost, format!("{what} failed: {message}")),
    }
}

/// The common part of the status. `requested` is the value of the annotation that this pass has answered.
pub fn report(
    previous: &PolicyStatus,
    generation: Option<i64>,
    requested: Option<&str>,
    finding: &Finding<'_>,
    now: Timestamp,
) -> PolicyStatus {
    let state = state(finding);
    let class = match state.reason {
        // All is as it should be, and will be otherwise soon.
        Reason::JobRunning | Reason::RunStarted => Class::Waiting,
        _ if state.ready => Class::Fine,
        reason => reason.class(),
    };
    let conditions = Conditions::after(&previous.conditions, generation, now)
        .set(READY, state.ready, state.reason, &state.message)
        .set(RECONCILING, class == Class::Waiting, state.reason, if class == Class::Waiting { &state.message } else { "" })
        .set(STALLED, class == Class::Stalled, state.reason, if class == Class::Stalled { &state.message } else { "" })
        .set(DRIFTED, state.drifted, state.reason, if state.drifted { &state.message } else { "" })
        .finish();
    let (plan, run, due) = match finding {
        Finding::Planned { left, gate, run, .. } => (plan_status(left), run.map(last_run), due(left, gate)),
        Finding::Suspended => (None, None, None),
        Finding::Refused(_) => (previous.plan.clone(), None, None),
    };
    PolicyStatus {
        observed_generation: generation,
        conditions,
        plan,
        last_run: run.or_else(|| previous.last_run.clone()),
        next_run: due.map(Time),
        last_handled_reconcile_at: requested.map(str::to_owned).or_else(|| previous.last_handled_reconcile_at.clone()),
    }
}

fn due(left: &Plan, gate: &Gate) -> Option<Timestamp> {
    match gate {
        Gate::Hold { until: Some(until), .. } => Some(*until),
        _ => left.due,
    }
}

fn plan_status(plan: &Plan) -> Option<PlanStatus> {
    if plan.actions.is_empty() {
        return None;
    }
    let lines = plan.actions.iter().take(LISTED).map(|action| shorten(&action.to_string(), 200)).collect();
    Some(PlanStatus {
        fingerprint: plan.fingerprint(),
        summary: plan.summary(),
        actions: lines,
        more: i32::try_from(plan.actions.len().saturating_sub(LISTED)).unwrap_or(i32::MAX),
    })
}

fn last_run(run: Run<'_>) -> LastRun {
    let (outcome, message) = match run.outcome.first_problem() {
        None => (RunOutcome::Succeeded, done(run.outcome)),
        Some((action, result)) => {
            let outcome = match result {
                ActionResult::Deferred { .. } | ActionResult::OtherOperator | ActionResult::Running { .. } => {
                    RunOutcome::Deferred
                }
                ActionResult::Stale { .. } => RunOutcome::Stale,
                ActionResult::Done { .. } | ActionResult::Failed { .. } | ActionResult::Refused(_) => RunOutcome::Failed,
            };
            (outcome, problem(action, result).1)
        }
    };
    LastRun {
        started_at: Time(run.started),
        finished_at: Time(run.finished),
        outcome,
        actions: i32::try_from(run.outcome.done()).unwrap_or(i32::MAX),
        message: shorten(&message, MESSAGE_LIMIT),
    }
}

/// What a successful run did, such as `create events_y2027m01, create events_y2027m02`.
pub fn done(outcome: &Outcome) -> String {
    let actions: Vec<String> = outcome.done_actions().map(|action| format!("{} {}", action.verb(), action.subject())).collect();
    actions.join(", ")
}
