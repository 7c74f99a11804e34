//! How do applications make way for a restore, and come back as they were?
//!
//! Flow: [`find`] says what is meant and what it has, and its answer is written into the status of the Restore. Only then [`lower`] takes
//! each to nothing, and [`raise`] brings it back. [`stranded`] finds what nobody brings back any more.
//!
//! Guarantees:
//! - Each can be repeated, after any crash, and ends in the same state. What a workload had is never read again once it is recorded.
//! - There are two witnesses of it: the status of the Restore, and an annotation on the workload, which is set before the workload changes or
//!   with it, and removed when all is back.
//! - Whatever is changed is changed as it was read: another object of the same name, or one that somebody changes at that moment, is not touched.
//! - A person's change wins: what is not at nothing any more when it is to come back stays as it is, and that is said.
//! - What would scale a workload up meanwhile is held by its documented switch, where it lies in the same namespace and the operator may, and let
//!   go exactly as it was. What cannot be held is undone, and counted.
//!
//! It needs of the API: get, list and patch of the kinds that are scaled, list of Pods and Jobs, and of autoscalers and what else is to be held.

mod hold;
mod kind;
mod lower;
mod pods;
mod raise;
mod rivals;
mod scale;
mod stranded;
mod which;
mod witness;

use kube::Client;

use super::jobs::Owner;
use crate::api::restore::{ScaledWorkload, Workload};
use crate::plan::action::Blocked;
pub use hold::RESTORE_HOLD;
pub use stranded::{Held, Stranded};
pub use witness::{RESTORE_STATE, RESTORED_BY, RestoreId};

/// The field manager of what is changed in workloads.
const MANAGER: &str = "pgreeve-restore";

/// [`ScaledWorkload::state`] of one that is down.
pub const DOWN: &str = "Down";
/// [`ScaledWorkload::state`] of one that is back.
pub const UP: &str = "Up";

/// How often a change is tried anew that somebody else's change has met.
const TRIES: usize = 5;

/// How far down a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lowered {
    /// It asks for nothing, and none of its Pods is left.
    Gone,
    /// It asks for nothing; so many of its Pods are still there.
    Pods(usize),
    /// It is left alone; `state` says why.
    Skipped,
}

/// Everything that is meant, with what it has and what would scale it up; nothing is changed.
///
/// # Errors
/// [`InvalidSpec`](crate::api::Reason) for a kind that is unknown or has no scale, and for a wrong selector; `WorkloadNotFound` where a name
/// or a selector means nothing; `WorkloadForbidden` where the operator lacks a right; `WorkloadTaken` where a Restore has it already;
/// `KubernetesUnavailable` where the API server gives no answer.
pub async fn find(client: &Client, namespace: &str, wanted: &[Workload]) -> Result<Vec<ScaledWorkload>, Blocked> {
    which::find(client, namespace, wanted).await
}

/// The same, but what does not exist any more is no error: it is answered too, by what it is called.
///
/// # Errors
/// As [`find`], without `WorkloadNotFound`.
pub async fn find_left(
    client: &Client,
    namespace: &str,
    wanted: &[Workload],
) -> Result<(Vec<ScaledWorkload>, Vec<String>), Blocked> {
    which::find_left(client, namespace, wanted).await
}

/// Takes a workload to nothing, and says how much of it still runs. To be repeated until it is gone, and as long as it is to stay so:
/// whoever scales it up again meanwhile is undone, and counted in `fought`.
///
/// # Errors
/// `WorkloadTaken` where another Restore has it; `WorkloadForbidden`; `KubernetesUnavailable`.
pub async fn lower(client: &Client, namespace: &str, restore: &Owner, workload: &mut ScaledWorkload) -> Result<Lowered, Blocked> {
    lower::lower(client, &RestoreId::of(namespace, restore), workload).await
}

/// Brings a workload back to exactly what it had, and lets go what was held. Returns whether there is nothing left to do. What it does not
/// touch, because somebody else has changed it, it says in `state`.
///
/// # Errors
/// `WorkloadForbidden`; `KubernetesUnavailable`.
pub async fn raise(client: &Client, namespace: &str, restore: &Owner, workload: &mut ScaledWorkload) -> Result<bool, Blocked> {
    raise::raise(client, &RestoreId::of(namespace, restore), workload).await
}

/// The workloads that say that they are down for a Restore, in a namespace or in all. Whether the Restore still looks after them, it knows.
///
/// # Errors
/// `KubernetesUnavailable` where the API server gives no answer.
pub async fn stranded(client: &Client, namespace: Option<&str>) -> Result<Vec<Stranded>, Blocked> {
    stranded::workloads(client, namespace).await
}

/// What is held for a workload of a Restore, in a namespace or in all: the workload itself may be gone.
///
/// # Errors
/// `KubernetesUnavailable` where the API server gives no answer.
pub async fn held(client: &Client, namespace: Option<&str>) -> Result<Vec<Held>, Blocked> {
    stranded::held(client, namespace).await
}

/// Lets go what is held for a workload.
///
/// # Errors
/// `WorkloadForbidden`; `KubernetesUnavailable`.
pub async fn let_go(client: &Client, held: &Held) -> Result<(), Blocked> {
    stranded::let_go(client, held).await
}

/// What a workload came to nothing from, or to which a request was refused.
enum Failure {
    Api(kube::Error),
    Blocked(Blocked),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

impl Failure {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.is_conflict())
    }

    fn blocked(self, restore: &RestoreId, workload: &ScaledWorkload) -> Blocked {
        match self {
            Self::Blocked(blocked) => blocked,
            Self::Api(error) => {
                let what = format!("{} {} in namespace {}", workload.kind, workload.name, restore.namespace);
                kind::refused(&what, &error)
            }
        }
    }
}
