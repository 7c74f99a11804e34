//! Are batches as large, as frequent and as gentle as the policy says? Ties, limits, pauses, standbys that lag, rows that the application holds.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgreeve::job::archive::{Progress, Watch, carry_out};
use pgreeve::plan::removal::ArchiveRows;
use serde_json::json;

use crate::support::postgres::{Database, Options, Server};
use crate::support::{eventually, process};
use crate::world::{World, policy};

fn table(rows: u32, age: &str) -> String {
    format!(
        "create table t (id int primary key, body text, created_at timestamptz not null); create index on t (created_at);
         insert into t select n, 'x', {age} from generate_series(1, {rows}) n; analyze t"
    )
}

const EACH_ITS_OWN: &str = "timestamptz '2025-01-01' + n * interval '1 s'";

fn listening(told: impl Fn(&Progress) + Send + Sync + 'static) -> Watch {
    Watch { progress: Some(Arc::new(told)), ..Watch::default() }
}

/// Rows after each batch.
async fn batches(world: &World, rows: serde_json::Value) -> Vec<i64> {
    let task = world.task(&policy("t", rows)).await;
    let told: Arc<Mutex<Vec<i64>>> = Arc::default();
    let watch = listening({
        let told = Arc::clone(&told);
        move |progress| told.lock().unwrap().push(progress.rows)
    });
    carry_out(&task, &world.session().await, &watch).await.unwrap();
    let counts = told.lock().unwrap().clone();
    let before = std::iter::once(0).chain(counts.iter().copied()).collect::<Vec<_>>();
    counts.iter().zip(before).map(|(now, before)| now - before).collect()
}

#[tokio::test]
async fn a_batch_holds_as_many_rows_as_it_should() {
    let world = World::new(15, &table(2500, EACH_ITS_OWN)).await;
    assert_eq!(batches(&world, json!({"batch": {"rows": 1000}})).await, [1000, 1000, 500]);
}

#[tokio::test]
async fn many_rows_of_one_moment_go_in_batches_too() {
    let world = World::new(15, &table(2500, "timestamptz '2025-01-01'")).await;
    world.as_owner("insert into t values (0, 'x', '2024-12-31'), (9999, 'x', '2025-01-02')").await;
    assert_eq!(batches(&world, json!({"batch": {"rows": 1000}})).await, [1, 1000, 1000, 500, 1]);
    assert_eq!(world.count("t").await, 0);
}

#[tokio::test]
async fn a_condition_that_few_rows_meet_goes_through_the_table_once() {
    let world = World::new(15, &table(30_000, EACH_ITS_OWN)).await;
    let sizes = batches(&world, json!({"batch": {"rows": 1000}, "where": "id % 100 = 0"})).await;
    assert_eq!(sizes.iter().sum::<i64>(), 300);
    assert!(sizes.len() <= 7, "{sizes:?}");
    assert_eq!(
        batches(&world, json!({"batch": {"rows": 1000}, "where": "id % 2 = 1"}))
            .await
            .iter()
            .filter(|size| **size > 1000)
            .count(),
        0
    );
    assert_eq!(world.count("t").await, 14_700);
}

#[tokio::test]
async fn a_run_ends_at_its_limit_of_rows_and_the_next_goes_on() {
    let world = World::new(15, &table(2500, EACH_ITS_OWN)).await;
    let mut spec = policy("t", json!({}));
    spec.guards.max_rows_per_run = 1234;
    let moved = world.remove(&spec).await;
    assert_eq!((moved.rows, moved.left), (1234, 1266));
    assert_eq!(moved.ended_early.as_deref(), Some("guards.maxRowsPerRun (1234) is reached"));
    assert_eq!(world.remove(&spec).await.rows, 1234);
    assert_eq!(world.remove(&spec).await.rows, 32);
}

#[tokio::test]
async fn a_run_that_is_asked_to_stop_ends_after_its_batch() {
    let world = World::new(15, &table(2500, EACH_ITS_OWN)).await;
    let task = world.task(&policy("t", json!({"batch": {"rows": 100}}))).await;
    let mut watch = Watch::default();
    let (stop, told) = (watch.stop.clone(), AtomicUsize::new(0));
    watch.progress = Some(Arc::new(move |_| {
        if told.fetch_add(1, Ordering::Relaxed) == 2 {
            stop.cancel();
        }
    }));
    let moved = carry_out(&task, &world.session().await, &watch).await.unwrap();
    assert_eq!((moved.rows, moved.left, moved.ended_early.as_deref()), (300, 2200, Some("it was asked to stop")));
}

