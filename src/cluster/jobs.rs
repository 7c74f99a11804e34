//! How does long work get done? By a Job, which is made once, looked at until it has ended, and removed when its report is recorded.
//!
//! Flow: [`build`] says what the Job is, [`ensure`] makes it where it lacks and says how far it is, [`forget`] removes it.
//!
//! Guarantees:
//! - The same task of the same owner is one Job, whoever asks, however often: the name is a digest of both. A restarted operator, or a
//!   second one, meets the Job that is there.
//! - A report is read as often as one asks, until the Job is forgotten. If it is lost, with its Pod or with the Job, the task runs again.
//! - A Job goes with its owner.
//!
//! It needs of the API: get, list, create and delete of Jobs, and list of Pods.

pub mod manifest;
pub mod mounts;
mod pods;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::objects::unavailable;
use crate::api::Reason;
use crate::api::condition::shorten;
use crate::plan::action::Blocked;
use crate::plan::task::Task;
use manifest::{ATTEMPT, DATABASE, SELECTOR};
pub use manifest::{Image, Owner, build, name};
use pods::Sight;

/// How long a Pod may wait for its image, its node or its permission before that counts as a failure.
const STUCK: Duration = Duration::from_secs(600);

/// How long after its first failure a Job is tried again; twice as long after each further one.
const RETRY: Duration = Duration::from_secs(60);

/// Longest time after which a failed Job is tried again.
const RETRY_LONGEST: Duration = Duration::from_secs(3600);

/// Between what a failed Job says and when it is tried again.
const AGAIN: &str = "; it is tried again at ";

/// Longest part of what a Job or Kubernetes says that a message quotes.
const QUOTED: usize = 600;

/// How far a Job is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It is not at its end.
    Running {
        /// Since when its Job is there; `None` while it is only about to be.
        since: Option<Timestamp>,
        /// Whether its Pod is at work, so that nothing but its end is to be expected.
        started: bool,
        /// What it is doing, or waiting for.
        message: String,
        /// How many tries in a row have failed before this one.
        failures: u32,
    },
    /// It has done its task.
    Succeeded {
        /// Its report.
        report: Value,
    },
    /// It has failed, and stays for those who want to read its log until it is tried again.
    Failed {
        /// Why, in its own words where it had any left, else [`Reason::JobFailed`].
        reason: Reason,
        /// Why, and when it is tried again.
        message: String,
        /// When that is.
        retry: Timestamp,
        /// How many times in a row it has failed.
        times: u32,
    },
}

/// Makes the Job where it lacks, and says how far it is. A Job that failed is made anew when its time has come. `busy` says why no Job
/// may begin just now; one that is there is looked at all the same.
///
/// # Errors
/// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses; [`Reason::JobFailed`] where the name belongs to
/// somebody else.
pub async fn ensure(client: &Client, wanted: &Job, busy: Option<&str>, now: Timestamp) -> Result<State, Blocked> {
    let jobs = api(client, wanted);
    let name = wanted.name_any();
    let unavailable = |error| unavailable(&format!("Job {name}"), &error);
    let waits = |busy: &str| Ok(waiting(format!("Job {name} waits: {busy}")));
    let Some(found) = jobs.get_opt(&name).await.map_err(unavailable)? else {
        return match busy {
            Some(busy) => waits(busy),
            None => create(&jobs, wanted, "is about to start").await,
        };
    };
    is_ours(owner_uid(wanted), &found)?;
    match look(client, &found, now).await? {
        State::Failed { retry, .. } if retry <= now && busy.is_none() => renew(&jobs, wanted, &found).await,
        state => Ok(state),
    }
}

/// How far a Job is that was found, such as by [`of_owner`]. Nothing is made and nothing removed.
///
/// # Errors
/// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
pub async fn look(client: &Client, found: &Job, now: Timestamp) -> Result<State, Blocked> {
    let name = found.name_any();
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(waiting(format!("Job {name} is being deleted; it is made anew when it is gone")));
    }
    let pods = pods::of(client, found).await.map_err(|error| unavailable(&format!("Job {name}"), &error))?;
    let failed = match end(found, &pods) {
        None => match stuck(found, &pods, now) {
            None => return Ok(running(found, &pods)),
            Some(failed) => failed,
        },
        Some(End::Succeeded(report)) => return Ok(State::Succeeded { report }),
        Some(End::Failed(failed)) => failed,
    };
    let times = attempt(found);
    let retry = retry_at(failed.at, times);
    let Failure { reason, message, .. } = failed;
    let message = format!("Job {name} {message}{AGAIN}{retry:.0}, or at once when it is deleted");
    Ok(State::Failed { reason, message, retry, times })
}

/// What a failed Job says, without the promise of another try.
pub fn last_words(message: &str) -> &str {
    message.split_once(AGAIN).map_or(message, |(said, _)| said)
}

