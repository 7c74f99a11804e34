//! What becomes of the database that does not have the name? It is kept for a rollback, takes the name when that is wanted, and goes when its time
//! is over.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::exchange::{in_the_way, is_whole, wanted};
use super::sight::{Database, Places};
use super::{Act, Facts};
use crate::api::Reason;
use crate::api::restore::{RestoreSpec, RestoreStatus, Step, Strategy};
use crate::plan::action::Blocked;

/// When a rollback is tried again that could not come about. Workloads make way for each try.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn keeping(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { spec, status, uid, now, target, .. } = facts;
    if spec.strategy != Strategy::Swap {
        return Act::Enter(Step::Done);
    }
    if is_undone(facts, places) {
        return Act::Undone;
    }
    // Where nothing is kept any more, all is done.
    let Some(kept) = kept(places, uid) else { return Act::Enter(Step::Done) };
    let is_ours = places.is_swapped() || places.is_as_before() || places.live.is_none() && spec.rollback;
    if let Some((leaves, comes)) = wanted(facts, places).filter(|_| is_ours) {
        return match put_off(facts, leaves.into_iter().chain([comes])) {
            None => Act::Record,
            Some(message) => Act::Refuse(Blocked::new(Reason::DatabaseInUse, message)),
        };
    }
    // What cannot be counted has no end.
    let until = kept_until(spec, status).unwrap_or(Timestamp::MAX);
    if until > *now {
        return Act::Keep(kept.clone(), until);
    }
    if places.live.is_none() {
        let message = format!(
            "there is no database {target} any more, so {} is kept although its time is over: set spec.rollback, or delete the Restore",
            kept.name
        );
        return Act::Refuse(Blocked::new(Reason::DatabaseMissing, message));
    }
    if let Some(refused) = undroppable(kept, "is kept no longer") {
        return Act::Refuse(refused);
    }
    Act::Drop(kept.clone())
}

/// Whether the database that was there before has its name although nobody has asked for that, and the restored one is not whole.
fn is_undone(facts: &Facts<'_>, places: &Places<'_>) -> bool {
    let asked = facts.spec.rollback || facts.status.rolled_back;
    !asked && places.is_as_before() && !places.restored.is_some_and(|restored| is_whole(restored, facts.uid))
}

/// Why the names do not change now: a former try did not come about. Another one is made when the spec has changed since, or when that was long
/// ago and nobody is in the way any more.
fn put_off<'a>(facts: &Facts<'_>, databases: impl Iterator<Item = &'a Database>) -> Option<String> {
    let setback = facts.status.setback.as_ref().filter(|setback| setback.generation == facts.generation)?;
    let again = setback.at.0.saturating_add(AGAIN).unwrap_or(Timestamp::MAX);
    let stays = in_the_way(facts, databases);
    let when = match (&stays, again > facts.now) {
        (None, false) => return None,
        (None, true) => format!("{again:.0}"),
        (Some(stays), is_early) => {
            let from = if is_early { format!("from {again:.0} on, ") } else { String::new() };
            format!("{from}once that has gone: {stays}")
        }
    };
    let what = if facts.spec.rollback { "the rollback" } else { "taking the rollback back" };
    Some(format!(
        "{what} has not come about, and all is as it was before: {}; it is tried again when the spec is changed, or {when}",
        setback.message
    ))
}

/// The one of the two databases that does not have the name.
fn kept<'a>(places: &Places<'a>, uid: &str) -> Option<&'a Database> {
    let live = places.live.map(|live| live.oid);
    let both = [places.restored, places.replaced];
    both.into_iter().flatten().find(|kept| Some(kept.oid) != live && kept.witness(uid).is_some())
}

/// Until when the other database is kept.
pub fn kept_until(spec: &RestoreSpec, status: &RestoreStatus) -> Option<Timestamp> {
    let completed = status.completed_at.as_ref()?.0.to_zoned(TimeZone::UTC);
    spec.keep_previous.add_to(&completed).ok().map(|until| until.timestamp())
}

/// Why a database cannot be dropped just now that is to be, for this reason.
pub(super) fn undroppable(database: &Database, why: &str) -> Option<Blocked> {
    let name = &database.name;
    let refused = |message: String| Some(Blocked::new(Reason::DatabaseInUse, message));
    if !database.prepared.is_empty() {
        let prepared = database.prepared.join(", ");
        return refused(format!(
            "database {name} {why} and has prepared transactions ({prepared}): commit or roll them back there"
        ));
    }
    let slots: Vec<&str> = database.slots.iter().map(|(slot, _)| slot.as_str()).collect();
    if !slots.is_empty() {
        return refused(format!(
            "database {name} {why} and has logical replication slots ({}): drop them with pg_drop_replication_slot",
            slots.join(", ")
        ));
    }
    if !database.subscriptions.is_empty() {
        return refused(format!(
            "database {name} {why} and has subscriptions ({}): open it with ALTER DATABASE {name} ALLOW_CONNECTIONS true, and drop them there with DROP SUBSCRIPTION",
            database.subscriptions.join(", ")
        ));
    }
    None
}
