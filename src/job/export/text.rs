//! How does a value look in `COPY … FROM STDIN` in text form?

use std::fmt::Write as _;

use super::column::Encoding;
use super::parquet::Value;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Adds a value to a line.
pub fn put(line: &mut Vec<u8>, encoding: Encoding, value: Value<'_>) {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match (value, encoding) {
        (Value::Null, _) => write!(text, "\\N"),
        (Value::Boolean(value), _) => write!(text, "{}", if value { 't' } else { 'f' }),
        (Value::Int16(value), _) => write!(text, "{value}"),
        (Value::Int32(days), Encoding::Date) => date(&mut text, days),
        (Value::Int32(value), _) => write!(text, "{value}"),
        (Value::Int64(micros), Encoding::Time) => time(&mut text, micros),
        (Value::Int64(micros), Encoding::Timestamp) => moment(&mut text, micros, ""),
        (Value::Int64(micros), Encoding::TimestampTz) => moment(&mut text, micros, "+00"),
        (Value::Int64(value), _) => write!(text, "{value}"),
        (Value::Float32(value), _) => float(&mut text, value.is_finite(), value.into(), &format!("{value:e}")),
        (Value::Float64(value), _) => float(&mut text, value.is_finite(), value, &format!("{value:e}")),
        (Value::Bytes(bytes), Encoding::Bytes) => hex(&mut text, "\\\\x", bytes),
        (Value::Bytes(bytes), Encoding::Uuid) => hex(&mut text, "", bytes),
        (Value::Bytes(bytes), _) => {
            escape(line, bytes);
            Ok(())
        }
    };
    line.extend_from_slice(text.as_bytes());
}

/// Rust prints the shortest digits that read back as the same number.
fn float(text: &mut String, is_finite: bool, value: f64, digits: &str) -> std::fmt::Result {
    match (is_finite, value.is_nan(), value > 0.0) {
        (true, ..) => text.write_str(digits),
        (_, true, _) => text.write_str("NaN"),
        (.., true) => text.write_str("Infinity"),
        _ => text.write_str("-Infinity"),
    }
}

fn hex(text: &mut String, prefix: &str, bytes: &[u8]) -> std::fmt::Result {
    text.write_str(prefix)?;
    bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}"))
}

/// What COPY would take for something else gets a backslash (PostgreSQL, COPY, "Text Format").
fn escape(line: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            byte => line.push(*byte),
        }
    }
}

/// A date of days since 2000.
fn date(text: &mut String, days: i32) -> std::fmt::Result {
    match days {
        i32::MAX => text.write_str("infinity"),
        i32::MIN => text.write_str("-infinity"),
        days => {
            let era = day(text, i64::from(days))?;
            text.write_str(era)
        }
    }
}

/// A moment of microseconds since 2000.
fn moment(text: &mut String, micros: i64, zone: &str) -> std::fmt::Result {
    match micros {
        i64::MAX => text.write_str("infinity"),
        i64::MIN => text.write_str("-infinity"),
        micros => {
            let era = day(text, micros.div_euclid(MICROS_PER_DAY))?;
            text.push(' ');
            time(text, micros.rem_euclid(MICROS_PER_DAY))?;
            write!(text, "{zone}{era}")
        }
    }
}

fn time(text: &mut String, micros: i64) -> std::fmt::Result {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    write!(text, "{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day in the proleptic Gregorian calendar. Answers what follows: years before 1 are counted backwards, without a zero.
fn day(text: &mut String, days: i64) -> Result<&'static str, std::fmt::Error> {
    // Days since 1 March of the year 0 of a cycle of 400 years, in which leap days come last.
    let days = days + 730_425;
    let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year + cycle * 400) } else { (month - 9, year + cycle * 400 + 1) };
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    write!(text, "{year:04}-{month:02}-{day:02}")?;
    Ok(era)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(encoding: Encoding, value: Value<'_>) -> String {
        let mut line = vec![];
        put(&mut line, encoding, value);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        // As PostgreSQL itself counts: date 'x' - date '2000-01-01'.
        let known = [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (60, "2000-03-01"),
            (-1, "1999-12-31"),
            (-36_465, "1900-03-01"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (-2_451_507, "4713-01-01 BC"),
            (2_921_939, "9999-12-31"),
            (2_921_940, "10000-01-01"),
            (2_145_031_948, "5874897-12-31"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
        ];
        for (days, text) in known {
            assert_eq!(line(Encoding::Date, Value::Int32(days)), text, "{days}");
        }
    }

    #[test]
    fn moments_keep_their_microseconds_and_their_era() {
        assert_eq!(line(Encoding::Timestamp, Value::Int64(-1)), "1999-12-31 23:59:59.999999");
        assert_eq!(line(Encoding::TimestampTz, Value::Int64(-730_120 * MICROS_PER_DAY)), "0001-12-31 00:00:00.000000+00 BC");
        assert_eq!(line(Encoding::Time, Value::Int64(MICROS_PER_DAY)), "24:00:00.000000");
        assert_eq!(line(Encoding::TimestampTz, Value::Int64(i64::MIN)), "-infinity");
    }

    #[test]
    fn numbers_and_bytes_are_as_postgresql_reads_them() {
        assert_eq!(line(Encoding::Float64, Value::Float64(-0.0)), "-0e0");
        assert_eq!(line(Encoding::Float32, Value::Float32(f32::NEG_INFINITY)), "-Infinity");
        assert_eq!(line(Encoding::Float64, Value::Float64(f64::NAN)), "NaN");
        assert_eq!(line(Encoding::Bytes, Value::Bytes(&[0, 255])), "\\\\x00ff");
        assert_eq!(line(Encoding::Text, Value::Bytes(b"a\\b\tc\nd\re")), "a\\\\b\\tc\\nd\\re");
        assert_eq!(line(Encoding::Text, Value::Null), "\\N");
    }
}
