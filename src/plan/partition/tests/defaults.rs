//! Is a default partition neither in the way, nor scanned under a lock, nor made twice?

use insta::assert_snapshot;
use serde_json::json;

use super::super::super::action::Action;
use super::world::{World, created, show, spec};
use crate::api::Reason;

const LARGE: i64 = 1 << 30;

fn november() -> World {
    World::new("date").with("events_y2026m11", "2026-11-01", "2026-12-01")
}

/// Class B (#510, #620, #652): rows of one month in the default partition stopped all creation.
#[test]
fn rows_in_the_default_partition_stop_their_own_month_and_no_other() {
    let mut world = november().with_default(8192);
    world.default_rows.push(("2026-12-24".into(), "2026-12-25".into(), 1204));
    assert_snapshot!(show(&world.plan(&spec("1 month", json!({"create": {"ahead": 2}})))));
}

/// Class B (#876, #834): every ATTACH scanned the whole default partition under a lock.
#[test]
fn a_large_default_partition_is_guarded_for_the_future_and_refused_for_the_present() {
    let world = World::new("date").with_default(LARGE);
    assert_snapshot!(show(&world.plan(&spec("1 month", json!({"create": {"ahead": 1}})))));
}

#[test]
fn a_large_default_partition_beside_a_plain_step_is_guarded_ahead_of_the_data() {
    let world = World::new("bigint").with("events_p0", "0", "1000").but(|p| p.has_blocks = Some(true)).with_default(LARGE);
    let plan = world.plan(&spec("1000", json!({"create": {"ahead": 1}})));
    let Action::CreatePartition(create) = &plan.actions[0] else { panic!("{plan:?}") };
    assert_eq!(create.default.as_ref().unwrap().guard.as_deref(), Some("pgreeve_guard_1000"));
}

#[test]
fn an_empty_default_partition_is_not_asked_for_rows() {
    let plan = november().with_default(0).plan(&spec("1 month", json!({"create": {"ahead": 1}})));
    let Action::CreatePartition(create) = &plan.actions[0] else { panic!("{plan:?}") };
    assert_eq!(create.default.as_ref().unwrap().guard, None);
    assert_eq!(plan.notes, vec![]);
}

#[test]
fn a_guard_that_was_left_behind_is_dropped_before_anything_else() {
    let world =
        november().with_default(LARGE).but(|p| p.leftover_guards = vec!["pgreeve_guard_b".into(), "pgreeve_guard_a".into()]);
    let plan = world.plan(&spec("1 month", json!({"create": {"ahead": 1}})));
    let verbs: Vec<String> = plan.actions.iter().map(ToString::to_string).collect();
    assert!(verbs[0].contains("pgreeve_guard_a") && verbs[1].contains("pgreeve_guard_b"), "{verbs:?}");
    assert_eq!(verbs.len(), 3);
}

#[test]
fn ensure_creates_one_after_the_partitions_and_only_once() {
    let mut world = World::new("date");
    let spec = spec("1 month", json!({"create": {"ahead": 0}, "defaultPartition": "Ensure"}));
    let plan = world.plan(&spec);
    assert_eq!(created(&plan), ["events_y2026m11 [2026-11-01, 2026-12-01)", "events_default DEFAULT"]);
    world.apply(&spec, &plan.actions);
    assert_eq!(world.plan(&spec).actions, vec![]);
}

#[test]
fn forbid_reports_one_and_creates_the_partitions_all_the_same() {
    let plan = november().with_default(0).plan(&spec("1 month", json!({"create": {"ahead": 1}, "defaultPartition": "Forbid"})));
    assert_eq!((plan.actions.len(), plan.blocked[0].reason), (1, Reason::DefaultForbidden));
}

#[test]
fn keep_neither_makes_one_nor_minds_one() {
    for world in [november(), november().with_default(0)] {
        let plan = world.plan(&spec("1 month", json!({"create": {"ahead": 0}})));
        assert!(plan.is_settled(), "{plan:?}");
    }
}
