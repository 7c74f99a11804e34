//! What holds for every grid: any interval, any anchor, any key, and every zone of the tz database.

use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;

use super::*;

/// Every zone that jiff bundles.
fn zones() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

fn time_keys() -> Vec<Key> {
    use ColumnType::{Date, Int4, Int8, Text, Timestamp, Timestamptz, Uuid};
    [
        (Date, Encoding::Native),
        (Timestamp, Encoding::Native),
        (Timestamptz, Encoding::Native),
        (Int4, Encoding::EpochSeconds),
        (Int8, Encoding::EpochSeconds),
        (Int8, Encoding::EpochMilliseconds),
        (Int8, Encoding::EpochMicroseconds),
        (Uuid, Encoding::Uuidv7),
        (Text, Encoding::Ulid),
    ]
    .map(|(column_type, encoding)| Key::new(column_type, encoding).unwrap())
    .into()
}

fn any_unit() -> impl Strategy<Value = IntervalUnit> {
    use IntervalUnit::{Day, Hour, Month, Quarter, Week, Year};
    prop::sample::select(vec![Hour, Day, Week, Month, Quarter, Year])
}

prop_compose! {
    /// A grid of any time key; hours of a date become days.
    pub(crate) fn any_grid(max: u32)(
        zone_name in prop::sample::select(zones()),
        key in prop::sample::select(time_keys()),
        n in 1..=max,
        unit in any_unit(),
        anchor in prop::option::of((-9_900_i16..9_900, 1_i8..=12, 1_i8..=31)),
    ) -> Grid {
        let unit = if key.column_type() == ColumnType::Date && unit == IntervalUnit::Hour { IntervalUnit::Day } else { unit };
        let anchor = anchor.map(|(year, month, day)| {
            let month = date(year, month, 1);
            date(year, month.month(), day.min(month.days_in_month()))
        });
        Grid::new(Interval::time(n, unit).unwrap(), anchor, zone(&zone_name), key).unwrap()
    }
}

