//! How does a partition key tell the time? Column types, encodings, and the order of their values.

use std::fmt;
use std::str::FromStr;

use super::civil::{DAY, Date};
pub use crate::api::partition_policy::Encoding;
pub use bound::{Bound, Ordinal, Range};
pub use text::{Unreadable, literal, parse_bounds};

mod bound;
#[cfg(test)]
mod tests;
mod text;

/// The type of a partition key column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "PostgreSQL's own names")]
pub enum ColumnType {
    Date,
    Timestamp,
    Timestamptz,
    Int2,
    Int4,
    Int8,
    Uuid,
    /// `text`, `character varying` and `character`.
    Text,
}

/// A column type together with the encoding that makes its values tell the time. Only combinations that work exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    column_type: ColumnType,
    encoding: Encoding,
}

/// Why a column cannot be the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The type has no order that a calendar or a step could use.
    #[error(
        "a column of type {0} cannot be a key here: use date, timestamp, timestamptz, smallint, integer, bigint, uuid or text"
    )]
    UnknownType(String),
    /// The encoding does not fit the type.
    #[error("encoding {encoding} does not fit a column of type {column_type}: {remedy}")]
    Mismatch {
        /// The type of the column.
        column_type: ColumnType,
        /// The encoding that was asked for.
        encoding: &'static str,
        /// What to write instead.
        remedy: &'static str,
    },
}

/// The finite values of a type, both inclusive, as ordinals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) min: i128,
    pub(super) max: i128,
}

/// Where a point of the time line falls among the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoded {
    Below,
    Value(Ordinal),
    Above,
}

impl Key {
    /// # Errors
    /// [`KeyError::Mismatch`] with the encoding that fits the column.
    pub fn new(column_type: ColumnType, encoding: Encoding) -> Result<Self, KeyError> {
        let remedy = match (column_type, encoding) {
            (ColumnType::Date | ColumnType::Timestamp | ColumnType::Timestamptz, Encoding::Native)
            | (ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, Encoding::Native)
            | (ColumnType::Int4 | ColumnType::Int8, Encoding::EpochSeconds)
            | (ColumnType::Int8, Encoding::EpochMilliseconds | Encoding::EpochMicroseconds)
            | (ColumnType::Uuid, Encoding::Uuidv7)
            | (ColumnType::Text, Encoding::Ulid) => return Ok(Self { column_type, encoding }),
            (ColumnType::Date | ColumnType::Timestamp | ColumnType::Timestamptz, _) => {
                "the column tells the time itself; write encoding: Native"
            }
            (ColumnType::Int2, _) => {
                "it is too small for any time since 1970; write encoding: Native with a plain step as interval, or make it bigint"
            }
            (ColumnType::Int4, Encoding::EpochMilliseconds | Encoding::EpochMicroseconds) => {
                "it is too small for the present; write encoding: EpochSeconds, or make it bigint"
            }
            (ColumnType::Int4 | ColumnType::Int8, _) => {
                "write encoding: Native for a plain step, or EpochSeconds, EpochMilliseconds or EpochMicroseconds for time"
            }
            (ColumnType::Uuid, _) => "write encoding: Uuidv7 if its values are version 7; other versions have no order in time",
            (ColumnType::Text, _) => "write encoding: Ulid if its values are ULIDs; other text has no order in time",
        };
        Err(KeyError::Mismatch { column_type, encoding: encoding_name(encoding), remedy })
    }

    /// The type of the column.
    #[must_use]
    pub const fn column_type(self) -> ColumnType {
        self.column_type
    }

    /// How its values tell the time.
    #[must_use]
    pub const fn encoding(self) -> Encoding {
        self.encoding
    }

    /// Whether the key is a plain integer, divided by a step and not by time.
    #[must_use]
    pub const fn is_integer(self) -> bool {
        matches!(self.column_type, ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8)
            && matches!(self.encoding, Encoding::Native)
    }

    /// Whether values are read off a wall clock (date, timestamp) instead of naming an instant.
    #[must_use]
    pub const fn is_civil(self) -> bool {
        matches!(self.column_type, ColumnType::Date | ColumnType::Timestamp)
    }

    /// The value of a plain or epoch integer key; `None` for another key, or beyond its type.
    #[must_use]
    pub fn integer(self, value: i64) -> Option<Ordinal> {
        let is_integer = matches!(self.column_type, ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8);
        is_integer.then(|| self.ordinal(value.into())).flatten()
    }

    /// The finite value `ordinal`, if the type has it.
    pub(super) fn ordinal(self, ordinal: i128) -> Option<Ordinal> {
        let limits = self.limits();
        (limits.min..=limits.max).contains(&ordinal).then_some(Ordinal::new(ordinal))
    }

