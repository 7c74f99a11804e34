//! How far is a Backup, what comes next, and what does its status say?

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

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

/// How often a proof is tried: a damaged object does not mend, a store that was away for a moment does. What takes hours and cannot be done
/// would else keep the database's only place for Jobs from whoever comes next.
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
    let has_given_up = status.unproven.as_ref().is_some_and(|unproven| unproven.level >= spec.settings.verify);
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
    find(&status.conditions, VERIFIED).is_some_and(|verified| is_doubt(&verified.reason))
}

/// Whether a proof that ends so says that the backup does not hold, and not that it could not be found out.
fn is_doubt(reason: &str) -> bool {
    [Reason::VerificationFailed, Reason::BackupDamaged].map(Reason::as_str).contains(&reason)
}

/// Whose turn it is, by this order, of the Backups of one database that are under way: one that has begun is not held up by another that was
/// made in the same second, in which the API server counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// Whether it has yet to begin.
    pub waits: bool,
    /// When it was made.
    pub made: Option<Timestamp>,
    /// Its name.
    pub name: String,
}

/// What a pass came to.
#[derive(Clone, Copy, Debug)]
pub enum Course<'a> {
    /// Nothing is to be done.
    Settled,
    /// It waits for another one.
    Queued(&'a str),
    /// A Job is at work, after so many tries in a row that failed.
    Runs(&'a str, u32),
    /// It could not be done; so often in a row, as far as Jobs tried. 0 where no Job was asked.
    Refused(&'a Blocked, u32),
    /// It cannot be done, now or later, or is given up: what a Backup is cannot be changed.
    Hopeless(&'a Blocked),
}

/// Whether a backup is given up that could not be made for this reason, after so many tries of Jobs: [`TRIES`] of them and [`PATIENCE`] since
/// it began, or, where no Job could be asked, [`PATIENCE`] since the first refusal in a row. An API server that does not answer says nothing
/// about the backup, which a Job may be at.
pub fn is_over(status: &BackupStatus, reason: Reason, times: u32, now: Timestamp) -> bool {
    if times == 0 { is_refused_for_long(status, reason, now) } else { times >= TRIES && is_long_ago(&status.started_at, now) }
}

/// Whether a proof is given up; as [`is_over`], after [`PROOFS`] tries, however short.
pub fn is_proof_over(status: &BackupStatus, reason: Reason, times: u32, now: Timestamp) -> bool {
    if times == 0 { is_refused_for_long(status, reason, now) } else { times >= PROOFS }
}

fn is_refused_for_long(status: &BackupStatus, reason: Reason, now: Timestamp) -> bool {
    // Whatever waits for its turn or for a Job progresses.
    let refused = find(&status.conditions, PROGRESSING).filter(|progressing| progressing.status == "False");
    reason != Reason::KubernetesUnavailable && is_long_ago(&refused.map(|refused| refused.last_transition_time.clone()), now)
}

fn is_long_ago(at: &Option<Time>, now: Timestamp) -> bool {
    let patience = SignedDuration::try_from(PATIENCE).unwrap_or(SignedDuration::MAX);
    at.as_ref().is_some_and(|at| now.duration_since(at.0) >= patience)
}

/// The status after a pass, and what it amounts to. `status` has the facts already, and the conditions of before.
pub fn report(
    wanted: VerifyLevel,
    status: BackupStatus,
    generation: Option<i64>,
    requested: Option<&str>,
    course: Course<'_>,
    now: Timestamp,
) -> (BackupStatus, State) {
    let is_complete = status.completed_at.is_some();
    let former = find(&status.conditions, FAILED).filter(|failed| failed.status == "True");
    let failure = match (former, course) {
        (Some(failed), _) => Some((named(&failed.reason), failed.message.clone())),
        (None, Course::Hopeless(blocked)) => Some((blocked.reason, blocked.message.clone())),
        _ => None,
    };
    let (verified, proof, said) = verdict(wanted, &status, course);
    let lacks = proof.class() != Class::Fine || status.unproven.is_some();
    let (reason, message) = match (&failure, course) {
        (Some((reason, message)), _) => (*reason, message.clone()),
        (None, Course::Queued(message)) => (Reason::Queued, message.to_owned()),
        (None, Course::Runs(message, _)) => (Reason::JobRunning, message.to_owned()),
        (None, Course::Refused(blocked, _) | Course::Hopeless(blocked)) => (blocked.reason, blocked.message.clone()),
        (None, Course::Settled) if lacks => lacking(&status, proof, &said),
        (None, Course::Settled) => (Reason::Completed, summary(&status)),
    };
    let is_refused = matches!(course, Course::Refused(..));
    let is_ready = is_complete && !is_refused && !lacks;
    let class = match course {
        _ if failure.is_some() => Class::Stalled,
        Course::Queued(_) | Course::Runs(..) => Class::Waiting,
        Course::Refused(..) if reason.class() != Class::Stalled => Class::Waiting,
        _ if is_ready => Class::Fine,
        _ => Class::Stalled,
    };
    let progresses = matches!(course, Course::Queued(_) | Course::Runs(..));
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
        // No Job was asked how often it has failed.
        Course::Refused(_, 0) | Course::Settled | Course::Hopeless(_) | Course::Queued(_) => status.failures,
        Course::Refused(_, times) | Course::Runs(_, times) => i32::try_from(times).unwrap_or(i32::MAX),
    };
    let last_handled_reconcile_at = requested.map(str::to_owned).or_else(|| status.last_handled_reconcile_at.clone());
    let state = State { ready: is_ready, reason, message, drifted: false };
    (BackupStatus { observed_generation: generation, conditions, failures, last_handled_reconcile_at, ..status }, state)
}

fn named(reason: &str) -> Reason {
    Reason::named(reason).unwrap_or(Reason::JobFailed)
}

/// What a complete backup says of which a proof did not hold, or was given up.
fn lacking(status: &BackupStatus, proof: Reason, said: &str) -> (Reason, String) {
    match &status.unproven {
        Some(unproven) if !is_doubt(&unproven.reason) => {
            let message = format!(
                "{} was given up, and is tried again when the annotation pgreeve.dev/restoreTest asks for it: {}",
                if unproven.level == VerifyLevel::Restore { "its restore" } else { "reading it back" },
                unproven.message
            );
            (named(&unproven.reason), message)
        }
        _ => (proof, said.to_owned()),
    }
}

/// Whether it is verified as far as is wanted, why, and in which words.
fn verdict(wanted: VerifyLevel, status: &BackupStatus, course: Course<'_>) -> (bool, Reason, String) {
    if let Course::Refused(blocked, _) = course
        && is_doubt(blocked.reason.as_str())
    {
        return (false, blocked.reason, blocked.message.clone());
    }
    if let Some(doubt) = status.unproven.as_ref().filter(|unproven| is_doubt(&unproven.reason)) {
        return (false, named(&doubt.reason), doubt.message.clone());
    }
    if let Some(doubt) = find(&status.conditions, VERIFIED).filter(|_| is_doubtful(status)) {
        return (false, named(&doubt.reason), doubt.message.clone());
    }
    if status.completed_at.is_none() {
        return (false, Reason::NotVerified, "it is not complete".into());
    }
    let (proven, how) = match &status.verification {
        Some(proof) if proof.level > VerifyLevel::None => {
            let how = match (proof.level, proof.rows_matched) {
                (VerifyLevel::Restore, Some(rows)) => format!("restored: all {rows} rows are there"),
                (VerifyLevel::Restore, None) => "restored".into(),
                _ => "read back whole".into(),
            };
            (proof.level, format!("{how}, at {:.0}", proof.at.0))
        }
        _ => (VerifyLevel::None, "no proof beyond its manifest".into()),
    };
    match &status.unproven {
        _ if proven >= wanted && proven > VerifyLevel::None => (true, Reason::Verified, how),
        Some(unproven) => {
            (false, named(&unproven.reason), format!("{how}; {} was given up: {}", unproven.level, unproven.message))
        }
        None if wanted == VerifyLevel::Restore => (false, Reason::NotVerified, format!("{how}; a restore is still to come")),
        None if wanted == VerifyLevel::Catalog => (false, Reason::NotVerified, format!("{how}; it is still to be read back")),
        None => (false, Reason::NotVerified, how),
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
