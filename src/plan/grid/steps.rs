//! How are bounds counted from the anchor? Evenly, or by the dates of a calendar.

use super::super::civil::Date;
use crate::api::interval::IntervalUnit;

/// How the bound with a given index is counted.
#[derive(Clone, Debug)]
pub(super) enum Steps {
    /// Integers, or microseconds: bound 0 lies at `anchor`.
    Even { width: i128, anchor: i128 },
    /// Midnights.
    Calendar(Dates),
}

/// The dates on which slots begin; bound 0 is the anchor.
#[derive(Clone, Debug)]
pub(super) enum Dates {
    Days { width: i64, anchor: i64 },
    Months { width: i64, anchor: Date },
}

/// Farther than any key reaches (an 8-byte count of seconds spans 3.5 * 10^12 months each way), and safe to compute with.
const MAX_MONTHS: u64 = 10_000_000_000_000;

impl Dates {
    /// Slots of `n` units from `anchor`. Hours are no dates; they would be taken for days.
    pub(super) fn new(n: i64, unit: IntervalUnit, anchor: Option<jiff::civil::Date>) -> Self {
        let default = match unit {
            IntervalUnit::Week => jiff::civil::date(1970, 1, 5),
            _ => jiff::civil::date(1970, 1, 1),
        };
        let anchor = day_of(anchor.unwrap_or(default));
        match unit {
            IntervalUnit::Hour | IntervalUnit::Day => Self::Days { width: n, anchor: anchor.to_days() },
            IntervalUnit::Week => Self::Days { width: n * 7, anchor: anchor.to_days() },
            IntervalUnit::Month => Self::Months { width: n, anchor },
            IntervalUnit::Quarter => Self::Months { width: n * 3, anchor },
            IntervalUnit::Year => Self::Months { width: n * 12, anchor },
        }
    }

    /// The day on which the slot with this index begins. Months always count from the anchor's own day, so one that begins
    /// on the 31st begins on the 28th of February and on the 31st of March.
    pub(super) fn day(&self, index: i64) -> Option<i64> {
        match self {
            Self::Days { width, anchor } => width.checked_mul(index)?.checked_add(*anchor),
            Self::Months { width, anchor } => {
                let month = width.checked_mul(index)?.checked_add(anchor.month_number())?;
                (month.unsigned_abs() <= MAX_MONTHS).then(|| anchor.in_month(month).to_days())
            }
        }
    }

    /// The index of the slot that holds a day, or the one after it.
    pub(super) fn index_of(&self, day: i64) -> i64 {
        match self {
            Self::Days { width, anchor } => day.saturating_sub(*anchor).div_euclid(*width),
            Self::Months { width, anchor } => (Date::from_days(day).month_number() - anchor.month_number()).div_euclid(*width),
        }
    }
}

pub(super) fn day_of(date: jiff::civil::Date) -> Date {
    Date { year: date.year().into(), month: date.month().into(), day: date.day().into() }
}
