//! Which backup is due? The last moment of a schedule that nobody has answered, unless it is too long ago.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::api::BackupScheduleSpec;
use crate::plan::schedule::Schedule;

/// What a schedule asks for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The moment of the schedule that is answered by this, if there is a new one: by a backup, or as missed.
    pub slot: Option<Timestamp>,
    /// Whether a backup begins for it.
    pub begins: bool,
    /// Moments that nobody answers any more.
    pub missed: i64,
    /// When the schedule next asks, its jitter included.
    pub next: Option<Timestamp>,
}

/// How a schedule is kept.
#[derive(Clone, Debug)]
pub struct Punctuality {
    /// The schedule.
    pub schedule: Schedule,
    /// How long after its moments a backup begins; see [`offset`].
    pub offset: Duration,
    /// How late it may begin.
    pub deadline: Duration,
}

/// More moments than this are not counted one by one: a schedule of every minute has as many in a week.
const COUNTED: i64 = 10_000;

impl Punctuality {
    /// What is due at `now`, where `answered` is the last moment that was answered, or when the schedule came into being.
    pub fn due(&self, answered: Timestamp, now: Timestamp) -> Due {
        let offset = SignedDuration::try_from(self.offset).unwrap_or(SignedDuration::ZERO);
        let deadline = SignedDuration::try_from(self.deadline).unwrap_or(SignedDuration::MAX);
        let asked = now.checked_sub(offset).unwrap_or(now);
        let next = self.schedule.next(asked.max(answered)).and_then(|at| at.checked_add(offset).ok());
        let Some(slot) = self.schedule.last(asked).filter(|slot| *slot > answered) else {
            return Due { slot: None, begins: false, missed: 0, next };
        };
        let begins = asked.duration_since(slot) <= deadline;
        let missed = self.between(answered, slot) + i64::from(!begins);
        Due { slot: Some(slot), begins, missed, next }
    }

    /// Up to when the backup of a moment may begin; `None` where it is never too late.
    pub fn until(&self, slot: Timestamp) -> Option<Timestamp> {
        let late = self.offset.checked_add(self.deadline)?;
        slot.checked_add(SignedDuration::try_from(late).ok()?).ok()
    }

    /// Moments after `from` and before `to`.
    fn between(&self, from: Timestamp, to: Timestamp) -> i64 {
        let mut count = 0;
        let mut at = from;
        while count < COUNTED {
            match self.schedule.next(at).filter(|next| *next < to) {
                Some(next) => at = next,
                None => break,
            }
            count += 1;
        }
        count
    }
}

/// How much after its time a schedule of this name begins: always the same, below `jitter`, and spread evenly over many names.
pub fn offset(namespace: &str, name: &str, jitter: Duration) -> Duration {
    let digest = Sha256::digest(format!("{namespace}/{name}"));
    let number = digest.iter().take(6).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let millis = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    // Whole seconds, so that what is shown is what happens.
    Duration::from_secs(if millis == 0 { 0 } else { number % (millis / 1000 + 1) })
}

/// Moments whose distances are compared at most: one of every quarter of an hour has its nights among them.
const COMPARED: usize = 200;

/// How far ahead they are looked for: the whole of a weekend and of the week after it.
const AHEAD: SignedDuration = SignedDuration::from_hours(11 * 24);

/// The longest time between two of the schedule's next moments; `None` where it cannot be read or comes once.
pub fn interval(spec: &BackupScheduleSpec, now: Timestamp) -> Option<SignedDuration> {
    let schedule = Schedule::parse(&spec.schedule, &spec.time_zone).ok()?;
    distances(&schedule, now).max()
}

/// The times between the schedule's next moments.
pub fn distances(schedule: &Schedule, now: Timestamp) -> impl Iterator<Item = SignedDuration> {
    let moments = std::iter::successors(schedule.next(now), |at| schedule.next(*at)).take(COMPARED).enumerate();
    let near = moments.take_while(|(number, at)| *number < 3 || at.duration_since(now) <= AHEAD);
    let moments: Vec<Timestamp> = near.map(|(_, at)| at).collect();
    std::iter::zip(moments.clone(), moments.into_iter().skip(1)).map(|(one, next)| next.duration_since(one))
}