#[tokio::test]
async fn batches_take_their_share_of_the_time_and_no_more() {
    let world = World::new(15, &table(2000, EACH_ITS_OWN)).await;
    let begun = Instant::now();
    let moved = world.remove(&policy("t", json!({"batch": {"rows": 500, "pause": "150ms"}}))).await;
    assert!(begun.elapsed() > Duration::from_millis(450) && moved.throttled_by.as_deref() == Some("pause"), "{moved:?}");
    let world = World::new(15, &table(20_000, EACH_ITS_OWN)).await;
    let task = world.task(&policy("t", json!({"batch": {"rows": 2000, "maxLoad": 10}}))).await;
    let moved = world.run(&task).await.unwrap();
    assert_eq!((moved.rows, moved.throttled_by.as_deref()), (20_000, Some("maxLoad")));
    let world = World::new(15, &table(20_000, EACH_ITS_OWN)).await;
    let task = world.task(&policy("t", json!({"batch": {"rows": 2000}}))).await;
    let free = world.run(&task).await.unwrap();
    assert!(free.throttled_by.is_none() && free.per_second > moved.per_second, "{free:?} {moved:?}");
}

#[tokio::test]
async fn rows_that_the_application_holds_are_passed_over_and_nobody_waits_long() {
    let setup = format!(
        "{}; create table d (id int primary key, t int references t on delete cascade); create index on d (t); insert into d select n, n from generate_series(1, 3000) n",
        table(3000, EACH_ITS_OWN)
    );
    let world = World::new(15, &setup).await;
    let task = world.task(&policy("t", json!({"dependents": [{"table": "d"}]}))).await;
    let holder = world.database.superuser().await;
    holder
        .batch_execute("begin; update t set body = 'held' where id in (10, 1500); update d set id = id + 10000 where id = 2500")
        .await
        .unwrap();
    let begun = Instant::now();
    let moved = world.run(&task).await.unwrap();
    assert_eq!((moved.rows, moved.dependents, moved.busy, moved.left), (2997, 2997, 3, 3), "{moved:?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    holder.batch_execute("commit").await.unwrap();
    let moved = world.run(&task).await.unwrap();
    assert_eq!((moved.rows, moved.dependents, moved.busy), (3, 3, 0), "{moved:?}");
    assert_eq!(world.one("select string_agg(id::text, ',' order by id) from t_archive where body = 'held'").await, "10,1500");
}

#[tokio::test]
async fn a_table_that_somebody_locks_puts_the_run_off_for_a_moment_only() {
    let world = World::new(15, &table(3000, EACH_ITS_OWN)).await;
    let task = world.task(&policy("t", json!({}))).await;
    let holder = world.database.superuser().await;
    holder.batch_execute("begin; lock table t in share mode").await.unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        holder.batch_execute("commit").await.unwrap();
    };
    let (moved, ()) = tokio::join!(world.run(&task), release);
    let left = moved.unwrap();
    // What could not be taken meanwhile goes with this run or the next.
    assert_eq!(left.rows + world.run(&task).await.unwrap().rows, 3000, "{left:?}");
}

#[tokio::test]
async fn dead_rows_make_batches_wait_until_they_are_gone() {
    let world = World::new(15, &table(30_000, EACH_ITS_OWN)).await;
    world.as_owner("update t set body = 'y'; update t set body = 'z'").await;
    // The server takes note of them when the session that made them is idle.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    world.admin.batch_execute("select pg_stat_force_next_flush()").await.unwrap();
    let task = world.task(&policy("t", json!({"batch": {"maxDeadTuplePercent": 20}}))).await;
    let waits: Arc<Mutex<Vec<String>>> = Arc::default();
    let watch = listening({
        let waits = Arc::clone(&waits);
        move |progress| waits.lock().unwrap().extend(progress.waits_for.clone())
    });
    let session = world.session().await;
    let run = carry_out(&task, &session, &watch);
    tokio::pin!(run);
    // Autovacuum, as it were, once it is waited for.
    let moved = loop {
        tokio::select! {
            moved = &mut run => break moved,
            () = tokio::time::sleep(Duration::from_millis(500)) => if !waits.lock().unwrap().is_empty() {
                world.admin.batch_execute("vacuum t").await.unwrap();
            },
        }
    };
    assert_eq!(
        (moved.unwrap().throttled_by.as_deref(), waits.lock().unwrap().first().map(String::as_str)),
        (Some("dead rows"), Some("dead rows"))
    );
}

