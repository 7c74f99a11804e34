//! The grid on known dates. Names and failures of other tools that these tests keep out are in the comments.

use jiff::civil::date;
use rstest::rstest;

use super::super::key::{Encoding, literal, parse_bounds};
use super::*;

mod properties;

fn key(column_type: ColumnType) -> Key {
    let encoding = match column_type {
        ColumnType::Uuid => Encoding::Uuidv7,
        ColumnType::Text => Encoding::Ulid,
        _ => Encoding::Native,
    };
    Key::new(column_type, encoding).unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn grid(interval: &str, zone_name: &str, column_type: ColumnType) -> Grid {
    Grid::new(interval.parse().unwrap(), None, zone(zone_name), key(column_type)).unwrap()
}

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

fn text(bound: Bound, grid: &Grid) -> String {
    bound.value().map_or_else(|| format!("{bound:?}"), |ordinal| literal(&ordinal, grid.key()))
}

/// The lower bounds of the slots from one instant to another.
fn bounds(grid: &Grid, from: &str, to: &str) -> Vec<String> {
    let (from, to) = (grid.ordinal_at(at(from)).unwrap(), grid.ordinal_at(at(to)).unwrap());
    grid.slots(from, to, 100).map(|slot| text(slot.lower(), grid)).collect()
}

fn range(lower: &str, upper: &str, key: &Key) -> Range {
    parse_bounds(&format!("FOR VALUES FROM ('{lower}') TO ('{upper}')"), key).unwrap()
}

/// Class C (pg_partman #334): at the end of summer time an hour was left without a partition.
#[test]
fn hours_have_no_hole_and_no_overlap_when_clocks_go_back() {
    let grid = grid("1 hour", "Europe/Berlin", ColumnType::Timestamptz);
    let hours = bounds(&grid, "2025-10-25T22:00Z", "2025-10-26T23:00Z");
    assert_eq!(hours.len(), 25);
    assert_eq!(hours[2..5], ["2025-10-26 00:00:00+00", "2025-10-26 01:00:00+00", "2025-10-26 02:00:00+00"]);
}

#[test]
fn hours_have_no_hole_and_no_overlap_when_clocks_go_forward() {
    let grid = grid("1 hour", "Europe/Berlin", ColumnType::Timestamptz);
    assert_eq!(bounds(&grid, "2025-03-29T23:00Z", "2025-03-30T22:00Z").len(), 23);
}

/// Class C (pg_partman #367): monthly partitions of Asia/Amman overlapped. Its summer time began at midnight of a Friday
/// and ended for good in October 2022.
#[test]
fn months_of_amman_follow_its_clock_and_meet() {
    let grid = grid("1 month", "Asia/Amman", ColumnType::Timestamptz);
    let months = bounds(&grid, "2022-01-31T22:00Z", "2022-12-01T00:00Z");
    insta::assert_snapshot!(months.join("\n"), @r"
    2022-01-31 22:00:00+00
    2022-02-28 21:00:00+00
    2022-03-31 21:00:00+00
    2022-04-30 21:00:00+00
    2022-05-31 21:00:00+00
    2022-06-30 21:00:00+00
    2022-07-31 21:00:00+00
    2022-08-31 21:00:00+00
    2022-09-30 21:00:00+00
    2022-10-31 21:00:00+00
    2022-11-30 21:00:00+00
    ");
}

/// Class C (pg_partman #373, #383): a client's or a laptop's zone shifted the bounds.
#[test]
fn bounds_are_written_in_utc_whatever_the_zone_of_the_grid() {
    let berlin = grid("1 month", "Europe/Berlin", ColumnType::Timestamptz);
    let slot = berlin.slot_at(at("2025-07-15T12:00Z")).unwrap();
    assert_eq!(text(slot.lower(), &berlin), "2025-06-30 22:00:00+00");
    assert_eq!(text(slot.upper(), &berlin), "2025-07-31 22:00:00+00");
}

/// Class C (pg_partman #740, pgwatch #931, #185): a server moved to another zone, and new partitions overlapped the old.
#[test]
fn partitions_of_another_zone_are_not_aligned_instead_of_being_continued() {
    let (utc, berlin) =
        (grid("1 week", "UTC", ColumnType::Timestamptz), grid("1 week", "Europe/Berlin", ColumnType::Timestamptz));
    let slot = utc.slot_at(at("2025-07-15T12:00Z")).unwrap();
    assert!(utc.is_aligned(slot.range()));
    assert!(!berlin.is_aligned(slot.range()));
    assert_eq!(berlin.span_of(slot.range()), None);
}

/// Class C (pg_partman #746, #865, #872): bounds counted from the previous bound drifted.
#[rstest]
#[case("1 month", "Europe/Berlin")]
#[case("3 weeks", "Australia/Lord_Howe")]
#[case("7 hours", "America/St_Johns")]
fn bounds_do_not_drift_however_far_they_are_stepped(#[case] interval: &str, #[case] zone: &str) {
    let grid = grid(interval, zone, ColumnType::Timestamptz);
    let mut slot = grid.slot_at(at("1990-06-15T12:00Z")).unwrap();
    for _ in 0..400 {
        slot = grid.next(&slot).unwrap();
        let again = grid.slot_containing(slot.lower().value().unwrap()).unwrap();
        assert_eq!(slot, again);
    }
}

/// Class C (django-postgres-extra #262, hiero-mirror-node #6611): the bounds depended on the hour of the run.
#[test]
fn bounds_do_not_depend_on_the_moment_of_the_run() {
    let grid = grid("1 day", "America/New_York", ColumnType::Timestamptz);
    let slots: Vec<_> = ["2025-11-02T04:00Z", "2025-11-02T12:00Z", "2025-11-03T04:59:59.999Z"]
        .map(|moment| grid.slot_at(at(moment)).unwrap())
        .into();
    assert_eq!(slots[0], slots[1]);
    assert_eq!(slots[1], slots[2]);
    assert_eq!(grid.start(&slots[0]), Some(at("2025-11-02T04:00Z")));
    assert_eq!(grid.end(&slots[0]), Some(at("2025-11-03T05:00Z")));
}

#[rstest]
// Lord Howe moves its clock by half an hour.
#[case("1 day", "Australia/Lord_Howe", "2025-04-05T00:00Z", "2025-04-07T00:00Z",
    &["2025-04-04 13:00:00+00", "2025-04-05 13:00:00+00", "2025-04-06 13:30:00+00"])]
