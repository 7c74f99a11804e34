//! How is a database replaced where the server has no room for two? It gives its name away, is backed up once more, and goes; then the backup is
//! restored in its place.
//!
//! Until it is dropped, everything can be put back: it only has another name. It is dropped after the chosen backup was restored once, in a
//! server made for that, and after it was backed up itself, when nobody could write to it any more. What fails before that for longer than
//! quiesceTimeout ends the restore, and everything comes back. From then on a restore does not give up: workloads stay down, and it goes on
//! trying, until there is a database of the name that another Restore has made.

use jiff::SignedDuration;

use super::exchange::{exchange, is_over, is_whole};
use super::keeping::undroppable;
use super::names::{Failure, Witness};
use super::sight::{Database, Places};
use super::{ATTEMPTS, Act, Facts};
use crate::api::Reason;
use crate::api::restore::{RestoreStatus, Step, Strategy};
use crate::plan::action::Blocked;

/// Longest time between two tries to restore what was dropped.
const LONGEST: i64 = 3600;

/// Whether the database was dropped, and none has its name: from then on the restore goes on, whatever happens. One that a drop broke off in
/// counts as dropped; one that somebody else has renamed does not.
pub fn is_dropped(facts: &Facts<'_>, places: &Places<'_>) -> bool {
    let had_one = facts.status.chosen.as_ref().is_some_and(|chosen| chosen.replaces.is_some());
    let is_gone = places.live.is_none() && original(facts).is_none_or(|original| original.is_invalid);
    facts.spec.strategy == Strategy::Replace && facts.status.completed_at.is_none() && had_one && is_gone
}

/// The database that was chosen to be replaced, by its OID alone, whoever has done what to it.
fn original<'a>(facts: &Facts<'a>) -> Option<&'a Database> {
    let replaces = facts.status.chosen.as_ref()?.replaces?;
    facts.sight.databases.iter().find(|database| i64::from(database.oid) == replaces)
}

/// Whether the database was dropped, and there is another one of its name.
fn has_other(facts: &Facts<'_>, places: &Places<'_>) -> bool {
    let status = facts.status;
    let is_between = matches!(status.step, Step::Restoring | Step::Swapping) && status.completed_at.is_none();
    is_between && status.dropped_at.is_some() && places.live.is_some() && places.replaced.is_none()
}

/// Whether somebody whom we do not know has made it: whether that may be used, a person must say.
pub(super) fn is_taken(facts: &Facts<'_>, places: &Places<'_>) -> bool {
    has_other(facts, places) && facts.successor.is_none()
}

/// What is said where another Restore has made it.
pub(super) fn succeeded(facts: &Facts<'_>, places: &Places<'_>) -> Option<String> {
    let successor = facts.successor.filter(|_| has_other(facts, places))?;
    Some(format!("Restore {successor} has restored database {} in place of this one", facts.target))
}

/// Whether a restore that has failed goes on for ever all the same, so that another one need not wait for it.
pub fn gives_way(status: &RestoreStatus) -> bool {
    status.failure.is_some() && status.dropped_at.is_some() && status.completed_at.is_none()
}

/// Whether the database has another name and is whole: everything can be put back.
pub fn is_away(facts: &Facts<'_>, places: &Places<'_>) -> bool {
    let Facts { spec, status, .. } = facts;
    let is_between = status.step == Step::Restoring && status.failure.is_none();
    spec.strategy == Strategy::Replace && is_between && places.live.is_none() && places.replaced.is_some()
}

/// Why a restore gives up whose database has another name, after something that was to be done then has failed; `None` where it is tried again.
pub fn gives_up(facts: &Facts<'_>, blocked: &Blocked) -> Option<String> {
    let since = facts.status.setback.as_ref().filter(|_| counts(blocked))?.at.0;
    let is_late = is_over(facts.spec, since, facts.now);
    let timeout = facts.spec.quiesce_timeout;
    is_late.then(|| {
        format!(
            "what must be done before the database is dropped has failed for longer than quiesceTimeout ({timeout}): {}",
            blocked.message
        )
    })
}

/// Whether what has failed says anything of what is to be done. The time of giving up does not begin with what says nothing.
pub const fn counts(blocked: &Blocked) -> bool {
    !matches!(blocked.reason, Reason::KubernetesUnavailable | Reason::Stale | Reason::OtherOperator)
}

