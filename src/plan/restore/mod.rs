//! What does a restore do next? One decision from what is declared, what is written down and what is there.
//!
//! Flow of a pass: the databases of the server are looked at ([`sight`]), [`next`] says what to do, the controller does that one thing and the
//! status is written; then the next pass begins. What cannot be found out again is written down before it is acted on: which backup was
//! chosen, which database is replaced, what workloads had. All else is told by the server itself: OIDs and comments say which database is
//! which ([`names::Witness`]), so that a pass goes on from wherever the last one broke off.
//!
//! Guarantees: nothing of the application is touched before the restored database was compared with its manifest; a database that gave its name
//! away is never dropped by its name alone; whatever happens, there is a database of the name that accepts connections, or the next pass sees
//! to it.

pub mod check;
pub mod names;
pub mod preflight;
pub mod replace;
pub mod report;
pub mod selector;
pub mod sight;
pub mod stranded;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::api::Reason;
use crate::api::restore::{OnFailure, RestoreSpec, RestoreStatus, ScaledWorkload, Step, Strategy};
use crate::plan::action::Blocked;
use names::Witness;
use sight::{Database, Places, Sight};

/// What a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// UID of the Restore.
    pub uid: &'a str,
    /// What is declared.
    pub spec: &'a RestoreSpec,
    /// What is written down.
    pub status: &'a RestoreStatus,
    /// Name of the database that is restored.
    pub target: &'a str,
    /// What is there.
    pub sight: &'a Sight,
    /// What time it is.
    pub now: Timestamp,
}

/// The one thing that a pass does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Act {
    /// A Job reads the manifest, and looks what the server lacks.
    Inspect,
    /// Nothing can be done before somebody acts.
    Refuse(Blocked),
    /// The plan waits for its word; the message says which.
    Await(String),
    /// This step begins. Only that is written down.
    Enter(Step),
    /// An empty database is made.
    Create,
    /// A database that was made gets its witness.
    Witness(Database),
    /// A Job restores into this database and compares it.
    Fill(Database),
    /// A database of the restore is dropped: it is no longer needed.
    Drop(Database),
    /// A Job restores the backup into a server made for that, before a database is dropped for it.
    Prove,
    /// A Job backs this database up before it is dropped.
    Safeguard(Database),
    /// What workloads have is written down, and they begin to go.
    Record,
    /// They go to nothing.
    Lower,
    /// The names change: the first gives its name away, the second takes it.
    Swap(Option<Database>, Option<Database>),
    /// The restored database has the name: that, and when, is written down.
    Complete,
    /// A database accepts connections again.
    Open(Database),
    /// Workloads come back.
    Raise,
    /// It has failed for this reason; what follows puts things back.
    GiveUp(String),
    /// It has failed for this reason when nothing could be put back any more: it is tried again at this moment.
    TryAgain(String, Timestamp),
    /// This other database is kept until this moment.
    Keep(Database, Timestamp),
    /// There is nothing to do any more.
    Rest,
}

/// How often a database is made to restore into before that counts as a failure.
pub const ATTEMPTS: i32 = 4;

/// What a workload's state says while it is at nothing.
pub const DOWN: &str = "Down";

/// Decides.
pub fn next(facts: &Facts<'_>) -> Act {
    let Facts { spec, status, sight, target, uid, .. } = facts;
    let places = Places::of(sight, target, uid, status);
    if status.step == Step::Done {
        return Act::Rest;
    }
    let before = status.completed_at.is_none();
    if before && places.is_swapped() {
        // The operator died after the names had changed and before it had written so.
        return Act::Complete;
    }
    if status.failure.is_some() && !replace::is_dropped(facts, &places) {
        return putting_back(facts, &places);
    }
    if status.step == Step::Keeping {
        return keeping(facts, &places);
    }
    if before && spec.rollback && status.step > Step::AwaitingConfirmation {
        return Act::GiveUp("spec.rollback was set before anything was replaced".into());
    }
    match status.step {
        Step::Preflight | Step::AwaitingConfirmation => preflight::next(facts, &places),
        Step::Verifying if status.proven.is_none() => Act::Prove,
        Step::Verifying => Act::Record,
        Step::Restoring if spec.strategy == Strategy::Replace => replace::restoring(facts, &places),
        Step::Restoring => restoring(facts, &places),
        Step::Quiescing => quiescing(facts, &places),
        Step::Fencing | Step::Swapping | Step::Unfencing if spec.strategy == Strategy::Replace => {
            replace::swapping(facts, &places)
        }
        Step::Fencing | Step::Swapping | Step::Unfencing => swapping(facts, &places),
        Step::ScalingUp if is_up(&status.workloads) => Act::Enter(Step::Keeping),
        Step::ScalingUp => Act::Raise,
        Step::Keeping | Step::Done => Act::Rest,
    }
}

