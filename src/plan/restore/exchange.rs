//! How do two databases change names? Workloads go, whoever is in the way goes, then the names change; to the restored database first, and to and
//! fro as long as both are there.

use jiff::Timestamp;

use super::sight::{Database, Places};
use super::{Act, Facts};
use crate::api::restore::{RestoreSpec, RestoreStatus, Step, Strategy};

/// Whether a database holds all that was backed up. What its witness says was written after that: a server that has lost the one has lost the
/// other too.
pub(super) fn is_whole(restored: &Database, uid: &str) -> bool {
    restored.witness(uid).is_some_and(|witness| witness.proof.is_some())
}

/// What becomes of a restore whose database has not taken the name for the first time, or no longer, and that is not there any more or not
/// whole: nothing else may take its place. Replace makes another one, since there is nothing to go back to.
pub(super) fn lost(facts: &Facts<'_>, places: &Places<'_>) -> Option<Act> {
    let Facts { spec, status, uid, target, .. } = facts;
    if status.step < Step::Quiescing || spec.strategy == Strategy::Replace && status.step < Step::ScalingUp {
        return None;
    }
    if status.completed_at.is_some() {
        let has_none = places.live.is_none() && spec.strategy != Strategy::Swap && status.step == Step::ScalingUp;
        return has_none.then_some(Act::Undone);
    }
    match places.restored {
        Some(restored) if is_whole(restored, uid) => None,
        Some(restored) => {
            let name = &restored.name;
            Some(Act::GiveUp(format!(
                "database {name} is not whole any more: the server has lost the end of it, as after a failover"
            )))
        }
        None => {
            let message = "somebody has dropped it, or the server has lost it, as after a failover";
            Some(Act::GiveUp(format!("the database that was restored to become {target} is gone: {message}")))
        }
    }
}

/// What gives the name away and what takes it; `None` where all is as it should be, or cannot become so.
pub(super) fn wanted<'a>(facts: &Facts<'_>, places: &Places<'a>) -> Option<(Option<&'a Database>, &'a Database)> {
    let rolls_back = facts.spec.rollback && facts.status.completed_at.is_some();
    let comes = match rolls_back {
        true => places.replaced?,
        false => places.restored.filter(|restored| places.is_swapped() || is_whole(restored, facts.uid))?,
    };
    if places.live.is_some_and(|live| live.oid == comes.oid) {
        return None;
    }
    Some((places.live, comes))
}

pub(super) fn quiescing(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { spec, target, .. } = facts;
    match (spec.strategy, places.live) {
        (Strategy::Replace, _) if places.is_as_before() => {}
        (Strategy::Replace, Some(live)) => {
            return Act::GiveUp(format!("database {target} is another one now (OID {}), which is left alone", live.oid));
        }
        (Strategy::Replace, None) => return Act::Enter(Step::Restoring),
        (Strategy::Swap | Strategy::New, _) if wanted(facts, places).is_none() => return Act::Enter(Step::ScalingUp),
        (Strategy::Swap | Strategy::New, _) => {}
    }
    if is_late(facts) {
        let message = format!("workloads and sessions were not gone within quiesceTimeout ({})", spec.quiesce_timeout);
        return out_of_time(facts, places, message);
    }
    Act::Lower
}

pub(super) fn swapping(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Some((leaves, comes)) = wanted(facts, places) else {
        // A connection may have broken after the commit.
        return match places.live {
            Some(live) if !live.is_open => Act::Open(live.clone()),
            _ => Act::Enter(Step::ScalingUp),
        };
    };
    if leaves.is_some() && !places.is_swapped() && !places.is_as_before() {
        return match facts.status.completed_at {
            None => Act::GiveUp(format!("database {} is another one now, which is left alone", facts.target)),
            Some(_) => Act::Enter(Step::ScalingUp),
        };
    }
    exchange(facts, places, leaves, Some(comes))
}

/// The names change as soon as nobody is in the way. Nothing is closed for what could not come about.
pub(super) fn exchange(facts: &Facts<'_>, places: &Places<'_>, leaves: Option<&Database>, comes: Option<&Database>) -> Act {
    let stays = in_the_way(facts, leaves.into_iter().chain(comes));
    if is_late(facts) && leaves.is_some() {
        let message = format!("the names could not be changed within quiesceTimeout ({})", facts.spec.quiesce_timeout);
        return out_of_time(facts, places, stays.map_or(message.clone(), |stays| format!("{message}: {stays}")));
    }
    match (stays, leaves) {
        (Some(_), Some(leaves)) if !leaves.is_open => Act::Open(leaves.clone()),
        (Some(stays), _) => Act::Wait(format!("waits, since {stays}")),
        (None, _) => Act::Swap(leaves.cloned(), comes.cloned()),
    }
}

/// Who keeps databases from being renamed, whom our role cannot make go.
pub(super) fn in_the_way<'a>(facts: &Facts<'_>, databases: impl Iterator<Item = &'a Database>) -> Option<String> {
    let role = &facts.sight.role;
    let mut found = Vec::new();
    for Database { name, unendable, prepared, is_invalid, .. } in databases {
        if *is_invalid {
            found.push(format!("a drop of database {name} broke off, and it cannot be renamed: drop it"));
        }
        if !unendable.is_empty() {
            found.push(format!("database {name} has sessions that role {role} may not end ({})", unendable.join(", ")));
        }
        if !prepared.is_empty() {
            let them = prepared.join(", ");
            found.push(format!("database {name} has prepared transactions ({them}), which are to be committed or rolled back"));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// Whether all of it has taken as long as workloads and sessions may.
fn is_late(facts: &Facts<'_>) -> bool {
    is_late_at(facts.spec, facts.status, facts.now)
}

/// The same at a moment. It counts from when workloads began to go, whatever the step is by then.
pub(super) fn is_late_at(spec: &RestoreSpec, status: &RestoreStatus, now: Timestamp) -> bool {
    let since = status.quiescing_since.as_ref().or(status.step_at.as_ref()).map_or(now, |at| at.0);
    is_over(spec, since, now)
}

/// Whether something that began at a moment has taken longer than it may.
pub(super) fn is_over(spec: &RestoreSpec, since: Timestamp, now: Timestamp) -> bool {
    let limit = spec.quiesce_timeout.to_std().unwrap_or_default();
    since.saturating_add(limit).is_ok_and(|until| until < now)
}

/// A first swap that does not come about is a failure. One that leads back leaves all as it is, and is tried again.
pub(super) fn out_of_time(facts: &Facts<'_>, places: &Places<'_>, message: String) -> Act {
    match (facts.status.completed_at.is_none(), places.live) {
        (true, _) => Act::GiveUp(message),
        (false, Some(live)) if !live.is_open => Act::Open(live.clone()),
        (false, _) => Act::PutOff(message),
    }
}