    /// Sources: PostgreSQL, "Date/Time Types" and "Numeric Types"; RFC 9562 5.7; the ULID specification.
    pub(super) fn limits(self) -> Limits {
        let (first, day) = (Date { year: -4713, month: 11, day: 24 }, |year| Date { year, month: 12, day: 31 });
        let (min, max) = match self.column_type {
            ColumnType::Date => (first.to_days().into(), day(5_874_897).to_days().into()),
            ColumnType::Timestamp | ColumnType::Timestamptz => {
                (i128::from(first.to_days()) * DAY, (i128::from(day(294_276).to_days()) + 1) * DAY - 1)
            }
            ColumnType::Int2 => (i16::MIN.into(), i16::MAX.into()),
            ColumnType::Int4 => (i32::MIN.into(), i32::MAX.into()),
            ColumnType::Int8 => (i64::MIN.into(), i64::MAX.into()),
            ColumnType::Uuid | ColumnType::Text => (i128::MIN, i128::MAX),
        };
        Limits { min, max }
    }

    /// The value that a point of the time line (see [`Key::decode`]) falls into. A bound loses nothing by it: every bound is
    /// a whole second, and a whole day for `date`.
    pub(super) fn encode(self, point: i128) -> Encoded {
        let ordinal = match (self.column_type, self.encoding) {
            (_, Encoding::EpochSeconds) => point.div_euclid(1_000_000),
            (_, Encoding::EpochMilliseconds) => point.div_euclid(1_000),
            (_, Encoding::Uuidv7 | Encoding::Ulid) => match point.div_euclid(1_000) {
                ..0 => return Encoded::Below,
                milliseconds if milliseconds >= 1 << 48 => return Encoded::Above,
                // The smallest identifier of that millisecond: every other bit is zero, the version's included.
                milliseconds => return Encoded::Value(Ordinal::from_bits(milliseconds.unsigned_abs() << 80)),
            },
            (ColumnType::Date, _) => point.div_euclid(DAY),
            _ => point,
        };
        let limits = self.limits();
        match ordinal {
            ordinal if ordinal < limits.min => Encoded::Below,
            ordinal if ordinal > limits.max => Encoded::Above,
            ordinal => Encoded::Value(Ordinal::new(ordinal)),
        }
    }

    /// The point of the time line of a value: microseconds since 1970-01-01, of the wall clock for a civil key and of UTC
    /// for the others; the value itself for a plain integer. `None` for `infinity` and `-infinity`.
    pub(super) fn decode(self, ordinal: Ordinal) -> Option<i128> {
        match (self.column_type, self.encoding) {
            (_, Encoding::EpochSeconds) => ordinal.get().checked_mul(1_000_000),
            (_, Encoding::EpochMilliseconds) => ordinal.get().checked_mul(1_000),
            (_, Encoding::Uuidv7 | Encoding::Ulid) => i128::try_from(ordinal.bits() >> 80).ok()?.checked_mul(1_000),
            (ColumnType::Date, _) => self.finite(ordinal)?.checked_mul(DAY),
            (ColumnType::Timestamp | ColumnType::Timestamptz, _) => self.finite(ordinal),
            _ => Some(ordinal.get()),
        }
    }

    /// The bound as a time: of an identifier, the smallest one of its millisecond. Every other bound stays as it is.
    pub(super) fn on_time_line(self, bound: Bound) -> Bound {
        match (self.encoding, bound) {
            (Encoding::Uuidv7 | Encoding::Ulid, Bound::Value(ordinal)) => {
                Bound::Value(Ordinal::from_bits(ordinal.bits() >> 80 << 80))
            }
            _ => bound,
        }
    }

    fn finite(self, ordinal: Ordinal) -> Option<i128> {
        self.ordinal(ordinal.get()).map(Ordinal::get)
    }
}

impl FromStr for ColumnType {
    type Err = KeyError;

    /// Reads a type as `format_type` prints it, or as it is named in `pg_type`. A length or precision is ignored.
    fn from_str(name: &str) -> Result<Self, KeyError> {
        let bare = name.split('(').next().unwrap_or(name).trim_end();
        // `timestamp(3) with time zone` carries its precision in the middle.
        let with_zone = name.ends_with("with time zone");
        Ok(match bare {
            "date" => Self::Date,
            "timestamptz" | "timestamp with time zone" => Self::Timestamptz,
            "timestamp" if with_zone => Self::Timestamptz,
            "timestamp" | "timestamp without time zone" => Self::Timestamp,
            "int2" | "smallint" => Self::Int2,
            "int4" | "integer" => Self::Int4,
            "int8" | "bigint" => Self::Int8,
            "uuid" => Self::Uuid,
            "text" | "varchar" | "character varying" | "bpchar" | "character" => Self::Text,
            _ => return Err(KeyError::UnknownType(name.to_owned())),
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Uuid => "uuid",
            Self::Text => "text",
        })
    }
}

const fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Native => "Native",
        Encoding::EpochSeconds => "EpochSeconds",
        Encoding::EpochMilliseconds => "EpochMilliseconds",
        Encoding::EpochMicroseconds => "EpochMicroseconds",
        Encoding::Uuidv7 => "Uuidv7",
        Encoding::Ulid => "Ulid",
    }
}
