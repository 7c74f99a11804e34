//! What do the Pods of a Job say? A report, a failure, or what they wait for.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;
use serde_json::Value;

use super::manifest::{CONTAINER, SELECTOR};
use crate::api::Reason;
use crate::plan::action::Blocked;

/// Label that the Job controller gives to Pods (batch/v1, since Kubernetes 1.27).
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// What is to be seen of all Pods of a Job.
#[derive(Debug, Default)]
pub struct Sight {
    /// There is a Pod that has not ended.
    pub any: bool,
    /// Its container runs.
    pub started: bool,
    /// The report of one that succeeded.
    pub report: Option<Value>,
    /// What the latest that failed said.
    pub failure: Option<Blocked>,
    /// Why the one that has not ended does not start.
    pub waiting: Option<Waiting>,
}

/// What a Pod waits for.
#[derive(Debug)]
pub struct Waiting {
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// In Kubernetes' words.
    pub message: String,
}

/// Looks at the Pods of this Job, not at those of a former one of its name.
///
/// # Errors
/// What the API server or the connection said.
pub async fn of(client: &Client, job: &Job) -> kube::Result<Sight> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &job.namespace().unwrap_or_default());
    let selector = format!("{SELECTOR},{JOB_NAME}={}", job.name_any());
    let mut found = pods.list(&ListParams::default().labels(&selector)).await?.items;
    found.retain(|pod| pod.owner_references().iter().any(|owner| Some(&owner.uid) == job.metadata.uid.as_ref()));
    found.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
    Ok(see(&found))
}

/// What these Pods say together, the oldest first.
fn see(pods: &[Pod]) -> Sight {
    let mut sight = Sight::default();
    for pod in pods {
        let container = container(pod);
        let ended = container.and_then(|container| container.state.as_ref()?.terminated.as_ref());
        match phase(pod) {
            "Succeeded" => sight.report = ended.and_then(report),
            "Failed" => sight.failure = Some(failure(pod, ended)),
            _ => {
                sight.any = true;
                sight.started |= container.is_some_and(|container| {
                    container.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
                });
                sight.waiting = waiting(pod, container);
            }
        }
    }
    sight
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|status| status.name == CONTAINER)
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

fn report(ended: &ContainerStateTerminated) -> Option<Value> {
    serde_json::from_str(ended.message.as_deref()?).ok().filter(Value::is_object)
}

/// The refusal that a Job reports, as the program writes it.
#[derive(Deserialize)]
struct Refusal {
    reason: String,
    message: String,
}

/// Why a Pod failed: in the Job's own words, else in Kubernetes'.
fn failure(pod: &Pod, ended: Option<&ContainerStateTerminated>) -> Blocked {
    let said = ended.and_then(|ended| ended.message.as_deref()).map(str::trim).filter(|said| !said.is_empty());
    if let Some(refusal) = said.and_then(|said| serde_json::from_str::<Refusal>(said).ok()) {
        return Blocked::new(Reason::named(&refusal.reason).unwrap_or(Reason::JobFailed), refusal.message);
    }
    let disrupted = condition(pod, "DisruptionTarget").and_then(|condition| condition.message.clone());
    let of_pod = pod.status.as_ref().and_then(|status| status.message.clone().or_else(|| status.reason.clone()));
    let of_container = ended.map(|ended| {
        let why = ended.reason.as_deref().unwrap_or("it ended");
        let hint = if why == "OOMKilled" { "; raise job.memory" } else { "" };
        let said = said.map(|said| format!(": {}", said.replace('\n', " "))).unwrap_or_default();
        format!("{why} (exit code {}){hint}{said}", ended.exit_code)
    });
    let message = disrupted.or(of_pod).or(of_container).unwrap_or_else(|| "its Pod ended without a word".into());
    Blocked::new(Reason::JobFailed, message)
}

/// Reasons for waiting that are no reason for concern.
const USUAL: [&str; 2] = ["ContainerCreating", "PodInitializing"];

fn waiting(pod: &Pod, container: Option<&ContainerStatus>) -> Option<Waiting> {
    let since = |condition: &PodCondition| condition.last_transition_time.as_ref().map(|time| time.0);
    if let Some(unplaced) = condition(pod, "PodScheduled").filter(|condition| condition.status == "False") {
        let message = unplaced.message.clone().or_else(|| unplaced.reason.clone()).unwrap_or_default();
        return Some(Waiting { since: since(unplaced), message: format!("no node takes it: {message}") });
    }
    let since = condition(pod, "PodScheduled").and_then(since);
    let state = container.and_then(|container| container.state.as_ref());
    if state.is_some_and(|state| state.waiting.is_none()) {
        return None;
    }
    let state = state.and_then(|state| state.waiting.as_ref());
    let Some(reason) = state.and_then(|state| state.reason.as_deref()).filter(|reason| !USUAL.contains(reason)) else {
        let name = pod.name_any();
        let message = format!("it is being started; `kubectl describe pod {name}` tells what lacks (a volume, a Secret)");
        return Some(Waiting { since, message });
    };
    let said = state.and_then(|state| state.message.as_ref()).map(|message| format!(": {message}")).unwrap_or_default();
    Some(Waiting { since, message: format!("{reason}{said}") })
}

#[cfg(test)]
mod tests;
