//! How far is a Backup, what comes next, and what does its status say?

use std::time::Duration;

use jiff::Timestamp;

use crate::api::backup::{BackupSpec, BackupStatus, DumpFormat, VerifyLevel};
use crate::api::condition::{COMPLETE, FAILED, PROGRESSING, READY, RECONCILING, STALLED, VERIFIED, find, is_true};
use crate::api::reason::Class;
use crate::api::{Conditions, Reason};
use crate::plan::action::Blocked;
use crate::plan::size::bytes;
use crate::plan::status::State;

/// How long a backup is tried before it has failed for good.
pub const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// How often a Job is tried at least, however long it takes each time.
pub const TRIES: u32 = 4;

/// How often a proof that did not hold is tried: a damaged object does not mend, a store that was away for a moment does.
pub const PROOFS: u32 = 3;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it is complete and proven as far as anybody asked, or has failed for good.
    Settled,
    /// It is dumped, or found in the store.
    Dump,
    /// It is proven so far.
    Prove(VerifyLevel),
}

/// What comes next. `test` is the restore test that somebody asks for.
pub fn next(spec: &BackupSpec, status: &BackupStatus, test: Option<&str>) -> Next {
    if is_true(&status.conditions, FAILED) {
        return Next::Settled;
    }
    if status.completed_at.is_none() {
        return Next::Dump;
    }
    let is_asked = test.is_some() && test != status.last_restore_test.as_deref();
    if is_asked {
        return Next::Prove(testable(spec));
    }
    let proven = status.verification.as_ref().map_or(VerifyLevel::None, |proof| proof.level);
    let has_given_up = is_doubtful(status) && status.failures >= i32::try_from(PROOFS).unwrap_or(i32::MAX);
    if proven < spec.settings.verify && !has_given_up { Next::Prove(spec.settings.verify) } else { Next::Settled }
}

/// How far this backup can be tested: what cannot be restored by us is read back.
fn testable(spec: &BackupSpec) -> VerifyLevel {
    let settings = &spec.settings;
    let is_closed = settings.encryption.as_ref().is_some_and(|encryption| encryption.identity_secret_ref.is_none());
    let is_partial = settings.content.what == crate::api::backup::What::DataOnly;
    if settings.format == DumpFormat::Plain || is_closed || is_partial { VerifyLevel::Catalog } else { VerifyLevel::Restore }
}

/// Whether a proof was tried last and did not hold: then it is nobody's replacement.
pub fn is_doubtful(status: &BackupStatus) -> bool {
    let doubts = [Reason::VerificationFailed, Reason::BackupDamaged].map(Reason::as_str);
    find(&status.conditions, VERIFIED).is_some_and(|verified| doubts.contains(&verified.reason.as_str()))
}

