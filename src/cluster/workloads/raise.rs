//! How does a workload come back to exactly what it had?

use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::hold::{Held, release};
use super::kind::Kind;
use super::scale::{Found, Level};
use super::witness::{RESTORE_STATE, RestoreId, Witness};
use super::{Failure, TRIES, UP};
use crate::api::Reason;
use crate::api::restore::ScaledWorkload;
use crate::plan::action::Blocked;

/// Tries again where somebody else has changed the object in between; what changes all the time is left for the next call.
pub(super) async fn raise(client: &Client, restore: &RestoreId, workload: &mut ScaledWorkload) -> Result<bool, Blocked> {
    let kind = match Kind::of(client, Some(&workload.api_version), &workload.kind).await {
        Ok(kind) => Some(kind),
        // With its kind, the workload is gone.
        Err(blocked) if blocked.reason == Reason::InvalidSpec => None,
        Err(blocked) => return Err(blocked),
    };
    for _ in 0..TRIES {
        match once(client, kind.as_ref(), restore, workload).await {
            Err(failure) if failure.is_conflict() => {}
            answer => return answer.map(|()| true).map_err(|failure| failure.blocked(restore, workload)),
        }
    }
    Ok(false)
}

/// What would take it down again is let go first, what would only scale it up last; then the workload forgets.
async fn once(client: &Client, kind: Option<&Kind>, restore: &RestoreId, workload: &mut ScaledWorkload) -> Result<(), Failure> {
    release_all(client, restore, workload, true).await?;
    let found = match kind {
        Some(kind) => Found::get(client, &restore.namespace, kind, &workload.name).await?,
        None => None,
    };
    let Some(mut found) = found.filter(|found| found.object.uid().as_ref() == Some(&workload.uid)) else {
        release_all(client, restore, workload, false).await?;
        workload.state = Some("it is gone; another one of its name is left alone".into());
        return Ok(());
    };
    let witness = Witness::of(&found.object).filter(|witness| witness.restore.uid == restore.uid);
    let had = match (workload.replicas, workload.suspended) {
        (Some(replicas), _) => Level::Replicas(replicas),
        (None, suspended) => Level::Suspended(suspended.unwrap_or(false)),
    };
    if witness.is_some() && found.level.is_down() && found.level != had {
        found.change(json!({}), Some(had)).await?;
    }
    release_all(client, restore, workload, false).await?;
    workload.state = Some(state(found.level, had, witness.is_some()));
    if let Some(witness) = witness {
        found.change(witness.unmark(&found.object), None).await?;
    }
    Ok(())
}

async fn release_all(client: &Client, restore: &RestoreId, workload: &ScaledWorkload, opposes: bool) -> kube::Result<()> {
    for held in workload.held.iter().filter_map(|entry| Held::parse(entry)) {
        if held.switch.opposes == opposes {
            release(client, &held, &restore.namespace, &workload.uid).await?;
        }
    }
    Ok(())
}

fn state(level: Level, had: Level, is_ours: bool) -> String {
    let level = match level {
        level if level == had => return UP.into(),
        Level::Replicas(replicas) => format!("replicas {replicas}"),
        Level::Suspended(true) => "suspended".into(),
        Level::Suspended(false) => "not suspended".into(),
    };
    match is_ours {
        true => format!("left as somebody has set it meanwhile: {level}"),
        false => format!("left as it is, since it has no annotation {RESTORE_STATE} of this Restore: {level}"),
    }
}
