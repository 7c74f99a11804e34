//! What are the backups of a schedule, and why are they not as they should be?

use super::{Seen, Whose};
use crate::api::Reason;
use crate::api::backup::{BackupStatus, VerifyLevel};
use crate::api::backup_schedule::{BackupCounts, BackupFact, BackupScheduleStatus};
use crate::api::condition::{FAILED, READY, VERIFIED, find, is_true};
use crate::plan::backup::course;
use crate::plan::backup::keep::{Known, State};

/// What the retention knows of a Backup.
pub(super) fn known(backup: &Seen) -> Known {
    let status = &backup.status;
    let state = match () {
        () if is_true(&status.conditions, FAILED) => State::Failed,
        () if status.completed_at.is_none() => State::UnderWay,
        () if course::is_doubtful(status) => State::Doubtful,
        () if is_true(&status.conditions, VERIFIED) => {
            State::Complete(status.verification.as_ref().map_or(VerifyLevel::None, |proof| proof.level))
        }
        () => State::Complete(VerifyLevel::None),
    };
    let at = status.moment().map_or(backup.created, |at| at.0);
    Known {
        name: backup.name.clone(),
        at,
        state,
        held: backup.held,
        used_by: backup.used_by.clone(),
        bytes: status.size_bytes.unwrap_or(0),
        place: backup.place.clone(),
        foreign: backup.foreign,
    }
}

/// The newest complete backup of ours of which this is true.
pub(super) fn newest(seen: &[Seen], is_meant: impl Fn(&Seen) -> bool) -> Option<&Seen> {
    let complete = seen.iter().filter(|backup| is_ours(backup) && backup.status.completed_at.is_some() && is_meant(backup));
    complete.max_by_key(|backup| known(backup).at)
}

/// Whether a backup is there, and was made for this database.
fn is_ours(backup: &&Seen) -> bool {
    !backup.is_deleted && !backup.foreign
}

fn fact(backup: &Seen) -> Option<BackupFact> {
    Some(BackupFact {
        name: backup.name.clone(),
        completed_at: backup.status.completed_at.clone()?,
        snapshot_at: backup.status.snapshot_at.clone(),
        size_bytes: backup.status.size_bytes.unwrap_or(0),
        seconds: seconds(&backup.status),
        proven_at: backup
            .status
            .verification
            .as_ref()
            .filter(|proof| proof.level > VerifyLevel::None)
            .map(|proof| proof.at.clone()),
    })
}

/// How long a backup took; unknown of one that was found in a store.
fn seconds(status: &BackupStatus) -> Option<i64> {
    let (begun, ended) = (status.started_at.as_ref()?.0, status.completed_at.as_ref()?.0);
    Some(ended.duration_since(begun).as_secs()).filter(|seconds| *seconds >= 0)
}

/// What its backups are.
pub(super) fn facts(before: &BackupScheduleStatus, seen: &[Seen]) -> BackupScheduleStatus {
    let there: Vec<&Seen> = seen.iter().filter(is_ours).collect();
    let states: Vec<(State, &Seen)> = there.iter().map(|backup| (known(backup).state, *backup)).collect();
    let count = |wanted: &dyn Fn(State) -> bool| {
        i32::try_from(states.iter().filter(|(state, _)| wanted(*state)).count()).unwrap_or(i32::MAX)
    };
    let is_complete = |state| matches!(state, State::Complete(_) | State::Doubtful);
    let proven = |level: VerifyLevel| move |state: State| matches!(state, State::Complete(proven) if proven >= level);
    let newest_proven = |level| newest(seen, |backup| proven(level)(known(backup).state)).and_then(fact);
    let under_way = states.iter().filter(|(state, _)| *state == State::UnderWay).map(|(_, backup)| backup);
    let last = newest(seen, |_| true);
    let since = last.map(|backup| backup.created);
    let failures = states.iter().filter(|(state, backup)| *state == State::Failed && since.is_none_or(|at| backup.created > at));
    BackupScheduleStatus {
        active: under_way.min_by_key(|backup| (backup.created, &backup.name)).map(|backup| backup.name.clone()),
        last_backup: last.and_then(fact),
        last_verified: newest_proven(VerifyLevel::Catalog),
        last_restored: newest_proven(VerifyLevel::Restore),
        backups: BackupCounts {
            complete: count(&is_complete),
            verified: count(&proven(VerifyLevel::Catalog)),
            failed: count(&|state| state == State::Failed),
            bytes: states.iter().filter(|(state, _)| is_complete(*state)).map(|(_, backup)| known(backup).bytes).sum(),
        },
        failures: i32::try_from(failures.count()).unwrap_or(i32::MAX),
        plan: None,
        ..before.clone()
    }
}

/// Why the backups are not as they should be.
pub(super) fn trouble(status: &BackupScheduleStatus, whose: Whose<'_>, seen: &[Seen]) -> Option<(Reason, String)> {
    let said = |backup: &Seen, condition: &str, what: &str| {
        let found = find(&backup.status.conditions, condition)?;
        let reason = Reason::named(&found.reason).unwrap_or(Reason::JobFailed);
        Some((reason, format!("Backup {} {what}: {}", backup.name, found.message)))
    };
    let ended = seen.iter().filter(|backup| is_ours(backup) && known(backup).state != State::UnderWay);
    let of_last = ended.max_by_key(|backup| (backup.created, &backup.name)).and_then(|last| match known(last).state {
        State::Failed => said(last, FAILED, "has failed"),
        State::Doubtful => said(last, VERIFIED, "does not hold"),
        _ => None,
    });
    let completed = status.last_backup.as_ref().map(|fact| fact.completed_at.0);
    let missed = status.last_missed.as_ref().filter(|at| completed.is_none_or(|completed| completed < at.0));
    // What was about to go, and is the only one that is whole.
    let damaged = |backup: &&Seen| {
        find(&backup.status.conditions, READY).is_some_and(|ready| ready.reason == Reason::BackupDamaged.as_str())
    };
    let stuck = seen.iter().filter(|backup| backup.is_deleted && backup.leaves_for.is_some()).find(damaged);
    let of_last = of_last.or_else(|| said(stuck?, READY, "cannot go"));
    let hindrance = whose.hindrance.map(|what| (Reason::InvalidSpec, what.to_owned()));
    of_last.or(hindrance).or_else(|| {
        let at = missed?;
        Some((Reason::BackupMissed, format!("the backup of {} did not begin within startingDeadline", at.0)))
    })
}
