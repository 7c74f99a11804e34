//! Are the names of new partitions free, and each another?

use serde_json::json;

use super::super::super::action::Action;
use super::world::{World, spec};

fn names(world: &World, more: serde_json::Value) -> Vec<String> {
    world.plan(&spec("1 month", more)).actions.iter().map(|action| action.subject().to_owned()).collect()
}

#[test]
fn two_parents_of_one_schema_do_not_share_a_name() {
    let mut world = World::new("date");
    world.add_child("events_a", "date");
    world.add_child("events_b", "date");
    let more = json!({"naming": "p{yyyy}{mm}", "create": {"ahead": 0}});
    assert_eq!(names(&world, more.clone()), ["p202611", "p202611_2"]);
    let spec = spec("1 month", more);
    world.apply(&spec, &world.plan(&spec).actions);
}

/// Class H (outpost#1058): create_parent collided with an existing `*_default`.
#[test]
fn a_default_partition_gets_a_name_that_is_free() {
    let mut world = World::new("date");
    world.others.insert("public.events_default".into());
    assert_eq!(
        names(&world, json!({"defaultPartition": "Ensure", "create": {"ahead": 0}})),
        ["events_y2026m11", "events_default_2"]
    );
}

#[test]
fn where_the_numbered_name_is_taken_too_the_next_one_is_tried() {
    let mut world = World::new("date");
    world.others.extend(["public.events_y2026m11".into(), "public.events_y2026m11_2".into(), "public.events_y2026m11_3".into()]);
    assert_eq!(names(&world, json!({"create": {"ahead": 0}})), ["events_y2026m11_4"]);
}

/// Class H (#51, #209): one foreign-named child broke everything. Here even one that has the name of another month.
#[test]
fn a_partition_with_the_name_of_another_month_only_costs_a_number() {
    let world = World::new("date").with("events_y2026m12", "2026-11-01", "2026-12-01");
    assert_eq!(names(&world, json!({"create": {"ahead": 1}})), ["events_y2026m12_2"]);
}

#[test]
fn names_of_another_schema_are_free() {
    let mut world = World::new("date");
    world.others.insert("archive.events_y2026m11".into());
    assert_eq!(names(&world, json!({"create": {"ahead": 0}})), ["events_y2026m11"]);
}

/// Class H (#487): `_p` in a table's name; and names of 63 bytes.
#[test]
fn any_name_of_a_table_gives_names_that_fit() {
    for name in ["events_p2026_01", "größe 表", "we\"ird; --", &"t".repeat(63)] {
        let mut world = World::new("date");
        world.tree.parents[0].table.name = name.into();
        let spec = spec("1 month", json!({"create": {"ahead": 3}}));
        let plan = world.plan(&spec);
        let distinct: std::collections::BTreeSet<&str> = plan.actions.iter().map(Action::subject).collect();
        assert_eq!(distinct.len(), 4);
        world.apply(&spec, &plan.actions);
    }
}
