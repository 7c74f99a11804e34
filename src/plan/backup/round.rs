//! What does a BackupSchedule do now? Which backup begins, which is tried, which goes, and what its status says.

mod facts;
mod retire;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest as _, Sha256};

use self::facts::{facts, known, newest, trouble};
use super::course;
use super::keep::State;
use super::slots::{Punctuality, name, offset};
use crate::api::backup::BackupStatus;
use crate::api::backup_schedule::{BackupScheduleSpec, BackupScheduleStatus};
use crate::api::{Reason, Span};
use crate::plan::hex;
use crate::plan::schedule::Schedule;
use crate::plan::window;

/// A Backup of the schedule, as it is.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether somebody has deleted it, and it is only kept by what it leaves.
    pub is_deleted: bool,
    /// `spec.hold`.
    pub held: bool,
    /// A Restore that needs it.
    pub used_by: Option<String>,
    /// Directory of the newer one for which the retention was about to let it go.
    pub leaves_for: Option<String>,
    /// The destination that it lies in.
    pub place: String,
    /// Whether it was made for another PostgresDatabase.
    pub foreign: bool,
    /// Its status.
    pub status: BackupStatus,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A Backup of this name is made.
    Create(String),
    /// A Backup that nobody has begun goes: its time is missed.
    GiveUp(String),
    /// A Backup is tried.
    Test {
        /// Its name.
        backup: String,
        /// The value of the annotation that asks for it.
        request: String,
    },
    /// A Backup goes, with its objects.
    Evict {
        /// Its name.
        backup: String,
        /// Directory of the newer one that takes its place; `None` where it holds nothing.
        replaced_by: Option<String>,
    },
    /// A Backup that was about to go stays.
    Spare(String),
    /// The newer one for which a Backup was let go is gone itself, and this one takes its place.
    Relieve {
        /// Name of the one that goes.
        backup: String,
        /// Directory of the newer one.
        replaced_by: String,
    },
}

/// What is to be done, and what is known.
#[derive(Clone, Debug)]
pub struct Round {
    /// What is done, in this order.
    pub deeds: Vec<Deed>,
    /// The status, but for its conditions.
    pub status: BackupScheduleStatus,
    /// Why not all is well, and in which words.
    pub trouble: Option<(Reason, String)>,
    /// Whether the request for a backup now is answered.
    pub is_answered: bool,
    /// When the clock next asks for a pass.
    pub due: Option<Timestamp>,
    /// How many missed moments the status counts with that of the backup that begins.
    missed: i64,
}

/// Whose schedule it is.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// When it was made.
    pub created: Timestamp,
    /// A request for a backup now that nobody has answered.
    pub requested: Option<&'a str>,
    /// What keeps the retention from letting anything go, where something is wrong.
    pub hindrance: Option<&'a str>,
}

/// How far ahead of us the last moment that was answered may lie: clocks are corrected by less.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// A moment that lies far ahead was answered under a clock that was wrong. If it were believed, no backup would begin until then; so what
/// counts as answered is everything until now.
fn corrected(answered: Option<Time>, now: Timestamp) -> Option<Time> {
    answered.map(|at| if at.0.duration_since(now) > AHEAD { Time(now) } else { at })
}

/// What is to be done at `now`.
///
/// # Errors
/// Which field cannot be read, and why.
pub fn round(
    spec: &BackupScheduleSpec,
    whose: Whose<'_>,
    before: &BackupScheduleStatus,
    seen: &[Seen],
    now: Timestamp,
) -> Result<Round, String> {
    let clock = Clock::read(spec, whose)?;
    let mut round = Round {
        deeds: vec![],
        status: facts(before, seen),
        trouble: None,
        is_answered: whose.requested.is_none(),
        due: None,
        missed: 0,
    };
    round.status.last_slot = corrected(round.status.last_slot.take(), now);
    round.status.last_test_slot = corrected(round.status.last_test_slot.take(), now);
    if spec.suspend {
        round.skip(&clock, whose, now);
    } else {
        round.give_up(&clock, whose, seen, now);
        round.begin(&clock, whose, seen, now);
        round.test(&clock, whose, seen, now);
        round.retire(spec, seen, &clock.zone, now)?;
    }
    round.trouble = trouble(&round.status, whose, seen);
    Ok(round)
}

/// When it asks for something.
struct Clock {
    backups: Punctuality,
    tests: Option<Punctuality>,
    zone: TimeZone,
}

impl Clock {
    fn read(spec: &BackupScheduleSpec, whose: Whose<'_>) -> Result<Self, String> {
        let length = |field: &str, span: Span| span.to_std().map_err(|error| format!("{field}: {error}"));
        let offset = offset(whose.namespace, whose.name, length("jitter", spec.jitter)?);
        let backups = Punctuality {
            schedule: Schedule::parse(&spec.schedule, &spec.time_zone)?,
            offset,
            deadline: length("startingDeadline", spec.starting_deadline)?,
        };
        let tests = spec.restore_test.as_ref().map(|test| {
            let schedule = Schedule::parse(&test.schedule, &spec.time_zone).map_err(|error| format!("restoreTest.{error}"))?;
            // It is never too late to find out whether a backup restores.
            Ok::<_, String>(Punctuality { schedule, offset, deadline: std::time::Duration::MAX })
        });
        Ok(Self { backups, tests: tests.transpose()?, zone: window::zone(&spec.time_zone)? })
    }
}

