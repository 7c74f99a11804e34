//! When does a wall clock show a given time? The time zone as the grid needs it: total, monotone, never ambiguous.

use jiff::civil::{DateTime, date};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::super::civil::{DAY, Date, HOUR};

/// A time zone that also knows whether its offset ever changes: then it works for every year, not only for jiff's.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    zone: TimeZone,
    /// Microseconds east of UTC, if the same at all times.
    fixed: Option<i128>,
}

impl Zone {
    pub(super) fn new(zone: TimeZone) -> Self {
        let is_fixed = zone.following(Timestamp::MIN).next().is_none();
        let fixed = is_fixed.then(|| micros(zone.to_offset(Timestamp::UNIX_EPOCH).seconds()));
        Self { zone, fixed }
    }

    pub(super) const fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// What the wall clock shows at an instant. Both in microseconds; `None` outside the years -9999 to 9999, unless the
    /// offset never changes.
    pub(super) fn wall_clock(&self, instant: i128) -> Option<i128> {
        let offset = match self.fixed {
            Some(offset) => offset,
            None => micros(self.zone.to_offset(timestamp(instant)?).seconds()),
        };
        instant.checked_add(offset)
    }

    /// The first instant at which the wall clock shows `civil` or later.
    ///
    /// In a gap that is the moment of the change, in a fold the first of the two. Unlike jiff's `compatible`, which maps a
    /// time inside a gap to one after it, this never sorts two civil times the other way round, so bounds cannot cross.
    /// A day that a zone skipped (Apia, 2011-12-30) begins when the next one does.
    pub(super) fn first_instant(&self, civil: i128) -> Option<i128> {
        if let Some(offset) = self.fixed {
            return civil.checked_sub(offset);
        }
        let civil = datetime(civil)?;
        match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                let after_change = before.to_timestamp(civil).ok()?;
                let just_after = after_change.checked_add(SignedDuration::from_nanos(1)).unwrap_or(after_change);
                self.zone.preceding(just_after).next().map(|change| change.timestamp())
            }
        }
        .map(instant)
    }
}

/// An instant in microseconds since 1970, rounded down.
pub(super) fn instant(timestamp: Timestamp) -> i128 {
    timestamp.as_nanosecond().div_euclid(1_000)
}

/// `None` outside the years -9999 to 9999.
pub(super) fn timestamp(instant: i128) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(instant).ok()?).ok()
}

fn micros(seconds: i32) -> i128 {
    i128::from(seconds) * 1_000_000
}

fn datetime(civil: i128) -> Option<DateTime> {
    let Date { year, month, day } = Date::from_days(i64::try_from(civil.div_euclid(DAY)).ok()?);
    let year = i16::try_from(year).ok().filter(|year| (-9_999..=9_999).contains(year))?;
    let in_day = civil.rem_euclid(DAY);
    let at = |unit: i128, per: i128| i8::try_from(in_day / unit % per).ok();
    let nanosecond = i32::try_from(in_day % 1_000_000 * 1_000).ok()?;
    let day = date(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Some(day.at(at(HOUR, 24)?, at(60_000_000, 60)?, at(1_000_000, 60)?, nanosecond))
}
