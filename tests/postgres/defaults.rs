//! Is a default partition neither scanned under a lock, nor in the way, nor left with our constraints?

use pgreeve::api::Reason;
use pgreeve::plan::Action;
use rstest::rstest;
use serde_json::json;

use crate::bench::{Bench, policy};

const WITH_DEFAULT: &str = "create table events (id bigint, at timestamptz) partition by range (at);
    create table events_default partition of events default;
    create table events_y2026m11 partition of events for values from ('2026-11-01 00:00+00') to ('2026-12-01 00:00+00')";

/// Rows outside of every month that a test creates, enough to be above the size at which a scan is short.
const MANY_OLD_ROWS: &str =
    "insert into events select n, '2001-01-01'::timestamptz + n * interval '1 second' from generate_series(1, 120000) n";

#[rstest]
#[tokio::test]
async fn a_large_default_partition_is_not_scanned_under_access_exclusive(#[values(14, 15, 16, 17, 18)] major: u32) {
    let bench = Bench::new(major, WITH_DEFAULT).await;
    bench.as_owner(MANY_OLD_ROWS).await;
    bench.admin.batch_execute(&format!("alter role {} set log_min_messages = debug1", bench.roles.operator)).await.unwrap();
    let bench = Bench { session: crate::bench::open(&bench.database, &bench.roles.operator).await, ..bench };
    let plan = bench.settle(&policy("events", "at", "1 month", json!({"create": {"ahead": 2}}))).await;
    let guarded = plan.actions.iter().filter(|action| {
        matches!(action, Action::CreatePartition(create) if create.default.as_ref().is_some_and(|default| default.guard.is_some()))
    });
    assert_eq!(guarded.count(), 2);
    let log = bench.database.server().log();
    // PostgreSQL says so itself when ATTACH does without the scan.
    assert!(
        log.contains("updated partition constraint for default partition \"events_default\" is implied by existing constraints"),
        "{log}"
    );
    let left = "select count(*) from pg_constraint where conname like 'pgreeve%'";
    assert_eq!(bench.one(left).await, "0");
}

#[tokio::test]
async fn rows_in_the_default_partition_block_their_own_partition_and_no_other() {
    let bench = Bench::new(15, WITH_DEFAULT).await;
    bench.admin.batch_execute("insert into events values (1, '2026-12-24'), (2, '2026-12-25')").await.unwrap();
    let policy = policy("events", "at", "1 month", json!({"create": {"ahead": 2}}));
    let plan = bench.plan(&policy).await;
    assert_eq!(plan.actions.iter().map(Action::subject).collect::<Vec<_>>(), ["events_y2027m01"]);
    assert_eq!(plan.blocked[0].reason, Reason::DefaultRows);
    assert!(plan.blocked[0].message.contains("holds 2 of its rows"), "{}", plan.blocked[0].message);
    assert_eq!(bench.execute(&plan).await.done(), 1);
    bench.admin.batch_execute("delete from events_default").await.unwrap();
    bench.settle(&policy).await;
    assert_eq!(bench.partitions("events").await.len(), 4);
}

#[tokio::test]
async fn a_guard_that_a_broken_off_run_left_is_taken_away_first() {
    let bench = Bench::new(15, WITH_DEFAULT).await;
    bench
        .as_owner(
            "alter table events_default add constraint pgreeve_guard_20261201 check (at is null or at < '2026-12-01') not valid",
        )
        .await;
    let plan = bench.settle(&policy("events", "at", "1 month", json!({"create": {"ahead": 1}}))).await;
    assert!(matches!(plan.actions[0], Action::DropGuard(_)), "{plan:?}");
    bench.admin.batch_execute("insert into events values (1, '2030-01-01')").await.unwrap();
}

#[tokio::test]
async fn ensure_creates_a_default_partition_and_forbid_reports_one() {
    let bench = Bench::new(15, "create table events (at date) partition by range (at)").await;
    bench.settle(&policy("events", "at", "1 month", json!({"defaultPartition": "Ensure"}))).await;
    assert!(bench.partitions("events").await.contains(&"events_default DEFAULT".to_owned()));
    let plan = bench.plan(&policy("events", "at", "1 month", json!({"defaultPartition": "Forbid"}))).await;
    assert_eq!((plan.actions.len(), plan.blocked[0].reason), (0, Reason::DefaultForbidden));
}
