//! When does a run begin? The moments that a cron schedule names, in its time zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::window;

/// A schedule in its time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
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
        Ok(Self { cron, zone: window::zone(zone)? })
    }

    /// The last moment up to `now`, this one included.
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        let local = now.to_zoned(self.zone.clone());
        self.cron.find_previous_occurrence(&local, true).ok().map(|at| at.timestamp())
    }

    /// The next moment after `now`.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let local = now.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&local, false).ok().map(|at| at.timestamp())
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

    #[test]
    fn what_is_no_schedule_says_what_to_write() {
        assert!(Schedule::parse("daily at 3", "UTC").unwrap_err().contains("write five fields"));
        assert!(Schedule::parse("0 3 * * *", "Berlin").unwrap_err().contains("Europe/Berlin"));
    }
}