#[tokio::test]
async fn a_run_ends_with_vacuum_or_says_what_to_run() {
    let world = World::new(15, &table(2000, EACH_ITS_OWN)).await;
    world.as_owner("insert into t values (9999, 'young', '2026-11-20')").await;
    let suggested = world.remove(&policy("t", json!({"where": "id > 1000"}))).await.suggestion.unwrap();
    assert!(suggested.ends_with("run: VACUUM (ANALYZE) \"public\".\"t\""), "{suggested}");
    let moved = world.remove(&policy("t", json!({"vacuum": "Run"}))).await;
    assert_eq!((moved.suggestion, moved.rows), (None, 1000));
    let vacuumed = "select vacuum_count > 0 and analyze_count > 0 from pg_stat_user_tables where relname = 't'";
    eventually("the vacuum is noted", Duration::from_secs(10), async || (world.one(vacuumed).await == "true").then_some(()))
        .await;
}

/// A run that has begun, and what it tells.
struct Told(Arc<Mutex<Vec<Progress>>>);

impl Told {
    fn watch() -> (Self, Watch) {
        let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
        let watch = listening({
            let told = Arc::clone(&told);
            move |progress| told.lock().unwrap().push(progress.clone())
        });
        (Self(told), watch)
    }

    /// Waits until the last thing that it told fits.
    async fn says(&self, what: &str, fits: impl Fn(&Progress) -> bool) -> Instant {
        let last_fits = async || self.0.lock().unwrap().last().is_some_and(&fits).then(Instant::now);
        eventually(what, Duration::from_secs(60), last_fits).await
    }

    /// Waits until it tells anew that it waits for this.
    async fn waits_for(&self, what: &str) -> Instant {
        self.0.lock().unwrap().clear();
        self.says(&format!("it waits for {what}"), |progress| progress.waits_for.as_deref() == Some(what)).await
    }
}

