//! Does only leave what may, by the right steps, whatever the order in which the catalog tells?

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::plan::removal::ExportProof;
use crate::plan::snapshot::{KeyColumn, Parent, Partition, Strategy, TableName};

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn server() -> Server {
    Server {
        version_num: 160_014,
        version: "16.14".into(),
        database: "shop".into(),
        role: "operator".into(),
        superuser: false,
        in_recovery: false,
        read_only: false,
        system_identifier: None,
    }
}

fn spec(more: Value) -> RetentionPolicySpec {
    let mut spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "keep": {"age": "1 year"}, "partitions": {"grace": "0s"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn exporting() -> RetentionPolicySpec {
    spec(json!({"export": {"destination": {"s3": {"bucket": "archive"}}}}))
}

fn table(name: &str) -> TableName {
    TableName { schema: "public".into(), name: name.into() }
}

/// A partition from one day to another, days counted from 2020-01-01.
fn partition(oid: Oid, from: i64, to: i64) -> Partition {
    let day = |number: i64| {
        let first: jiff::civil::Date = "2020-01-01".parse().unwrap();
        first.checked_add(jiff::Span::new().days(number)).unwrap()
    };
    Partition {
        oid,
        table: table(&format!("events_{oid}")),
        bound: format!("FOR VALUES FROM ('{} 00:00:00+00') TO ('{} 00:00:00+00')", day(from), day(to)),
        kind: 'r',
        detach_pending: false,
        pages: 1,
        tuples: 10,
        has_blocks: Some(true),
        bytes: None,
        leftover_guards: vec![],
    }
}

fn tree(partitions: Vec<Partition>) -> Tree {
    let key = KeyColumn { name: "at".into(), type_name: "timestamp with time zone".into(), collation: None, not_null: true };
    let root = Parent {
        oid: 1,
        table: table("events"),
        parent: None,
        strategy: Some(Strategy::Range),
        key: vec![key],
        owner: "owner".into(),
        may_act_as_owner: true,
        owner_may_create: true,
        partitions,
    };
    Tree { table: table("events"), oid: 1, parents: vec![root] }
}

struct World {
    tree: Tree,
    catalog: Catalog,
    surroundings: Surroundings,
}

impl World {
    fn of(partitions: Vec<Partition>) -> Self {
        let detail = Detail { owner: "owner".into(), bytes: 1 << 20, rows: 10, ..Detail::default() };
        let details = partitions.iter().map(|partition| (partition.oid, detail.clone())).collect();
        let surroundings = Surroundings { is_due: true, attended: true, ..Surroundings::default() };
        Self { tree: tree(partitions), catalog: Catalog { details, ..Catalog::default() }, surroundings }
    }

    /// 2020, 2021, and one that holds the present.
    fn small() -> Self {
        Self::of(vec![partition(20, 0, 366), partition(21, 366, 731), partition(26, 731, 3_000)])
    }

    fn retired(oid: Oid) -> Retired {
        Retired {
            table: Relation { oid, table: table(&format!("events_{oid}")) },
            owner: "owner".into(),
            may_act_as_owner: true,
            mark: Mark {
                retired_at: "2026-11-20T08:00:00Z".into(),
                policy: "shop/old".into(),
                parent: table("events"),
                oid,
                bound: "FOR VALUES FROM ('2019-01-01 00:00:00+00') TO ('2020-01-01 00:00:00+00')".into(),
                then: Afterlife::Drop,
            },
            bytes: 5,
            foreign_keys: vec![],
        }
    }

    fn plan(&self, spec: &RetentionPolicySpec) -> Plan {
        let object = ObjectId { kind: "RetentionPolicy".into(), namespace: "shop".into(), name: "old".into() };
        let facts = Facts { server: &server(), tree: Some(&self.tree), catalog: &self.catalog, surroundings: &self.surroundings };
        plan(object, spec, &facts, now()).0
    }

    fn summary(&self, spec: &RetentionPolicySpec) -> Summary {
        let object = ObjectId { kind: "RetentionPolicy".into(), namespace: "shop".into(), name: "old".into() };
        let facts = Facts { server: &server(), tree: Some(&self.tree), catalog: &self.catalog, surroundings: &self.surroundings };
        plan(object, spec, &facts, now()).1
    }

    fn steps(&self, spec: &RetentionPolicySpec) -> Vec<String> {
        self.plan(spec)
            .actions
            .iter()
            .map(|action| format!("{}{} {}", if action.waits() { "(" } else { "" }, action.verb(), action.subject()))
            .collect()
    }

    fn prove(&mut self, oid: Oid, age: SignedDuration) {
        self.catalog.closed.insert(oid, "e1".into());
        self.surroundings.proofs.insert(oid, Proof { export: "e1".into(), verified_at: now() - age });
    }
}

#[test]
fn a_partition_is_exported_before_it_is_detached_and_the_detach_waits() {
    let mut world = World::small();
    assert_eq!(world.steps(&exporting()), ["export events_20", "(detach events_20", "export events_21", "(detach events_21"]);
    world.prove(20, SignedDuration::from_hours(30));
    assert_eq!(world.steps(&exporting()), ["detach events_20", "export events_21", "(detach events_21"]);
    // Closed by another export than the one that was verified, as after a failover that lost the closing.
    world.catalog.closed.insert(20, "e2".into());
    assert_eq!(world.steps(&exporting())[..2], ["export events_20", "(detach events_20"]);
    world.catalog.closed.clear();
    assert_eq!(world.steps(&exporting())[..2], ["export events_20", "(detach events_20"]);
}

#[test]
fn a_proof_must_be_fresh_when_the_table_is_dropped() {
    let mut world = World::of(vec![partition(26, 731, 3_000)]);
    world.catalog.retired = vec![World::retired(19)];
    assert_eq!(world.steps(&spec(json!({}))), ["drop events_19"], "no export is asked for");
    assert_eq!(world.steps(&exporting()), ["export events_19", "(drop events_19"]);
    world.prove(19, SignedDuration::from_hours(2));
    assert_eq!(world.steps(&exporting()), ["export events_19", "(drop events_19"], "what was read two hours ago may be gone");
    world.prove(19, SignedDuration::from_mins(59));
    let plan = world.plan(&exporting());
    let Action::DropTable(drop) = &plan.actions[0] else { panic!("{plan:?}") };
    assert_eq!(drop.export, ExportProof::Verified("e1".into()));
}

#[test]
fn the_grace_of_a_detached_partition_must_be_over() {
    let mut world = World::of(vec![partition(26, 731, 3_000)]);
    world.catalog.retired = vec![World::retired(19)];
    let graceful = spec(json!({"partitions": {"grace": "2 days"}}));
    let plan = world.plan(&graceful);
    assert_eq!((plan.actions.len(), plan.due), (0, Some("2026-11-22T08:00:00Z".parse().unwrap())));
    // Neither another policy's, nor a copy of it, nor one that was to stay.
    for change in [
        (|retired: &mut Retired| retired.mark.policy = "shop/other".into()) as fn(&mut Retired),
        |retired| retired.mark.oid = 7,
        |retired| retired.mark.then = Afterlife::Stay,
        |retired| retired.mark.retired_at = "yesterday".into(),
    ] {
        let mut retired = World::retired(19);
        change(&mut retired);
        world.catalog.retired = vec![retired];
        assert_eq!(world.steps(&spec(json!({}))), [""; 0]);
    }
}

#[test]
fn a_hold_keeps_what_is_detached_already() {
    let mut world = World::of(vec![partition(26, 731, 3_000)]);
    world.catalog.retired = vec![World::retired(19)];
    let hold = |range: Value| {
        let spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "range": range, "reason": "audit"});
        vec![Hold { name: "shop/audit".into(), spec: serde_json::from_value(spec).unwrap() }]
    };
    world.surroundings.holds = hold(json!({"from": "2020-01-01"}));
    assert_eq!(world.steps(&spec(json!({}))), ["drop events_19"]);
    world.surroundings.holds = hold(json!({"from": "2019-12-31"}));
    assert_eq!(world.steps(&spec(json!({}))), [""; 0]);
    world.surroundings.holds = hold(json!({"from": "2020-01-01"}));
    world.catalog.retired[0].mark.bound = "nobody can read this".into();
    assert_eq!(world.steps(&spec(json!({}))), [""; 0]);
}

