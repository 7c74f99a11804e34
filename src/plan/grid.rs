//! Where do partitions begin and end? The grid of bounds that follows from interval, anchor, zone and key alone.
//!
//! A grid never depends on the present, on existing partitions or on a session's settings: the same four inputs give the
//! same bounds on every server, client and day. Slots neither overlap nor leave a gap, in any zone.
//!
//! - Every bound is counted from the anchor, never from the bound before it. Months from an anchor on the 31st therefore
//!   begin on the last day of shorter months and on the 31st again afterwards.
//! - Days and longer units begin when the wall clock of the zone first shows that day.
//! - Hours are elapsed time from the anchor's midnight in the zone; on `timestamp` columns they are hours of the wall clock.
//! - The future of a zone is what the tz database knows today. When a country changes its rules, partitions made ahead by
//!   the old ones are no longer aligned; they keep their bounds, and whoever plans must not overlap them.
//! - `date` and `timestamp` hold wall-clock times, so their bounds do not move with the zone's offset.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::steps::{Dates, Steps};
use self::zone::Zone;
use super::civil::{DAY, HOUR};
use super::key::{Bound, ColumnType, Encoded, Key, Ordinal, Range};
use crate::api::interval::{Interval, IntervalUnit};

mod steps;
#[cfg(test)]
mod tests;
mod zone;

/// The largest count of units that a grid takes, so that no arithmetic on it overflows.
const MAX_UNITS: u32 = 999_999;

/// All possible partitions of one table.
#[derive(Clone, Debug)]
pub struct Grid {
    key: Key,
    interval: Interval,
    steps: Steps,
    zone: Zone,
}

/// One possible partition: consecutive bounds of the grid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    index: i64,
    range: Range,
}

/// Why there is no grid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// A `date` has no hours.
    #[error("interval \"{0}\" does not fit a column of type date: use days or a longer unit")]
    HoursOfDate(Interval),
    /// A plain step for a key that tells the time.
    #[error("interval \"{0}\" has no unit, but the key tells the time: write for example \"1 month\"")]
    StepOfTime(Interval),
    /// A time for a plain integer.
    #[error(
        "interval \"{0}\" is a time, but the key is a plain {1}: write a step such as \"1000000\", or set the key's encoding to EpochSeconds, EpochMilliseconds or EpochMicroseconds"
    )]
    TimeOfInteger(Interval, ColumnType),
    /// A date as the anchor of integers.
    #[error(
        "anchor has no meaning for a plain {0} key: its partitions begin at create.from, or at multiples of the step; remove anchor"
    )]
    AnchorOfInteger(ColumnType),
    /// More than 999 999 units.
    #[error("interval \"{0}\" is too large: at most 999999 units")]
    TooLarge(Interval),
    /// The zone has no such midnight that could be computed.
    #[error("anchor {0} cannot be placed in the time zone: choose a date between the years -9998 and 9998")]
    Anchor(jiff::civil::Date),
}

impl Grid {
    /// The grid of `interval`, with one bound at midnight of `anchor` in `zone`.
    ///
    /// Without an anchor it is 1970-01-01; for weeks Monday 1970-01-05; for hours 2000-01-01, because several zones had
    /// odd offsets in 1970 (Singapore +07:30, Monrovia -00:44:30) that would put every hourly bound at an odd minute.
    ///
    /// # Errors
    /// [`GridError`] when interval, anchor and key do not fit each other.
    pub fn new(interval: Interval, anchor: Option<jiff::civil::Date>, zone: TimeZone, key: Key) -> Result<Self, GridError> {
        let zone = Zone::new(zone);
        let steps = match (interval, key.is_integer()) {
            (Interval::Step(_), false) => return Err(GridError::StepOfTime(interval)),
            (Interval::Step(_), true) if anchor.is_some() => return Err(GridError::AnchorOfInteger(key.column_type())),
            (Interval::Step(step), true) => Steps::Even { width: step.get().into(), anchor: 0 },
            (Interval::Time { .. }, true) => return Err(GridError::TimeOfInteger(interval, key.column_type())),
            (Interval::Time { n, .. }, false) if n.get() > MAX_UNITS => return Err(GridError::TooLarge(interval)),
            (Interval::Time { unit: IntervalUnit::Hour, .. }, false) if key.column_type() == ColumnType::Date => {
                return Err(GridError::HoursOfDate(interval));
            }
            (Interval::Time { n, unit: IntervalUnit::Hour }, false) => {
                let anchor = anchor.unwrap_or(jiff::civil::date(2000, 1, 1));
                let midnight = i128::from(steps::day_of(anchor).to_days()) * DAY;
                let anchor = if key.is_civil() { Some(midnight) } else { zone.first_instant(midnight) }
                    .ok_or(GridError::Anchor(anchor))?;
                Steps::Even { width: i128::from(n.get()) * HOUR, anchor }
            }
            (Interval::Time { n, unit }, false) => Steps::Calendar(Dates::new(n.get().into(), unit, anchor)),
        };
        Ok(Self { key, interval, steps, zone })
    }