/// A world with a standby that has caught up, and a task of many small batches that waits for standbys half a second behind.
async fn followed() -> (World, Arc<Server>, ArchiveRows) {
    let server = Server::start(16, &Options::default());
    let standby = server.standby().await;
    let world = World::on(Database::on(Arc::clone(&server)).await, &table(30_000, EACH_ITS_OWN)).await;
    // Who may not see how far a standby is behind cannot wait for it.
    world.admin.batch_execute(&format!("grant pg_monitor to {}", world.roles.operator)).await.unwrap();
    standby.catch_up(&server).await;
    let batch = json!({"batch": {"rows": 100, "pause": "20ms", "maxReplicationLag": "500ms"}});
    let task = world.task(&policy("t", batch)).await;
    (world, standby, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_does_not_answer_stops_the_batches_too() {
    let (world, standby, task) = followed().await;
    let (told, watch) = Told::watch();
    let session = world.session().await;
    let run = tokio::spawn(async move { carry_out(&task, &session, &watch).await });
    told.says("batches move", |progress| progress.rows > 500).await;
    let follower = standby.superuser("postgres").await;
    let receiver: i32 = follower.query_one("select pid from pg_stat_wal_receiver", &[]).await.unwrap().get(0);
    let signal = |signal: &str| process::run(Command::new("kill").args(["-s", signal, &receiver.to_string()]));
    signal("STOP");
    let moved_before = world.count("t_archive").await;
    // A lag of its own may have been over half a second for a moment: what is told once the standby has not answered for that long is of this.
    tokio::time::sleep(Duration::from_secs(2)).await;
    told.waits_for("replication lag").await;
    let moved_by_then = world.count("t_archive").await;
    // Half a second until it is too much, a second until it is seen, and what was under way: with its pauses a batch takes 20 ms at least, on
    // whatever machine, so that four seconds have two hundred.
    assert!(moved_by_then - moved_before <= 20_000, "{moved_before} {moved_by_then}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.count("t_archive").await, moved_by_then);
    signal("CONT");
    assert_eq!(run.await.unwrap().unwrap().rows, 30_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lags_stops_the_batches_within_a_second_and_the_run_says_so() {
    let (world, standby, task) = followed().await;
    let (told, watch) = Told::watch();
    let session = world.session().await;
    let run = tokio::spawn(async move { carry_out(&task, &session, &watch).await });
    told.says("batches move", |progress| progress.rows > 500).await;
    let follower = standby.superuser("postgres").await;
    follower.batch_execute("select pg_wal_replay_pause()").await.unwrap();
    let lag = "select replay_lag > interval '500 ms' from pg_stat_replication";
    let lags = eventually("the standby lags", Duration::from_secs(20), async || {
        world.admin.query_one(lag, &[]).await.unwrap().get::<_, Option<bool>>(0).filter(|lags| *lags).map(|_| Instant::now())
    })
    .await;
    let moved_before = world.count("t_archive").await;
    let waits = told.waits_for("replication lag").await;
    println!("batches waited {:?} after the standby was too far behind", waits.saturating_duration_since(lags));
    let stopped_at = world.count("t_archive").await;
    // With its pauses a batch of a hundred takes 20 ms at least, on whatever machine: a second and a half has 75 of them.
    assert!(stopped_at - moved_before <= 7_500, "{moved_before} {stopped_at}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.count("t_archive").await, stopped_at, "nothing moves while the standby lags");
    follower.batch_execute("select pg_wal_replay_resume()").await.unwrap();
    let moved = run.await.unwrap().unwrap();
    assert_eq!((moved.rows, moved.ended_early), (30_000, None));
    assert!(moved.throttled_by.as_deref().is_some_and(|by| by.contains("replication lag")), "{:?}", moved.throttled_by);
}

const SLOT: &str = "select wal_status from pg_replication_slots";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_about_to_lose_its_wal_stops_the_batches_and_one_that_only_keeps_much_does_not() {
    let settings = vec!["min_wal_size = 32MB\nmax_wal_size = 32MB".into()];
    let server = Server::start(15, &Options { settings, ..Options::default() });
    let world = World::on(Database::on(server).await, &table(3000, EACH_ITS_OWN)).await;
    let mut spec = policy("t", json!({"batch": {"rows": 100}}));
    spec.guards.max_rows_per_run = 1000;
    let slot_is = async |status: &str| {
        eventually(&format!("the slot is {status}"), Duration::from_secs(20), async || {
            (world.one(SLOT).await == status).then_some(())
        })
        .await;
    };
    world.admin.batch_execute("select pg_create_physical_replication_slot('slow', true)").await.unwrap();
    for _ in 0..6 {
        world.admin.batch_execute("select pg_current_xact_id()").await.unwrap();
        world.admin.batch_execute("select pg_switch_wal()").await.unwrap();
    }
    slot_is("extended").await;
    let moved = world.remove(&spec).await;
    assert_eq!((moved.rows, moved.throttled_by), (1000, None));

    // The next checkpoint would take the WAL away, and none comes by itself.
    world.admin.batch_execute("alter system set max_wal_size = '1GB'").await.unwrap();
    world.admin.batch_execute("alter system set max_slot_wal_keep_size = '16MB'").await.unwrap();
    world.admin.batch_execute("select pg_reload_conf()").await.unwrap();
    slot_is("unreserved").await;
    let task = world.task(&spec).await;
    let (told, watch) = Told::watch();
    let session = world.session().await;
    let run = tokio::spawn(async move { carry_out(&task, &session, &watch).await });
    let endangered = "a replication slot that is about to lose its WAL";
    told.says("it waits", |progress| progress.waits_for.as_deref() == Some(endangered)).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.count("t").await, 2000, "nothing moves while the slot is in danger");
    world.admin.batch_execute("select pg_drop_replication_slot('slow')").await.unwrap();
    let moved = run.await.unwrap().unwrap();
    assert_eq!((moved.rows, moved.throttled_by.as_deref()), (1000, Some(endangered)));
}
