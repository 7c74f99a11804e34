//! What is particular to integers, to identifiers, and to where a key's type ends?

use serde_json::json;

use super::world::{World, created, spec};
use crate::api::Reason;

fn holding_data(world: World) -> World {
    world.but(|partition| partition.has_blocks = Some(true))
}

#[test]
fn the_steps_of_a_table_that_begins_at_one_begin_where_the_spec_says() {
    let world = holding_data(World::new("bigint").with("p1", "1", "1000001"));
    let stalled = world.plan(&spec("1000000", json!({"create": {"ahead": 1}})));
    assert_eq!((stalled.actions.len(), stalled.blocked[0].reason), (0, Reason::Overlap));
    assert!(stalled.blocked[0].message.contains("create.from"), "{}", stalled.blocked[0].message);
    let plan = world.plan(&spec("1000000", json!({"create": {"ahead": 1, "from": "1"}})));
    assert_eq!(created(&plan), ["events_p1000001 [1000001, 2000001)"]);
    let empty = World::new("bigint").plan(&spec("1000000", json!({"create": {"ahead": 0, "from": "1"}})));
    assert_eq!(created(&empty), ["events_p1 [1, 1000001)"]);
}

#[test]
fn an_empty_partition_far_ahead_does_not_count_as_data() {
    let world = holding_data(World::new("bigint").with("p0", "0", "1000")).with("p9", "9000", "10000");
    assert_eq!(created(&world.plan(&spec("1000", json!({"create": {"ahead": 1}})))), ["events_p1000 [1000, 2000)"]);
}

#[test]
fn a_catch_all_without_an_upper_bound_leaves_nothing_to_create() {
    let world = World::new("bigint").with("p0", "0", "1000");
    let plan = holding_data(world.with("rest", "1000", "MAXVALUE")).plan(&spec("1000", json!({"create": {"ahead": 3}})));
    assert_eq!((plan.actions.len(), plan.blocked.len()), (0, 0));
}

#[test]
fn the_last_partition_of_a_type_reaches_to_its_end() {
    let world = holding_data(World::new("smallint").with("p30000", "30000", "31000"));
    let spec = spec("1000", json!({"create": {"ahead": 3}}));
    assert_eq!(created(&world.plan(&spec)), ["events_p31000 [31000, 32000)", "events_p32000 [32000, MAXVALUE)"]);
    let mut world = world;
    world.apply(&spec, &world.plan(&spec).actions);
    assert_eq!(world.plan(&spec).actions, vec![]);
}

#[test]
fn seconds_in_an_integer_reach_to_the_end_of_the_type_and_then_stall() {
    let fields = json!({"key": {"column": "at", "encoding": "EpochSeconds"}, "create": {"ahead": 1, "horizon": "200 days"}});
    let world = World::new("integer").at("2037-12-10T00:00:00Z");
    let spec = spec("1 month", fields);
    assert_eq!(created(&world.plan(&spec))[1], "events_y2038m01 [2145916800, MAXVALUE)");
    let plan = world.at("2038-02-01T00:00:00Z").plan(&spec);
    assert_eq!((plan.actions.len(), plan.blocked[0].reason), (0, Reason::KeyMismatch));
}

/// Bounds that others wrote with version and variant, `…-7000-8000-…`, are bounds of the same millisecond.
#[test]
fn identifiers_with_their_version_written_out_lie_on_the_grid() {
    let day = |ms: u64| format!("{:08x}-{:04x}-7000-8000-000000000000", ms >> 16, ms & 0xffff);
    let (first, next) = (1_795_219_200_000, 1_795_305_600_000);
    let mut world = World::new("uuid").with("events_a", &day(first), &day(next));
    let spec = spec("1 day", json!({"key": {"column": "at", "encoding": "Uuidv7"}, "create": {"ahead": 1}}));
    assert_eq!(world.coverage(&spec).unwrap().counts.unmanaged, 0);
    let plan = world.plan(&spec);
    assert_eq!(
        created(&plan),
        [format!("events_y2026m11d22 [{}, 01a205b3-d000-0000-0000-000000000000)", day(next))],
        "the new bound meets the old one"
    );
    assert_eq!(plan.notes, vec![]);
    world.apply(&spec, &plan.actions);
    let coverage = world.coverage(&spec).unwrap();
    assert_eq!((coverage.counts.count, coverage.uncovered), (2, false));
    assert_eq!(coverage.until.unwrap().to_string(), "2026-11-23T00:00:00Z");
}

#[test]
fn a_hole_within_one_millisecond_is_no_hole() {
    let (first, second, third) =
        ("01a1fb67-1800-7000-8000-000000000000", "01a2008d-7400-0000-0000-000000000000", "01a205b3-d000-0000-0000-000000000000");
    let world = World::new("uuid").with("a", first, second).with("b", "01a2008d-7400-7000-8000-000000000000", third);
    let spec = spec("1 day", json!({"key": {"column": "at", "encoding": "Uuidv7"}, "create": {"ahead": 1}}));
    assert_eq!(created(&world.plan(&spec)), Vec::<String>::new());
    assert_eq!(world.coverage(&spec).unwrap().until.unwrap().to_string(), "2026-11-23T00:00:00Z");
}

#[test]
fn bounds_that_are_no_identifiers_are_reported_and_do_not_stop_the_others() {
    let world = World::new("text").with("letters", "a", "b");
    let plan = world.plan(&spec("1 day", json!({"key": {"column": "at", "encoding": "Ulid"}, "create": {"ahead": 0}})));
    assert_eq!(created(&plan).len(), 1);
    assert!(plan.notes[0].message.contains("letters: bound \"a\" is not"), "{:?}", plan.notes);
}
