//! When, where and in which order are partitions created?

use insta::assert_snapshot;
use rstest::rstest;
use serde_json::json;

use super::super::super::action::Action;
use super::world::{World, at, created, show, spec};
use crate::api::Reason;

const TZ: &str = "timestamp with time zone";

fn months() -> World {
    World::new(TZ).with("events_y2026m10", "2026-10-01 00:00:00+00", "2026-11-01 00:00:00+00").with(
        "events_y2026m11",
        "2026-11-01 00:00:00+00",
        "2026-12-01 00:00:00+00",
    )
}

#[test]
fn the_plan_of_an_empty_table_shows_the_present_first() {
    let spec = spec("1 month", json!({"create": {"ahead": 2, "from": "2026-08-15"}}));
    assert_snapshot!(show(&World::new(TZ).plan(&spec)));
}

/// Class G (pg_partman #585, #227): an idle or empty table got no future partitions.
#[test]
fn an_idle_table_gets_its_future_partitions_all_the_same() {
    let world = months().at("2027-06-15T00:00:00Z");
    let plan = world.plan(&spec("1 month", json!({"create": {"ahead": 1, "fillGaps": false}})));
    assert_eq!(
        created(&plan),
        [
            "events_y2027m06 [2027-06-01 00:00:00+00, 2027-07-01 00:00:00+00)",
            "events_y2027m07 [2027-07-01 00:00:00+00, 2027-08-01 00:00:00+00)",
        ]
    );
}

#[test]
fn both_ahead_and_horizon_are_kept() {
    let count = |create| created(&months().plan(&spec("1 month", json!({"create": create})))).len();
    assert_eq!(count(json!({"ahead": 2})), 2);
    assert_eq!(count(json!({"ahead": 2, "horizon": "20 days"})), 2);
    assert_eq!(count(json!({"ahead": 2, "horizon": "200 days"})), 7);
    assert_eq!(count(json!({"ahead": 0, "horizon": "9 days"})), 0);
    assert_eq!(count(json!({"ahead": 0, "horizon": "10 days"})), 1);
}

#[test]
fn a_pass_is_due_when_the_horizon_reaches_beyond_the_last_partition() {
    let due = |now: &str, create| {
        let mut world = World::new(TZ).at(now);
        let spec = spec("1 month", json!({"create": create}));
        world.apply(&spec, &world.plan(&spec).actions);
        world.plan(&spec).due.unwrap()
    };
    assert_eq!(due("2026-11-21T08:00:00Z", json!({"ahead": 1})), at("2026-12-01T00:00:00Z"));
    // On 2026-11-26 45 days reach 2027-01-10, on 2027-01-17 they reach March.
    assert_eq!(due("2026-11-26T00:00:00Z", json!({"ahead": 0, "horizon": "45 days"})), at("2026-12-01T00:00:00Z"));
    assert_eq!(due("2026-11-01T00:00:00Z", json!({"ahead": 0, "horizon": "45 days"})), at("2026-11-17T00:00:00Z"));
    // The horizon alone asks for nothing now, and for March before February begins: February is the shorter month.
    assert_eq!(due("2027-01-01T00:00:00Z", json!({"ahead": 1, "horizon": "743 hours"})), at("2027-01-29T01:00:00Z"));
    // A month before the end of March is February's last day, whose month ends on the 28th.
    assert_eq!(due("2027-02-20T00:00:00Z", json!({"ahead": 0, "horizon": "1 month"})), at("2027-03-01T00:00:00Z"));
}

#[test]
fn a_gap_is_filled_only_where_the_policy_says_so() {
    let world = World::new(TZ).with("old", "2026-06-01 00:00:00+00", "2026-07-01 00:00:00+00");
    let names = |fill: bool| created(&world.plan(&spec("1 month", json!({"create": {"ahead": 0, "fillGaps": fill}}))));
    assert_eq!(names(true).len(), 5);
    assert!(names(true)[1].starts_with("events_y2026m10"), "the nearest past first: {:?}", names(true));
    assert_eq!(names(false).len(), 1);
}

