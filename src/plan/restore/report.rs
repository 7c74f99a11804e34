//! How is a restore reported? Its conditions, from the status and from what the last pass came to.

use jiff::Timestamp;

use crate::api::Reason;
use crate::api::condition::{Conditions, READY, RECONCILING, STALLED};
use crate::api::reason::Class;
use crate::api::restore::{RestoreStatus, Step};
use crate::plan::status::State;

/// The restored database is in use.
pub const COMPLETE: &str = "Complete";
/// It is not, and will not be; what could be put back was.
pub const FAILED: &str = "Failed";
/// It is under way.
pub const PROGRESSING: &str = "Progressing";

/// What a pass came to, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Why.
    pub reason: Reason,
    /// What is done or waited for.
    pub message: String,
}

impl Said {
    /// A reason and a message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// The state that it amounts to.
pub fn state(status: &RestoreStatus, said: &Said) -> State {
    let failure = status.failure.as_deref();
    let (ready, reason, message) = match (failure, status.step) {
        (Some(_), Step::Done) if said.reason == Reason::RestoreFailed => (false, said.reason, said.message.clone()),
        (Some(failure), _) if *failure == said.message => (false, said.reason, failure.to_owned()),
        (Some(failure), _) => (false, said.reason, format!("{} (it has failed: {failure})", said.message)),
        (None, Step::Keeping | Step::Done) => (said.reason.class() == Class::Fine, said.reason, said.message.clone()),
        (None, _) => (false, said.reason, said.message.clone()),
    };
    State { ready, reason, message, drifted: false }
}

/// The status with its conditions.
pub fn report(
    mut status: RestoreStatus,
    generation: Option<i64>,
    requested: Option<&str>,
    said: &Said,
    now: Timestamp,
) -> (RestoreStatus, State) {
    let state = state(&status, said);
    let has_failed = status.failure.is_some();
    // Whoever waits for an end finds everything back that comes back, and knows until when it can be undone. Where strategy Replace has dropped
    // the database, nothing can be put back, and a person need not wait to hear of it.
    let failed = has_failed && (status.step == Step::Done || status.dropped_at.is_some());
    let is_settled = status.step == Step::Done || status.step == Step::Keeping && status.rollback_until.is_some();
    let complete = status.completed_at.is_some() && is_settled && !has_failed;
    let waits = status.step == Step::AwaitingConfirmation;
    let progressing = !waits && !matches!(status.step, Step::Keeping | Step::Done);
    let stalled = state.reason.class() == Class::Stalled;
    let reconciling = progressing && !stalled;
    let message = state.message.as_str();
    let if_so = |is_so: bool| if is_so { message } else { "" };
    status.conditions = Conditions::after(&status.conditions, generation, now)
        .set(COMPLETE, complete, state.reason, message)
        .set(
            FAILED,
            failed,
            if failed { Reason::RestoreFailed } else { state.reason },
            status.failure.as_deref().filter(|_| failed).unwrap_or_default(),
        )
        .set(PROGRESSING, progressing, state.reason, if_so(progressing))
        .set(READY, state.ready, state.reason, message)
        .set(RECONCILING, reconciling, state.reason, if_so(reconciling))
        .set(STALLED, stalled, state.reason, if_so(stalled))
        .finish();
    status.observed_generation = generation;
    status.last_handled_reconcile_at = requested.map(str::to_owned).or(status.last_handled_reconcile_at);
    (status, state)
}
