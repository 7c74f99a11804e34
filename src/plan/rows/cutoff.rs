//! What is old? The value of the column below which rows go, and the values that a hold keeps, as texts of literals.

use jiff::{Timestamp, Unit, Zoned, ZonedRound};

use super::super::action::Blocked;
use super::super::key::{self, ColumnType, Encoded, Encoding, Key};
use super::super::removal::HeldRange;
use super::super::window;
use super::facts::{Column, Table};
use crate::api::retention_hold::HoldRange;
use crate::api::span::SpanUnit;
use crate::api::{Reason, RetentionPolicySpec, Span};

/// The key that a column is.
pub(super) fn key(table: &Table, column: &Column, encoding: Encoding) -> Result<Key, Blocked> {
    let mismatch =
        |message: String| Blocked::new(Reason::KeyMismatch, format!("{}.{}: {message}", table.relation.table, column.name));
    let column_type: ColumnType = column.bare_type.parse().map_err(|error: key::KeyError| mismatch(error.to_string()))?;
    let key = Key::new(column_type, encoding).map_err(|error| mismatch(error.to_string()))?;
    if key.is_integer() {
        let message =
            "a plain number does not tell a row's age: set rows.encoding to EpochSeconds, EpochMilliseconds or EpochMicroseconds";
        return Err(mismatch(message.into()));
    }
    if column_type == ColumnType::Text && !matches!(column.sorts_as.as_deref(), Some("C" | "POSIX" | "ucs_basic")) {
        let message = "ULIDs sort by their bytes: declare the column COLLATE \"C\"";
        return Err(mismatch(message.into()));
    }
    Ok(key)
}

/// Rows below this value go. It is as early as `keep.age` allows, on a whole day (or hour, or second, where the age is given in smaller
/// units), so that the plan of a day stays the same plan.
pub(super) fn before(spec: &RetentionPolicySpec, key: Key, now: Timestamp) -> Result<String, Blocked> {
    let invalid = |message: String| Blocked::new(Reason::InvalidSpec, message);
    let age = spec.keep.age.ok_or_else(|| invalid("rows are kept by age: give keep.age".into()))?;
    let zone = window::zone(&spec.time_zone).map_err(invalid)?;
    let cutoff = age.subtract_from(&now.to_zoned(zone)).map_err(|error| invalid(format!("keep.age: {error}")))?;
    let cutoff = whole(&cutoff, age).map_err(|error| invalid(format!("keep.age: {error}")))?;
    literal(key, &cutoff).ok_or_else(|| invalid(format!("keep.age {age} leads to {cutoff}, which the column cannot hold")))
}

fn whole(cutoff: &Zoned, age: Span) -> Result<Zoned, jiff::Error> {
    let unit = match age.unit() {
        SpanUnit::Day | SpanUnit::Week | SpanUnit::Month | SpanUnit::Quarter | SpanUnit::Year => return cutoff.start_of_day(),
        SpanUnit::Hour => Unit::Hour,
        SpanUnit::Minute | SpanUnit::Second | SpanUnit::Millisecond => Unit::Second,
    };
    cutoff.round(ZonedRound::new().smallest(unit).mode(jiff::RoundMode::Floor))
}

/// The smallest value at this moment; of a wall clock, what it shows in the moment's zone.
fn literal(key: Key, at: &Zoned) -> Option<String> {
    let instant = micros(at.timestamp());
    let point = if key.is_civil() { instant + i128::from(at.offset().seconds()) * 1_000_000 } else { instant };
    value(key, point)
}

fn value(key: Key, point: i128) -> Option<String> {
    match key.encode(point) {
        Encoded::Value(ordinal) => Some(key::literal(&ordinal, &key)),
        Encoded::Below | Encoded::Above => None,
    }
}

fn micros(at: Timestamp) -> i128 {
    at.as_nanosecond().div_euclid(1_000)
}