#[test]
fn from_the_beginning_that_the_spec_names_there_is_no_gap() {
    let world = World::new(TZ).with("a", "2026-06-01 00:00:00+00", "2026-07-01 00:00:00+00").with(
        "b",
        "2026-09-01 00:00:00+00",
        "2026-12-01 00:00:00+00",
    );
    let months = |from: &str, fill: bool| -> Vec<String> {
        let spec = spec("1 month", json!({"create": {"ahead": 0, "from": from, "fillGaps": fill}}));
        created(&world.plan(&spec)).iter().map(|text| text[13..15].to_owned()).collect()
    };
    assert_eq!(months("2026-04-10", false), ["08", "07", "05", "04"]);
    assert_eq!(months("2026-08-01", false), ["08"]);
    assert_eq!(months("2026-08-01", true), ["08", "07"]);
}

#[test]
fn a_spec_that_asks_for_absurdly_many_still_gets_the_present_and_what_is_ahead() {
    let plan = World::new(TZ).plan(&spec("1 hour", json!({"create": {"ahead": 2, "from": "0001-01-01"}})));
    assert_eq!((created(&plan).len(), plan.blocked[0].reason), (3, Reason::TooManyPartitions));
    let plan = World::new(TZ).plan(&spec("1 hour", json!({"create": {"ahead": 2, "horizon": "10 years"}})));
    assert_eq!((created(&plan).len(), plan.blocked[0].reason), (3, Reason::TooManyPartitions));
}

/// Class A, C (pg_partman #649): after an outage hundreds of partitions with bounds aligned to today were made.
#[test]
fn after_an_outage_the_bounds_are_those_of_the_grid() {
    let world = World::new(TZ).with("w", "2026-11-02 00:00:00+00", "2026-11-09 00:00:00+00").at("2026-12-03T14:30:00Z");
    let plan = world.plan(&spec("1 week", json!({"create": {"ahead": 0}})));
    assert_eq!(created(&plan)[0], "events_y2026w49 [2026-11-30 00:00:00+00, 2026-12-07 00:00:00+00)");
    assert_eq!(created(&plan).len(), 4);
}

/// Class A: a wide first partition holds live rows; nothing is made inside of it and it is never taken for a short one.
#[test]
fn a_wide_partition_counts_for_all_that_it_holds() {
    let world = World::new(TZ).with("all", "MINVALUE", "2027-01-01 00:00:00+00");
    let plan = world.plan(&spec("1 month", json!({"create": {"ahead": 2}})));
    assert_eq!(created(&plan), ["events_y2027m01 [2027-01-01 00:00:00+00, 2027-02-01 00:00:00+00)"]);
    let world = World::new(TZ).with("wide", "2026-01-01 00:00:00+00", "2027-01-01 00:00:00+00");
    assert_eq!(world.coverage(&spec("1 month", json!({}))).unwrap().counts.count, 1);
}

/// Class A (QP): hand-made partitions far in the future, with data, were dropped.
#[test]
fn a_partition_far_in_the_future_is_left_alone_and_no_gap_before_it_is_filled() {
    let world = months().with("typo", "2206-12-01 00:00:00+00", "2207-01-01 00:00:00+00");
    let spec = spec(
        "1 month",
        json!({"create": {"ahead": 1}, "template": {"storageParameters": [{"name": "fillfactor", "value": "70"}]}}),
    );
    assert_snapshot!(show(&world.plan(&spec)));
}

#[test]
fn a_partition_whose_detach_is_pending_holds_its_range_and_takes_no_rows() {
    let world = months().but(|partition| partition.detach_pending = true);
    let spec = spec("1 month", json!({"create": {"ahead": 1}}));
    assert_snapshot!(show(&world.plan(&spec)));
    assert!(world.coverage(&spec).unwrap().uncovered);
}