/// What a pass came to.
#[derive(Clone, Copy, Debug)]
pub enum Course<'a> {
    /// Nothing is to be done.
    Settled,
    /// It waits for another one.
    Queued(&'a str),
    /// A Job is at work.
    Runs(&'a str),
    /// It could not be done; so often in a row, as far as Jobs tried.
    Refused(&'a Blocked, u32),
    /// It cannot be done, now or later: what a Backup is cannot be changed.
    Hopeless(&'a Blocked),
}

/// Whether what could not be done is given up.
fn is_over(status: &BackupStatus, times: u32, now: Timestamp) -> bool {
    let begun = status.started_at.as_ref().map_or(now, |at| at.0);
    let long = now.duration_since(begun) >= jiff::SignedDuration::try_from(PATIENCE).unwrap_or(jiff::SignedDuration::MAX);
    long && (times == 0 || times >= TRIES)
}

/// The status after a pass, and what it amounts to. `status` has the facts already, and the conditions of before.
pub fn report(
    status: BackupStatus,
    generation: Option<i64>,
    requested: Option<&str>,
    course: Course<'_>,
    now: Timestamp,
) -> (BackupStatus, State) {
    let is_complete = status.completed_at.is_some();
    let former = find(&status.conditions, FAILED).filter(|failed| failed.status == "True");
    let failure = match (former, course) {
        (Some(failed), _) => Some((Reason::named(&failed.reason).unwrap_or(Reason::JobFailed), failed.message.clone())),
        (None, Course::Hopeless(blocked)) => Some((blocked.reason, blocked.message.clone())),
        (None, Course::Refused(blocked, times)) if !is_complete && is_over(&status, times, now) => {
            Some((blocked.reason, format!("given up: {}", blocked.message)))
        }
        _ => None,
    };
    let (verified, proof, said) = verdict(&status, course);
    let (reason, message) = match (&failure, course) {
        (Some((reason, message)), _) => (*reason, message.clone()),
        (None, Course::Queued(message)) => (Reason::Queued, message.to_owned()),
        (None, Course::Runs(message)) => (Reason::JobRunning, message.to_owned()),
        (None, Course::Refused(blocked, _) | Course::Hopeless(blocked)) => (blocked.reason, blocked.message.clone()),
        (None, Course::Settled) if proof.class() != Class::Fine => (proof, said.clone()),
        (None, Course::Settled) => (Reason::Completed, summary(&status)),
    };
    let is_refused = matches!(course, Course::Refused(..));
    let is_ready = is_complete && !is_refused && (verified || proof.class() == Class::Fine);
    let class = match course {
        _ if failure.is_some() => Class::Stalled,
        Course::Queued(_) | Course::Runs(_) => Class::Waiting,
        Course::Refused(..) if reason.class() != Class::Stalled => Class::Waiting,
        _ if is_ready => Class::Fine,
        _ => Class::Stalled,
    };
    let progresses = matches!(course, Course::Queued(_) | Course::Runs(_));
    let complete = if is_complete { (Reason::Completed, summary(&status)) } else { (reason, message.clone()) };
    let conditions = Conditions::after(&status.conditions, generation, now)
        .set(COMPLETE, is_complete, complete.0, &complete.1)
        .set(FAILED, failure.is_some(), reason, if failure.is_some() { &message } else { "" })
        .set(VERIFIED, verified, proof, &said)
        .set(PROGRESSING, progresses, reason, if progresses { &message } else { "" })
        .set(READY, is_ready, reason, &message)
        .set(RECONCILING, class == Class::Waiting, reason, if class == Class::Waiting { &message } else { "" })
        .set(STALLED, class == Class::Stalled, reason, if class == Class::Stalled { &message } else { "" })
        .finish();
    let failures = match course {
        Course::Refused(_, times) => i32::try_from(times).unwrap_or(i32::MAX),
        Course::Settled | Course::Hopeless(_) => status.failures,
        Course::Queued(_) | Course::Runs(_) => 0,
    };
    let last_handled_reconcile_at = requested.map(str::to_owned).or_else(|| status.last_handled_reconcile_at.clone());
    let state = State { ready: is_ready, reason, message, drifted: false };
    (BackupStatus { observed_generation: generation, conditions, failures, last_handled_reconcile_at, ..status }, state)
}

/// Whether it is verified, why, and in which words.
fn verdict(status: &BackupStatus, course: Course<'_>) -> (bool, Reason, String) {
    if let Course::Refused(blocked, _) = course
        && matches!(blocked.reason, Reason::VerificationFailed | Reason::BackupDamaged)
    {
        return (false, blocked.reason, blocked.message.clone());
    }
    let former = find(&status.conditions, VERIFIED).filter(|_| is_doubtful(status));
    match (&status.verification, former) {
        (_, Some(doubt)) => {
            let reason = Reason::named(&doubt.reason).unwrap_or(Reason::VerificationFailed);
            (false, reason, doubt.message.clone())
        }
        (Some(proof), None) if proof.level > VerifyLevel::None => {
            let how = match (proof.level, proof.rows_matched) {
                (VerifyLevel::Restore, Some(rows)) => format!("restored: all {rows} rows are there"),
                (VerifyLevel::Restore, None) => "restored".into(),
                _ => "read back whole".into(),
            };
            (true, Reason::Verified, format!("{how}, at {:.0}", proof.at.0))
        }
        _ => (false, Reason::NotVerified, "no proof beyond its manifest".into()),
    }
}

/// What a complete backup holds, in a line.
fn summary(status: &BackupStatus) -> String {
    let tables = status.tables.clone().unwrap_or_default();
    let as_of = status.snapshot_at.as_ref().map(|at| format!(", as of {:.0}", at.0)).unwrap_or_default();
    let size = bytes(status.size_bytes.unwrap_or(0));
    format!("{} tables with {} rows in {size}{as_of}", tables.count, tables.rows)
}

#[cfg(test)]
mod tests;