    /// The same steps, with one bound at `first`. Changes nothing but a grid of plain integers.
    #[must_use]
    pub fn beginning_at(mut self, first: Ordinal) -> Self {
        if let (Steps::Even { anchor, .. }, true) = (&mut self.steps, self.key.is_integer()) {
            *anchor = first.get();
        }
        self
    }

    /// The key that the bounds belong to.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The width of a slot.
    #[must_use]
    pub const fn interval(&self) -> Interval {
        self.interval
    }

    /// The slot of the present, or of any other time. `None` for a plain integer key, and when the key cannot hold `at`.
    #[must_use]
    pub fn slot_at(&self, at: Timestamp) -> Option<Slot> {
        self.slot_containing(self.ordinal_at(at)?)
    }

    /// The slot of a value. `None` for `infinity`, and in a zone with clock changes outside the years -9999 to 9999.
    #[must_use]
    pub fn slot_containing(&self, ordinal: Ordinal) -> Option<Slot> {
        let point = self.key.decode(ordinal)?;
        self.slot(self.index_of(point)?)
    }

    /// The slot after this one, unless the key or the calendar ends.
    #[must_use]
    pub fn next(&self, slot: &Slot) -> Option<Slot> {
        let mut index = slot.index.checked_add(1)?;
        // A day that the zone skipped has no length; its slot is that of the day after.
        while self.point(index)? == self.point(index.checked_add(1)?)? {
            index += 1;
        }
        self.slot(index)
    }

    /// The slot before this one, unless the key or the calendar ends.
    #[must_use]
    pub fn prev(&self, slot: &Slot) -> Option<Slot> {
        let at = self.point(slot.index)?;
        let mut index = slot.index.checked_sub(1)?;
        while self.point(index)? == at {
            index = index.checked_sub(1)?;
        }
        self.slot(index)
    }

