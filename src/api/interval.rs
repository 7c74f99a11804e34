//! How wide is one partition? A number of calendar units, or a step of an integer key.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::span::{Span, SpanError, SpanUnit};
use super::text::TextVisitor;

#[cfg(test)]
mod tests;

/// What the schema accepts: a time (at most six digits) or a step (at most 18 digits, `_` allowed between digits).
const PATTERN: &str = "^([1-9][0-9]{0,5} ?(h|hours?|d|days?|w|weeks?|months?|quarters?|y|years?)|[1-9](_?[0-9]){0,17})$";

/// The width of a partition: `1 month`, `3 hours`, or `1000000` (also `1_000_000`) for an integer key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interval {
    /// A number of clock or calendar units.
    Time {
        /// How many units, at most 999 999.
        n: NonZero<u32>,
        /// The unit.
        unit: IntervalUnit,
    },
    /// The number of consecutive integers in one partition, at most 18 digits.
    Step(NonZero<u64>),
}

/// The unit of a time [`Interval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum IntervalUnit {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// Why a text is no [`Interval`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// Not a number with a unit, and not a plain number.
    #[error(
        "\"{0}\" is not an interval: write a number and hours, days, weeks, months, quarters or years (\"1 month\"), or a plain step for an integer key (\"1000000\")"
    )]
    Malformed(String),
    /// Smaller than an hour.
    #[error("\"{0}\" is too small: the smallest interval is 1 hour")]
    TooSmall(String),
    /// Zero units or a zero step.
    #[error("\"{0}\" is empty: an interval is at least 1")]
    Zero(String),
    /// More digits than the arithmetic is proven for.
    #[error("\"{0}\" is too large: at most 999999 units, or a step of at most 18 digits")]
    TooLarge(String),
}

impl Interval {
    /// A time interval of `n` units; `None` for zero or more than 999 999.
    #[must_use]
    pub const fn time(n: u32, unit: IntervalUnit) -> Option<Self> {
        match NonZero::new(n) {
            Some(n) if n.get() <= 999_999 => Some(Self::Time { n, unit }),
            _ => None,
        }
    }

    /// A step of an integer key; `None` for zero or more than 18 digits.
    #[must_use]
    pub const fn step(step: u64) -> Option<Self> {
        match NonZero::new(step) {
            Some(step) if step.get() < 1_000_000_000_000_000_000 => Some(Self::Step(step)),
            _ => None,
        }
    }

    fn parse_step(text: &str) -> Result<Self, IntervalError> {
        if text.ends_with('_') || text.contains("__") {
            return Err(IntervalError::Malformed(text.to_owned()));
        }
        let digits = text.replace('_', "");
        if digits.bytes().all(|digit| digit == b'0') {
            return Err(IntervalError::Zero(text.to_owned()));
        }
        if digits.starts_with('0') {
            return Err(IntervalError::Malformed(text.to_owned()));
        }
        digits.parse().ok().and_then(Self::step).ok_or_else(|| IntervalError::TooLarge(text.to_owned()))
    }

    fn parse_time(text: &str) -> Result<Self, IntervalError> {
        let span: Span = text.parse().map_err(|error| match error {
            SpanError::TooLarge(text) => IntervalError::TooLarge(text),
            _ => IntervalError::Malformed(text.to_owned()),
        })?;
        let unit = match span.unit() {
            SpanUnit::Millisecond | SpanUnit::Second | SpanUnit::Minute => {
                return Err(IntervalError::TooSmall(text.to_owned()));
            }
            SpanUnit::Hour => IntervalUnit::Hour,
            SpanUnit::Day => IntervalUnit::Day,
            SpanUnit::Week => IntervalUnit::Week,
            SpanUnit::Month => IntervalUnit::Month,
            SpanUnit::Quarter => IntervalUnit::Quarter,
            SpanUnit::Year => IntervalUnit::Year,
        };
        match (span.n(), text.starts_with('0')) {
            (0, _) => Err(IntervalError::Zero(text.to_owned())),
            (_, true) => Err(IntervalError::Malformed(text.to_owned())),
            (n, false) => Self::time(n, unit).ok_or_else(|| IntervalError::TooLarge(text.to_owned())),
        }
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let is_step =
            text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
        if is_step { Self::parse_step(text) } else { Self::parse_time(text) }
    }
}

impl IntervalUnit {
    /// The singular English name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }
}

/// The canonical text: `1 month`, `3 hours`, `1000000`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time { n, unit } => {
                write!(f, "{n} {}{}", unit.as_str(), if n.get() == 1 { "" } else { "s" })
            }
            Self::Step(step) => write!(f, "{step}"),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor::new("an interval such as \"1 month\" or \"1000000\""))
    }
}

impl JsonSchema for Interval {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "description": "The width of a partition: a number of hours, days, weeks, months, quarters or years (1 month), or the step of an integer key (1000000).",
        })
    }
}