// Apia had no 30 December 2011: the slot of the 29th is followed by that of the 31st.
#[case("1 day", "Pacific/Apia", "2011-12-29T00:00Z", "2012-01-01T00:00Z",
    &["2011-12-28 10:00:00+00", "2011-12-29 10:00:00+00", "2011-12-30 10:00:00+00", "2011-12-31 10:00:00+00"])]
// Havana's clock goes from midnight to one, and in autumn shows midnight twice: the first counts.
#[case("1 day", "America/Havana", "2025-03-09T00:00Z", "2025-03-10T12:00Z",
    &["2025-03-08 05:00:00+00", "2025-03-09 05:00:00+00", "2025-03-10 04:00:00+00"])]
#[case("1 day", "America/Havana", "2025-11-02T04:00Z", "2025-11-03T12:00Z",
    &["2025-11-02 04:00:00+00", "2025-11-03 05:00:00+00"])]
// In Toronto the clock went from 23:30 to 00:30, so the day began at 00:30.
#[case("1 day", "America/Toronto", "1919-03-31T04:00Z", "1919-04-01T00:00Z", &["1919-03-30 05:00:00+00", "1919-03-31 04:30:00+00"])]
// Alaska's clock went back by a whole day in October 1867: the 19th began twice, and the first counts.
#[case("1 day", "America/Juneau", "1867-10-17T12:00Z", "1867-10-20T12:00Z",
    &["1867-10-17 08:57:41+00", "1867-10-18 08:57:41+00", "1867-10-20 08:57:41+00"])]
