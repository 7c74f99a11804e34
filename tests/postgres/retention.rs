//! Does only leave what may, and nothing twice, nothing half, nothing unproven?

use std::collections::BTreeSet;

use pgreeve::api::{Reason, RetentionPolicy};
use pgreeve::pass::{self, NoTasks, Retention};
use pgreeve::plan::outcome::ActionResult;
use pgreeve::plan::retention::{Hold, Surroundings};
use pgreeve::plan::{Action, Outcome, Plan};
use pgreeve::postgres::execute::Budget;
use rstest::rstest;
use serde_json::{Value, json};

use crate::bench::{Bench, NOW};

/// Twelve months of 2026, a hundred rows each; now is 2026-11-21.
const EVENTS: &str = "create table events (id bigint not null, at timestamptz not null, body text, primary key (id, at)) partition by range (at);
    select format('create table events_%s partition of events for values from (%L) to (%L)', to_char(m, 'YYYYmMM'), m, m + interval '1 month')
      from generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-01 00:00+00', '1 month') m \\gexec
    insert into events select n, '2026-01-01 00:00+00'::timestamptz + n * interval '7 hours', 'row' from generate_series(0, 1200) n";

fn sql() -> String {
    // psql's \gexec, by hand.
    let months: Vec<String> = (1..=12)
        .map(|month| {
            let (year, next) = if month == 12 { (2027, 1) } else { (2026, month + 1) };
            format!("create table events_m{month:02} partition of events for values from ('2026-{month:02}-01 00:00+00') to ('{year}-{next:02}-01 00:00+00')")
        })
        .collect();
    let (create, rest) = EVENTS.split_once(";\n").unwrap();
    let insert = rest.rsplit('\n').next().unwrap();
    format!("{create};\n{};\n{insert}", months.join(";\n"))
}

fn policy(keep: Value, partitions: Value) -> Retention {
    let spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "keep": keep, "partitions": partitions});
    let policy = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": "old", "namespace": "shop"}, "spec": spec});
    let policy: RetentionPolicy = serde_json::from_value(policy).unwrap();
    Retention { policy, surroundings: Surroundings { is_due: true, ..Surroundings::default() } }
}

async fn look(bench: &Bench, policy: &Retention) -> pass::Look<pass::Leaving> {
    pass::look(&[policy], &bench.session, now()).await.unwrap()
}

async fn plan(bench: &Bench, policy: &Retention) -> Plan {
    look(bench, policy).await.plans.remove(0)
}

async fn execute(bench: &Bench, plan: &Plan) -> Outcome {
    pass::execute(&bench.session, plan, Budget::default(), &NoTasks, now()).await
}

/// Plans and executes until nothing is left to do.
async fn settle(bench: &Bench, policy: &Retention) -> Vec<String> {
    let mut done = vec![];
    for _ in 0..10 {
        let plan = plan(bench, policy).await;
        assert_eq!(plan.blocked, []);
        if plan.actions.is_empty() {
            return done;
        }
        let outcome = execute(bench, &plan).await;
        assert_eq!(outcome.first_problem(), None);
        done.extend(outcome.done_actions().map(ToString::to_string));
    }
    panic!("never settled: {done:?}");
}

fn now() -> jiff::Timestamp {
    NOW.parse().unwrap()
}

fn names(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(|action| format!("{} {}", action.verb(), action.subject())).collect()
}

async fn count(bench: &Bench, table: &str) -> i64 {
    bench.admin.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0)
}

