//! Who brings back what no Restore looks after any more? Looked for at the start, and now and then.
//!
//! A Restore brings its workloads back itself, its finalizer too. What is left to find are workloads of one that went without either: its
//! finalizer was removed by hand, its namespace's objects were put back from a copy without it, or its status was lost.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;

use super::Context;
use crate::api::restore::{ScaledWorkload, Step};
use crate::api::{Reason, Restore};
use crate::cluster::events::Events;
use crate::cluster::objects::{self, Fetched};
use crate::cluster::workloads::{self, RestoreId, Stranded, UP};
use crate::plan::action::Blocked;

/// Sweeps a namespace, or all, until the operator stops.
pub(super) fn sweep(context: &Context, namespace: Option<String>) -> impl Future<Output = ()> + Send + 'static {
    let context = context.clone();
    async move {
        let stop = context.stop.clone();
        let endless = async {
            loop {
                if let Err(blocked) = once(&context.client, &context.events, namespace.as_deref()).await {
                    tracing::warn!(error = %blocked.message, "workloads that a Restore left down were not looked for");
                }
                tokio::time::sleep(context.config.sweep).await;
            }
        };
        stop.run_until_cancelled(endless).await;
    }
}

/// How often it is looked for, unless somebody says otherwise.
pub(super) const EVERY: Duration = Duration::from_secs(600);

/// Sweeps once. One workload that cannot be brought back keeps no other one down.
///
/// # Errors
/// [`Reason::KubernetesUnavailable`] where the API server gives no answer.
pub async fn once(client: &Client, events: &Events, namespace: Option<&str>) -> Result<(), Blocked> {
    for Stranded { restore, mut workload } in workloads::stranded(client, namespace).await? {
        if let Some(why) = left(client, &restore, &workload.uid).await? {
            match workloads::raise(client, &restore.namespace, &restore.owner(), &mut workload).await {
                Ok(true) => tell(events, &restore, &workload, &why).await,
                Ok(false) => {}
                Err(blocked) => tracing::warn!(error = %blocked.message, "a workload that a Restore left down"),
            }
        }
    }
    for held in workloads::held(client, namespace).await? {
        if left(client, &held.restore, &held.workload).await?.is_some()
            && let Err(blocked) = workloads::let_go(client, &held).await
        {
            tracing::warn!(error = %blocked.message, "something that a Restore left held");
        }
    }
    Ok(())
}

/// Why a Restore does not look after a workload; `None` where it does. One that our types cannot read is not judged. The workload was read
/// before its Restore, and a Restore has it in its status before it touches it.
async fn left(client: &Client, restore: &RestoreId, workload: &str) -> Result<Option<String>, Blocked> {
    let found = objects::fetch::<Restore>(client, &restore.namespace, &restore.name).await;
    let found = match found {
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        found => found.map_err(|error| objects::unavailable(&format!("Restore {}", restore.name), &error))?,
    };
    let Some(Fetched { raw, typed }) = found.filter(|found| found.raw.metadata.uid.as_ref() == Some(&restore.uid)) else {
        return Ok(Some(format!("Restore {} is gone", restore.name)));
    };
    let Ok(found) = typed else { return Ok(None) };
    // A status that cannot be read is left out of the typed object; it may know the workload all the same.
    if found.status.is_none() && raw.data.get("status").is_some_and(|status| !status.is_null()) {
        return Ok(None);
    }
    let status = found.status.unwrap_or_default();
    let known = status.workloads.iter().find(|known| known.uid == workload);
    let is_done = |known: &ScaledWorkload| status.step == Step::Done && known.state.as_deref() == Some(UP);
    Ok(known.is_none_or(is_done).then(|| format!("Restore {} has nothing left to do for it", restore.name)))
}

async fn tell(events: &Events, restore: &RestoreId, workload: &ScaledWorkload, why: &str) {
    let state = workload.state.as_deref().unwrap_or_default();
    let message = match workload.replicas.filter(|_| state == UP) {
        Some(replicas) => format!("{why}: scaled back to replicas {replicas}"),
        None if state == UP => format!("{why}: its suspension is what it was"),
        None => format!("{why}: {state}"),
    };
    tracing::info!(kind = workload.kind, name = workload.name, namespace = restore.namespace, message, "brought back");
    let regarding = ObjectReference {
        api_version: Some(workload.api_version.clone()),
        kind: Some(workload.kind.clone()),
        namespace: Some(restore.namespace.clone()),
        name: Some(workload.name.clone()),
        uid: Some(workload.uid.clone()),
        ..ObjectReference::default()
    };
    events.publish(&regarding, Reason::Applied, false, &message).await;
}
