//! What is said of the databases of a Restore that somebody has deleted? What was seen of them in the end: its status may be behind, and a
//! person acts on what an event says.

use super::sight::{Database, Places};
use super::{Facts, exchange};
use crate::api::restore::Step;

/// The last words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// What became of the databases.
    pub message: String,
    /// Whether somebody has to do something about it.
    pub is_warning: bool,
}

/// What is said; nothing of a restore that was over.
pub fn farewell(facts: &Facts<'_>) -> Option<Farewell> {
    if facts.status.step == Step::Done {
        return None;
    }
    let places = facts.places();
    let (is_warning, message) = match places.live {
        Some(live) => of_live(facts, &places, live),
        None => of_none(facts, &places),
    };
    Some(Farewell { message, is_warning })
}

fn of_live(facts: &Facts<'_>, places: &Places<'_>, live: &Database) -> (bool, String) {
    let (target, is_complete) = (facts.target, facts.status.completed_at.is_some());
    let needless = "drop it when nobody needs it any more";
    match (places.replaced, places.restored) {
        (_, Some(restored)) if places.is_as_before() && exchange::is_whole(restored, facts.uid) => {
            let name = &restored.name;
            (true, format!("database {target} is the one that was there before; {name}, which was restored, stays: {needless}"))
        }
        _ if places.is_as_before() && is_complete => (false, format!("database {target} is the one that was there before")),
        _ if places.is_as_before() => (false, format!("deleted before it was complete: database {target} is as it was")),
        (Some(replaced), _) if places.is_swapped() => {
            let name = &replaced.name;
            (true, format!("database {name}, which {target} had replaced, stays: {needless}"))
        }
        (None, _) if places.is_swapped() => (false, format!("database {target} is the one that was restored")),
        (Some(replaced), _) => {
            let (oid, name) = (live.oid, &replaced.name);
            (true, format!("database {target} (OID {oid}) is one that somebody else has made; the one that was there is {name}"))
        }
        (None, _) => {
            let oid = live.oid;
            (true, format!("database {target} (OID {oid}) is neither the one that was there nor one that was restored"))
        }
    }
}

fn of_none(facts: &Facts<'_>, places: &Places<'_>) -> (bool, String) {
    let target = facts.target;
    let had_one = facts.status.chosen.as_ref().is_some_and(|chosen| chosen.replaces.is_some());
    match places.replaced {
        Some(replaced) => (true, format!("there is no database {target}; the one that was there is {}", replaced.name)),
        None if had_one => (true, format!("there is no database {target}: somebody else has dropped or renamed it")),
        None => (false, format!("deleted before it was complete: there is no database {target}")),
    }
}
