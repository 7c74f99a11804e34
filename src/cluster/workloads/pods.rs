//! How much of a workload still runs?

use std::collections::HashSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt as _};

use super::kind::How;
use super::scale::Found;

/// Kubernetes' label of the Pods of Jobs.
const JOB: &str = "batch.kubernetes.io/job-name";

/// Pods that have not ended, those on their way out included. A workload whose controller has not seen yet that it is to be down, or a
/// Job without a Pod, counts as one.
pub(super) async fn left(client: &Client, namespace: &str, found: &Found) -> kube::Result<usize> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let left = match (found.kind.how, &found.pods) {
        (How::Suspend, _) => return of_jobs(client, namespace, &pods, found).await,
        (_, Some(selector)) => running(&pods, selector).await?.len(),
        (_, None) => reported(found),
    };
    Ok(if found.is_seen() { left } else { left.max(1) })
}

/// What a workload says that does not tell the labels of its Pods.
fn reported(found: &Found) -> usize {
    found.object.data["status"]["replicas"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

async fn running(pods: &Api<Pod>, selector: &str) -> kube::Result<Vec<Pod>> {
    let mut found = pods.list(&ListParams::default().labels(selector)).await?.items;
    found.retain(|pod| !matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed")));
    Ok(found)
}

/// Those of the Jobs that a CronJob has begun: that it is suspended does not end them.
async fn of_jobs(client: &Client, namespace: &str, pods: &Api<Pod>, found: &Found) -> kube::Result<usize> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let jobs = jobs.list(&ListParams::default()).await?.items;
    let unfinished: HashSet<String> = jobs
        .iter()
        .filter(|job| owned_by(*job, &found.object.uid().unwrap_or_default()) && !is_finished(job))
        .filter_map(Job::uid)
        .collect();
    if unfinished.is_empty() {
        return Ok(0);
    }
    let pods = running(pods, JOB).await?;
    let theirs = pods.iter().filter(|pod| pod.owner_references().iter().any(|owner| unfinished.contains(&owner.uid))).count();
    Ok(theirs.max(unfinished.len()))
}

fn owned_by<K: Resource>(object: &K, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.uid == uid)
}

fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .is_some_and(|all| all.iter().any(|one| one.status == "True" && matches!(one.type_.as_str(), "Complete" | "Failed")))
}
