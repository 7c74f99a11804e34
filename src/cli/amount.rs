//! How are sizes and times written for people?

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

pub use crate::plan::size::bytes;

/// About how long going through this many bytes takes, such as `~ms` or `~4 min`. A scan of a table that is not in memory reads about
/// 200 MB/s on ordinary cloud storage; one in memory is ten times as fast.
pub fn time_for(bytes: i64) -> String {
    match bytes / 200_000_000 {
        0 => "~ms".into(),
        seconds @ ..120 => format!("~{seconds} s"),
        seconds => format!("~{} min", seconds / 60),
    }
}

/// About how long an export of this many bytes takes, such as `~4 min at 30 MB/s`: through a network, and back to be compared.
pub fn time_to_export(bytes: i64) -> String {
    match bytes / 30_000_000 {
        0 => "~1 s".into(),
        seconds @ ..120 => format!("~{seconds} s at 30 MB/s"),
        seconds => format!("~{} min at 30 MB/s", seconds / 60),
    }
}

/// About how long it takes until this many rows of a plain table have gone, at 200 000 a second in the share of the time that they may
/// take, in percent.
pub fn time_for_rows(rows: i64, max_load: i32) -> String {
    match rows.saturating_mul(100) / (200_000 * i64::from(max_load.max(1))) {
        0 => "~1 s".into(),
        seconds @ ..120 => format!("~{seconds} s"),
        seconds => format!("~{} min", seconds / 60),
    }
}

/// A length such as `2s` or `500ms`.
pub fn length(length: Duration) -> String {
    if length.subsec_millis() == 0 { format!("{}s", length.as_secs()) } else { format!("{}ms", length.as_millis()) }
}

/// A moment such as `2026-11-21 08:00Z`.
pub fn minute(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// A bound's literal, with what every midnight in UTC has left out.
pub fn bound(text: &str) -> String {
    let utc = text.strip_suffix("+00").map_or((text, ""), |text| (text, "Z"));
    let (text, zone) = utc;
    match (text.strip_suffix(" 00:00:00"), text.strip_suffix(":00")) {
        (Some(date), _) => date.to_owned(),
        (None, Some(minute)) if text.contains(' ') => format!("{minute}{zone}"),
        _ => format!("{text}{zone}"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2027-01-01 00:00:00+00", "2027-01-01")]
    #[case("2026-12-31 23:00:00+00", "2026-12-31 23:00Z")]
    #[case("2027-01-01 00:00:00", "2027-01-01")]
    #[case("2027-01-01 06:30:00", "2027-01-01 06:30")]
    #[case("2027-01-01", "2027-01-01")]
    #[case("1000000", "1000000")]
    #[case("018bcfe5-6800-0000-0000-000000000000", "018bcfe5-6800-0000-0000-000000000000")]
    fn a_bound_is_written_without_what_goes_without_saying(#[case] literal: &str, #[case] written: &str) {
        assert_eq!(bound(literal), written);
    }

    #[rstest]
    #[case(0, "0 B", "~ms")]
    #[case(5 << 20, "5.0 MiB", "~ms")]
    #[case(318 << 30, "318 GiB", "~28 min")]
    #[case(2_000_000_000, "1.9 GiB", "~10 s")]
    fn sizes_and_times_are_rounded(#[case] size: i64, #[case] written: &str, #[case] time: &str) {
        assert_eq!((bytes(size).as_str(), time_for(size).as_str()), (written, time));
    }
}
