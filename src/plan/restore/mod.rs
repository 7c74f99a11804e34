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
mod exchange;
pub mod farewell;
mod keeping;
pub mod names;
pub mod preflight;
pub mod replace;
pub mod report;
pub mod rivals;
pub mod selector;
pub mod sight;
pub mod stranded;

use jiff::Timestamp;

use crate::api::restore::{OnFailure, RestoreSpec, RestoreStatus, ScaledWorkload, Step, Strategy};
use crate::plan::action::Blocked;
use exchange::{is_whole, lost, quiescing, swapping};
pub use keeping::kept_until;
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
    /// The generation of the spec.
    pub generation: Option<i64>,
    /// Another Restore, by whose work there is a database of the name again that this one has dropped.
    pub successor: Option<&'a str>,
    /// What time it is.
    pub now: Timestamp,
}

impl<'a> Facts<'a> {
    /// The databases, by what they are in the restore.
    pub fn places(&self) -> Places<'a> {
        Places::of(self.sight, self.target, self.uid, self.spec.strategy, self.status)
    }
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
    /// Somebody is in the way who may go: nothing is touched, and it is looked again soon. The message says who.
    Wait(String),
    /// The other database cannot be put back just now, for this reason: workloads come back before that is tried again.
    PutOff(String),
    /// The names have not changed after all: the server has lost that, as in a failover.
    Undone,
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
    let Facts { spec, status, .. } = facts;
    let places = facts.places();
    if status.step == Step::Done {
        return at_rest(spec, status);
    }
    let before = status.completed_at.is_none();
    if before && places.is_swapped() {
        // The operator died after the names had changed and before it had written so.
        return Act::Complete;
    }
    if let Some(broken) = places.broken {
        return Act::Drop(broken.clone());
    }
    if let Some(succeeded) = replace::succeeded(facts, &places).filter(|message| status.failure.as_ref() != Some(message)) {
        return Act::GiveUp(succeeded);
    }
    let goes_on = replace::is_dropped(facts, &places) || replace::is_taken(facts, &places);
    if status.failure.is_some() && !goes_on {
        return putting_back(facts, &places);
    }
    if status.step == Step::Keeping {
        return keeping::keeping(facts, &places);
    }
    if before && spec.rollback && status.step > Step::AwaitingConfirmation {
        return Act::GiveUp("spec.rollback was set before anything was replaced".into());
    }
    if let Some(lost) = lost(facts, &places) {
        return lost;
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
        Step::ScalingUp if before => Act::GiveUp("nothing was replaced".into()),
        Step::ScalingUp if is_up(&status.workloads) => Act::Enter(Step::Keeping),
        Step::ScalingUp => Act::Raise,
        Step::Keeping | Step::Done => Act::Rest,
    }
}

/// What is left to do for a Restore that is done: workloads that stay down after its failure come back once that is wanted.
pub fn at_rest(spec: &RestoreSpec, status: &RestoreStatus) -> Act {
    match spec.on_failure {
        OnFailure::ScaleUp if !is_up(&status.workloads) => Act::Raise,
        OnFailure::ScaleUp | OnFailure::StayDown => Act::Rest,
    }
}

/// What is left to do for a Restore that somebody deletes: the database is open under its name, workloads come back, and what only the restore
/// needed goes. A replaced database that is kept stays. Where there is none any more, the restore first goes on to its end.
pub fn letting_go(facts: &Facts<'_>) -> Act {
    let status = facts.status;
    let places = facts.places();
    let is_done = status.step == Step::Done;
    if !is_done && replace::is_dropped(facts, &places) {
        return next(facts);
    }
    if let Some(broken) = places.broken.filter(|_| !is_done) {
        return Act::Drop(broken.clone());
    }
    if let Some(back) = opening(&places).filter(|_| !is_done) {
        return back;
    }
    if !is_up(&status.workloads) {
        return Act::Raise;
    }
    match leftover(facts, &places).filter(|_| !is_done) {
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
pub fn is_up(workloads: &[ScaledWorkload]) -> bool {
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
        Some(_) if status.verification.is_none() || !is_whole(restored, uid) => Act::Fill(restored.clone()),
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

/// Puts back whatever a restore that failed has touched: first the database, then the workloads, then what is in nobody's way.
fn putting_back(facts: &Facts<'_>, places: &Places<'_>) -> Act {
    let Facts { spec, status, .. } = facts;
    if let Some(back) = opening(places) {
        return back;
    }
    if let Some(kept_out) = replace::kept_out(facts, places) {
        return kept_out;
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

#[cfg(test)]
mod tests;
