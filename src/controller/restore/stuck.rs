//! What becomes of a restore that cannot get at its server? Workloads do not wait for it longer than they may.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Outcome, Restores, acts};
use crate::api::restore::{RestoreStatus, Step};
use crate::api::{Reason, Restore};
use crate::cluster::jobs::Owner;
use crate::plan::action::Blocked;
use crate::plan::restore::DOWN;
use crate::plan::restore::stranded::{Without, without};

/// How soon is tried again while somebody may wait for the database, or nobody tells when the way is free.
pub(super) const SOON: SignedDuration = SignedDuration::from_secs(5);

/// Whether a pass that came to nothing for this reason is followed by another one soon.
pub(super) fn is_soon(status: &RestoreStatus, reason: Reason) -> bool {
    disturbs(status) || matches!(reason, Reason::OtherOperator | Reason::Stale)
}

/// Whether the application is without its database, or may be.
fn disturbs(status: &RestoreStatus) -> bool {
    let is_between = matches!(status.step, Step::Quiescing | Step::Fencing | Step::Swapping | Step::Unfencing | Step::ScalingUp);
    is_between || status.workloads.iter().any(|workload| workload.state.as_deref() == Some(DOWN))
}

/// Whether a pass did not begin because the way to the server is lost. Else another one is at work, or the next one goes on.
const fn is_lost(reason: Reason) -> bool {
    !matches!(reason, Reason::OtherOperator | Reason::Stale | Reason::RestoreWaits | Reason::KubernetesUnavailable)
}

impl Restores {
    /// What a pass comes to that could not begin.
    pub(super) async fn stuck(
        &self,
        object: &Restore,
        owner: &Owner,
        mut status: RestoreStatus,
        blocked: Blocked,
    ) -> (RestoreStatus, Result<Outcome, Blocked>) {
        if !is_lost(blocked.reason) {
            return (status, Err(blocked));
        }
        match without(&object.spec, &status, self.now()) {
            Without::Wait => return (status, Err(blocked)),
            Without::Raise => {}
            Without::GiveUp(failure) => {
                status.failure.get_or_insert(format!("{failure}: {}", blocked.message));
                status.step = Step::ScalingUp;
                status.step_at = Some(Time(self.now()));
                return (status, Ok(Outcome::done("gives up: workloads come back")));
            }
            Without::Back => {
                status.step = Step::ScalingUp;
                status.step_at = Some(Time(self.now()));
                return (status, Ok(Outcome::done("workloads come back, and it is tried again")));
            }
        }
        let raised = acts::raise_all(&self.context, owner, &mut status).await;
        (status, raised.and(Err(blocked)))
    }
}