/// What a hold keeps of this column: the dates of its range, from the first moment in UTC. A range that does not read as dates keeps
/// everything, because what is meant cannot be known.
pub(super) fn held(key: Key, range: &HoldRange) -> HeldRange {
    let end = |text: &Option<String>| {
        let day: jiff::civil::Date = text.as_deref()?.parse().ok()?;
        value(key, micros(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()))
    };
    HeldRange { from: end(&range.from), to: end(&range.to) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn key_of(type_name: &str, encoding: Encoding) -> Key {
        Key::new(type_name.parse().unwrap(), encoding).unwrap()
    }

    fn cutoff(age: &str, zone: &str, key: Key) -> String {
        let spec = serde_json::from_value(json!({
            "databaseRef": {"name": "db"}, "table": {"name": "t"}, "keep": {"age": age}, "timeZone": zone, "rows": {"column": "c"}
        }));
        before(&spec.unwrap(), key, "2026-11-21T08:30:15.5Z".parse().unwrap()).unwrap()
    }

    #[rstest]
    #[case("30 days", "UTC", "timestamptz", Encoding::Native, "2026-10-22 00:00:00+00")]
    #[case("30 days", "Asia/Tokyo", "timestamptz", Encoding::Native, "2026-10-21 15:00:00+00")]
    #[case("30 days", "Asia/Tokyo", "timestamp", Encoding::Native, "2026-10-22 00:00:00")]
    #[case("6 months", "UTC", "date", Encoding::Native, "2026-05-21")]
    #[case("36h", "UTC", "timestamptz", Encoding::Native, "2026-11-19 20:00:00+00")]
    #[case("10s", "UTC", "timestamptz", Encoding::Native, "2026-11-21 08:30:05+00")]
    #[case("1 day", "UTC", "bigint", Encoding::EpochMilliseconds, "1795132800000")]
    #[case("1 day", "UTC", "uuid", Encoding::Uuidv7, "019f6c3f-9000-0000-0000-000000000000")]
    fn the_cutoff_is_as_early_as_the_age_allows(
        #[case] age: &str,
        #[case] zone: &str,
        #[case] type_name: &str,
        #[case] encoding: Encoding,
        #[case] expected: &str,
    ) {
        let literal = cutoff(age, zone, key_of(type_name, encoding));
        if encoding == Encoding::Uuidv7 {
            let milliseconds = u128::from_str_radix(&literal.replace('-', "")[..12], 16).unwrap();
            assert_eq!(milliseconds, 1_795_132_800_000);
        } else {
            assert_eq!(literal, expected);
        }
    }

    #[test]
    fn the_plan_of_a_day_stays_the_same_plan() {
        let spec = serde_json::from_value(json!({
            "databaseRef": {"name": "db"}, "table": {"name": "t"}, "keep": {"age": "1 month"}, "rows": {"column": "c"}
        }));
        let (spec, key) = (spec.unwrap(), key_of("timestamptz", Encoding::Native));
        let at = |time: &str| before(&spec, key, time.parse().unwrap()).unwrap();
        assert_eq!(at("2026-11-21T00:00:00Z"), at("2026-11-21T23:59:59Z"));
    }

    #[test]
    fn a_hold_keeps_its_dates_and_what_cannot_be_read_keeps_everything() {
        let range = |from: &str, to: &str| HoldRange { from: Some(from.into()), to: Some(to.into()) };
        let key = key_of("timestamptz", Encoding::Native);
        let dates = held(key, &range("2025-01-01", "2025-02-01"));
        assert_eq!(dates, HeldRange { from: Some("2025-01-01 00:00:00+00".into()), to: Some("2025-02-01 00:00:00+00".into()) });
        assert_eq!(held(key, &range("17", "18")), HeldRange { from: None, to: None });
        let epoch = key_of("bigint", Encoding::EpochSeconds);
        assert_eq!(
            held(epoch, &range("1970-01-02", "1970-01-03")),
            HeldRange { from: Some("86400".into()), to: Some("172800".into()) }
        );
    }
}
