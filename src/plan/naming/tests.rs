use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use rstest::rstest;

use super::super::key::{ColumnType, Encoding, Key};
use super::*;
use crate::api::interval::Interval;

fn key(column_type: ColumnType) -> Key {
    let encoding = if column_type == ColumnType::Uuid { Encoding::Uuidv7 } else { Encoding::Native };
    Key::new(column_type, encoding).unwrap()
}

fn grid(interval: &str, zone: &str, column_type: ColumnType) -> Grid {
    let zone = TimeZone::get(zone).unwrap();
    Grid::new(interval.parse().unwrap(), None, zone, key(column_type)).unwrap()
}

fn table(name: &str) -> TableName {
    TableName { schema: "public".into(), name: name.into() }
}

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

fn name_at(template: Option<&str>, grid: &Grid, table_name: &str, moment: &str) -> String {
    let template = Template::parse(template, grid).unwrap();
    template.name(&grid.slot_at(at(moment)).unwrap(), grid, &table(table_name))
}

#[rstest]
#[case("1 hour", "events_y2024m12d30h13")]
#[case("1 day", "events_y2024m12d30")]
#[case("1 week", "events_y2025w01")]
#[case("1 month", "events_y2024m12")]
#[case("1 quarter", "events_y2024q4")]
#[case("1 year", "events_y2024")]
#[case("5 years", "events_y2020")]
fn the_default_name_fits_the_interval(#[case] interval: &str, #[case] expected: &str) {
    let grid = grid(interval, "UTC", ColumnType::Timestamptz);
    assert_eq!(name_at(None, &grid, "events", "2024-12-30T13:45Z"), expected);
}

#[rstest]
#[case("{schema}_{table}_{yyyy}_{mm}", "public_events_2024_12")]
#[case("{table}_{yyyy}q{q}m{mm}", "events_2024q4m12")]
#[case("Partition \"{yyyy}{mm}\" of {table}", "Partition \"202412\" of events")]
#[case("{yyyy}-{mm}", "2024-12")]
fn a_template_is_filled_as_written(#[case] template: &str, #[case] expected: &str) {
    let grid = grid("1 month", "UTC", ColumnType::Timestamptz);
    assert_eq!(name_at(Some(template), &grid, "events", "2024-12-30T13:45Z"), expected);
}

#[rstest]
#[case(1_500_000, "orders_p1000000", "orders_1000000_2000000")]
#[case(-1, "orders_pneg1000000", "orders_neg1000000_0")]
#[case(2_147_483_647, "orders_p2147000000", "orders_2147000000_max")]
#[case(-2_147_483_648, "orders_pmin", "orders_min_neg2147000000")]
fn an_integer_partition_shows_its_bounds(#[case] value: i64, #[case] default: &str, #[case] both: &str) {
    let grid = grid("1000000", "UTC", ColumnType::Int4);
    let slot = grid.slot_containing(grid.key().integer(value).unwrap()).unwrap();
    let name = |template| Template::parse(template, &grid).unwrap().name(&slot, &grid, &table("orders"));
    assert_eq!(name(None), default);
    assert_eq!(name(Some("{table}_{lower}_{upper}")), both);
}

#[rstest]
#[case("1 month", "Europe/Berlin", "2024-12-31T23:30Z", "t_y2025m01")]
#[case("1 day", "Pacific/Apia", "2011-12-30T12:00Z", "t_y2011m12d31")]
#[case("1 day", "Pacific/Apia", "2011-12-29T12:00Z", "t_y2011m12d29")]
#[case("1 month", "UTC", "-000043-03-15T12:00Z", "t_y0044bcm03")]
fn a_name_shows_the_time_of_the_zone(#[case] interval: &str, #[case] zone: &str, #[case] moment: &str, #[case] expected: &str) {
    assert_eq!(name_at(None, &grid(interval, zone, ColumnType::Timestamptz), "t", moment), expected);
}

/// Class C (pg_partman #334): two hours of one name at the end of summer time.
#[test]
fn the_second_of_two_equal_hours_shows_its_utc_time() {
    let berlin = grid("1 hour", "Europe/Berlin", ColumnType::Timestamptz);
    assert_eq!(name_at(None, &berlin, "t", "2025-10-26T00:00Z"), "t_y2025m10d26h02");
    assert_eq!(name_at(None, &berlin, "t", "2025-10-26T01:00Z"), "t_y2025m10d26h02_utc0100");
    assert_eq!(name_at(None, &berlin, "t", "2025-10-26T02:00Z"), "t_y2025m10d26h03");
    let lord_howe = grid("1 hour", "Australia/Lord_Howe", ColumnType::Uuid);
    assert_eq!(name_at(None, &lord_howe, "t", "2025-04-05T14:00Z"), "t_y2025m04d06h01");
    assert_eq!(name_at(None, &lord_howe, "t", "2025-04-05T15:00Z"), "t_y2025m04d06h01_utc1500");
    let civil = grid("1 hour", "Europe/Berlin", ColumnType::Timestamp);
    assert_eq!(name_at(None, &civil, "t", "2025-10-26T01:00Z"), "t_y2025m10d26h02");
}