/// The Jobs of an owner, whatever has become of them, and what each is to do; without those that another version of ours has made and that are
/// not understood.
///
/// # Errors
/// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
pub async fn of_owner(client: &Client, owner: &Owner) -> Result<Vec<(Job, Task)>, Blocked> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), &owner.namespace);
    let found = jobs.list(&ListParams::default().labels(&manifest::selector_of(owner))).await;
    let mut found = found.map_err(|error| unavailable(&format!("Jobs of {} {}", owner.kind, owner.name), &error))?.items;
    found.retain(|job| owner_uid(job) == Some(&owner.uid));
    Ok(found.into_iter().filter_map(|job| Some((manifest::told(&job)?, job))).map(|(task, job)| (job, task)).collect())
}

/// Removes a Job and its Pods, once its report is recorded or nobody wants it any more. One that is gone is fine, and one of somebody else
/// stays. Returns whether none of ours is left.
///
/// # Errors
/// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
pub async fn forget(client: &Client, owner: &Owner, name: &str) -> Result<bool, Blocked> {
    let unavailable = |error| unavailable(&format!("Job {name}"), &error);
    let jobs: Api<Job> = Api::namespaced(client.clone(), &owner.namespace);
    match jobs.get_opt(name).await.map_err(unavailable)? {
        Some(found) if is_ours(Some(&owner.uid), &found).is_ok() => delete(&jobs, &found).await,
        _ => Ok(true),
    }
}

/// The same, but a Job whose Pod is at work stays: what is under way ends sooner than what would begin anew.
///
/// # Errors
/// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
pub async fn forget_idle(client: &Client, owner: &Owner, name: &str) -> Result<bool, Blocked> {
    let unavailable = |error| unavailable(&format!("Job {name}"), &error);
    let jobs: Api<Job> = Api::namespaced(client.clone(), &owner.namespace);
    let Some(found) = jobs.get_opt(name).await.map_err(unavailable)? else { return Ok(true) };
    let ready = found.status.as_ref().and_then(|status| status.ready).unwrap_or(0);
    if ready > 0 && finished(&found).is_none() {
        return Ok(false);
    }
    if is_ours(Some(&owner.uid), &found).is_ok() { delete(&jobs, &found).await } else { Ok(true) }
}

/// Names of the Jobs that are at work on a PostgresDatabase, whoever wants them.
///
/// # Errors
/// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
pub async fn at_work(client: &Client, namespace: &str, database: &str) -> Result<Vec<String>, Blocked> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let selector = format!("{SELECTOR},{DATABASE}={}", manifest::label_value(database));
    let found = jobs.list(&ListParams::default().labels(&selector)).await;
    let found = found.map_err(|error| unavailable(&format!("Jobs of PostgresDatabase {database}"), &error))?;
    Ok(found.iter().filter(|job| finished(job).is_none()).map(|job| job.name_any()).collect())
}

/// Whether a namespace is being deleted: then nothing can be made in it any more. Asked by making a Job that is not made.
pub async fn is_terminating(client: &Client, namespace: &str) -> bool {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "none", "image": "none"}]}});
    let probe = json!({"metadata": {"generateName": "pgreeve-"}, "spec": {"template": template}});
    let Ok(probe) = serde_json::from_value::<Job>(probe) else { return false };
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let Err(kube::Error::Api(status)) = jobs.create(&PostParams { dry_run: true, ..PostParams::default() }, &probe).await else {
        return false;
    };
    // Of the admission plugin NamespaceLifecycle (core/v1, NamespaceTerminatingCause).
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_not_found() || causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// How a Job ended.
enum End {
    Succeeded(Value),
    Failed(Failure),
}

struct Failure {
    reason: Reason,
    message: String,
    at: Timestamp,
}

/// A Job that is not there yet.
fn waiting(message: String) -> State {
    State::Running { since: None, started: false, message, failures: 0 }
}

fn api(client: &Client, job: &Job) -> Api<Job> {
    Api::namespaced(client.clone(), &job.namespace().unwrap_or_default())
}

async fn create(jobs: &Api<Job>, wanted: &Job, what: &str) -> Result<State, Blocked> {
    let name = wanted.name_any();
    let message = format!("Job {name} {what}");
    match jobs.create(&PostParams::default(), wanted).await {
        Ok(created) => {
            let since = created.creation_timestamp().map(|time| time.0);
            Ok(State::Running { since, started: false, message, failures: attempt(wanted).saturating_sub(1) })
        }
        // Somebody was faster, or the former one is not quite gone: the next look tells.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(waiting(message)),
        // A quota on Jobs, an admission rule: words that a person needs, and which no retry of ours changes.
        Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_invalid() => {
            Err(Blocked::new(Reason::JobFailed, format!("Job {name} cannot be made: {}", shorten(&status.message, QUOTED))))
        }
        Err(error) => Err(unavailable(&format!("Job {name}"), &error)),
    }
}