/// What is left to do for a Restore that somebody deletes: the database is open under its name, workloads come back, and what only the restore
/// needed goes. A replaced database that is kept stays. Where there is none any more, the restore first goes on to its end.
pub fn letting_go(facts: &Facts<'_>) -> Act {
    let Facts { status, sight, target, uid, .. } = facts;
    let places = Places::of(sight, target, uid, status);
    if replace::is_dropped(facts, &places) {
        return next(facts);
    }
    if let Some(back) = opening(&places) {
        return back;
    }
    if !is_up(&status.workloads) {
        return Act::Raise;
    }
    match leftover(facts, &places) {
        Some(restored) => Act::Drop(restored.clone()),
        None => Act::Rest,
    }
}

/// What gives the name back to a database, or opens the one that has it.
fn opening(places: &Places<'_>) -> Option<Act> {
    let ours = [places.replaced, places.restored];
    match (places.live, places.replaced) {
        (Some(live), _) if !live.is_open && ours.iter().flatten().any(|ours| ours.oid == live.oid) => {
            Some(Act::Open(live.clone()))
        }
        (None, Some(replaced)) => Some(Act::Swap(None, Some(replaced.clone()))),
        _ => None,
    }
}

/// What the backup was restored into, where it has not taken the name and never had it.
fn leftover<'a>(facts: &Facts<'_>, places: &Places<'a>) -> Option<&'a Database> {
    let is_ours = |restored: &Database| restored.is(facts.uid, names::Role::Restored) || restored.comment.is_none();
    let is_leftover = facts.status.completed_at.is_none() && !places.is_swapped();
    places.restored.filter(|restored| is_leftover && is_ours(restored))
}

/// Whether all workloads are back, or left alone. One without a state may have been lowered, and the status lost.
fn is_up(workloads: &[ScaledWorkload]) -> bool {
    workloads.iter().all(|workload| workload.state.as_deref().is_some_and(|state| state != DOWN))
}

fn restoring(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { status, uid, .. } = facts;
    if places.is_swapped() {
        return Act::Enter(Step::ScalingUp);
    }
    if let Some(gone) = moved(facts, places) {
        return Act::GiveUp(gone);
    }
    let Some(restored) = places.restored else {
        return match status.attempts < ATTEMPTS {
            true => Act::Create,
            false => Act::GiveUp(format!("{} tries to restore broke off", status.attempts)),
        };
    };
    match restored.witness(uid) {
        None => Act::Witness(restored.clone()),
        Some(Witness { failure: Some(failure), .. }) => match status.attempts < ATTEMPTS && !failure.for_good {
            true => Act::Drop(restored.clone()),
            false => Act::GiveUp(failure.message),
        },
        Some(_) if status.verification.is_none() => Act::Fill(restored.clone()),
        Some(_) => Act::Record,
    }
}

/// Whether the database that is to be replaced is another one than was chosen.
fn moved(facts: &Facts<'_>, places: &Places<'_>) -> Option<String> {
    let Facts { target, status, spec, .. } = facts;
    let replaces = status.chosen.as_ref().and_then(|chosen| chosen.replaces);
    match (replaces, places.live) {
        (Some(_), _) if places.is_as_before() => None,
        (None, None) => None,
        (Some(oid), None) => Some(format!("database {target} (OID {oid}) is gone: somebody else has dropped or renamed it")),
        (Some(oid), Some(live)) => Some(format!("database {target} is another one now: it had OID {oid} and has {}", live.oid)),
        (None, Some(_)) if spec.strategy == Strategy::New => Some(format!("a database {target} has been made meanwhile")),
        (None, Some(_)) => Some(format!("a database {target} has been made meanwhile, and none was chosen to be replaced")),
    }
}

fn quiescing(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { spec, .. } = facts;
    match spec.strategy {
        Strategy::Replace if !places.is_as_before() => return Act::Enter(Step::Restoring),
        Strategy::Swap | Strategy::New if wanted(facts, places).is_none() => return Act::Enter(Step::ScalingUp),
        _ => {}
    }
    if is_late(facts) {
        let message = format!("workloads and sessions were not gone within quiesceTimeout ({})", spec.quiesce_timeout);
        return out_of_time(facts, places, message);
    }
    Act::Lower
}