/// Intervals and templates that cannot work; `1000` is the step of an integer key.
const REFUSED: [(&str, &str); 20] = [
    ("1 month", "{table}_{month}"),
    ("1 month", "{table}_{yyyy}{mm"),
    ("1 month", "{table}_{yyyy}{mm}}"),
    ("1 month", "{table}_{yyyy}\u{0}{mm}"),
    ("1 month", "a very long text before the {table}_{yyyy}{mm}"),
    ("1 month", "{table}_{table}_{yyyy}{mm}"),
    ("1 month", "{table}_{lower}"),
    ("1 month", "{table}_{yyyy}"),
    ("1 month", "{table}_{mm}"),
    ("1 month", "{table}_{yyyy}q{q}"),
    ("1 month", "{table}"),
    ("2 months", "{table}_{yyyy}q{q}"),
    ("365 days", "{table}_{yyyy}"),
    ("1 week", "{table}_{yyyy}w{ww}"),
    ("1 day", "{table}_{yyyy}{mm}"),
    ("1 day", "{table}_{iyyy}{mm}{dd}"),
    ("25 hours", "{table}_{yyyy}{mm}{dd}"),
    ("1 year", "{table}_{iyyy}"),
    ("1000", "{table}_{yyyy}"),
    ("1000", "{table}"),
];

#[test]
fn a_template_that_cannot_work_is_refused_with_the_next_step() {
    let messages = REFUSED.map(|(interval, template)| {
        let column_type = if interval == "1000" { ColumnType::Int8 } else { ColumnType::Timestamptz };
        let error = Template::parse(Some(template), &grid(interval, "Europe/Berlin", column_type)).unwrap_err();
        error.to_string()
    });
    insta::assert_snapshot!(messages.join("\n"));
}

#[rstest]
#[case("3 months", "{table}_{yyyy}q{q}")]
#[case("6 weeks", "{table}_{yyyy}{mm}")]
#[case("31 days", "{table}_{yyyy}{mm}")]
#[case("7 days", "{table}_{iyyy}{ww}")]
#[case("72 hours", "{table}_{yyyy}{mm}{dd}")]
#[case("4 quarters", "{table}_{yyyy}")]
#[case("1 month", "{table}_{iyyy}w{ww}")]
fn a_wider_interval_may_have_a_coarser_name(#[case] interval: &str, #[case] template: &str) {
    assert!(Template::parse(Some(template), &grid(interval, "Europe/Berlin", ColumnType::Timestamptz)).is_ok());
}

/// Class H (pg_partman #487, #773): names are bytes, not characters, and are never folded.
#[rstest]
#[case("Events \"odd\" p1_p", "Events \"odd\" p1_p_y2024m12")]
#[case(
    "a_table_whose_name_is_exactly_as_long_as_postgresql_allows_63_b",
    "a_table_whose_name_is_exactly_as_long_as_post_f1844a7e_y2024m12"
)]
#[case(
    "überlange_tabelle_für_ereignisse_größer_als_erlaubt_ÄÖÜ_ÄÖÜ",
    "überlange_tabelle_für_ereignisse_größer_a_11766db5_y2024m12"
)]
#[case("事件事件事件事件事件事件事件事件事件事件事", "事件事件事件事件事件事件事件事_6776388c_y2024m12")]
fn long_names_are_cut_between_characters(#[case] table_name: &str, #[case] expected: &str) {
    let grid = grid("1 month", "UTC", ColumnType::Timestamptz);
    let name = name_at(None, &grid, table_name, "2024-12-30T13:45Z");
    assert!(name.len() <= MAX_BYTES, "{name}");
    assert_eq!(name, expected);
}

#[test]
fn two_long_tables_with_one_beginning_do_not_share_a_name() {
    let grid = grid("1 month", "UTC", ColumnType::Timestamptz);
    let long = "x".repeat(61);
    let first = name_at(None, &grid, &format!("{long}_a"), "2024-12-30T13:45Z");
    let second = name_at(None, &grid, &format!("{long}_b"), "2024-12-30T13:45Z");
    assert_ne!(first, second);
}

#[test]
fn a_name_with_hardly_any_room_for_its_table_is_still_kept_whole_by_postgresql() {
    let grid = grid("1 hour", "Europe/Berlin", ColumnType::Timestamptz);
    let template = Some("slice_in_{schema}_of_{table}_at_{yyyy}_{mm}_{dd}_{hh}_{q}_{iyyy}_w{ww}");
    let long = "x".repeat(63);
    let (first, second) =
        (name_at(template, &grid, &long, "2025-10-26T00:00Z"), name_at(template, &grid, &long, "2025-10-26T01:00Z"));
    assert!(first.len() <= MAX_BYTES && second.len() <= MAX_BYTES, "{first} {second}");
    assert_ne!(first, second);
}

/// Class H (outpost #1058): the name was taken by a table that has nothing to do with the policy.
#[test]
fn a_taken_name_gets_a_number() {
    let mut taken = BTreeSet::new();
    for expected in ["t_y2024m12", "t_y2024m12_2", "t_y2024m12_3"] {
        let name = unique("t_y2024m12", &taken);
        assert_eq!(name, expected);
        taken.insert(name);
    }
}