#[test]
fn only_what_had_expired_when_the_run_was_due_is_overdue_and_what_is_held_is_not() {
    let mut world = World::small();
    let counts = |world: &World| {
        let Summary { expired, overdue, held_partitions, .. } = world.summary(&spec(json!({})));
        (expired.partitions, overdue, held_partitions)
    };
    assert_eq!(counts(&world), (2, 0, 0), "no moment of the schedule is known");
    for (slot, overdue) in [("2020-06-01", 0), ("2022-06-01", 1), ("2026-11-21", 2)] {
        world.surroundings.as_of = Some(format!("{slot}T03:00:00Z").parse().unwrap());
        assert_eq!(counts(&world), (2, overdue, 0), "{slot}");
    }
    let held =
        json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "range": {"to": "2020-02-01"}, "reason": "audit"});
    world.surroundings.holds = vec![Hold { name: "shop/audit".into(), spec: serde_json::from_value(held).unwrap() }];
    assert_eq!(counts(&world), (1, 1, 1));
}

#[test]
fn one_approval_lasts_until_the_partition_is_gone() {
    let mut world = World::of(vec![partition(20, 0, 366), partition(26, 731, 3_000)]);
    let begun = world.plan(&exporting()).fingerprint();
    world.prove(20, SignedDuration::ZERO);
    assert_eq!(world.plan(&exporting()).fingerprint(), begun, "exported");
    let mut detached = World::of(vec![partition(26, 731, 3_000)]);
    detached.catalog.retired = vec![World::retired(20)];
    assert_eq!(detached.plan(&exporting()).fingerprint(), begun, "detached, and to be read back");
    detached.prove(20, SignedDuration::ZERO);
    assert_eq!(detached.plan(&exporting()).fingerprint(), begun, "to be dropped");
    assert_ne!(world.plan(&spec(json!({}))).fingerprint(), begun, "without an export it is another plan");
    let stays = spec(json!({"partitions": {"action": "Detach"}}));
    assert_ne!(world.plan(&stays).fingerprint(), world.plan(&spec(json!({}))).fingerprint(), "what becomes of it counts");
}

