//! Which objects does a Restore mean, and what do they have?

use kube::api::{DynamicObject, ListParams};
use kube::{Client, ResourceExt as _};

use super::kind::{How, Kind, forbidden, invalid, loses_volumes, may_patch, refused};
use super::rivals::Rivals;
use super::scale::{Found, Level};
use super::witness::Witness;
use crate::api::Reason;
use crate::api::restore::{ScaledWorkload, Workload};
use crate::plan::action::Blocked;

/// Everything that is meant, each once.
pub(super) async fn find(client: &Client, namespace: &str, wanted: &[Workload]) -> Result<Vec<ScaledWorkload>, Blocked> {
    let mut all = Vec::new();
    if wanted.is_empty() {
        return Ok(all);
    }
    let rivals = rivals(client, namespace).await?;
    for wanted in wanted {
        let kind = Kind::of(client, wanted.api_version.as_deref(), &wanted.kind).await?;
        add(client, namespace, &rivals, (&kind, wanted), &mut all).await?;
    }
    Ok(all)
}

/// The same without what is not there any more, which is answered beside: with its kind, a workload is gone too.
pub(super) async fn find_left(
    client: &Client,
    namespace: &str,
    wanted: &[Workload],
) -> Result<(Vec<ScaledWorkload>, Vec<String>), Blocked> {
    let (mut all, mut gone) = (Vec::new(), Vec::new());
    if wanted.is_empty() {
        return Ok((all, gone));
    }
    let rivals = rivals(client, namespace).await?;
    for wanted in wanted {
        let kind = match Kind::of(client, wanted.api_version.as_deref(), &wanted.kind).await {
            Err(blocked) if blocked.reason == Reason::InvalidSpec => {
                gone.push(what(namespace, wanted));
                continue;
            }
            kind => kind?,
        };
        match add(client, namespace, &rivals, (&kind, wanted), &mut all).await {
            Err(blocked) if blocked.reason == Reason::WorkloadNotFound => gone.push(what(namespace, wanted)),
            added => added?,
        }
    }
    Ok((all, gone))
}

async fn rivals<'a>(client: &'a Client, namespace: &'a str) -> Result<Rivals<'a>, Blocked> {
    let rivals = Rivals::of(client, namespace).await;
    rivals.map_err(|error| refused(&format!("autoscalers in namespace {namespace}"), &error))
}

/// Adds what is meant by one entry.
async fn add(
    client: &Client,
    namespace: &str,
    rivals: &Rivals<'_>,
    (kind, wanted): (&Kind, &Workload),
    all: &mut Vec<ScaledWorkload>,
) -> Result<(), Blocked> {
    let what = what(namespace, wanted);
    let refused = |error| refused(&what, &error);
    let objects = meant(client, namespace, kind, wanted).await?;
    may_be_scaled(client, namespace, kind, &what).await?;
    for object in objects {
        let found = Found::of(kind.api(client, namespace), kind, object).await.map_err(refused)?;
        let recorded = recorded(&found, rivals.of_workload(kind, &found.object).await.map_err(refused)?)?;
        if !all.iter().any(|known| known.uid == recorded.uid) {
            all.push(recorded);
        }
    }
    Ok(())
}

fn what(namespace: &str, wanted: &Workload) -> String {
    let which = wanted.name.clone().or_else(|| wanted.selector.as_ref().map(|selector| format!("({selector})")));
    format!("{} {} in namespace {namespace}", wanted.kind, which.unwrap_or_default())
}

/// The objects by name or by labels; none is a mistake that somebody wants to hear of before anything is done.
async fn meant(client: &Client, namespace: &str, kind: &Kind, wanted: &Workload) -> Result<Vec<DynamicObject>, Blocked> {
    let (api, what) = (kind.api(client, namespace), what(namespace, wanted));
    let found = match (&wanted.name, &wanted.selector) {
        (Some(name), None) => api.get_opt(name).await.map(|found| found.into_iter().collect()),
        (None, Some(selector)) => api.list(&ListParams::default().labels(selector)).await.map(|found| found.items),
        _ => return Err(invalid(format!("workloads: {what}: give either name or selector"))),
    };
    let found: Vec<DynamicObject> = match found {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 400 => {
            return Err(invalid(format!("workloads: {what}: the selector is wrong: {}", status.message)));
        }
        Err(error) => return Err(refused(&what, &error)),
    };
    if found.is_empty() {
        let message = format!("{what} does not exist; correct spec.workloads in a new Restore, or create it");
        return Err(Blocked::new(Reason::WorkloadNotFound, message));
    }
    Ok(found)
}

/// Asked before anything is done: that a right lacks must not turn out when half of the applications are down.
async fn may_be_scaled(client: &Client, namespace: &str, kind: &Kind, what: &str) -> Result<(), Blocked> {
    for (resource, subresource) in kind.changed() {
        let may = may_patch(client, namespace, resource, subresource).await.map_err(|error| refused(what, &error))?;
        if !may {
            let name = [resource.plural.as_str(), subresource].join("/");
            return Err(forbidden(what, &format!("patch {}", name.trim_end_matches('/'))));
        }
    }
    Ok(())
}

fn recorded(found: &Found, held: Vec<String>) -> Result<ScaledWorkload, Blocked> {
    let (object, resource) = (&found.object, &found.kind.resource);
    let name = object.name_any();
    if let Some(Witness { restore, .. }) = Witness::of(object) {
        let message = format!("{} {name} is down for Restore {}; wait until it comes back", resource.kind, restore.name);
        return Err(Blocked::new(Reason::WorkloadTaken, message));
    }
    let deployment = object.owner_references().iter().find(|owner| owner.controller == Some(true) && owner.kind == "Deployment");
    if let Some(owner) = deployment.filter(|_| found.kind.how == How::Replicas) {
        let message = format!(
            "workloads: {} {name} belongs to Deployment {}, which scales it up at once; name that one",
            resource.kind, owner.name
        );
        return Err(invalid(message));
    }
    if found.loses_volumes() {
        return Err(loses_volumes(&name));
    }
    let (replicas, suspended) = match found.level {
        Level::Replicas(replicas) => (Some(replicas), None),
        Level::Suspended(suspended) => (None, Some(suspended)),
    };
    Ok(ScaledWorkload {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
        name,
        uid: object.uid().unwrap_or_default(),
        replicas,
        suspended,
        held,
        fought: 0,
        state: None,
    })
}
