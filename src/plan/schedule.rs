//! When does a run begin? The moments that a cron schedule names, in its time zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::window;

/// A schedule in its time zone.
///
/// It names times of the clock on the wall, and each is one moment: a time that the clock skips in spring is the first moment after the gap,
/// and one that comes twice in autumn is the first of the two. Two times that are one moment in this way are one. Only a schedule whose
/// hour field names every hour (`*`) has all moments at which the clock shows its minutes, and no others: it is meant to come so often, and
/// not at certain times of the day.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    /// Whether its hour field names every hour.
    is_hourly: bool,
}

impl Schedule {
    /// Reads five cron fields and an IANA time zone.
    ///
    /// # Errors
    /// A message naming the field, the value and the remedy.
    pub fn parse(schedule: &str, zone: &str) -> Result<Self, String> {
        let cron = CronParser::builder().seconds(Seconds::Disallowed).build().parse(schedule).map_err(|error| {
            format!("schedule \"{schedule}\" is not a cron schedule ({error}): write five fields such as \"0 3 * * *\"")
        })?;
        let is_hourly = cron.pattern.hours.values().len() == 24;
        Ok(Self { cron, zone: window::zone(zone)?, is_hourly })
    }

    /// The last moment up to `now`, this one included.
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        let local = now.to_zoned(self.zone.clone());
        if self.is_hourly {
            return self.cron.find_previous_occurrence(&local, true).ok().map(|at| at.timestamp());
        }
        let mut named = self.cron.find_previous_occurrence(&self.latest_shown(&local), true).ok()?;
        loop {
            match self.moment(named)? {
                at if at <= now => return Some(at),
                _ => named = self.cron.find_previous_occurrence(&named, false).ok()?,
            }
        }
    }

    /// The next moment after `now`.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let local = now.to_zoned(self.zone.clone());
        if self.is_hourly {
            return self.cron.find_next_occurrence(&local, false).ok().map(|at| at.timestamp());
        }
        let mut named = self.cron.find_next_occurrence(&local.datetime(), false).ok()?;
        loop {
            match self.moment(named)? {
                at if at > now => return Some(at),
                _ => named = self.cron.find_next_occurrence(&named, false).ok()?,
            }
        }
    }

    /// A time that the clock has not passed before `local`, or only just: while it shows an hour again, it has shown all of that hour.
    fn latest_shown(&self, local: &Zoned) -> DateTime {
        match self.zone.to_ambiguous_timestamp(local.datetime()).offset() {
            AmbiguousOffset::Fold { before, .. } => before.to_datetime(local.timestamp()),
            _ => local.datetime(),
        }
    }

    /// The moment that a time of the clock is.
    fn moment(&self, named: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(named);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { after, .. } => {
                // By the clock of after the gap this is a moment just before it.
                let before = after.to_timestamp(named).ok()?;
                self.zone.following(before).next().map(|transition| transition.timestamp())
            }
            _ => ambiguous.earlier().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_a_last_and_a_next_moment_in_its_zone() {
        let schedule = Schedule::parse("0 3 1 * *", "Europe/Berlin").unwrap();
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        assert_eq!(schedule.last(now), Some("2026-11-01T02:00:00Z".parse().unwrap()));
        assert_eq!(schedule.next(now), Some("2026-12-01T02:00:00Z".parse().unwrap()));
        let at: Timestamp = "2026-12-01T02:00:00Z".parse().unwrap();
        assert_eq!(schedule.last(at), Some(at));
    }

    /// All moments after one and before another, counted forwards, which are the same counted backwards.
    fn moments(schedule: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
        let (schedule, from, to) =
            (Schedule::parse(schedule, zone).unwrap(), from.parse::<Timestamp>().unwrap(), to.parse::<Timestamp>().unwrap());
        let second = jiff::SignedDuration::from_secs(1);
        let forwards: Vec<Timestamp> =
            std::iter::successors(schedule.next(from), |at| schedule.next(*at)).take_while(|at| *at < to).collect();
        let before = |at: Timestamp| schedule.last(at - second).filter(|at| *at > from);
        let mut backwards: Vec<Timestamp> = std::iter::successors(before(to), |at| before(*at)).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        forwards.into_iter().map(|at| at.strftime("%H:%M").to_string()).collect()
    }

    #[test]
    fn what_spring_skips_comes_once_right_after_the_gap_however_the_hours_are_written() {
        // In Berlin 02:00 to 03:00 does not exist on 29 March 2026: the gap is at 01:00 UTC.
        let spring = |cron| moments(cron, "Europe/Berlin", "2026-03-28T22:59:59Z", "2026-03-29T05:00:00Z");
        assert_eq!(spring("30 2,6 * * *"), ["01:00", "04:30"]);
        assert_eq!(spring("0 1-4 * * *"), ["00:00", "01:00", "02:00"]);
        assert_eq!(spring("0 */2 * * *"), ["23:00", "01:00", "02:00", "04:00"]);
        assert_eq!(spring("*/20 2 * * *"), ["01:00"]);
        assert_eq!(spring("30 * * * *"), ["23:30", "00:30", "01:30", "02:30", "03:30", "04:30"]);
        // On Lord Howe Island the half hour from 02:00 does not exist on 4 October 2026: the gap is at 15:30 UTC the day before.
        let spring = |cron| moments(cron, "Australia/Lord_Howe", "2026-10-03T14:00:00Z", "2026-10-03T17:00:00Z");
        assert_eq!(spring("10,40 2 * * *"), ["15:30", "15:40"]);
        assert_eq!(spring("15 1-3 * * *"), ["14:45", "15:30", "16:15"]);
        assert_eq!(spring("15 * * * *"), ["14:45", "16:15"]);
    }

    #[test]
    fn what_autumn_repeats_comes_once_however_the_hours_are_written_and_twice_where_every_hour_is_meant() {
        // In Berlin 02:00 to 03:00 comes twice on 25 October 2026, from 00:00 and from 01:00 UTC.
        let autumn = |cron| moments(cron, "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T05:30:00Z");
        assert_eq!(autumn("30 2,5 * * *"), ["00:30", "04:30"]);
        assert_eq!(autumn("0 1-4 * * *"), ["23:00", "00:00", "02:00", "03:00"]);
        assert_eq!(autumn("0 */2 * * *"), ["00:00", "03:00", "05:00"]);
        assert_eq!(autumn("*/30 2 * * *"), ["00:00", "00:30"]);
        for every in ["0 * * * *", "0 0-23 * * *", "0 */1 * * *"] {
            assert_eq!(autumn(every), ["23:00", "00:00", "01:00", "02:00", "03:00", "04:00", "05:00"], "{every}");
        }
        // On Lord Howe Island the half hour from 01:30 comes twice on 5 April 2026, from 14:30 and from 15:00 UTC.
        let autumn = |cron| moments(cron, "Australia/Lord_Howe", "2026-04-04T13:30:00Z", "2026-04-04T17:00:00Z");
        assert_eq!(autumn("45 1 * * *"), ["14:45"]);
        assert_eq!(autumn("0,45 1,2 * * *"), ["14:00", "14:45", "15:30", "16:15"]);
        assert_eq!(autumn("45 * * * *"), ["13:45", "14:45", "15:15", "16:15"]);
    }

    #[test]
    fn a_night_or_a_day_that_a_zone_leaves_out_is_made_up_for_at_its_end() {
        // In Cairo midnight does not exist on 24 April 2026, on Samoa all of 30 December 2011.
        let cairo = moments("0 0,1 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-24T12:00:00Z");
        assert_eq!(cairo, ["22:00"]);
        let samoa = moments("0 2,14 * * *", "Pacific/Apia", "2011-12-30T01:00:00Z", "2011-12-31T01:00:00Z");
        assert_eq!(samoa, ["10:00", "12:00", "00:00"]);
    }

    #[test]
    fn what_is_no_schedule_says_what_to_write() {
        assert!(Schedule::parse("daily at 3", "UTC").unwrap_err().contains("write five fields"));
        assert!(Schedule::parse("0 3 * * *", "Berlin").unwrap_err().contains("Europe/Berlin"));
    }
}
