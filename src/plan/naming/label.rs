//! Which time or number does a slot's name show?

use std::borrow::Cow;

use super::super::civil::{DAY, Date, HOUR};
use super::super::grid::{Grid, Slot};
use super::super::key::Bound;
use crate::api::interval::{Interval, IntervalUnit};

/// The facts of a slot that a name may show.
pub(super) struct Label {
    date: Date,
    hour: i128,
    /// UTC hours and minutes, when an earlier slot shows the same hour of the same day.
    repeated: Option<(i128, i128)>,
    lower: Bound,
    upper: Bound,
}

/// The longest time by which clocks have ever gone back (Alaska repeated a whole day in 1867), in microseconds.
const LONGEST_FOLD: i128 = 26 * HOUR;

impl Label {
    pub(super) fn new(slot: &Slot, grid: &Grid) -> Self {
        let start = grid.wall_clock_at_start(slot).unwrap_or_default();
        Self {
            date: Date::from_days(i64::try_from(start.div_euclid(DAY)).unwrap_or_default()),
            hour: start.rem_euclid(DAY) / HOUR,
            repeated: repeated(slot, grid),
            lower: slot.lower(),
            upper: slot.upper(),
        }
    }

    pub(super) fn show(&self, field: Field) -> String {
        match field {
            Field::Year => year(self.date.year),
            Field::Month => format!("{:02}", self.date.month),
            Field::Day => format!("{:02}", self.date.day),
            Field::Hour => format!("{:02}", self.hour),
            Field::Quarter => ((self.date.month + 2) / 3).to_string(),
            Field::IsoYear => year(self.date.iso_week().0),
            Field::IsoWeek => format!("{:02}", self.date.iso_week().1),
            Field::Lower => number(self.lower),
            Field::Upper => number(self.upper),
        }
    }

    /// What follows the whole name, to tell the second of two equal hours from the first.
    pub(super) fn suffix(&self) -> Cow<'static, str> {
        match self.repeated {
            None => "".into(),
            Some((hour, minute)) => format!("_utc{hour:02}{minute:02}").into(),
        }
    }
}

/// What a placeholder shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    Month,
    Day,
    Hour,
    Quarter,
    IsoYear,
    IsoWeek,
    Lower,
    Upper,
}

/// The UTC time of an hourly slot whose wall-clock hour was already shown by an earlier one.
fn repeated(slot: &Slot, grid: &Grid) -> Option<(i128, i128)> {
    let is_hourly = matches!(grid.interval(), Interval::Time { unit: IntervalUnit::Hour, .. });
    if !is_hourly || grid.has_even_days() {
        return None;
    }
    let (start, clock) = (grid.instant_at_start(slot)?, grid.wall_clock_at_start(slot)?);
    if grid.wall_clock(start - LONGEST_FOLD)? <= clock - LONGEST_FOLD {
        // The clock did not go back lately, as nearly always.
        return None;
    }
    let shown = clock.div_euclid(HOUR);
    std::iter::successors(grid.prev(slot), |slot| grid.prev(slot))
        .take_while(|earlier| grid.instant_at_start(earlier).is_some_and(|at| at > start - LONGEST_FOLD))
        .any(|earlier| grid.wall_clock_at_start(&earlier).is_some_and(|clock| clock.div_euclid(HOUR) == shown))
        .then(|| (start.rem_euclid(DAY) / HOUR, start.rem_euclid(HOUR) / (HOUR / 60)))
}

/// There is no year 0: 1 BC is the year before 1 AD.
fn year(astronomical: i64) -> String {
    if astronomical > 0 { format!("{astronomical:04}") } else { format!("{:04}bc", 1 - astronomical) }
}

fn number(bound: Bound) -> String {
    match bound {
        Bound::MinValue => "min".to_owned(),
        Bound::MaxValue => "max".to_owned(),
        Bound::Value(ordinal) if ordinal.get() < 0 => format!("neg{}", ordinal.get().unsigned_abs()),
        Bound::Value(ordinal) => ordinal.get().to_string(),
    }
}
