//! Are new partitions like their siblings, and does the plan say what is so?

use insta::assert_snapshot;
use rstest::rstest;
use serde_json::{Value, json};

use super::super::super::snapshot::{KeyColumn, Strategy};
use super::super::check;
use super::world::{ROOT, World, show, spec};
use crate::api::Reason;

fn november() -> World {
    World::new("date").with("events_y2026m11", "2026-11-01", "2026-12-01")
}

/// Classes I, J, K (#562, #674, #537): owner, grants, storage, identity, indexes, policies and comment were lost.
#[test]
fn a_new_partition_takes_from_its_sibling_what_the_template_does_not_say() {
    let mut world = november();
    let sibling = world.properties.values_mut().next().unwrap();
    sibling.grants.insert("reader".into(), ["SELECT".into()].into());
    sibling.storage_parameters.insert("fillfactor".into(), "70".into());
    sibling.statistics.insert("body".into(), 500);
    sibling.replica_identity = 'f';
    sibling.row_security = true;
    sibling.policies.insert("mine".into(), "AS PERMISSIVE FOR SELECT TO \"reader\" USING (true)".into());
    sibling.indexes.insert("events_y2026m11_at".into(), "USING brin (at)".into());
    sibling.indexes.insert("events_y2026m11_created_at".into(), "USING btree (created_at)".into());
    sibling.indexes.insert("events_y2026m11_body".into(), "UNIQUE USING btree (body)".into());
    sibling.tablespace = Some("fast".into());
    sibling.comment = Some("hot".into());
    world.foreign_keys.insert("public.users".into());
    let template = json!({"storageParameters": [{"name": "fillfactor", "value": "90"}], "owner": "boss", "replicaIdentity": "Nothing",
        "indexes": [{"name": "at", "columns": ["at"], "method": "Brin"}], "grants": [{"role": "public", "privileges": ["Insert", "Select"]}]});
    assert_snapshot!(show(&world.plan(&spec("1 month", json!({"create": {"ahead": 1}, "template": template})))));
}

#[test]
fn what_differs_from_the_template_is_repaired_and_what_it_does_not_say_is_not() {
    let mut world = november();
    let found = world.properties.values_mut().next().unwrap();
    found.storage_parameters.insert("autovacuum_enabled".into(), "false".into());
    found.grants.insert("reader".into(), ["SELECT".into()].into());
    let template = json!({"storageParameters": [{"name": "fillfactor", "value": "90"}], "statistics": [{"column": "body", "target": 300}],
        "grants": [{"role": "reader", "privileges": ["Insert", "Select"]}], "rowSecurity": {"enabled": true}, "owner": "boss"});
    let spec = spec("1 month", json!({"create": {"ahead": 0}, "template": template}));
    let plan = world.plan(&spec);
    assert_snapshot!(show(&plan));
    world.apply(&spec, &plan.actions);
    assert_eq!(world.plan(&spec).actions, vec![]);
}

#[test]
fn a_tablespace_and_a_large_index_are_reported_because_they_would_block() {
    let mut world = november();
    world.properties.values_mut().next().unwrap().bytes = 1 << 40;
    let template = json!({"tablespace": "fast", "indexes": [{"name": "at", "columns": ["at"]}]});
    assert_snapshot!(show(&world.plan(&spec("1 month", json!({"create": {"ahead": 0}, "template": template})))));
}

#[test]
fn the_default_tablespace_by_its_name_is_no_difference() {
    let plan = november().plan(&spec("1 month", json!({"create": {"ahead": 0}, "template": {"tablespace": "pg_default"}})));
    assert_eq!(plan.notes, vec![]);
}

/// Class O (#787, pg_pathman#189): thousands of partitions cost every session memory and planning time.
#[test]
fn thousands_of_partitions_are_remarked_upon() {
    let mut world = World::new("bigint");
    for number in 0..1_001 {
        world.add(ROOT, &format!("p{number}"), format!("FOR VALUES FROM ('{number}') TO ('{}')", number + 1));
    }
    let plan = world.plan(&spec("1", json!({"create": {"ahead": 0}})));
    assert_eq!(plan.notes[0].id, "PGR-205");
}

#[rstest]
#[case::plain(None, &[])]
#[case::hash(Some(Strategy::Hash), &["at"])]
#[case::expression(Some(Strategy::Range), &[])]
#[case::other_column(Some(Strategy::Range), &["created"])]
#[case::several_columns(Some(Strategy::Range), &["at", "id"])]
fn a_table_that_is_not_divided_by_the_key_is_refused_with_the_remedy(
    #[case] strategy: Option<Strategy>,
    #[case] columns: &[&str],
) {
    let mut world = World::new("date");
    world.tree.parents[0].strategy = strategy;
    let column = |name: &&str| KeyColumn { name: (*name).into(), type_name: "date".into(), collation: None, not_null: true };
    world.tree.parents[0].key = columns.iter().map(column).collect();
    let plan = world.plan(&spec("1 month", json!({})));
    assert_eq!((plan.actions.len(), plan.blocked[0].reason), (0, Reason::NotPartitioned));
    let message = plan.blocked[0].message.clone();
    assert!(message.starts_with("public.events") && message.contains("RANGE (at)"), "{message}");
}

#[rstest]
#[case("1 month", json!({"timeZone": "Mars/Olympus"}), "timeZone \"Mars/Olympus\" is not an IANA time zone")]
#[case("1 month", json!({"anchor": "2026-02-30"}), "anchor \"2026-02-30\" is not a date")]
#[case("1 month", json!({"create": {"from": "2026-13-01"}}), "create.from \"2026-13-01\" is not a date")]
#[case("1000", json!({"create": {"from": "2026-01-01"}}), "create.from \"2026-01-01\" is not a whole number")]
#[case("1 day", json!({"naming": "{table}_{yyyy}"}), "gives neighbouring partitions")]
#[case("1000", json!({"anchor": "2026-01-01"}), "remove anchor")]
fn a_spec_that_cannot_be_read_is_refused_without_a_database(#[case] interval: &str, #[case] more: Value, #[case] message: &str) {
    let refused = check(&spec(interval, more)).unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidSpec);
    assert!(refused.message.contains(message), "{}", refused.message);
}

#[test]
fn a_text_key_that_does_not_sort_by_bytes_is_refused() {
    let mut world = World::new("text");
    world.tree.parents[0].key[0].collation = Some("en_US.utf8".into());
    let plan = world.plan(&spec("1 day", json!({"key": {"column": "at", "encoding": "Ulid"}})));
    assert_eq!(plan.blocked[0].reason, Reason::KeyMismatch);
}