#[test]
fn a_pending_detach_of_the_past_is_reported_and_stops_nothing() {
    let world = World::new(TZ)
        .with("old", "2026-09-01 00:00:00+00", "2026-10-01 00:00:00+00")
        .but(|partition| partition.detach_pending = true)
        .with("new", "2026-11-01 00:00:00+00", "2026-12-01 00:00:00+00");
    let plan = world.plan(&spec("1 month", json!({"create": {"ahead": 1}})));
    assert_eq!((created(&plan).len(), plan.blocked.len()), (1, 0));
    assert!(plan.notes[0].message.contains("old: a DETACH CONCURRENTLY is pending"), "{:?}", plan.notes);
}

#[test]
fn a_foreign_table_holds_its_range_and_is_nobodys_model() {
    let world = months().but(|partition| partition.kind = 'f');
    let coverage = world.coverage(&spec("1 month", json!({}))).unwrap();
    assert_eq!((coverage.counts.count, coverage.counts.unmanaged, coverage.uncovered), (1, 1, false));
    assert_eq!(coverage.until, Some(at("2026-12-01T00:00:00Z")));
}

#[test]
fn a_table_whose_partitions_are_divided_again_is_refused() {
    let world = months().but(|partition| partition.kind = 'p');
    let plan = world.plan(&spec("1 month", json!({"create": {"ahead": 1}})));
    assert_eq!((plan.actions.len(), plan.blocked[0].reason), (0, Reason::Unsupported));
}

/// Class C (#746, pgwatch#931, django-postgres-extra#262): after a change of the zone's rules creation overlapped and inserts
/// were rejected.
#[test]
fn when_a_country_moves_its_clocks_the_remainder_of_the_slot_is_created() {
    // December and before end by the old rules; by those that we know, Berlin's January begins an hour later.
    let world = World::new(TZ)
        .with("events_y2026m10", "2026-09-30 22:00:00+00", "2026-10-31 23:00:00+00")
        .with("events_y2026m11", "2026-10-31 23:00:00+00", "2026-11-30 23:00:00+00")
        .with("events_y2026m12", "2026-11-30 23:00:00+00", "2026-12-31 22:00:00+00");
    let spec = spec("1 month", json!({"timeZone": "Europe/Berlin", "create": {"ahead": 2}}));
    let plan = world.plan(&spec);
    assert_snapshot!(show(&plan));
    let mut world = world;
    world.apply(&spec, &plan.actions);
    assert_eq!(world.plan(&spec).actions, vec![]);
}

/// The same misfit without any bound on the grid is another zone than the policy's: nothing is made on a wrong grid.
#[rstest]
#[case("2026-10-31 23:00:00+00", "2026-11-30 23:00:00+00")]
#[case("2026-11-10 00:00:00+00", "2026-11-25 00:00:00+00")]
fn a_table_none_of_whose_bounds_lies_on_the_grid_stalls_and_gets_nothing(#[case] lower: &str, #[case] upper: &str) {
    let plan = World::new(TZ).with("odd", lower, upper).plan(&spec("1 month", json!({})));
    assert_eq!((plan.actions.len(), plan.blocked[0].reason), (0, Reason::Overlap));
    assert!(plan.blocked[0].message.contains("odd holds a part of it"), "{}", plan.blocked[0].message);
}

#[test]
fn a_table_that_began_in_the_middle_of_a_month_goes_on() {
    let world = World::new(TZ).with("first", "2026-11-10 00:00:00+00", "2026-12-01 00:00:00+00");
    let plan = world.plan(&spec("1 month", json!({"create": {"ahead": 1}})));
    assert_eq!(created(&plan), ["events_y2026m12 [2026-12-01 00:00:00+00, 2027-01-01 00:00:00+00)"]);
}

