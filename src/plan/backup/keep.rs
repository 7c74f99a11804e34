//! Which backups are kept, which may go, and why?
//!
//! A backup is an old good one's replacement only if it is as well proven. So whatever the rules say, the newest backup of each degree of
//! proof stays: the newest complete one, the newest that was read back, the newest that was restored. And while the last backup has failed,
//! nothing goes at all.

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::api::backup::VerifyLevel;
use crate::api::backup_schedule::BackupRetention;

/// What is known of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// The moment that a restore of it leads back to; for one that is not complete, when it was made.
    pub at: Timestamp,
    /// Whether it is there.
    pub state: State,
    /// Whether somebody holds it.
    pub held: bool,
    /// A Restore that needs it, if one does.
    pub used_by: Option<String>,
    /// Bytes in the store.
    pub bytes: i64,
    /// The destination that it lies in. Another one's newer backup is no replacement: who removes this one could not look whether that is whole.
    pub place: String,
    /// Whether it was made for another PostgresDatabase, as of another cluster that shares the place: it is none of ours to remove, and
    /// replaces none of ours.
    pub foreign: bool,
}

/// Whether a backup is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is under way.
    UnderWay,
    /// It has failed for good.
    Failed,
    /// Its manifest is there, and a proof of it did not hold.
    Doubtful,
    /// Its manifest is there, and it was proven so far.
    Complete(VerifyLevel),
}

impl Known {
    fn level(&self) -> Option<VerifyLevel> {
        match self.state {
            State::Complete(level) if !self.foreign => Some(level),
            State::Complete(_) | State::UnderWay | State::Failed | State::Doubtful => None,
        }
    }
}

/// What becomes of a backup, with the reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays, because of these.
    Stays(Vec<Why>),
    /// It goes, because no rule keeps it.
    Goes(Why),
}

/// A reason to keep a backup, or to let it go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// No rule says that anything goes.
    NoRule,
    /// It is under way.
    UnderWay,
    /// Its failure is recent; there is nothing in the store.
    Failed,
    /// A proof of it did not hold, and no newer one is better.
    Doubtful,
    /// Somebody holds it.
    Held,
    /// It was made for another PostgresDatabase, and nobody has said yet that it is this one's.
    Foreign,
    /// This Restore needs it.
    Used(String),
    /// It is the newest one that was proven so far.
    Newest(VerifyLevel),
    /// It is the newest of those in a destination that is not used any more.
    LastIn(String),
    /// The last backup has failed.
    LastFailed(String),
    /// It is one of the newest.
    Last(i32),
    /// It is the newest of a stretch of time, such as `2026-11-21` or `week of 2026-11-16`.
    Period(String),
    /// It is younger than maxAge.
    Young,
    /// It is older than maxAge.
    TooOld(String),
    /// No rule keeps it.
    NotKept,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no retention is asked for"),
            Self::UnderWay => f.write_str("it is under way"),
            Self::Failed => f.write_str("it has failed and is one of the last three that did"),
            Self::Doubtful => f.write_str("a proof of it did not hold, and no newer backup is better"),
            Self::Held => f.write_str("it is held (spec.hold)"),
            Self::Foreign => {
                f.write_str("it was made for another PostgresDatabase (spec.hold: false says that it is this one's)")
            }
            Self::Used(restore) => write!(f, "Restore {restore} needs it"),
            Self::Newest(VerifyLevel::None) => f.write_str("it is the newest"),
            Self::Newest(VerifyLevel::Catalog) => f.write_str("it is the newest that was read back"),
            Self::Newest(VerifyLevel::Restore) => f.write_str("it is the newest that was restored"),
            Self::LastIn(place) => write!(f, "it is the last one in {place}"),
            Self::LastFailed(name) => write!(f, "the last backup, {name}, has failed, and nothing goes until one succeeds"),
            Self::Last(count) => write!(f, "keepLast {count}"),
            Self::Period(period) => write!(f, "the newest of {period}"),
            Self::Young => f.write_str("younger than maxAge"),
            Self::TooOld(age) => write!(f, "older than maxAge {age}"),
            Self::NotKept => f.write_str("no rule keeps it"),
        }
    }
}

/// Failed Backups that stay listed, so that somebody can look at them.
const FAILED_SHOWN: usize = 3;