/// The name of the Backup that answers a moment: the same whoever makes it, and as often as it is made.
pub fn name(schedule: &str, slot: Timestamp) -> String {
    format!("{schedule}-{}", slot.strftime("%Y%m%d-%H%M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn nightly(zone: &str, cron: &str) -> Punctuality {
        Punctuality {
            schedule: Schedule::parse(cron, zone).unwrap(),
            offset: Duration::ZERO,
            deadline: Duration::from_secs(3600),
        }
    }

    #[test]
    fn the_last_moment_is_answered_once_and_within_its_deadline() {
        let nightly = nightly("UTC", "0 2 * * *");
        let due = nightly.due(at("2026-11-20T02:00:00Z"), at("2026-11-21T02:00:30Z"));
        assert_eq!((due.slot, due.begins, due.missed), (Some(at("2026-11-21T02:00:00Z")), true, 0));
        assert_eq!(due.next, Some(at("2026-11-22T02:00:00Z")));
        let again = nightly.due(at("2026-11-21T02:00:00Z"), at("2026-11-21T02:00:31Z"));
        assert_eq!((again.slot, again.begins), (None, false));
    }

    #[test]
    fn after_a_week_away_one_backup_is_made_up_for_and_six_are_missed() {
        let due = nightly("UTC", "0 2 * * *").due(at("2026-11-14T02:00:00Z"), at("2026-11-21T02:40:00Z"));
        assert_eq!((due.slot, due.begins, due.missed), (Some(at("2026-11-21T02:00:00Z")), true, 6));
        let late = nightly("UTC", "0 2 * * *").due(at("2026-11-14T02:00:00Z"), at("2026-11-21T03:00:01Z"));
        assert_eq!((late.slot, late.begins, late.missed), (Some(at("2026-11-21T02:00:00Z")), false, 7));
    }

    #[test]
    fn a_year_of_minutes_is_counted_in_no_time() {
        let due = nightly("UTC", "* * * * *").due(at("2025-11-21T02:00:00Z"), at("2026-11-21T02:40:00Z"));
        assert_eq!((due.begins, due.missed), (true, COUNTED));
    }

    #[test]
    fn a_clock_that_goes_back_begins_nothing() {
        let due = nightly("UTC", "0 2 * * *").due(at("2026-11-21T02:00:00Z"), at("2026-11-20T12:00:00Z"));
        assert_eq!((due.slot, due.begins, due.missed), (None, false, 0));
        assert_eq!(due.next, Some(at("2026-11-22T02:00:00Z")));
    }

    #[test]
    fn a_time_that_spring_skips_comes_right_after_the_gap() {
        // In Berlin 02:30 does not exist on 29 March 2026: the clock goes from 02:00 to 03:00, which is 01:00 UTC.
        let schedule = Schedule::parse("30 2 * * *", "Europe/Berlin").unwrap();
        assert_eq!(schedule.next(at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
        assert_eq!(schedule.next(at("2026-03-29T01:00:00Z")), Some(at("2026-03-30T00:30:00Z")));
    }

    #[test]
    fn a_time_that_autumn_repeats_comes_once() {
        // In Berlin 02:30 comes twice on 25 October 2026: at 00:30 and at 01:30 UTC.
        let schedule = Schedule::parse("30 2 * * *", "Europe/Berlin").unwrap();
        assert_eq!(schedule.next(at("2026-10-24T12:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
        assert_eq!(schedule.next(at("2026-10-25T00:30:00Z")), Some(at("2026-10-26T01:30:00Z")));
        assert_eq!(schedule.last(at("2026-10-25T05:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
    }

    #[test]
    fn the_jitter_is_the_same_every_night_and_spreads() {
        let half_an_hour = Duration::from_secs(1800);
        let offsets: Vec<u64> = (0..200).map(|n| offset("shop", &format!("nightly-{n}"), half_an_hour).as_secs()).collect();
        assert!(offsets.iter().all(|offset| *offset <= 1800));
        assert!(
            offsets.iter().filter(|offset| **offset < 900).count() > 60
                && offsets.iter().filter(|offset| **offset >= 900).count() > 60
        );
        assert_eq!(offset("shop", "nightly-1", half_an_hour).as_secs(), offsets[1]);
        assert_eq!(offset("shop", "nightly", Duration::ZERO), Duration::ZERO);
        let late = Punctuality { offset: Duration::from_secs(600), ..nightly("UTC", "0 2 * * *") };
        assert_eq!(late.due(at("2026-11-20T02:00:00Z"), at("2026-11-21T02:09:59Z")).slot, None);
        assert!(late.due(at("2026-11-20T02:00:00Z"), at("2026-11-21T02:10:00Z")).begins);
        assert_eq!(late.due(at("2026-11-20T02:00:00Z"), at("2026-11-21T02:09:59Z")).next, Some(at("2026-11-21T02:10:00Z")));
    }

    #[test]
    fn a_slot_always_has_the_same_name() {
        assert_eq!(name("nightly", at("2026-11-21T02:00:00Z")), "nightly-20261121-0200");
    }

    #[test]
    fn the_interval_is_the_longest_time_between_two_moments() {
        let interval = |cron: &str| {
            let spec = serde_json::json!({"databaseRef": {"name": "a"}, "schedule": cron, "backup": {"destination": {}}});
            super::interval(&serde_json::from_value(spec).unwrap(), at("2026-11-21T02:00:00Z"))
                .map(|interval| interval.as_hours())
        };
        assert_eq!(interval("0 2 * * *"), Some(24));
        assert_eq!(interval("0 2 * * 1-5"), Some(72), "over the weekend");
        assert_eq!(interval("*/15 9-17 * * *"), Some(15), "over night");
        assert_eq!(interval("0 2 1 * *"), Some(31 * 24));
        assert_eq!(interval("never"), None);
    }
}