/// Instants of every epoch, and more of those years in which zones changed most.
pub(crate) fn any_instant() -> impl Strategy<Value = Timestamp> {
    let seconds = prop_oneof![
        1 => -377_000_000_000_i64..253_000_000_000,
        8 => -4_000_000_000_i64..2_200_000_000,
    ];
    (seconds, 0..1_000_000_000_i32).prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

/// The slots around every change of a zone's clock meet exactly, for days and for hours.
#[test]
fn slots_meet_around_every_clock_change_of_every_zone() {
    for name in zones() {
        let (zone, until) = (zone(&name), at("2040-01-01T00:00Z"));
        for interval in ["1 day", "1 hour"] {
            let key = key(ColumnType::Timestamptz);
            let grid = Grid::new(interval.parse().unwrap(), None, zone.clone(), key).unwrap();
            for change in zone.following(at("1800-01-01T00:00Z")).take_while(|change| change.timestamp() < until) {
                let slot = grid.slot_at(change.timestamp()).unwrap();
                let ordinal = grid.ordinal_at(change.timestamp()).unwrap();
                assert!(slot.range().contains(ordinal), "{name} {interval} {}", change.timestamp());
                let (prev, next) = (grid.prev(&slot).unwrap(), grid.next(&slot).unwrap());
                assert_eq!(prev.upper(), slot.lower(), "{name} {interval} {}", change.timestamp());
                assert_eq!(slot.upper(), next.lower(), "{name} {interval} {}", change.timestamp());
                assert_eq!(grid.next(&prev), Some(slot.clone()), "{name} {interval} {}", change.timestamp());
                assert_eq!(grid.prev(&next), Some(slot), "{name} {interval} {}", change.timestamp());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_slot_of_a_moment_contains_it(grid in any_grid(400), moment in any_instant()) {
        let Some(ordinal) = grid.ordinal_at(moment) else { return Ok(()) };
        if let Some(slot) = grid.slot_at(moment) {
            prop_assert!(slot.range().contains(ordinal));
            prop_assert!(grid.is_aligned(slot.range()));
            return Ok(());
        }
        // Only a slot that crosses an end of a calendar is missing: jiff's, or 4714 BC for PostgreSQL's own types.
        let year = moment.to_zoned(TimeZone::UTC).year();
        let is_dated = grid.key.encoding() == Encoding::Native;
        prop_assert!(!(-9_500..=9_500).contains(&year) || is_dated && year < -4_300);
    }

    #[test]
    fn neighbours_meet_without_gap_or_overlap(grid in any_grid(400), moment in any_instant()) {
        let Some(slot) = grid.slot_at(moment) else { return Ok(()) };
        if let Some(next) = grid.next(&slot) {
            prop_assert_eq!(next.lower(), slot.upper());
            prop_assert!(!next.range().overlaps(slot.range()));
            prop_assert_eq!(grid.prev(&next), Some(slot.clone()));
            let both = Range::new(slot.lower(), next.upper()).unwrap();
            prop_assert!(!grid.is_aligned(&both));
            if grid.next(&next).is_some() {
                prop_assert!(grid.span_of(&both).is_some_and(|steps| (2..=3).contains(&steps)));
            }
        }
        if let Some(prev) = grid.prev(&slot) {
            prop_assert_eq!(prev.upper(), slot.lower());
            prop_assert_eq!(grid.next(&prev), Some(slot));
        }
    }

    #[test]
    fn a_slot_begins_at_its_start_and_ends_before_its_end(grid in any_grid(400), moment in any_instant()) {
        let Some(slot) = grid.slot_at(moment) else { return Ok(()) };
        if let Some(start) = grid.start(&slot) {
            prop_assert_eq!(grid.slot_at(start), Some(slot.clone()));
        }
        if let (Some(start), Some(end)) = (grid.start(&slot), grid.end(&slot)) {
            prop_assert!(start < end || grid.key.is_civil() && start <= end);
        }
    }

    #[test]
    fn bounds_read_back_from_what_is_written(grid in any_grid(400), moment in any_instant()) {
        let Some(slot) = grid.slot_at(moment) else { return Ok(()) };
        if let (Some(lower), Some(upper)) = (slot.lower().value(), slot.upper().value()) {
            let (lower, upper) = (literal(&lower, grid.key()), literal(&upper, grid.key()));
            prop_assert_eq!(&range(&lower, &upper, grid.key()), slot.range());
        }
    }

    #[test]
    fn integers_are_divided_without_gap_or_overlap(
        step in 1..1_000_000_000_000_000_000_u64,
        value: i64,
        column_type in prop::sample::select(vec![ColumnType::Int2, ColumnType::Int4, ColumnType::Int8]),
    ) {
        let grid = Grid::new(Interval::step(step).unwrap(), None, TimeZone::UTC, key(column_type)).unwrap();
        let Some(ordinal) = grid.key.integer(value) else { return Ok(()) };
        let slot = grid.slot_containing(ordinal).unwrap();
        prop_assert!(slot.range().contains(ordinal));
        prop_assert_eq!(grid.slot_of(slot.range()), Some(slot.clone()));
        prop_assert_eq!(grid.span_of(slot.range()), Some(1));
        let next = grid.next(&slot);
        prop_assert_eq!(next.map(|next| next.lower()).unwrap_or(Bound::MaxValue), slot.upper());
    }

    #[test]
    fn no_ordinal_and_no_slot_of_another_grid_panics(
        grid in any_grid(999_999),
        other in any_grid(1),
        number: i128,
        moment in any_instant(),
    ) {
        let _ = (grid.slot_containing(Ordinal::new(number)), grid.instant_of(Ordinal::new(number)));
        let end = Grid::new(Interval::step(1).unwrap(), None, TimeZone::UTC, key(ColumnType::Int8)).unwrap();
        let far = end.slot_containing(Ordinal::new(i128::from(i64::MAX) - 1));
        for slot in other.slot_at(moment).into_iter().chain(far) {
            let _ = (grid.next(&slot), grid.prev(&slot), grid.start(&slot), grid.end(&slot), grid.wall_clock_at_start(&slot));
        }
    }
}