fn any_interval() -> impl Strategy<Value = Interval> {
    let unit = prop::sample::select(vec!["hours", "days", "weeks", "months", "quarters", "years"]);
    (1..40_u32, unit).prop_map(|(n, unit)| format!("{n} {unit}").parse().unwrap())
}

fn zones() -> Vec<String> {
    jiff::tz::TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

/// The first slots from a moment on.
fn slots(grid: &Grid, second: i64) -> Vec<Slot> {
    let first = grid.slot_at(Timestamp::from_second(second).unwrap());
    std::iter::successors(first, |slot| grid.next(slot)).take(60).collect()
}

const TEMPLATES: [&str; 12] = [
    "{table}_{yyyy}{mm}{dd}{hh}",
    "{table}_{yyyy}{mm}{dd}",
    "{iyyy}{ww}{table}",
    "{yyyy}{mm}",
    "{schema}{table}{yyyy}q{q}",
    "{table}_y{yyyy}",
    "{hh}{dd}{mm}{yyyy}{iyyy}{ww}{q}",
    "{table}_{yyyy}{ww}",
    "{table}_{mm}{dd}{yyyy}",
    "{q}{yyyy}{schema}",
    "{table}{iyyy}",
    "{iyyy}{ww}{dd}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever template is accepted, neighbours differ, and no name is longer than PostgreSQL keeps.
    #[test]
    fn partitions_of_one_table_have_different_names(
        interval in any_interval(),
        zone in prop::sample::select(zones()),
        template in prop::option::of(prop::sample::select(TEMPLATES.to_vec())),
        column_type in prop::sample::select(vec![ColumnType::Timestamptz, ColumnType::Timestamp]),
        second in -4_000_000_000_i64..2_200_000_000,
        name in ".{0,63}",
    ) {
        let grid = Grid::new(interval, None, TimeZone::get(&zone).unwrap(), key(column_type)).unwrap();
        let Ok(template) = Template::parse(template, &grid) else { return Ok(()) };
        let mut names = BTreeMap::new();
        for slot in slots(&grid, second) {
            let name = template.name(&slot, &grid, &table(&name));
            prop_assert!(name.len() <= MAX_BYTES, "{}", name);
            if let Some(earlier) = names.insert(name.clone(), slot.clone()) {
                prop_assert!(false, "{name} is both {earlier:?} and {slot:?}");
            }
        }
    }

    #[test]
    fn integer_partitions_have_different_names(step in 1..1_000_000_000_u64, value: i64, name in ".{0,63}") {
        let grid = grid(&step.to_string(), "UTC", ColumnType::Int8);
        for template in [None, Some("{table}_{lower}_{upper}"), Some("{upper}")] {
            let template = Template::parse(template, &grid).unwrap();
            let slot = grid.slot_containing(grid.key().integer(value).unwrap()).unwrap();
            let this = template.name(&slot, &grid, &table(&name));
            prop_assert!(this.len() <= MAX_BYTES, "{}", this);
            if let Some(next) = grid.next(&slot) {
                prop_assert_ne!(this, template.name(&next, &grid, &table(&name)));
            }
        }
    }

    #[test]
    fn no_template_panics(text in ".*", column_type in prop::sample::select(vec![ColumnType::Timestamptz, ColumnType::Date])) {
        let _ = Template::parse(Some(&text), &grid("1 day", "UTC", column_type));
    }

    #[test]
    fn a_unique_name_is_new_and_fits(name in ".{0,80}", others in prop::collection::btree_set(".{0,80}", 0..5)) {
        let mut taken: BTreeSet<String> = others;
        for _ in 0..12 {
            let unique = unique(&name, &taken);
            prop_assert!(unique.len() <= MAX_BYTES);
            prop_assert!(taken.insert(unique));
        }
    }
}

/// Every hour around every time that a clock went back, in any zone since 1800, has a name of its own.
#[test]
fn hours_around_every_repeated_hour_of_every_zone_have_different_names() {
    let (from, until) = (at("1800-01-01T00:00Z"), at("2030-01-01T00:00Z"));
    let mut seen = BTreeSet::new();
    for name in zones() {
        let zone = TimeZone::get(&name).unwrap();
        let mut offset = zone.to_offset(from);
        let mut went_back = Vec::new();
        for change in zone.following(from).take_while(|change| change.timestamp() < until) {
            if change.offset() < offset {
                went_back.push(change.timestamp());
            }
            offset = change.offset();
        }
        // Half of the names are aliases of others.
        if !seen.insert((went_back.clone(), offset)) {
            continue;
        }
        let grid = Grid::new("1 hour".parse().unwrap(), None, zone, key(ColumnType::Timestamptz)).unwrap();
        let template = Template::parse(None, &grid).unwrap();
        for change in went_back {
            let names: BTreeSet<String> =
                slots(&grid, change.as_second() - 90_000).iter().map(|slot| template.name(slot, &grid, &table("t"))).collect();
            assert_eq!(names.len(), 60, "{name} {change}");
        }
    }
}