/// The database gives its name away, or the restored one takes it.
pub(super) fn swapping(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let is_verified = facts.status.verification.is_some();
    let whole = places.restored.filter(|restored| is_verified && is_whole(restored, facts.uid));
    match (places.live, whole) {
        (Some(live), _) if places.is_swapped() && !live.is_open => Act::Open(live.clone()),
        (Some(_), _) if places.is_swapped() => Act::Enter(Step::ScalingUp),
        (Some(_), _) if places.is_as_before() && facts.status.safety_backup.is_some() => given_back(facts),
        (Some(live), _) if places.is_as_before() => exchange(facts, places, Some(live), None),
        (Some(live), _) => taken(facts, places, live),
        (None, Some(restored)) => exchange(facts, places, None, Some(restored)),
        (None, None) => Act::Enter(Step::Restoring),
    }
}

/// Somebody has made a database of that name while there was none.
fn taken(facts: &Facts<'_>, places: &Places<'_>, live: &Database) -> Act {
    let message = format!("somebody has made a database {} (OID {}) while it was replaced", facts.target, live.oid);
    if places.replaced.is_none() && facts.status.dropped_at.is_none() {
        return Act::GiveUp(message);
    }
    let is_kept = places.replaced.map(|replaced| format!(", and the one that was there is {}", replaced.name));
    let message = format!(
        "{message}{}: drop or rename the new one, and the restore goes on; or delete this Restore, and workloads come back to the new one",
        is_kept.unwrap_or_default()
    );
    Act::Refuse(Blocked::new(Reason::NameTaken, message))
}

/// What keeps the database that was there from getting its name back, before workloads may come back: somebody has given it to another one.
pub(super) fn kept_out(facts: &Facts<'_>, places: &Places<'_>) -> Option<Act> {
    let Facts { spec, status, .. } = facts;
    let is_between = spec.strategy == Strategy::Replace && status.completed_at.is_none() && places.replaced.is_some();
    let live = places.live.filter(|_| is_between && !places.is_as_before() && !places.is_swapped())?;
    Some(taken(facts, places, live))
}

/// Somebody may have written to it since it was backed up to be dropped.
fn given_back(facts: &Facts<'_>) -> Act {
    let target = facts.target;
    Act::GiveUp(format!(
        "database {target} has its name back: somebody has given it that, or the server has lost the change, as after a failover; it may have been written to since it was backed up, so it is not dropped; create another Restore"
    ))
}

/// The former database is backed up and dropped, and the backup restored.
pub(super) fn restoring(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { spec, status, uid, now, .. } = facts;
    if places.is_swapped() {
        return Act::Enter(Step::ScalingUp);
    }
    if let Some(live) = places.live {
        return if places.is_as_before() { given_back(facts) } else { taken(facts, places, live) };
    }
    if let Some(replaced) = places.replaced {
        return match undroppable(replaced, "is to be dropped") {
            Some(refused) => Act::GiveUp(refused.message),
            None if status.proven.is_none() => Act::GiveUp("the backup was not proven".into()),
            None if status.safety_backup.is_none() && !spec.skip_safety_backup => Act::Safeguard(replaced.clone()),
            None => Act::Drop(replaced.clone()),
        };
    }
    if let Some(Database { name, oid, .. }) = original(facts).filter(|original| !original.is_invalid) {
        let target = facts.target;
        return Act::GiveUp(format!("somebody else has renamed database {target} (OID {oid}) to {name}, and it is left alone"));
    }
    let Some(restored) = places.restored else { return Act::Create };
    match restored.witness(uid) {
        None => Act::Witness(restored.clone()),
        Some(Witness { failure: Some(failure), .. }) => match again_at(&failure, status.attempts) {
            Some(at) if at > *now => Act::TryAgain(broken_off(&failure.message), at),
            _ => Act::Drop(restored.clone()),
        },
        Some(_) if status.verification.is_none() || !is_whole(restored, uid) => Act::Fill(restored.clone()),
        Some(_) => Act::Enter(Step::Swapping),
    }
}

/// When a restore is tried again that broke off: at once at first, later less and less often.
fn again_at(failure: &Failure, attempts: i32) -> Option<jiff::Timestamp> {
    let times = u32::try_from(attempts - ATTEMPTS + 1).ok()?;
    let seconds = 60_i64.saturating_mul(1_i64.checked_shl(times).unwrap_or(i64::MAX)).clamp(0, LONGEST);
    failure.at.saturating_add(SignedDuration::from_secs(seconds)).ok()
}

/// What has failed, for the status.
pub fn broken_off(message: &str) -> String {
    format!("the restore broke off after the database was dropped, so workloads stay down, and it is tried again: {message}")
}