/// The fate of every backup, in the order given. What is in a store and has no Backup is none of its concern.
///
/// # Errors
/// Why maxAge cannot be counted back.
pub fn fates(
    backups: &[Known],
    retention: Option<&BackupRetention>,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Vec<Fate>, String> {
    let Some(retention) = retention else { return Ok(backups.iter().map(|_| Fate::Stays(vec![Why::NoRule])).collect()) };
    let counted_from = newest(backups).map_or(now, |newest| newest.min(now)).to_zoned(zone.clone());
    let oldest = retention.max_age.map(|age| age.subtract_from(&counted_from).map_err(|error| format!("maxAge: {error}")));
    let oldest = oldest.transpose()?.map(|at| at.timestamp());
    let mut newest_first: Vec<usize> = (0..backups.len()).collect();
    newest_first.sort_by(|a, b| (backups[*b].at, &backups[*b].name).cmp(&(backups[*a].at, &backups[*a].name)));
    let mut reasons: Vec<BTreeSet<Why>> = backups.iter().map(always).collect();
    protect_newest(backups, &newest_first, &mut reasons);
    let complete: Vec<usize> = newest_first.iter().copied().filter(|number| backups[*number].level().is_some()).collect();
    let young: Vec<usize> =
        complete.iter().copied().filter(|number| oldest.is_none_or(|oldest| backups[*number].at >= oldest)).collect();
    let rules = apply_rules(backups, &young, retention, zone, &mut reasons);
    if !rules && oldest.is_some() {
        for number in &young {
            reasons[*number].insert(Why::Young);
        }
    }
    let is_over = |backup: &Known| backup.state != State::UnderWay && !backup.foreign;
    let last = newest_first.iter().find(|number| is_over(&backups[**number]));
    let is_bad = |number: usize| matches!(backups[number].state, State::Failed | State::Doubtful);
    if let Some(name) = last.filter(|number| is_bad(**number)).map(|number| backups[*number].name.clone()) {
        // Doubtful ones too: a part of one may be better than nothing. Of a failed one there is nothing that could go.
        let holds_something = |backup: &Known| matches!(backup.state, State::Complete(_) | State::Doubtful);
        for (_, reasons) in backups.iter().zip(&mut reasons).filter(|(backup, _)| holds_something(backup)) {
            reasons.insert(Why::LastFailed(name.clone()));
        }
    }
    let mut better = BTreeSet::new();
    for number in &newest_first {
        let backup = &backups[*number];
        if backup.level().is_some() {
            better.insert(&backup.place);
        } else if backup.state == State::Doubtful && !better.contains(&backup.place) {
            reasons[*number].insert(Why::Doubtful);
        }
    }
    let shown = newest_first.iter().filter(|number| backups[**number].state == State::Failed).take(FAILED_SHOWN);
    for number in shown {
        reasons[*number].insert(Why::Failed);
    }
    let fate = |(backup, reasons): (&Known, BTreeSet<Why>)| match (reasons.is_empty(), oldest, retention.max_age) {
        (false, _, _) => Fate::Stays(reasons.into_iter().collect()),
        (true, Some(oldest), Some(age)) if backup.at < oldest => Fate::Goes(Why::TooOld(age.to_string())),
        (true, _, _) => Fate::Goes(Why::NotKept),
    };
    Ok(backups.iter().zip(reasons).map(fate).collect())
}

/// The moment of the newest complete backup, which the database server told. Ages are counted from it and not from our own clock: one that
/// runs ahead by years would let everything go, and so would a schedule that has long stopped.
fn newest(backups: &[Known]) -> Option<Timestamp> {
    backups.iter().filter(|backup| backup.level().is_some()).map(|backup| backup.at).max()
}

/// Why a backup stays whatever the rules say.
fn always(backup: &Known) -> BTreeSet<Why> {
    let mut reasons = BTreeSet::new();
    if backup.state == State::UnderWay {
        reasons.insert(Why::UnderWay);
    }
    if backup.held {
        reasons.insert(Why::Held);
    }
    if backup.foreign {
        reasons.insert(Why::Foreign);
    }
    reasons.extend(backup.used_by.clone().map(Why::Used));
    reasons
}

fn protect_newest(backups: &[Known], newest_first: &[usize], reasons: &mut [BTreeSet<Why>]) {
    for level in [VerifyLevel::None, VerifyLevel::Catalog, VerifyLevel::Restore] {
        let mut places = BTreeSet::new();
        for number in newest_first.iter().filter(|number| backups[**number].level().is_some_and(|proven| proven >= level)) {
            let (place, is_newest) = (&backups[*number].place, places.is_empty());
            if places.insert(place) {
                reasons[*number].insert(if is_newest { Why::Newest(level) } else { Why::LastIn(place.clone()) });
            }
        }
    }
}

/// What a stretch of time that a date lies in is called.
type Period = fn(Date) -> String;

/// Notes what the rules keep of these, the newest first, and says whether there is any rule that counts.
fn apply_rules(
    backups: &[Known],
    candidates: &[usize],
    retention: &BackupRetention,
    zone: &TimeZone,
    reasons: &mut [BTreeSet<Why>],
) -> bool {
    if let Some(count) = retention.keep_last {
        for number in candidates.iter().take(usize::try_from(count).unwrap_or(0)) {
            reasons[*number].insert(Why::Last(count));
        }
    }
    let periods: [(Option<i32>, Period); 4] = [
        (retention.keep_daily, |date| date.to_string()),
        (retention.keep_weekly, |date| format!("the week of {}", monday(date))),
        (retention.keep_monthly, |date| format!("{}", date.strftime("%Y-%m"))),
        (retention.keep_yearly, |date| format!("{}", date.strftime("%Y"))),
    ];
    for (count, period) in periods {
        let mut seen: Option<String> = None;
        let mut left = count.unwrap_or(0);
        for number in candidates {
            let at: Zoned = backups[*number].at.to_zoned(zone.clone());
            let this = period(at.date());
            if left == 0 {
                break;
            }
            if seen.as_ref() != Some(&this) {
                reasons[*number].insert(Why::Period(this.clone()));
                seen = Some(this);
                left -= 1;
            }
        }
    }
    let counts =
        [retention.keep_last, retention.keep_daily, retention.keep_weekly, retention.keep_monthly, retention.keep_yearly];
    counts.iter().any(Option::is_some)
}

fn monday(date: Date) -> Date {
    let back = i64::from(date.weekday().to_monday_zero_offset());
    date.checked_sub(jiff::Span::new().days(back)).unwrap_or(date)
}

#[cfg(test)]
mod tests;
