//! How long is "45 days"? Durations as the API writes them: one whole number and its unit.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Zoned;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::TextVisitor;

#[cfg(test)]
mod tests;

/// What the schema accepts. At most nine digits, so that no arithmetic on a span can overflow.
const PATTERN: &str =
    "^[0-9]{1,9} ?(ms|milliseconds?|s|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?|months?|quarters?|y|years?)$";

/// The largest number a [`Span`] holds: nine digits.
const MAX: u32 = 999_999_999;

/// A duration written as one number with its unit: `100ms`, `30m`, `45 days`, `6 months`.
///
/// Units up to the hour and the week have a fixed length. A month, a quarter or a year has none until it is added to a
/// date, so [`Span::to_std`] refuses them. `m` is minutes, as in every Kubernetes duration; months are spelled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    n: u32,
    unit: SpanUnit,
}

/// The unit of a [`Span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum SpanUnit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// Why a text is no [`Span`], or why a span cannot be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// A number without its unit: a reader cannot tell seconds from days.
    #[error("\"{0}\" has no unit: write for example \"{0} days\" or \"{0}s\"")]
    NoUnit(String),
    /// The unit is not one of ours.
    #[error(
        "\"{text}\" has the unknown unit \"{unit}\": use ms, s, m (minutes), h, d, w, months, quarters or years, or their full names"
    )]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The part that was taken for the unit.
        unit: String,
    },
    /// Signs, fractions, two numbers, an empty text.
    #[error("\"{0}\" is not a duration: write one whole number and its unit, such as \"45 days\" or \"30m\"")]
    Malformed(String),
    /// More than nine digits.
    #[error("\"{0}\" is too large: a duration has at most nine digits; use a larger unit")]
    TooLarge(String),
    /// A month, quarter or year where a fixed length is needed.
    #[error("\"{0}\" has no fixed length: use weeks, days or a smaller unit here")]
    Calendar(Span),
    /// The sum lies outside the years -9999 to 9999.
    #[error("adding or subtracting \"{0}\" leaves the years -9999 to 9999: use a shorter duration")]
    OutOfRange(Span),
}

impl Span {
    /// A span of `n` units. More than 999 999 999 becomes 999 999 999, the largest number the schema accepts.
    #[must_use]
    pub const fn new(n: u32, unit: SpanUnit) -> Self {
        Self { n: if n > MAX { MAX } else { n }, unit }
    }

    /// The number of units, 0 to 999 999 999.
    #[must_use]
    pub const fn n(self) -> u32 {
        self.n
    }

    /// The unit.
    #[must_use]
    pub const fn unit(self) -> SpanUnit {
        self.unit
    }

    /// The exact length; a day is 24 hours, a week is 7 days.
    ///
    /// # Errors
    /// [`SpanError::Calendar`] for months, quarters and years.
    pub const fn to_std(self) -> Result<Duration, SpanError> {
        let milliseconds: u64 = match self.unit {
            SpanUnit::Millisecond => 1,
            SpanUnit::Second => 1_000,
            SpanUnit::Minute => 60_000,
            SpanUnit::Hour => 3_600_000,
            SpanUnit::Day => 86_400_000,
            SpanUnit::Week => 604_800_000,
            SpanUnit::Month | SpanUnit::Quarter | SpanUnit::Year => {
                return Err(SpanError::Calendar(self));
            }
        };
        // Nine digits times 6.1e8 stay far below 2^64.
        Ok(Duration::from_millis(self.n as u64 * milliseconds))
    }

    /// `at` plus this span: hours and smaller are elapsed time, days and larger step the calendar of the zone of `at`.
    ///
    /// # Errors
    /// [`SpanError::OutOfRange`] beyond the year 9999.
    pub fn add_to(self, at: &Zoned) -> Result<Zoned, SpanError> {
        let span = self.to_jiff().ok_or(SpanError::OutOfRange(self))?;
        at.checked_add(span).map_err(|_| SpanError::OutOfRange(self))
    }

    /// `at` minus this span, by the same rules as [`Span::add_to`].
    ///
    /// # Errors
    /// [`SpanError::OutOfRange`] before the year -9999.
    pub fn subtract_from(self, at: &Zoned) -> Result<Zoned, SpanError> {
        let span = self.to_jiff().ok_or(SpanError::OutOfRange(self))?;
        at.checked_sub(span).map_err(|_| SpanError::OutOfRange(self))
    }

    fn to_jiff(self) -> Option<jiff::Span> {
        let (n, span) = (i64::from(self.n), jiff::Span::new());
        match self.unit {
            SpanUnit::Millisecond => span.try_milliseconds(n),
            SpanUnit::Second => span.try_seconds(n),
            SpanUnit::Minute => span.try_minutes(n),
            SpanUnit::Hour => span.try_hours(n),
            SpanUnit::Day => span.try_days(n),
            SpanUnit::Week => span.try_weeks(n),
            SpanUnit::Month => span.try_months(n),
            SpanUnit::Quarter => span.try_months(n * 3),
            SpanUnit::Year => span.try_years(n),
        }
        .ok()
    }
}

impl SpanUnit {
    fn parse(unit: &str) -> Option<Self> {
        Some(match unit {
            "ms" | "millisecond" | "milliseconds" => Self::Millisecond,
            "s" | "second" | "seconds" => Self::Second,
            "m" | "min" | "minute" | "minutes" => Self::Minute,
            "h" | "hour" | "hours" => Self::Hour,
            "d" | "day" | "days" => Self::Day,
            "w" | "week" | "weeks" => Self::Week,
            "month" | "months" => Self::Month,
            "quarter" | "quarters" => Self::Quarter,
            "y" | "year" | "years" => Self::Year,
            _ => return None,
        })
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = text.split_at(digits);
        let unit = rest.strip_prefix(' ').unwrap_or(rest);
        if number.is_empty() || !unit.chars().all(char::is_alphabetic) {
            return Err(SpanError::Malformed(text.to_owned()));
        }
        if unit.is_empty() {
            return Err(SpanError::NoUnit(number.to_owned()));
        }
        let unit =
            SpanUnit::parse(unit).ok_or_else(|| SpanError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() })?;
        match number.parse::<u32>() {
            Ok(n) if digits <= 9 => Ok(Self { n, unit }),
            _ => Err(SpanError::TooLarge(text.to_owned())),
        }
    }
}

/// The canonical text: short for clock units (`30m`, `100ms`), words for calendar units (`1 day`, `6 months`).
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.unit {
            SpanUnit::Millisecond => return write!(f, "{}ms", self.n),
            SpanUnit::Second => return write!(f, "{}s", self.n),
            SpanUnit::Minute => return write!(f, "{}m", self.n),
            SpanUnit::Hour => return write!(f, "{}h", self.n),
            SpanUnit::Day => "day",
            SpanUnit::Week => "week",
            SpanUnit::Month => "month",
            SpanUnit::Quarter => "quarter",
            SpanUnit::Year => "year",
        };
        write!(f, "{} {word}{}", self.n, if self.n == 1 { "" } else { "s" })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `deserialize_any`, so that a number reaches the visitor and gets our message instead of serde's.
        deserializer.deserialize_any(TextVisitor::new("a duration such as \"45 days\" or \"30m\""))
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "description": "A duration: one whole number and its unit, such as 100ms, 30m, 4h, 45 days, 6 months.",
        })
    }
}
