//! How does a workload go to nothing, and stay there?

use kube::Client;
use kube::ResourceExt as _;
use serde_json::json;

use super::hold::{Held, hold};
use super::kind::{Kind, loses_volumes};
use super::scale::{Found, Level};
use super::witness::{RestoreId, Witness};
use super::{DOWN, Failure, Lowered, TRIES, pods};
use crate::api::Reason;
use crate::api::restore::ScaledWorkload;
use crate::plan::action::Blocked;

/// Tries again where somebody else has changed the object in between.
pub(super) async fn lower(client: &Client, restore: &RestoreId, workload: &mut ScaledWorkload) -> Result<Lowered, Blocked> {
    let kind = Kind::of(client, Some(&workload.api_version), &workload.kind).await?;
    for _ in 1..TRIES {
        match once(client, &kind, restore, workload).await {
            Err(failure) if failure.is_conflict() => {}
            answer => return answer.map_err(|failure| failure.blocked(restore, workload)),
        }
    }
    once(client, &kind, restore, workload).await.map_err(|failure| failure.blocked(restore, workload))
}

/// Annotation first, then what would scale it up, then the workload. Where there is nothing to hold, the annotation comes with the change.
async fn once(client: &Client, kind: &Kind, restore: &RestoreId, workload: &mut ScaledWorkload) -> Result<Lowered, Failure> {
    let found = Found::get(client, &restore.namespace, kind, &workload.name).await?;
    let Some(mut found) = found.filter(|found| found.object.uid().as_ref() == Some(&workload.uid)) else {
        workload.state = Some("it is gone; another one of its name is left alone".into());
        return Ok(Lowered::Skipped);
    };
    let known = Witness::of(&found.object);
    if let Some(Witness { restore: other, .. }) = known.as_ref().filter(|known| known.restore.uid != restore.uid) {
        let message = format!("{} {} is down for Restore {}; wait until it comes back", workload.kind, workload.name, other.name);
        return Err(Failure::Blocked(Blocked::new(Reason::WorkloadTaken, message)));
    }
    let was_up = !found.level.is_down();
    // Said in the preflight too; it may have been set since.
    if was_up && found.loses_volumes() {
        return Err(Failure::Blocked(loses_volumes(&workload.name)));
    }
    let nothing = if workload.replicas.is_some() { Level::Replicas(0) } else { Level::Suspended(true) };
    let level = was_up.then_some(nothing);
    let has_holds = workload.held.iter().any(|entry| Held::parse(entry).is_some());
    if known.is_none() {
        let mark = Witness::new(restore, workload, &found.object).mark();
        found.change(mark, level.filter(|_| !has_holds)).await?;
    }
    hold_all(client, restore, workload).await?;
    if !found.level.is_down() {
        found.change(json!({}), level).await?;
    }
    let was_down = workload.state.as_deref() == Some(DOWN);
    workload.fought += i32::from(was_up && was_down);
    workload.state = Some(DOWN.into());
    Ok(match pods::left(client, &restore.namespace, &found).await? {
        0 => Lowered::Gone,
        left => Lowered::Pods(left),
    })
}

/// A right that was taken away since is no reason to stop: what is not held is undone.
async fn hold_all(client: &Client, restore: &RestoreId, workload: &mut ScaledWorkload) -> kube::Result<()> {
    for entry in &mut workload.held {
        let Some(held) = Held::parse(entry) else { continue };
        match hold(client, &held, restore, &workload.uid).await {
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                *entry = format!("{entry}: the operator may not patch it, so what it scales up is scaled down again");
            }
            answer => answer?,
        }
    }
    Ok(())
}