    /// The slots that hold values from `from`, inclusive, to `to`, exclusive; at most `cap` of them.
    pub fn slots(&self, from: Ordinal, to: Ordinal, cap: usize) -> impl Iterator<Item = Slot> + '_ {
        let first = (from < to).then(|| self.slot_containing(from)).flatten();
        std::iter::successors(first, |slot| self.next(slot))
            .take_while(move |slot| slot.range.lower() < Bound::Value(to))
            .take(cap)
    }

    /// The slot with exactly these bounds.
    #[must_use]
    pub fn slot_of(&self, range: &Range) -> Option<Slot> {
        self.slot_from(range.lower()).filter(|slot| slot.range == *range)
    }

    /// Whether a partition is a slot of this grid.
    #[must_use]
    pub fn is_aligned(&self, range: &Range) -> bool {
        self.slot_of(range).is_some()
    }

    /// How many intervals a partition spans that begins and ends on bounds of this grid; 1 for a slot. A day that the zone
    /// skipped counts, unless it is alone with its neighbour.
    #[must_use]
    pub fn span_of(&self, range: &Range) -> Option<u64> {
        let first = self.slot_from(range.lower())?;
        let last = self.slot_to(range.upper())?;
        let steps = last.index.checked_sub(first.index)?.checked_add(1)?;
        u64::try_from(steps).ok().filter(|&steps| steps >= 1)
    }

    /// The instant at which a slot begins; `None` for a plain integer, at MINVALUE, and outside the years -9999 to 9999.
    #[must_use]
    pub fn start(&self, slot: &Slot) -> Option<Timestamp> {
        self.instant_of(slot.range.lower().value()?)
    }

    /// The instant at which a slot ends; `None` for a plain integer, at MAXVALUE, and outside the years -9999 to 9999.
    #[must_use]
    pub fn end(&self, slot: &Slot) -> Option<Timestamp> {
        self.instant_of(slot.range.upper().value()?)
    }

    /// The value that a row written at this instant has: the smallest one for a uuid or ULID. `None` for a plain integer key
    /// and when the type cannot hold it (an `integer` of seconds ends on 2038-01-19).
    #[must_use]
    pub fn ordinal_at(&self, at: Timestamp) -> Option<Ordinal> {
        if self.key.is_integer() {
            return None;
        }
        let instant = zone::instant(at);
        let point = if self.key.is_civil() { self.zone.wall_clock(instant)? } else { instant };
        match self.key.encode(point) {
            Encoded::Value(ordinal) => Some(ordinal),
            Encoded::Below | Encoded::Above => None,
        }
    }

    /// The instant that a value stands for; of a wall-clock time that occurs twice, the first. `None` for a plain integer,
    /// for `infinity`, and outside the years -9999 to 9999.
    #[must_use]
    pub fn instant_of(&self, ordinal: Ordinal) -> Option<Timestamp> {
        if self.key.is_integer() {
            return None;
        }
        let point = self.key.decode(ordinal)?;
        let instant = if self.key.is_civil() { self.zone.first_instant(point)? } else { point };
        zone::timestamp(instant)
    }

    /// The wall-clock time at which a slot begins, in microseconds, for its name. Never `None` for a slot of this grid.
    pub(super) fn wall_clock_at_start(&self, slot: &Slot) -> Option<i128> {
        match &self.steps {
            Steps::Calendar(dates) => Some(i128::from(dates.day(slot.index)?) * DAY),
            Steps::Even { .. } if self.key.is_civil() => self.point(slot.index),
            Steps::Even { .. } if self.key.is_integer() => None,
            Steps::Even { .. } => self.zone.wall_clock(self.point(slot.index)?),
        }
    }

    /// The instant in microseconds at which a slot begins; `None` for wall-clock and integer keys.
    pub(super) fn instant_at_start(&self, slot: &Slot) -> Option<i128> {
        let is_instant = !self.key.is_civil() && !self.key.is_integer();
        is_instant.then(|| self.point(slot.index)).flatten()
    }

    /// What the wall clock of the zone shows at an instant, both in microseconds.
    pub(super) fn wall_clock(&self, instant: i128) -> Option<i128> {
        self.zone.wall_clock(instant)
    }

    /// Whether the wall clock shows every time once: then 24 hours are never less than a day.
    pub(super) fn has_even_days(&self) -> bool {
        self.key.is_civil() || self.zone.is_fixed()
    }

    fn slot(&self, index: i64) -> Option<Slot> {
        let (lower, upper) = (self.bound(index)?, self.bound(index.checked_add(1)?)?);
        Range::new(lower, upper).map(|range| Slot { index, range })
    }

    fn slot_from(&self, lower: Bound) -> Option<Slot> {
        let first = match lower {
            Bound::MinValue => self.key.ordinal(self.key.limits().min)?,
            Bound::Value(ordinal) => ordinal,
            Bound::MaxValue => return None,
        };
        self.slot_containing(first).filter(|slot| slot.range.lower() == lower)
    }

    fn slot_to(&self, upper: Bound) -> Option<Slot> {
        let slot = match upper {
            Bound::MinValue => return None,
            Bound::Value(ordinal) => self.prev(&self.slot_containing(ordinal)?)?,
            Bound::MaxValue => self.slot_containing(self.key.ordinal(self.key.limits().max)?)?,
        };
        (slot.range.upper() == upper).then_some(slot)
    }

    /// A bound of the grid. Where the grid goes on beyond the values of the type, no row can, so that end is open: the last
    /// slot of an `integer` of seconds reaches to MAXVALUE instead of a wrong or missing bound. Dates and timestamps have
    /// `infinity` there, which belongs to no slot, so their grid ends.
    fn bound(&self, index: i64) -> Option<Bound> {
        let is_open = !matches!(self.key.column_type(), ColumnType::Date | ColumnType::Timestamp | ColumnType::Timestamptz);
        match self.key.encode(self.point(index)?) {
            Encoded::Value(ordinal) => Some(Bound::Value(ordinal)),
            Encoded::Below => is_open.then_some(Bound::MinValue),
            Encoded::Above => is_open.then_some(Bound::MaxValue),
        }
    }

    /// Where on the key's time line the bound with this index lies.
    fn point(&self, index: i64) -> Option<i128> {
        match &self.steps {
            Steps::Even { width, anchor } => width.checked_mul(index.into())?.checked_add(*anchor),
            Steps::Calendar(dates) => {
                let civil = i128::from(dates.day(index)?) * DAY;
                if self.key.is_civil() { Some(civil) } else { self.zone.first_instant(civil) }
            }
        }
    }

    /// The largest index whose bound is at or before a point.
    fn index_of(&self, point: i128) -> Option<i64> {
        let mut index = self.guess(point)?;
        while self.point(index)? > point {
            index = index.checked_sub(1)?;
        }
        while self.point(index.checked_add(1)?)? <= point {
            index += 1;
        }
        Some(index)
    }

    /// An index that is right or a few steps off: clock changes and month ends move a bound by days at most.
    fn guess(&self, point: i128) -> Option<i64> {
        match &self.steps {
            Steps::Even { width, anchor } => i64::try_from(point.checked_sub(*anchor)?.div_euclid(*width)).ok(),
            Steps::Calendar(dates) => {
                let civil = if self.key.is_civil() { point } else { self.zone.wall_clock(point)? };
                Some(dates.index_of(i64::try_from(civil.div_euclid(DAY)).ok()?))
            }
        }
    }
}

impl Slot {
    /// What the partition holds.
    #[must_use]
    pub const fn range(&self) -> &Range {
        &self.range
    }

    /// The inclusive end.
    #[must_use]
    pub const fn lower(&self) -> Bound {
        self.range.lower()
    }

    /// The exclusive end.
    #[must_use]
    pub const fn upper(&self) -> Bound {
        self.range.upper()
    }
}
