//! What is left behind when somebody deletes a Restore? Nothing that is in anybody's way: the database is open under its name, workloads are
//! back, and what only the restore needed is gone. A replaced database that is kept stays, and an event says so.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource as _, ResourceExt as _};

use super::turn::Turn;
use super::{Outcome, Restores, Then, acts};
use crate::api::restore::{RestoreStatus, Step, Strategy};
use crate::api::{Reason, Restore};
use crate::cluster::jobs::{self, Owner};
use crate::controller::kind::Report;
use crate::plan::action::Blocked;
use crate::plan::restore::farewell::{Farewell, farewell};
use crate::plan::restore::is_up;
use crate::plan::restore::report::Said;

/// Most things that one pass puts back.
const MOST: usize = 8;

/// Whether a Restore may have touched something.
pub(super) fn needs_finalizer(object: &Restore) -> bool {
    let touches = |status: &RestoreStatus| match status.step {
        Step::Preflight | Step::AwaitingConfirmation => false,
        // Workloads that stay down after a failure are still its own.
        Step::Done => !is_up(&status.workloads),
        _ => true,
    };
    object.status.as_ref().is_some_and(touches)
}

/// How long what tells the way to the server may be missing: tools that make objects anew delete them first.
const MISSING: SignedDuration = SignedDuration::from_mins(5);

/// Whether there is no way to that server any more, for anybody.
fn is_for_good(object: &Restore, status: &RestoreStatus, blocked: &Blocked, now: Timestamp) -> bool {
    let is_missing = matches!(blocked.reason, Reason::DatabaseNotFound | Reason::SecretNotFound);
    // The connection leads to another server by now. Nothing has to be put back any more, and what is kept is kept there.
    let is_elsewhere = blocked.reason == Reason::DatabaseMissing && status.step >= Step::Keeping;
    let since = object.metadata.deletion_timestamp.as_ref().map_or(now, |at| at.0);
    is_elsewhere || is_missing && (status.step >= Step::Keeping || now.duration_since(since) > MISSING)
}

/// Whether there may be no database of the name.
fn is_replacing(object: &Restore, status: &RestoreStatus) -> bool {
    let is_between = matches!(status.step, Step::Restoring | Step::Fencing | Step::Swapping | Step::Unfencing);
    object.spec.strategy == Strategy::Replace && is_between && status.completed_at.is_none()
}

/// What is left of a Restore that somebody has deleted.
enum Left {
    /// This is still waited for.
    Something(Said),
    /// Nothing, and what became of its databases.
    Nothing(Option<Farewell>),
}

impl Restores {
    /// One pass over a Restore that somebody has deleted; `None` where nothing of it is left.
    pub(super) async fn leave(&self, object: &Restore, owner: &Owner) -> Result<Option<Report>, Blocked> {
        self.held.release(owner).await;
        let mut status = object.status.clone().unwrap_or_default();
        let left = self.put_back(object, owner, &mut status).await;
        let waits = match left {
            Ok(Left::Nothing(farewell)) => {
                if let Some(Farewell { message, is_warning }) = farewell {
                    self.tell(object, is_warning, &message).await;
                }
                return Ok(None);
            }
            Ok(Left::Something(said)) => Ok(Outcome::new(said, Then::At(self.now() + SignedDuration::from_secs(1)))),
            Err(blocked)
                if is_for_good(object, &status, &blocked, self.now())
                    || jobs::is_terminating(&self.context.client, &owner.namespace).await =>
            {
                let kept = status
                    .previous_database
                    .as_deref()
                    .map(|kept| format!("; database {kept}, which was kept from before, may still be on the former server"));
                let why = format!("let go although its database could not be looked after: {}", blocked.message);
                self.tell(object, true, &(why + &kept.unwrap_or_default())).await;
                return Ok(None);
            }
            Err(blocked) => {
                let message = format!("deleted, and waits to put back what it has touched: {}", blocked.message);
                Err(Blocked::new(blocked.reason, message))
            }
        };
        Ok(Some(self.reported(status, object.metadata.generation, None, waits).0))
    }

    async fn put_back(&self, object: &Restore, owner: &Owner, status: &mut RestoreStatus) -> Result<Left, Blocked> {
        if status.step == Step::Done {
            let there = acts::raise_all(&self.context, owner, status).await?;
            let said = || Said::new(Reason::Restoring, format!("brings back {}", there.join(", ")));
            return Ok(if there.is_empty() { Left::Nothing(None) } else { Left::Something(said()) });
        }
        for _ in 0..MOST {
            let mut turn = match Turn::begin(&self.context, object, owner, status.clone()).await {
                Ok(turn) => turn,
                Err(blocked) => {
                    // Workloads need not wait for a server that does not answer, unless they would wait for the database.
                    if is_for_good(object, status, &blocked, self.now()) || !is_replacing(object, status) {
                        self.context.jobs.stop(owner).await?;
                        acts::raise_all(&self.context, owner, status).await?;
                    }
                    self.measure(object, status, None);
                    return Err(blocked);
                }
            };
            if !turn.is_dropped() {
                self.context.jobs.stop(owner).await?;
            }
            let (outcome, is_closed) = (turn.let_go().await, turn.is_closed());
            let farewell = farewell(&turn.facts());
            *status = turn.over().await;
            self.measure(object, status, Some(is_closed));
            match outcome? {
                None => return Ok(Left::Nothing(farewell)),
                Some(Outcome { said, then: Then::At(_) | Then::Wait, .. }) => return Ok(Left::Something(said)),
                Some(_) => {}
            }
        }
        Ok(Left::Something(Said::new(Reason::Restoring, "puts back what the restore has touched")))
    }

    async fn tell(&self, object: &Restore, is_warning: bool, message: &str) {
        let regarding: ObjectReference = object.object_ref(&());
        tracing::info!(restore = %object.name_any(), message, "deleted");
        self.context.events.publish(&regarding, Reason::Applied, is_warning, message).await;
    }
}