#[test]
fn a_closed_partition_that_does_not_go_is_opened_again() {
    let mut world = World::small();
    world.prove(26, SignedDuration::ZERO);
    world.prove(21, SignedDuration::ZERO);
    assert!(world.steps(&exporting()).contains(&"reopen events_26".to_owned()));
    assert!(!world.steps(&exporting()).contains(&"reopen events_21".to_owned()));
    assert!(world.steps(&spec(json!({}))).contains(&"reopen events_21".to_owned()), "no export is asked for any more");
}

#[test]
fn a_mark_keeps_the_comment_that_was_there() {
    let mark = World::retired(19).mark;
    for former in [None, Some("costs of 2019"), Some("two\nlines"), Some("")] {
        let comment = mark.comment(former);
        assert_eq!(Mark::read(&comment), Some(mark.clone()));
        assert_eq!(Mark::former(&comment), former);
    }
    assert_eq!((Mark::read("pgreeve: hello"), Mark::former("hello")), (None, Some("hello")));
}

/// Widths of the partitions in days, the age and count that are kept, the least number that stays, the catalog's order, and a hold.
type Given = (Vec<i64>, i64, Option<i64>, i64, u64, Option<(i64, i64)>);

/// Partitions that follow each other, some of them in the future, and a policy.
fn worlds() -> impl proptest::strategy::Strategy<Value = Given> {
    let widths = prop::collection::vec(1_i64..900, 1..12);
    (widths, 1_i64..3_000, prop::option::of(1_i64..8), 1_i64..5, any::<u64>(), prop::option::of((0_i64..4_000, 1_i64..900)))
}

proptest! {
    #[test]
    fn only_what_may_go_goes_in_any_order_of_the_catalog((widths, age, count, least, seed, hold) in worlds()) {
        let mut begin = 0;
        let mut partitions = vec![];
        for (number, width) in widths.iter().enumerate() {
            partitions.push(partition(10 + number as Oid, begin, begin + width));
            begin += width;
        }
        // 2026-11-21 is day 2516 from 2020-01-01.
        let present = 2_516;
        let spans: BTreeMap<Oid, (i64, i64)> = widths.iter().scan(0, |at, width| { let from = *at; *at += width; Some((from, *at)) })
            .enumerate().map(|(number, span)| (10 + number as Oid, span)).collect();
        let mut keep = json!({"age": format!("{age} days"), "minPartitions": least});
        if let Some(count) = count {
            keep["count"] = json!(count);
        }
        let spec = spec(json!({"keep": keep, "guards": {"maxPartitionsPerRun": 1000}}));
        let mut world = World::of(partitions.clone());
        if let Some((from, length)) = hold {
            let day = |number: i64| "2020-01-01".parse::<jiff::civil::Date>().unwrap().checked_add(jiff::Span::new().days(number)).unwrap().to_string();
            let hold = json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "range": {"from": day(from), "to": day(from + length)}, "reason": "audit"});
            world.surroundings.holds = vec![Hold { name: "shop/audit".into(), spec: serde_json::from_value(hold).unwrap() }];
        }
        let gone: BTreeSet<Oid> = world.plan(&spec).actions.iter().filter_map(Action::leaves).collect();
        let begun: Vec<Oid> = spans.iter().filter(|(_, (from, _))| *from <= present).map(|(oid, _)| *oid).collect();
        for oid in &gone {
            let (from, to) = spans[oid];
            prop_assert!(to <= present - age + 1, "{oid} ends on day {to}");
            prop_assert!(begun.last() != Some(oid) && begun.contains(oid), "the newest stays");
            if let Some(count) = count {
                let newer = begun.iter().filter(|other| *other > oid).count();
                prop_assert!(newer as i64 >= count);
            }
            if let Some((held, length)) = hold {
                prop_assert!(to <= held || held + length <= from, "{oid} is held");
            }
        }
        prop_assert!((begun.len() - gone.len()) as i64 >= least.min(begun.len() as i64));
        let mut shuffled = partitions;
        shuffled.sort_by_key(|partition| seed.wrapping_mul(u64::from(partition.oid) * 2 + 1).rotate_left(32));
        let same = World { tree: tree(shuffled), catalog: world.catalog.clone(), surroundings: world.surroundings.clone() };
        prop_assert_eq!(same.plan(&spec), world.plan(&spec));
    }
}