/// The same Job from its beginning. Between the two requests there is none: whoever comes then makes it, as its first try.
async fn renew(jobs: &Api<Job>, wanted: &Job, found: &Job) -> Result<State, Blocked> {
    delete(jobs, found).await?;
    let mut wanted = wanted.clone();
    wanted.annotations_mut().insert(ATTEMPT.to_owned(), attempt(found).saturating_add(1).to_string());
    create(jobs, &wanted, "is tried again").await
}

/// Deletes this very Job, not a namesake that was made meanwhile. Its Pods follow. Returns whether none is left.
async fn delete(jobs: &Api<Job>, found: &Job) -> Result<bool, Blocked> {
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: found.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    match jobs.delete(&found.name_any(), &parameters).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
        Err(error) => Err(unavailable(&format!("Job {}", found.name_any()), &error)),
    }
}

fn owner_uid(job: &Job) -> Option<&str> {
    job.owner_references().iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

fn is_ours(uid: Option<&str>, found: &Job) -> Result<(), Blocked> {
    if uid.is_some() && uid == owner_uid(found) {
        return Ok(());
    }
    let name = found.name_any();
    Err(Blocked::new(Reason::JobFailed, format!("Job {name} exists and is not ours; see who made it, and delete it")))
}

fn attempt(job: &Job) -> u32 {
    job.annotations().get(ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// When a Job that failed at a moment, at its nth attempt, is tried again.
fn retry_at(failed: Timestamp, attempt: u32) -> Timestamp {
    let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    failed.saturating_add(RETRY.saturating_mul(factor).min(RETRY_LONGEST)).unwrap_or(Timestamp::MAX)
}

/// The condition that says that a Job has ended; `FailureTarget` and the like only say that it is about to.
fn finished(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed"))
}

fn end(job: &Job, pods: &Sight) -> Option<End> {
    let condition = finished(job)?;
    let at = condition.last_transition_time.as_ref().map_or_else(|| made(job), |time| time.0);
    if condition.type_ == "Complete" {
        let lost = || {
            let message = "has done its task, but its report is lost with its Pod, so that it must say it again".to_owned();
            End::Failed(Failure { reason: Reason::JobFailed, message, at })
        };
        return Some(pods.report.clone().map_or_else(lost, End::Succeeded));
    }
    let of_kubernetes = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or("no reason was given");
    let (reason, said) = match (condition.reason.as_deref(), &pods.failure) {
        (Some("DeadlineExceeded"), _) => {
            (Reason::JobFailed, "was ended at its job.activeDeadline; what it has done stays done".to_owned())
        }
        (_, Some(failure)) => (failure.reason, format!("failed: {}", shorten(&failure.message, QUOTED))),
        (_, None) => (Reason::JobFailed, format!("failed: {}", shorten(of_kubernetes, QUOTED))),
    };
    Some(End::Failed(Failure { reason, message: said, at }))
}

/// Whether a Job has come to nothing for so long that somebody must hear of it: its Pod cannot be made, placed or started.
fn stuck(job: &Job, pods: &Sight, now: Timestamp) -> Option<Failure> {
    let (since, message) = match &pods.waiting {
        _ if pods.started || is_suspended(job) => return None,
        Some(waiting) => (waiting.since.unwrap_or_else(|| made(job)), format!("cannot start its Pod: {}", waiting.message)),
        None if pods.any => return None,
        None => (made(job), no_pod(job)),
    };
    let at = since.saturating_add(STUCK).ok()?;
    let message = shorten(&message, QUOTED);
    (at <= now).then_some(Failure { reason: Reason::JobFailed, message, at })
}

/// What a Job without a Pod says. Kubernetes tells why in an event, which the operator has no right to read.
fn no_pod(job: &Job) -> String {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    format!("has no Pod yet; `kubectl -n {namespace} describe job {name}` tells why (a quota, a service account, Pod security)")
}

fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)
}

fn made(job: &Job) -> Timestamp {
    job.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

fn running(job: &Job, pods: &Sight) -> State {
    let name = job.name_any();
    let message = match (&pods.waiting, &pods.failure) {
        _ if is_suspended(job) => format!("Job {name} is suspended; somebody has set its spec.suspend"),
        (_, Some(failure)) => format!("Job {name} begins again after: {}", shorten(&failure.message, QUOTED)),
        _ if pods.started => format!("Job {name} runs since {:.0}", made(job)),
        (Some(waiting), _) => format!("Job {name} waits for its Pod: {}", shorten(&waiting.message, QUOTED)),
        _ if pods.any => format!("Job {name} is starting"),
        _ => format!("Job {name} {}", no_pod(job)),
    };
    let since = job.creation_timestamp().map(|time| time.0);
    State::Running { since, started: pods.started, message, failures: attempt(job).saturating_sub(1) }
}
