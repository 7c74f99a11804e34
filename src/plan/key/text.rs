//! What does a bound look like as text? Reading `pg_get_expr(relpartbound, oid)` and writing values back.
//!
//! The catalog is read with `TimeZone=UTC` and `DateStyle=ISO`, and a timestamptz always carries its offset, so that no
//! setting of a server, role or client can shift a bound.

use super::super::civil::{DAY, Date, HOUR};
use super::{Bound, ColumnType, Key, Ordinal, Range};

/// Why a partition's bounds cannot be used. Such a partition is reported and left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The default partition has no bounds.
    #[error("a default partition has no bounds")]
    Default,
    /// List and hash partitions.
    #[error("bounds \"{0}\" are not a range: only tables partitioned by range are managed")]
    NotRange(String),
    /// More than one key column.
    #[error("bounds \"{0}\" have more than one column: only tables with a single key column are managed")]
    MultiColumn(String),
    /// A text that PostgreSQL does not print.
    #[error("bounds \"{0}\" cannot be read: expected FOR VALUES FROM (...) TO (...)")]
    Syntax(String),
    /// A value that the key's type or encoding does not have.
    #[error("bound \"{value}\" is not {expected}")]
    Value {
        /// The value as printed.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The lower bound is not below the upper bound.
    #[error("bounds \"{0}\" hold no value")]
    Empty(String),
}

/// One value in the parentheses of a bound.
enum Datum {
    MinValue,
    MaxValue,
    Value(String),
}

/// Reads the range of a partition from the text that PostgreSQL prints for it.
///
/// # Errors
/// [`Unreadable`], for everything that is not the range of a single column of this key.
pub fn parse_bounds(expr: &str, key: &Key) -> Result<Range, Unreadable> {
    if expr == "DEFAULT" {
        return Err(Unreadable::Default);
    }
    if expr.starts_with("FOR VALUES IN ") || expr.starts_with("FOR VALUES WITH ") {
        return Err(Unreadable::NotRange(expr.to_owned()));
    }
    let (lower, upper) = split_range(expr).ok_or_else(|| Unreadable::Syntax(expr.to_owned()))?;
    let lower = bound(lower, key, expr)?;
    let upper = bound(upper, key, expr)?;
    Range::new(lower, upper).ok_or_else(|| Unreadable::Empty(expr.to_owned()))
}

fn bound(mut data: Vec<Datum>, key: &Key, expr: &str) -> Result<Bound, Unreadable> {
    match (data.pop(), data.is_empty()) {
        (Some(_), false) => Err(Unreadable::MultiColumn(expr.to_owned())),
        (None, _) => Err(Unreadable::Syntax(expr.to_owned())),
        (Some(Datum::MinValue), true) => Ok(Bound::MinValue),
        (Some(Datum::MaxValue), true) => Ok(Bound::MaxValue),
        (Some(Datum::Value(value)), true) => {
            parse_value(&value, key).map(Bound::Value).ok_or_else(|| Unreadable::Value { value, expected: expected(*key) })
        }
    }
}

fn split_range(expr: &str) -> Option<(Vec<Datum>, Vec<Datum>)> {
    let (lower, rest) = data(expr.strip_prefix("FOR VALUES FROM (")?)?;
    let (upper, rest) = data(rest.strip_prefix(" TO (")?)?;
    rest.is_empty().then_some((lower, upper))
}

/// Reads values up to the closing parenthesis and returns what follows it.
fn data(mut text: &str) -> Option<(Vec<Datum>, &str)> {
    let mut values = Vec::new();
    loop {
        let (datum, rest) = datum(text)?;
        values.push(datum);
        if let Some(rest) = rest.strip_prefix(')') {
            return Some((values, rest));
        }
        text = rest.strip_prefix(", ")?;
    }
}

fn datum(text: &str) -> Option<(Datum, &str)> {
    if let Some(quoted) = text.strip_prefix('\'') {
        return quoted_datum(quoted);
    }
    let (word, rest) = text.split_at(text.find([',', ')'])?);
    let datum = match word {
        "" => return None,
        "MINVALUE" => Datum::MinValue,
        "MAXVALUE" => Datum::MaxValue,
        value => Datum::Value(value.to_owned()),
    };
    Some((datum, rest))
}

/// Reads to the closing quote; a doubled quote is one quote.
fn quoted_datum(mut text: &str) -> Option<(Datum, &str)> {
    let mut value = String::new();
    loop {
        let (part, rest) = text.split_once('\'')?;
        value.push_str(part);
        match rest.strip_prefix('\'') {
            Some(rest) => {
                value.push('\'');
                text = rest;
            }
            None => return Some((Datum::Value(value), rest)),
        }
    }
}

const fn expected(key: Key) -> &'static str {
    match key.column_type {
        ColumnType::Date => "a date in ISO style",
        ColumnType::Timestamp => "a timestamp in ISO style without an offset",
        ColumnType::Timestamptz => "a timestamptz in ISO style with its offset",
        ColumnType::Int2 => "a smallint",
        ColumnType::Int4 => "an integer",
        ColumnType::Int8 => "a bigint",
        ColumnType::Uuid => "a uuid",
        ColumnType::Text => "a ULID of 26 upper-case characters",
    }
}

fn parse_value(text: &str, key: &Key) -> Option<Ordinal> {
    match key.column_type {
        ColumnType::Date | ColumnType::Timestamp | ColumnType::Timestamptz => match text {
            "infinity" => Some(Ordinal::INFINITY),
            "-infinity" => Some(Ordinal::NEGATIVE_INFINITY),
            text => key.ordinal(parse_time(text, key.column_type)?),
        },
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => key.ordinal(text.parse::<i64>().ok()?.into()),
        ColumnType::Uuid => parse_uuid(text).map(Ordinal::from_bits),
        ColumnType::Text => parse_ulid(text).map(Ordinal::from_bits),
    }
}