#[test]
fn of_the_past_a_remainder_is_made_only_where_gaps_are_filled() {
    let world = World::new(TZ)
        .with("a", "2026-08-01 00:00:00+00", "2026-09-01 00:00:00+00")
        .with("odd", "2026-09-01 00:00:00+00", "2026-09-20 00:00:00+00")
        .with("b", "2026-10-01 00:00:00+00", "2026-12-01 00:00:00+00");
    let create = |fill: bool| created(&world.plan(&spec("1 month", json!({"create": {"ahead": 0, "fillGaps": fill}}))));
    assert_eq!(create(true), ["events_y2026m09 [2026-09-20 00:00:00+00, 2026-10-01 00:00:00+00)"]);
    assert_eq!(create(false), Vec::<String>::new());
}

#[test]
fn under_several_parents_every_present_comes_before_any_past() {
    let mut world = World::new("date");
    world.add_child("events_b", "date");
    world.add_child("events_a", "date");
    let plan = world.plan(&spec("1 month", json!({"create": {"ahead": 1, "from": "2026-10-01"}})));
    assert_eq!(
        plan.actions.iter().map(Action::subject).collect::<Vec<_>>(),
        [
            "events_a_y2026m11",
            "events_b_y2026m11",
            "events_a_y2026m12",
            "events_b_y2026m12",
            "events_a_y2026m10",
            "events_b_y2026m10"
        ]
    );
}

/// Class K (#558, #858): "must be owner" was found out one partition at a time.
#[test]
fn a_missing_privilege_is_said_once_with_its_grant_and_nothing_is_tried() {
    let mut world = months();
    world.tree.parents[0].may_act_as_owner = false;
    assert_snapshot!(show(&world.plan(&spec("1 month", json!({})))));
    world.tree.parents[0].may_act_as_owner = true;
    world.tree.parents[0].owner_may_create = false;
    let plan = world.plan(&spec("1 month", json!({})));
    assert!(plan.blocked[0].message.ends_with("run: GRANT CREATE ON SCHEMA \"public\" TO \"app_owner\""), "{:?}", plan.blocked);
}

#[rstest]
#[case("2026-11-21T08:00:00Z", false, Some("2026-12-01T00:00:00Z"), Some(835_200))]
#[case("2027-02-01T00:00:00Z", true, Some("2026-12-01T00:00:00Z"), Some(0))]
#[case("2026-01-01T00:00:00Z", true, None, Some(0))]
fn coverage_tells_until_when_and_since_when_there_is_none(
    #[case] now: &str,
    #[case] uncovered: bool,
    #[case] until: Option<&str>,
    #[case] seconds: Option<i64>,
) {
    let world = months().at(now);
    let coverage = world.coverage(&spec("1 month", json!({}))).unwrap();
    assert_eq!((coverage.uncovered, coverage.until, coverage.seconds(world.now)), (uncovered, until.map(at), seconds));
}

#[test]
fn a_table_without_an_end_has_no_number_of_seconds() {
    let world = months().with("rest", "2026-12-01 00:00:00+00", "MAXVALUE");
    let coverage = world.coverage(&spec("1 month", json!({}))).unwrap();
    assert!(coverage.unbounded && !coverage.uncovered);
    assert_eq!((coverage.until, coverage.seconds(world.now)), (None, None));
}

#[test]
fn coverage_is_that_of_the_parent_that_is_covered_worst() {
    let mut world = World::new("date");
    let (a, b) = (world.add_child("events_a", "date"), world.add_child("events_b", "date"));
    world.add(a, "a11", "FOR VALUES FROM ('2026-11-01') TO ('2027-01-01')".into());
    let spec = spec("1 month", json!({}));
    assert_eq!(world.coverage(&spec).unwrap().until, None);
    assert!(world.coverage(&spec).unwrap().uncovered);
    world.add(b, "b11", "FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')".into());
    assert_eq!(world.coverage(&spec).unwrap().until, Some(at("2026-12-01T00:00:00Z")));
}