/// A first swap that does not come about is a failure. One that leads back leaves all as it is, and is tried again.
fn out_of_time(facts: &Facts<'_>, places: &Places<'_>, message: String) -> Act {
    match (facts.status.completed_at.is_none(), places.live) {
        (true, _) => Act::GiveUp(message),
        (false, Some(live)) if !live.is_open => Act::Open(live.clone()),
        (false, _) => Act::Enter(Step::ScalingUp),
    }
}

/// What gives the name away and what takes it; `None` where all is as it should be.
fn wanted<'a>(facts: &Facts<'_>, places: &Places<'a>) -> Option<(Option<&'a Database>, &'a Database)> {
    let rolls_back = facts.spec.rollback && facts.status.completed_at.is_some();
    let comes = if rolls_back { places.replaced? } else { places.restored? };
    if places.live.is_some_and(|live| live.oid == comes.oid) {
        return None;
    }
    Some((places.live, comes))
}

/// Whether the step has taken as long as workloads and sessions may.
fn is_late(facts: &Facts<'_>) -> bool {
    is_late_at(facts.spec, facts.status, facts.now)
}

fn is_late_at(spec: &RestoreSpec, status: &RestoreStatus, now: Timestamp) -> bool {
    let since = status.step_at.as_ref().map_or(now, |at| at.0);
    let limit = spec.quiesce_timeout.to_std().unwrap_or_default();
    since.saturating_add(limit).is_ok_and(|until| until < now)
}

fn swapping(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    match wanted(facts, places) {
        // A connection may have broken after the commit.
        None => match places.live {
            Some(live) if !live.is_open => Act::Open(live.clone()),
            _ => Act::Enter(Step::ScalingUp),
        },
        Some((leaves, comes)) => {
            let is_meant = leaves
                .is_none_or(|leaves| [places.restored, places.replaced].iter().flatten().any(|ours| ours.oid == leaves.oid));
            if !is_meant {
                let message = format!("database {} is another one now, which is left alone", facts.target);
                return Act::GiveUp(message);
            }
            if is_late(facts) {
                let message = format!("the names could not be changed within quiesceTimeout ({})", facts.spec.quiesce_timeout);
                return out_of_time(facts, places, message);
            }
            Act::Swap(leaves.cloned(), Some(comes.clone()))
        }
    }
}

/// Puts back whatever a restore that failed has touched: first the database, then the workloads, then what is in nobody's way.
fn putting_back(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { spec, status, .. } = facts;
    if let Some(back) = opening(places) {
        return back;
    }
    if status.step != Step::ScalingUp {
        return Act::Enter(Step::ScalingUp);
    }
    if spec.on_failure == OnFailure::ScaleUp && !is_up(&status.workloads) {
        return Act::Raise;
    }
    match leftover(facts, places) {
        Some(restored) => Act::Drop(restored.clone()),
        None => Act::Enter(Step::Done),
    }
}

fn keeping(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { spec, status, uid, now, .. } = facts;
    if spec.strategy != Strategy::Swap {
        return Act::Enter(Step::Done);
    }
    let live = places.live.map(|live| live.oid);
    let both = [places.restored, places.replaced];
    // Where nothing is kept any more, all is done.
    let Some(kept) = kept(places, uid) else { return Act::Enter(Step::Done) };
    if both.iter().flatten().any(|ours| Some(ours.oid) == live) && wanted(facts, places).is_some() {
        return Act::Record;
    }
    // What cannot be counted has no end.
    let until = kept_until(spec, status).unwrap_or(Timestamp::MAX);
    if until > *now {
        return Act::Keep(kept.clone(), until);
    }
    if let Some(refused) = undroppable(kept) {
        return Act::Refuse(refused);
    }
    Act::Drop(kept.clone())
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

/// Why a database cannot be dropped just now.
fn undroppable(database: &Database) -> Option<Blocked> {
    let name = &database.name;
    let refused = |message: String| Some(Blocked::new(Reason::DatabaseInUse, message));
    if !database.prepared.is_empty() {
        let prepared = database.prepared.join(", ");
        return refused(format!(
            "database {name} is kept no longer and has prepared transactions ({prepared}): commit or roll them back there"
        ));
    }
    let slots: Vec<&str> = database.slots.iter().map(|(slot, _)| slot.as_str()).collect();
    if !slots.is_empty() {
        return refused(format!(
            "database {name} is kept no longer and has logical replication slots ({}): drop them with pg_drop_replication_slot",
            slots.join(", ")
        ));
    }
    if !database.subscriptions.is_empty() {
        return refused(format!(
            "database {name} is kept no longer and has subscriptions ({}): open it with ALTER DATABASE {name} ALLOW_CONNECTIONS true, and drop them there with DROP SUBSCRIPTION",
            database.subscriptions.join(", ")
        ));
    }
    None
}

#[cfg(test)]
mod tests;