impl Round {
    /// Takes back what the status says of a deed that could not be done. `before` is what it said before.
    pub fn undo(&mut self, deed: &Deed, before: &BackupScheduleStatus) {
        match deed {
            // A moment is answered when its backup is there.
            Deed::Create(_) => {
                self.status.last_slot.clone_from(&before.last_slot);
                self.status.missed = self.status.missed.saturating_sub(self.missed);
                self.status.active = None;
                self.is_answered = false;
            }
            Deed::GiveUp(backup) => {
                self.status.missed = self.status.missed.saturating_sub(1);
                self.status.last_missed.clone_from(&before.last_missed);
                self.status.active = Some(backup.clone());
            }
            Deed::Test { .. } => self.status.last_test_slot.clone_from(&before.last_test_slot),
            Deed::Evict { .. } | Deed::Spare(_) | Deed::Relieve { .. } => {}
        }
    }

    /// A suspended schedule answers its moments by letting them pass.
    fn skip(&mut self, clock: &Clock, whose: Whose<'_>, now: Timestamp) {
        let passed = |punctuality: &Punctuality, answered: &Option<Time>| {
            punctuality.due(answered.as_ref().map_or(whose.created, |at| at.0), now).slot.map(Time)
        };
        self.status.last_slot = passed(&clock.backups, &self.status.last_slot).or(self.status.last_slot.take());
        if let Some(tests) = &clock.tests {
            self.status.last_test_slot = passed(tests, &self.status.last_test_slot).or(self.status.last_test_slot.take());
        }
        self.status.next_run = None;
        self.status.next_restore_test = None;
        self.status.plan = None;
    }

    /// A backup that has waited behind one of another schedule for longer than it may be late is missed like one that was never made.
    fn give_up(&mut self, clock: &Clock, whose: Whose<'_>, seen: &[Seen], now: Timestamp) {
        let Some(slot) = self.status.last_slot.as_ref().map(|at| at.0) else { return };
        let wanted = name(whose.name, slot);
        let waits = |backup: &&Seen| backup.name == wanted && !backup.is_deleted && backup.status.started_at.is_none();
        let Some(queued) = seen.iter().find(waits).filter(|backup| known(backup).state == State::UnderWay) else { return };
        match clock.backups.until(slot) {
            Some(until) if now > until => {
                self.deeds.push(Deed::GiveUp(queued.name.clone()));
                self.status.missed = self.status.missed.saturating_add(1);
                self.status.last_missed = Some(Time(slot));
                self.status.active = None;
            }
            until => self.ask_again(until.and_then(|until| until.checked_add(SignedDuration::from_secs(1)).ok())),
        }
    }

    /// The backup that is due, unless another one is under way: then it begins when that has ended, or is missed.
    fn begin(&mut self, clock: &Clock, whose: Whose<'_>, seen: &[Seen], now: Timestamp) {
        let answered = self.status.last_slot.as_ref().map_or(whose.created, |at| at.0);
        let due = clock.backups.due(answered, now);
        self.status.next_run = due.next.map(Time);
        self.ask_again(due.next);
        let is_free = self.status.active.is_none();
        if let Some(slot) = due.slot {
            let wanted = name(whose.name, slot);
            let exists = seen.iter().any(|backup| backup.name == wanted);
            let begins = due.begins && (exists || is_free);
            if begins && !exists {
                self.deeds.push(Deed::Create(wanted.clone()));
                self.status.active = Some(wanted);
            }
            if begins || !due.begins {
                self.missed = due.missed;
                self.status.missed = self.status.missed.saturating_add(due.missed);
                self.status.last_slot = Some(Time(slot));
            }
            if !due.begins {
                self.status.last_missed = Some(Time(slot));
            }
        }
        if let Some(request) = whose.requested {
            let wanted = format!("{}-now-{}", whose.name, &hex(&Sha256::digest(request))[..8]);
            let exists = seen.iter().any(|backup| backup.name == wanted);
            if !exists && self.status.active.is_none() {
                self.deeds.push(Deed::Create(wanted.clone()));
                self.status.active = Some(wanted.clone());
            }
            self.is_answered = exists || self.status.active.as_ref() == Some(&wanted);
        }
    }

    /// The restore test that is due: of the newest good backup, once none is under way.
    fn test(&mut self, clock: &Clock, whose: Whose<'_>, seen: &[Seen], now: Timestamp) {
        let Some(tests) = &clock.tests else {
            self.status.next_restore_test = None;
            return;
        };
        let answered = self.status.last_test_slot.as_ref().map_or(whose.created, |at| at.0);
        let due = tests.due(answered, now);
        self.status.next_restore_test = due.next.map(Time);
        self.ask_again(due.next);
        let newest = newest(seen, |backup| !course::is_doubtful(&backup.status));
        if let (Some(slot), Some(backup), None) = (due.slot, newest, &self.status.active) {
            self.deeds.push(Deed::Test { backup: backup.name.clone(), request: slot.to_string() });
            self.status.last_test_slot = Some(Time(slot));
        }
    }

    fn ask_again(&mut self, at: Option<Timestamp>) {
        self.due = self.due.into_iter().chain(at).min();
    }
}

#[cfg(test)]
mod tests;