#[rstest]
#[tokio::test]
async fn what_has_expired_is_detached_and_dropped_when_its_grace_is_over(#[values(14, 15, 16, 17, 18)] major: u32) {
    let bench = Bench::new(major, &sql()).await;
    bench.as_owner("comment on table events_m01 is 'the first one'").await;
    // Ends on May 1st and before: seven months and more before November 21st.
    let graceful = policy(json!({"age": "200 days"}), json!({"action": "Drop", "grace": "24h"}));
    let plan = plan(&bench, &graceful).await;
    assert_eq!(names(&plan), ["detach events_m01", "detach events_m02", "detach events_m03", "detach events_m04"]);
    assert_eq!(execute(&bench, &plan).await.first_problem(), None);
    let look = look(&bench, &graceful).await;
    assert_eq!(look.plans[0].actions, [], "the grace is not over");
    let retired = &look.facts[0].summary.retired;
    assert_eq!(retired.len(), 4);
    assert_eq!(retired[0].drop_after.as_ref().unwrap().0, now() + jiff::SignedDuration::from_hours(24));
    assert_eq!(look.plans[0].due, Some(now() + jiff::SignedDuration::from_hours(24)));
    let comment: String = bench.admin.query_one("select obj_description('events_m01'::regclass)", &[]).await.unwrap().get(0);
    assert!(comment.starts_with("pgreeve: {\"retiredAt\":\"2026-") && comment.ends_with("\nthe first one"), "{comment}");
    // The same policy without any grace drops what it detached.
    let hasty = policy(json!({"age": "200 days"}), json!({"action": "Drop", "grace": "0s"}));
    let done = settle(&bench, &hasty).await;
    assert_eq!(done.len(), 4);
    assert!(done[0].starts_with("drop events_m01"), "{done:?}");
    let left: i64 = bench
        .admin
        .query_one("select count(*) from pg_class where relname ~ '^events_m' and relkind = 'r'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 8);
}

#[tokio::test]
async fn the_upper_bound_of_the_catalog_decides_and_no_name() {
    let bench = Bench::new(
        15,
        "create table events (id bigint, at timestamptz not null) partition by range (at);
        create table events_2020 partition of events for values from (minvalue) to ('2026-11-20 00:00+00');
        create table events_rest partition of events for values from ('2026-11-20 00:00+00') to (maxvalue);
        insert into events values (1, '2020-01-01'), (2, '2026-11-19'), (3, '2026-11-21')",
    )
    .await;
    let kept = plan(&bench, &policy(json!({"age": "30 days"}), json!({}))).await;
    assert_eq!(kept.actions, [], "it holds rows of yesterday");
    let gone = plan(&bench, &policy(json!({"age": "1 day"}), json!({}))).await;
    assert_eq!(names(&gone), ["detach events_2020"]);
}

#[rstest]
#[case::all_must_allow(json!({"age": "30 days", "count": 4}), 7)]
#[case::count(json!({"count": 2}), 9)]
#[case::at_least_some_stay(json!({"age": "30 days", "minPartitions": 5}), 6)]
#[case::even_the_newest_is_old_but_stays(json!({"age": "1 day"}), 10)]
#[case::size(json!({"totalSize": "0Ki"}), 10)]
#[case::a_large_table_keeps_all(json!({"totalSize": "1Ti"}), 0)]
#[tokio::test]
async fn every_given_term_must_allow_a_removal(#[case] keep: Value, #[case] expected: i32) {
    let bench = Bench::new(15, &sql()).await;
    let look = look(&bench, &policy(keep, json!({}))).await;
    assert_eq!(look.facts[0].summary.expired.partitions, expected);
}

#[tokio::test]
async fn one_run_takes_the_oldest_and_no_more_than_it_may() {
    let bench = Bench::new(15, &sql()).await;
    let mut policy = policy(json!({"age": "30 days"}), json!({}));
    policy.policy.spec.guards.max_partitions_per_run = 2;
    assert_eq!(names(&plan(&bench, &policy).await), ["detach events_m01", "detach events_m02"]);
    let third: u32 = bench.admin.query_one("select 'events_m03'::regclass::oid", &[]).await.unwrap().get(0);
    policy.surroundings.run = Some(BTreeSet::from([third]));
    assert_eq!(names(&plan(&bench, &policy).await), ["detach events_m03"], "a run keeps to what it began with");
    policy.surroundings = Surroundings::default();
    assert_eq!(plan(&bench, &policy).await.actions, [], "no run is due");
}

#[tokio::test]
async fn a_hold_keeps_what_it_touches_until_it_ends_and_one_that_cannot_be_read_keeps_all() {
    let bench = Bench::new(15, &sql()).await;
    let hold = |range: Value, until: Option<&str>| {
        let mut spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "range": range, "reason": "audit"});
        if let Some(until) = until {
            spec["until"] = json!(until);
        }
        Hold { name: "shop/audit".into(), spec: serde_json::from_value(spec).unwrap() }
    };
    let mut policy = policy(json!({"age": "200 days"}), json!({}));
    for (hold, expected) in [
        (
            hold(json!({"from": "2026-02-10", "to": "2026-03-01"}), None),
            vec!["detach events_m01", "detach events_m03", "detach events_m04"],
        ),
        (
            hold(json!({"from": "2026-02-10", "to": "2026-03-02"}), Some("2026-11-22")),
            vec!["detach events_m01", "detach events_m04"],
        ),
        (
            hold(json!({}), Some("2026-11-20")),
            vec!["detach events_m01", "detach events_m02", "detach events_m03", "detach events_m04"],
        ),
        (hold(json!({}), None), vec![]),
        (hold(json!({"from": "2026-02-31"}), None), vec![]),
    ] {
        policy.surroundings.holds = vec![hold.clone()];
        let plan = plan(&bench, &policy).await;
        assert_eq!(names(&plan), expected, "{hold:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_foreign_or_divided_again_is_kept_and_said() {
    let bench = Bench::new(15, &sql()).await;
    bench.as_owner("alter table events detach partition events_m02; drop table events_m02;
        create table events_m02 partition of events for values from ('2026-02-01 00:00+00') to ('2026-03-01 00:00+00') partition by list (id);
        create table events_rest partition of events default").await;
    let look = look(&bench, &policy(json!({"age": "200 days"}), json!({}))).await;
    assert_eq!(names(&look.plans[0]), ["detach events_m01", "detach events_m03", "detach events_m04"]);
    assert!(look.plans[0].notes[0].message.contains("events_m02 is itself partitioned"), "{:?}", look.plans[0].notes);
}

#[rstest]
#[tokio::test]
async fn a_partition_becomes_one_of_the_archive_and_no_row_moves_or_is_twice(#[values(14, 15, 17, 18)] major: u32) {
    let bench = Bench::new(major, &sql()).await;
    bench.as_owner("create table events_archive (like events including all) partition by range (at)").await;
    let archive =
        policy(json!({"age": "200 days"}), json!({"action": "MoveToTable", "archiveTable": {"name": "events_archive"}}));
    let before: i64 = bench.admin.query_one("select 'events_m01'::regclass::oid::bigint", &[]).await.unwrap().get(0);
    let total = count(&bench, "events").await;
    let done = settle(&bench, &archive).await;
    assert_eq!(done.len(), 4);
    let after: i64 = bench.admin.query_one("select 'events_m01'::regclass::oid::bigint", &[]).await.unwrap().get(0);
    assert_eq!((before, count(&bench, "events").await + count(&bench, "events_archive").await), (after, total));
    assert_eq!(bench.partitions("events_archive").await.len(), 4);
    let left: i64 =
        bench.admin.query_one("select count(*) from pg_constraint where conname ~ '^pgreeve'", &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}

#[rstest]
#[case::missing("select 1", Reason::TableNotFound, "LIKE public.events")]
#[case::plain("create table events_archive (like events)", Reason::NotPartitioned, "not partitioned by RANGE")]
#[case::other_key("create table events_archive (like events) partition by range (id)", Reason::KeyMismatch, "not divided by at")]
#[case::default(
    "create table events_archive (like events) partition by range (at); create table a_rest partition of events_archive default",
    Reason::DefaultForbidden,
    "a_rest"
)]
#[case::overlap(
    "create table events_archive (like events) partition by range (at); create table a_q partition of events_archive for values from ('2026-01-01 00:00+00') to ('2026-01-03 00:00+00')",
    Reason::Overlap,
    "a_q"
)]
#[case::index(
    "create table events_archive (like events) partition by range (at); create index on events_archive (body)",
    Reason::Unsupported,
    "no index like events_archive_body_idx"
)]
#[tokio::test]
async fn an_archive_that_cannot_take_a_partition_in_a_moment_is_refused(
    #[case] sql_of_archive: &str,
    #[case] reason: Reason,
    #[case] says: &str,
) {
    let bench = Bench::new(15, &sql()).await;
    bench.as_owner(sql_of_archive).await;
    let archive =
        policy(json!({"age": "290 days"}), json!({"action": "MoveToTable", "archiveTable": {"name": "events_archive"}}));
    let plan = plan(&bench, &archive).await;
    assert_eq!(plan.actions, []);
    assert_eq!(plan.blocked[0].reason, reason);
    assert!(plan.blocked[0].message.contains(says), "{:?}", plan.blocked);
}

