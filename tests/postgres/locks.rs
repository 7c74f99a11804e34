//! Does the application not notice? Locks held by others put us off; ours never make others wait for long.

use std::time::{Duration, Instant};

use pgreeve::plan::outcome::ActionResult;
use serde_json::json;

use crate::bench::{Bench, open, policy};

const EVENTS: &str = "create table events (id bigint, at timestamptz not null) partition by range (at);
    create table events_default partition of events default;
    create table events_y2026m11 partition of events for values from ('2026-11-01 00:00+00') to ('2026-12-01 00:00+00')";

#[tokio::test]
async fn a_long_transaction_on_the_table_puts_us_off_and_is_named_by_its_pid() {
    let bench = Bench::new(15, EVENTS).await;
    let other = bench.database.superuser().await;
    other.batch_execute("begin; select count(*) from events").await.unwrap();
    let pid: i32 = other.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let policy = policy("events", "at", "1 month", json!({"create": {"ahead": 1}}));
    let plan = bench.plan(&policy).await;
    let outcome = bench.execute(&plan).await;
    let Some((_, ActionResult::Deferred { blockers })) = outcome.first_problem() else { panic!("{outcome:?}") };
    assert_eq!(blockers.iter().map(|blocker| blocker.pid).collect::<Vec<_>>(), [pid]);
    other.batch_execute("commit").await.unwrap();
    bench.settle(&policy).await;
}

#[tokio::test]
async fn a_reader_and_a_writer_of_the_table_do_not_put_us_off_where_there_is_no_default_partition() {
    let bench = Bench::new(15, EVENTS).await;
    bench.as_owner("drop table events_default").await;
    let other = bench.database.superuser().await;
    other.batch_execute("begin; insert into events values (1, '2026-11-02'); select count(*) from events").await.unwrap();
    bench.settle(&policy("events", "at", "1 month", json!({"create": {"ahead": 1}}))).await;
}

#[tokio::test]
async fn only_one_pgreeve_at_a_time_changes_a_database() {
    let bench = Bench::new(15, EVENTS).await;
    let plan = bench.plan(&policy("events", "at", "1 month", json!({}))).await;
    let other = open(&bench.database, &bench.roles.operator).await;
    let take = format!("select pg_advisory_lock({})", pgreeve::postgres::execute::ADVISORY_KEY);
    other.client().batch_execute(&take).await.unwrap();
    let outcome = bench.execute(&plan).await;
    assert_eq!(outcome.results.len(), 1);
    assert_eq!(outcome.results[0].1, ActionResult::OtherOperator);
}

/// Writers and readers at full speed, one of them now and then keeping its transaction open for a while; the slowest statement of all
/// is what the application felt. Half of them use a table that is left alone: what these wait for is the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_the_application_waits_longer_than_100_ms_because_of_us() {
    let bench = Bench::new(15, EVENTS).await;
    bench.database.superuser().await.batch_execute(&EVENTS.replace("events", "alone")).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut load = Vec::new();
    for number in 0..6 {
        let (client, stop) = (bench.database.superuser().await, stop.clone());
        let table = if number % 2 == 0 { "events" } else { "alone" };
        load.push(tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            for turn in 0_u64.. {
                if stop.is_cancelled() {
                    break;
                }
                let statement = match (number + turn) % 3 {
                    0 => format!("select count(*) from {table} where at >= '2026-11-01' and at < '2026-11-02'"),
                    1 => format!("select count(*) from {table}"),
                    _ => format!("insert into {table} values (1, '2026-11-02')"),
                };
                client.batch_execute("begin").await.unwrap();
                let begun = Instant::now();
                client.batch_execute(&statement).await.unwrap();
                slowest = slowest.max(begun.elapsed());
                if turn % 40 == 0 {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                client.batch_execute("rollback").await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            slowest
        }));
    }
    for ahead in 1..=24 {
        let policy = policy("events", "at", "1 month", json!({"create": {"ahead": ahead}}));
        let plan = bench.plan(&policy).await;
        let budget = pgreeve::postgres::execute::Budget { locks: Duration::from_secs(20), ..Default::default() };
        let outcome = pgreeve::pass::execute(&bench.session, &plan, budget, &pgreeve::pass::NoTasks, bench.now).await;
        assert_eq!(outcome.first_problem(), None);
    }
    stop.cancel();
    let mut slowest = [Duration::ZERO; 2];
    for (number, task) in load.into_iter().enumerate() {
        slowest[number % 2] = slowest[number % 2].max(task.await.unwrap());
    }
    let [touched, alone] = slowest;
    println!("slowest statement of the application: {touched:?}; of one that we leave alone: {alone:?}");
    assert!(touched < Duration::from_millis(100) + alone, "{touched:?} {alone:?}");
}