fn days_begin_when_the_clock_first_shows_them(
    #[case] interval: &str,
    #[case] zone: &str,
    #[case] from: &str,
    #[case] to: &str,
    #[case] expected: &[&str],
) {
    assert_eq!(bounds(&grid(interval, zone, ColumnType::Timestamptz), from, to), expected);
}

#[rstest]
#[case("1 month", date(2024, 1, 31), &["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"])]
#[case("1 month", date(2020, 2, 29), &["2024-01-29", "2024-02-29", "2024-03-29", "2024-04-29", "2024-05-29"])]
#[case("1 quarter", date(2023, 11, 30), &["2023-11-30", "2024-02-29", "2024-05-30"])]
#[case("1 year", date(2024, 2, 29), &["2023-02-28", "2024-02-29"])]
#[case("6 weeks", date(2024, 2, 28), &["2024-01-17", "2024-02-28", "2024-04-10", "2024-05-22"])]
fn slots_are_counted_from_the_anchor_and_begin_early_in_short_months(
    #[case] interval: &str,
    #[case] anchor: jiff::civil::Date,
    #[case] expected: &[&str],
) {
    let grid = Grid::new(interval.parse().unwrap(), Some(anchor), TimeZone::UTC, key(ColumnType::Date)).unwrap();
    assert_eq!(bounds(&grid, "2024-01-31T00:00Z", "2024-06-01T00:00Z"), expected);
}

#[rstest]
#[case("1 week", "2025-06-11T12:00Z", "2025-06-09")]
#[case("2 weeks", "2025-06-11T12:00Z", "2025-06-09")]
#[case("1 quarter", "2025-06-11T12:00Z", "2025-04-01")]
#[case("1 year", "2025-06-11T12:00Z", "2025-01-01")]
#[case("5 years", "2025-06-11T12:00Z", "2025-01-01")]
#[case("1 month", "1969-12-31T12:00Z", "1969-12-01")]
#[case("1 day", "-004713-11-25T12:00Z", "4714-11-25 BC")]
fn without_an_anchor_slots_begin_where_a_calendar_does(#[case] interval: &str, #[case] moment: &str, #[case] expected: &str) {
    let grid = grid(interval, "UTC", ColumnType::Date);
    assert_eq!(text(grid.slot_at(at(moment)).unwrap().lower(), &grid), expected);
}

#[rstest]
#[case("Asia/Singapore", "2025-06-30 16:00:00+00")]
#[case("Africa/Monrovia", "2025-07-01 00:00:00+00")]
#[case("Asia/Kathmandu", "2025-06-30 18:15:00+00")]
fn hours_begin_on_the_full_hour_of_zones_that_were_odd_in_1970(#[case] zone_name: &str, #[case] expected: &str) {
    let grid = grid("1 hour", zone_name, ColumnType::Timestamptz);
    let midnight = date(2025, 7, 1).to_zoned(zone(zone_name)).unwrap().timestamp();
    assert_eq!(text(grid.slot_at(midnight).unwrap().lower(), &grid), expected);
}

#[test]
fn a_timestamp_column_holds_wall_clock_time_so_its_bounds_ignore_clock_changes() {
    let grid = grid("1 hour", "Europe/Berlin", ColumnType::Timestamp);
    assert_eq!(
        bounds(&grid, "2025-10-25T23:00Z", "2025-10-26T03:00Z"),
        ["2025-10-26 01:00:00", "2025-10-26 02:00:00", "2025-10-26 03:00:00"]
    );
    let slot = grid.slot_at(at("2025-07-01T00:30Z")).unwrap();
    assert_eq!(text(slot.lower(), &grid), "2025-07-01 02:00:00");
    assert_eq!(grid.start(&slot), Some(at("2025-07-01T00:00Z")));
}