#[tokio::test]
async fn a_partition_moves_to_another_schema_and_stays_there() {
    let bench = Bench::new(15, &sql()).await;
    bench.admin.batch_execute(&format!("create schema attic authorization {}", bench.roles.owner)).await.unwrap();
    let attic = policy(json!({"age": "290 days"}), json!({"action": "MoveToSchema", "schema": "attic"}));
    let done = settle(&bench, &attic).await;
    assert_eq!(done.len(), 2, "{done:?}");
    assert!(count(&bench, "attic.events_m01").await > 0);
    // Nor does it go when the policy later says that others should be dropped.
    assert_eq!(settle(&bench, &policy(json!({"age": "290 days"}), json!({"action": "Drop", "grace": "0s"}))).await, [""; 0]);
    assert!(count(&bench, "attic.events_m01").await > 0);
}

#[rstest]
#[tokio::test]
async fn rows_that_others_refer_to_stay_and_follow_when_those_are_gone(#[values(14, 15, 18)] major: u32) {
    let bench = Bench::new(major, &sql()).await;
    bench.as_owner("create table notes (event bigint, at timestamptz, constraint notes_of_events foreign key (event, at) references events);
        insert into notes select id, at from events_m02 limit 1").await;
    let policy = policy(json!({"age": "230 days"}), json!({"action": "Drop", "grace": "0s"}));
    let first = look(&bench, &policy).await;
    assert_eq!(names(&first.plans[0]), ["detach events_m01", "detach events_m03"]);
    assert!(first.plans[0].actions[0].to_string().contains("concurrently"), "{}", first.plans[0].actions[0]);
    assert!(first.facts[0].summary.held[0].contains("notes_of_events"), "{:?}", first.facts[0].summary.held);
    settle(&bench, &policy).await;
    assert_eq!(count(&bench, "notes n join events e on e.id = n.event").await, 1);
    bench.as_owner("delete from notes").await;
    settle(&bench, &policy).await;
    assert_eq!(bench.partitions("events").await.len(), 9);
}

#[tokio::test]
async fn a_detached_partition_loses_its_foreign_keys_before_it_is_dropped() {
    let bench = Bench::new(15, &sql()).await;
    bench
        .as_owner(
            "create table users (id bigint primary key); insert into users select generate_series(0, 1200);
        alter table events add constraint by_user foreign key (id) references users",
        )
        .await;
    let done = settle(&bench, &policy(json!({"age": "290 days"}), json!({"action": "Drop", "grace": "0s"}))).await;
    let verbs: Vec<&str> = done.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(verbs, ["detach", "release", "drop"]);
}

#[rstest]
#[tokio::test]
async fn a_detach_that_was_broken_off_is_finished_first(#[values(14, 15, 18)] major: u32) {
    let bench = Bench::new(major, &sql()).await;
    let reader = bench.database.superuser().await;
    reader.batch_execute("begin; select count(*) from events_m11").await.unwrap();
    reader.batch_execute("select count(*) from events").await.unwrap();
    let breaker = bench.database.superuser().await;
    breaker.batch_execute("set statement_timeout = '2s'").await.unwrap();
    let broken = breaker.batch_execute("alter table events detach partition events_m12 concurrently").await;
    assert!(broken.is_err());
    reader.batch_execute("commit").await.unwrap();
    let policy = policy(json!({"age": "290 days"}), json!({}));
    let plan = plan(&bench, &policy).await;
    assert_eq!(names(&plan), ["finish detaching events_m12", "detach events_m01"]);
    settle(&bench, &policy).await;
    assert_eq!(bench.partitions("events").await.len(), 10);
}

#[tokio::test]
async fn a_long_reader_of_the_table_puts_a_detach_off_and_leaves_no_residue() {
    let bench = Bench::new(15, &sql()).await;
    bench.as_owner("create table notes (event bigint, at timestamptz, foreign key (event, at) references events)").await;
    let reader = bench.database.superuser().await;
    reader.batch_execute("begin; select count(*) from events").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let policy = policy(json!({"age": "290 days"}), json!({}));
    let outcome = execute(&bench, &plan(&bench, &policy).await).await;
    let Some((_, ActionResult::Deferred { blockers })) = outcome.first_problem() else { panic!("{outcome:?}") };
    assert_eq!(blockers.len(), 1);
    let pending: i64 =
        bench.admin.query_one("select count(*) from pg_inherits where inhdetachpending", &[]).await.unwrap().get(0);
    assert_eq!(pending, 0);
    reader.batch_execute("commit").await.unwrap();
    settle(&bench, &policy).await;
}

#[tokio::test]
async fn a_namesake_of_what_was_planned_for_is_not_touched() {
    let bench = Bench::new(15, &sql()).await;
    let policy = policy(json!({"age": "290 days"}), json!({"action": "Drop", "grace": "0s"}));
    let planned = plan(&bench, &policy).await;
    bench.as_owner("drop table events_m01; create table events_m01 partition of events for values from ('2026-01-01 00:00+00') to ('2026-02-01 00:00+00')").await;
    let outcome = execute(&bench, &planned).await;
    assert!(matches!(outcome.first_problem(), Some((_, ActionResult::Stale { .. }))), "{outcome:?}");
    // Detached, and replaced before the drop.
    execute(&bench, &plan(&bench, &policy).await).await;
    let planned = plan(&bench, &policy).await;
    assert_eq!(names(&planned), ["drop events_m01"]);
    bench.as_owner("drop table events_m01; create table events_m01 (id bigint); insert into events_m01 values (1)").await;
    let outcome = execute(&bench, &planned).await;
    assert!(matches!(outcome.first_problem(), Some((_, ActionResult::Stale { .. }))), "{outcome:?}");
    assert_eq!(count(&bench, "events_m01").await, 1);
}

#[tokio::test]
async fn what_was_attached_again_or_restored_from_a_dump_is_not_dropped() {
    let bench = Bench::new(15, &sql()).await;
    let policy = policy(json!({"age": "290 days"}), json!({"action": "Drop", "grace": "0s"}));
    execute(&bench, &plan(&bench, &policy).await).await;
    let planned = plan(&bench, &policy).await;
    bench
        .as_owner(
            "alter table events attach partition events_m01 for values from ('2026-01-01 00:00+00') to ('2026-02-01 00:00+00')",
        )
        .await;
    let outcome = execute(&bench, &planned).await;
    assert!(matches!(outcome.first_problem(), Some((_, ActionResult::Stale { .. }))), "{outcome:?}");
    assert!(matches!(plan(&bench, &policy).await.actions[0], Action::DetachPartition(_)));
    // A dump brings the comment along, but not the OID.
    execute(&bench, &plan(&bench, &policy).await).await;
    let comment: String = bench.admin.query_one("select obj_description('events_m01'::regclass)", &[]).await.unwrap().get(0);
    bench.as_owner("create table copy (like events_m01); drop table events_m01; alter table copy rename to events_m01").await;
    bench.as_owner(&format!("comment on table events_m01 is '{}'", comment.replace('\'', "''"))).await;
    let look = look(&bench, &policy).await;
    assert_eq!(look.plans[0].actions, []);
    assert!(look.facts[0].summary.held[0].contains("left alone"), "{:?}", look.facts[0].summary.held);
}

#[tokio::test]
async fn two_operators_at_once_remove_each_partition_once() {
    let bench = Bench::new(15, &sql()).await;
    let policy = policy(json!({"age": "200 days"}), json!({"action": "Drop", "grace": "0s"}));
    let other = crate::bench::open(&bench.database, &bench.roles.operator).await;
    for _ in 0..20 {
        let planned = plan(&bench, &policy).await;
        let (_, _) = tokio::join!(execute(&bench, &planned), pass::execute(&other, &planned, Budget::default(), &NoTasks, now()));
        if plan(&bench, &policy).await.actions.is_empty() {
            break;
        }
    }
    assert_eq!(bench.partitions("events").await.len(), 8);
}

#[tokio::test]
async fn rows_that_arrive_while_a_partition_retires_are_either_in_it_or_refused() {
    let bench = Bench::new(15, &sql()).await;
    let writer = bench.database.superuser().await;
    let writing = tokio::spawn(async move {
        let mut written = 0_i64;
        for n in 0..400_i64 {
            let row = writer.execute("insert into events values ($1, '2026-01-15 00:00+00')", &[&(10_000 + n)]).await;
            match row {
                Ok(_) => written += 1,
                Err(error) => assert_eq!(error.code().unwrap().code(), "23514", "no partition: {error}"),
            }
        }
        written
    });
    let policy = policy(json!({"age": "290 days"}), json!({"action": "Detach"}));
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    settle(&bench, &policy).await;
    let written = writing.await.unwrap();
    assert_eq!(count(&bench, "events_m01 where id >= 10000").await, written);
}

#[tokio::test]
async fn an_edit_that_lets_much_more_go_at_once_waits_for_a_word() {
    let bench = Bench::new(15, &sql()).await;
    let mut edited = policy(json!({"age": "30 days"}), json!({}));
    let wants = plan(&bench, &edited).await.wants_approval;
    assert!(wants.as_ref().is_some_and(|why| why.contains("9 of 11 partitions (81 %)")), "{wants:?}");
    edited.surroundings.accepted = Some(policy(json!({"age": "100 days"}), json!({})).policy.spec.keep);
    assert_eq!(plan(&bench, &edited).await.wants_approval, None, "two more than before");
    edited.policy.spec.guards.approve_above_percent = 10;
    assert!(plan(&bench, &edited).await.wants_approval.is_some());
    edited.surroundings.attended = true;
    assert_eq!(plan(&bench, &edited).await.wants_approval, None);
}

#[tokio::test]
async fn without_the_backup_that_is_asked_for_nothing_goes() {
    let bench = Bench::new(15, &sql()).await;
    let mut policy = policy(json!({"age": "30 days"}), json!({}));
    policy.surroundings.backup_missing = Some("there is none".into());
    let plan = plan(&bench, &policy).await;
    assert_eq!(plan.actions, []);
    assert_eq!(plan.blocked[0].reason, Reason::BackupMissing);
}
