//! How is a database replaced where the server has no room for two? It gives its name away, is backed up once more, and goes; then the backup is
//! restored in its place.
//!
//! Until it is dropped, everything can be put back: it only has another name. It is dropped after the chosen backup was restored once, in a
//! server made for that, and after it was backed up itself, when nobody could write to it any more. From then on a restore does not give up:
//! workloads stay down, and it goes on trying.

use jiff::SignedDuration;

use super::names::{Failure, Witness};
use super::sight::{Database, Places};
use super::{ATTEMPTS, Act, Facts, is_late, out_of_time, undroppable};
use crate::api::Reason;
use crate::api::restore::{Step, Strategy};
use crate::plan::action::Blocked;

/// Longest time between two tries to restore what was dropped.
const LONGEST: i64 = 3600;

/// Whether the database was dropped, and none has its name: from then on the restore goes on, whatever happens.
pub fn is_dropped(facts: &Facts<'_>, places: &Places<'_>) -> bool {
    let had_one = facts.status.chosen.as_ref().is_some_and(|chosen| chosen.replaces.is_some());
    let is_gone = places.live.is_none() && places.replaced.is_none();
    facts.spec.strategy == Strategy::Replace && facts.status.completed_at.is_none() && had_one && is_gone
}

/// The database gives its name away, or the restored one takes it.
pub(super) fn swapping(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let whole = places.restored.filter(|_| facts.status.verification.is_some());
    match (places.live, whole) {
        (Some(live), _) if places.is_swapped() && !live.is_open => Act::Open(live.clone()),
        (Some(_), _) if places.is_swapped() => Act::Enter(Step::ScalingUp),
        (Some(_), _) if places.is_as_before() && is_late(facts) => {
            let message = format!("the sessions were not gone within quiesceTimeout ({})", facts.spec.quiesce_timeout);
            out_of_time(facts, places, message)
        }
        (Some(live), _) if places.is_as_before() => Act::Swap(Some(live.clone()), None),
        (Some(live), _) => taken(facts, places, live),
        (None, Some(restored)) => Act::Swap(None, Some(restored.clone())),
        (None, None) => Act::Enter(Step::Restoring),
    }
}

/// Somebody has made a database of that name while there was none.
fn taken(facts: &Facts<'_>, places: &Places<'_>, live: &Database) -> Act {
    let message = format!("somebody has made a database {} (OID {}) while it was replaced", facts.target, live.oid);
    match places.replaced {
        Some(_) => Act::GiveUp(message),
        None => Act::Refuse(Blocked::new(Reason::NameTaken, format!("{message}: drop or rename it, and the restore goes on"))),
    }
}

/// The former database is backed up and dropped, and the backup restored.
pub(super) fn restoring(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { spec, status, uid, now, .. } = facts;
    if places.is_swapped() {
        return Act::Enter(Step::ScalingUp);
    }
    if let Some(live) = places.live {
        return if places.is_as_before() { Act::Enter(Step::Fencing) } else { taken(facts, places, live) };
    }
    if let Some(replaced) = places.replaced {
        return match undroppable(replaced) {
            Some(refused) => Act::GiveUp(refused.message),
            None if status.proven.is_none() => Act::GiveUp("the backup was not proven".into()),
            None if status.safety_backup.is_none() && !spec.skip_safety_backup => Act::Safeguard(replaced.clone()),
            None => Act::Drop(replaced.clone()),
        };
    }
    let Some(restored) = places.restored else { return Act::Create };
    match restored.witness(uid) {
        None => Act::Witness(restored.clone()),
        Some(Witness { failure: Some(failure), .. }) => match again_at(&failure, status.attempts) {
            Some(at) if at > *now => Act::TryAgain(broken_off(&failure.message), at),
            _ => Act::Drop(restored.clone()),
        },
        Some(_) if status.verification.is_none() => Act::Fill(restored.clone()),
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