#[test]
fn the_present_of_a_date_column_is_the_date_in_the_zone() {
    let grid = grid("1 day", "Pacific/Auckland", ColumnType::Date);
    let slot = grid.slot_at(at("2025-06-30T13:00Z")).unwrap();
    assert_eq!((text(slot.lower(), &grid), text(slot.upper(), &grid)), ("2025-07-01".into(), "2025-07-02".into()));
    assert_eq!(grid.start(&slot), Some(at("2025-06-30T12:00Z")));
}

#[test]
fn seconds_in_four_bytes_end_in_an_open_slot_instead_of_a_wrong_bound() {
    let key = Key::new(ColumnType::Int4, Encoding::EpochSeconds).unwrap();
    let grid = Grid::new("1 month".parse().unwrap(), None, TimeZone::UTC, key).unwrap();
    let last = grid.slot_at(at("2038-01-19T03:14:07Z")).unwrap();
    assert_eq!((text(last.lower(), &grid), last.upper()), ("2145916800".into(), Bound::MaxValue));
    assert_eq!(grid.end(&last), None);
    assert_eq!(grid.next(&last), None);
    assert_eq!(grid.slot_at(at("2038-01-19T03:14:08Z")), None);
    let first = grid.slot_at(at("1901-12-13T20:45:52Z")).unwrap();
    assert_eq!((first.lower(), text(first.upper(), &grid)), (Bound::MinValue, "-2145916800".into()));
    assert_eq!(grid.prev(&first), None);
    assert!(grid.is_aligned(first.range()) && grid.is_aligned(last.range()));
}

/// MG #299: clamped identifiers gave a lower bound above the upper one.
#[rstest]
#[case(ColumnType::Uuid)]
#[case(ColumnType::Text)]
fn identifiers_end_in_an_open_slot_in_the_year_10889(#[case] column_type: ColumnType) {
    let grid = grid("1 month", "UTC", column_type);
    let max = grid.key.ordinal(i128::MAX).unwrap();
    // All 48 bits of milliseconds are within the month; the value beyond them in a ULID's first digit is not reached.
    let last = grid.slot_containing(max).unwrap();
    assert!(last.lower() < last.upper());
    assert_eq!(last.upper(), Bound::MaxValue);
    assert_eq!(grid.next(&last), None);
    assert!(grid.prev(&last).is_some());
}

#[test]
fn identifiers_begin_with_the_smallest_of_their_millisecond() {
    let grid = grid("1 month", "UTC", ColumnType::Uuid);
    let slot = grid.slot_at(at("2025-01-15T00:00Z")).unwrap();
    assert_eq!(text(slot.lower(), &grid), "01941f29-7c00-0000-0000-000000000000");
    assert_eq!(text(slot.upper(), &grid), "0194bece-a000-0000-0000-000000000000");
    assert_eq!(grid.start(&slot), Some(at("2025-01-01T00:00Z")));
}

#[test]
fn integers_are_divided_at_multiples_of_the_step_below_zero_too() {
    let grid = grid("1000", "UTC", ColumnType::Int2);
    let slot = |value| grid.slot_containing(grid.key.integer(value).unwrap()).unwrap();
    assert_eq!(text(slot(-1).lower(), &grid), "-1000");
    assert_eq!(text(slot(0).upper(), &grid), "1000");
    assert_eq!((text(slot(32_767).lower(), &grid), slot(32_767).upper()), ("32000".into(), Bound::MaxValue));
    assert_eq!(grid.span_of(&Range::new(slot(-1_500).lower(), slot(500).upper()).unwrap()), Some(3));
    assert_eq!(grid.slot_at(at("2025-01-01T00:00Z")), None);
    assert_eq!(grid.start(&slot(0)), None);
    assert_eq!(grid.key.integer(40_000), None);
}