/// `Y-MM-DD[ HH:MM:SS[.f][±HH[:MM[:SS]]]][ BC]`, in the unit of the column's ordinals.
fn parse_time(text: &str, column_type: ColumnType) -> Option<i128> {
    let (text, is_bc) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
    let (date, time) = text.split_once(' ').map_or((text, None), |(date, time)| (date, Some(time)));
    let days = i128::from(parse_date(date, is_bc)?.to_days());
    match (column_type, time) {
        (ColumnType::Date, None) => Some(days),
        (ColumnType::Timestamp, Some(time)) => Some(days * DAY + parse_clock(time)?),
        (ColumnType::Timestamptz, Some(time)) => {
            let (clock, offset) = time.split_at(time.find(['+', '-'])?);
            Some(days * DAY + parse_clock(clock)? - parse_offset(offset)?)
        }
        _ => None,
    }
}

fn parse_date(text: &str, is_bc: bool) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !(4..=7).contains(&year.len()) {
        return None;
    }
    let year = match digits(year)? {
        0 => return None,
        // There is no year 0: 1 BC is the year before 1 AD.
        year if is_bc => 1 - year,
        year => year,
    };
    Date::new(year, two_digits(month)?, two_digits(day)?)
}

/// Microseconds since midnight of `HH:MM:SS[.f]`.
fn parse_clock(text: &str) -> Option<i128> {
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut parts = clock.split(':');
    let (hour, minute, second) = (two_digits(parts.next()?)?, two_digits(parts.next()?)?, two_digits(parts.next()?)?);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let microseconds = match fraction {
        None => 0,
        Some(fraction) if (1..=6).contains(&fraction.len()) => digits(&format!("{fraction:0<6}"))?,
        Some(_) => return None,
    };
    Some(i128::from((hour * 3_600 + minute * 60 + second) * 1_000_000 + microseconds))
}

/// Microseconds of `±HH[:MM[:SS]]`.
fn parse_offset(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+')?),
    };
    let mut seconds = 0;
    let mut unit = 3_600;
    for part in text.split(':') {
        if unit == 0 {
            return None;
        }
        seconds += two_digits(part)? * unit;
        unit /= 60;
    }
    Some(i128::from(sign * seconds) * 1_000_000)
}

fn two_digits(text: &str) -> Option<i64> {
    if text.len() == 2 { digits(text) } else { None }
}

/// `str::parse` would take a sign, too.
fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// PostgreSQL prints uuids in lower case with four hyphens.
fn parse_uuid(text: &str) -> Option<u128> {
    let has_hyphens = text.len() == 36 && [8, 13, 18, 23].iter().all(|&at| text.as_bytes().get(at) == Some(&b'-'));
    let hex = text.replace('-', "");
    let is_hex = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if has_hyphens && is_hex { u128::from_str_radix(&hex, 16).ok() } else { None }
}

/// Crockford's base 32, in which the order of the characters is their order as bytes.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Only the canonical form is read: lower case sorts elsewhere, so it is not the value it looks like.
fn parse_ulid(text: &str) -> Option<u128> {
    if text.len() != 26 || !text.starts_with(|first: char| ('0'..='7').contains(&first)) {
        return None;
    }
    text.bytes().try_fold(0_u128, |bits, byte| {
        let digit = CROCKFORD.iter().position(|&digit| digit == byte)?;
        Some(bits << 5 | digit as u128)
    })
}

/// The text of a value, not quoted; a timestamptz is in UTC and says so. [`parse_bounds`] reads it back.
#[must_use]
pub fn literal(ordinal: &Ordinal, key: &Key) -> String {
    match (key.column_type, key.ordinal(ordinal.get())) {
        (ColumnType::Date | ColumnType::Timestamp | ColumnType::Timestamptz, None) => {
            if ordinal.get() > 0 { "infinity" } else { "-infinity" }.to_owned()
        }
        (ColumnType::Date, Some(days)) => time_text(days.get() * DAY, |_| String::new(), ""),
        (ColumnType::Timestamp, Some(point)) => time_text(point.get(), clock_text, ""),
        (ColumnType::Timestamptz, Some(point)) => time_text(point.get(), clock_text, "+00"),
        (ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, _) => ordinal.get().to_string(),
        (ColumnType::Uuid, _) => uuid_text(ordinal.bits()),
        (ColumnType::Text, _) => ulid_text(ordinal.bits()),
    }
}

fn time_text(point: i128, clock: fn(i128) -> String, offset: &str) -> String {
    // The caller has checked the limits of the type, so the day number is small.
    let date = Date::from_days(i64::try_from(point.div_euclid(DAY)).unwrap_or_default());
    let (year, era) = if date.year > 0 { (date.year, "") } else { (1 - date.year, " BC") };
    let clock = clock(point.rem_euclid(DAY));
    format!("{year:04}-{:02}-{:02}{clock}{offset}{era}", date.month, date.day)
}

fn clock_text(in_day: i128) -> String {
    let (seconds, microseconds) = (in_day / 1_000_000, in_day % 1_000_000);
    let clock = format!(" {:02}:{:02}:{:02}", in_day / HOUR, seconds / 60 % 60, seconds % 60);
    if microseconds == 0 {
        return clock;
    }
    format!("{clock}.{}", format!("{microseconds:06}").trim_end_matches('0'))
}

fn uuid_text(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn ulid_text(bits: u128) -> String {
    (0..26).rev().map(|place| char::from(CROCKFORD[(bits >> (place * 5) & 31) as usize])).collect()
}