#[rstest]
#[case("2025-01-01", "2025-02-01", Some(1))]
#[case("2025-01-01", "2025-04-01", Some(3))]
#[case("2025-01-01", "2025-01-15", None)]
#[case("2025-01-01", "2025-03-15", None)]
#[case("2024-12-31", "2025-02-01", None)]
#[case("12025-01-01", "12025-03-01", Some(2))]
#[case("-infinity", "2025-02-01", None)]
#[case("2025-01-01", "infinity", None)]
fn a_partition_spans_whole_slots_or_is_not_of_this_grid(#[case] lower: &str, #[case] upper: &str, #[case] expected: Option<u64>) {
    let grid = grid("1 month", "UTC", ColumnType::Date);
    let range = range(lower, upper, grid.key());
    assert_eq!(grid.span_of(&range), expected);
    assert_eq!(grid.is_aligned(&range), expected == Some(1));
}

#[test]
fn beyond_the_year_9999_a_zone_without_clock_changes_goes_on_and_another_ends() {
    let lower = "12025-01-01 00:00:00+00";
    let utc = grid("1 month", "UTC", ColumnType::Timestamptz);
    let month = range(lower, "12025-02-01 00:00:00+00", utc.key());
    let slot = utc.slot_of(&month).unwrap();
    assert_eq!(utc.start(&slot), None);
    assert!(utc.next(&slot).is_some());
    let berlin = grid("1 month", "Europe/Berlin", ColumnType::Timestamptz);
    assert_eq!(berlin.slot_containing(month.lower().value().unwrap()), None);
    assert!(!berlin.is_aligned(&month));
}

#[test]
fn a_slot_of_another_grid_leads_nowhere_instead_of_overflowing() {
    let integers = grid("1", "UTC", ColumnType::Int8);
    let last = integers.slot_containing(integers.key.integer(i64::MAX - 1).unwrap()).unwrap();
    for interval in ["1 hour", "1 day", "1 month"] {
        let times = grid(interval, "UTC", ColumnType::Uuid);
        assert_eq!((times.next(&last), times.wall_clock_at_start(&last).is_some()), (None, interval != "1 month"));
    }
}

#[test]
fn the_number_of_slots_is_capped() {
    let grid = grid("1 hour", "UTC", ColumnType::Timestamptz);
    let (from, to) = (grid.ordinal_at(Timestamp::MIN), grid.ordinal_at(Timestamp::MAX));
    assert_eq!(grid.slots(from.unwrap_or(Ordinal::new(0)), to.unwrap(), 7).count(), 7);
    assert_eq!(grid.slots(to.unwrap(), to.unwrap(), 7).count(), 0);
}

#[rstest]
#[case("1 hour", ColumnType::Date, None, "interval \"1 hour\" does not fit a column of type date: use days or a longer unit")]
#[case(
    "1000",
    ColumnType::Timestamptz,
    None,
    "interval \"1000\" has no unit, but the key tells the time: write for example \"1 month\""
)]
#[case(
    "1 month",
    ColumnType::Int8,
    None,
    "interval \"1 month\" is a time, but the key is a plain bigint: write a step such as \"1000000\", or set the key's encoding to EpochSeconds, EpochMilliseconds or EpochMicroseconds"
)]
#[case(
    "1000",
    ColumnType::Int8,
    Some(date(2025, 1, 1)),
    "anchor has no meaning for a plain bigint key: its partitions begin at create.from, or at multiples of the step; remove anchor"
)]
#[case(
    "1 hour",
    ColumnType::Timestamptz,
    Some(date(-9999, 1, 1)),
    "anchor -009999-01-01 cannot be placed in the time zone: choose a date between the years -9998 and 9998"
)]
fn what_does_not_fit_is_refused_with_the_next_step(
    #[case] interval: &str,
    #[case] column_type: ColumnType,
    #[case] anchor: Option<jiff::civil::Date>,
    #[case] message: &str,
) {
    let grid = Grid::new(interval.parse().unwrap(), anchor, zone("Europe/Berlin"), key(column_type));
    assert_eq!(grid.unwrap_err().to_string(), message);
}
