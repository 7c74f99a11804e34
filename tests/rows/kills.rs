//! What if the process dies? `pgreeve job` is killed with SIGKILL at random moments, its sessions are ended, two run at once.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgreeve::job::archive::{Watch, carry_out};
use pgreeve::plan::Action;
use pgreeve::plan::removal::ArchiveRows;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ledger::{self, Writers};
use crate::support::postgres::{Database, Options, Server};
use crate::world::World;

/// How often a Job is killed while it runs.
const KILLS: usize = 500;

/// The file system of the Pod of a Job.
struct Pod(TempDir);

impl Pod {
    fn new(world: &World, task: &ArchiveRows) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secrets/connection");
        fs::create_dir_all(&secret).unwrap();
        let (operator, server) = (&world.roles.operator, world.database.server());
        let password = Database::password(operator).replace(' ', "%20");
        let uri = format!("postgresql://{operator}:{password}@127.0.0.1:{}/{}", server.port, world.database.name);
        fs::write(secret.join("uri"), uri).unwrap();
        let task = json!({
            "version": 1,
            "object": {"kind": "RetentionPolicy", "namespace": "shop", "name": "stories"},
            "database": "db",
            "connection": {"secretRef": {"name": "db-app"}, "tls": {"mode": "Disable"}},
            "limits": {},
            "action": Action::ArchiveRows(Box::new(task.clone())),
        });
        fs::write(directory.path().join("task"), task.to_string()).unwrap();
        Self(directory)
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
        command.arg("job").stdout(Stdio::null()).stderr(Stdio::null());
        for (flag, path) in [("--task", "task"), ("--secrets", "secrets"), ("--volume", "volume"), ("--report", "report")] {
            command.arg(flag).arg(self.0.path().join(path));
        }
        command.spawn().unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.0.path().join("report")).unwrap()).unwrap()
    }
}

async fn world() -> World {
    let server = Server::start(15, &Options { tcp: true, ..Options::default() });
    World::on(Database::on(server).await, &ledger::setup(60_000)).await
}

/// Sessions of a Job, and how many of them have changed something that is not committed.
const SESSIONS: &str = "select count(*), count(backend_xid) from pg_stat_activity where application_name = 'pgreeve'";

/// Waits until the Job has a session (0), or has changed something in it (1), or has ended.
async fn has_come(world: &World, job: &mut Child, how_far: usize) {
    while job.try_wait().unwrap().is_none() {
        let row = world.admin.query_one(SESSIONS, &[]).await.unwrap();
        if row.get::<_, i64>(how_far) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_kills_of_the_job_lose_nothing_and_double_nothing() {
    let world = world().await;
    let mut task = world.task(&ledger::spec()).await;
    task.pace.rows = 100;
    let pod = Pod::new(&world, &task);
    let writers = Writers::start(&world, 3, 60_000).await;
    let mut random = fastrand::Rng::with_seed(8);
    let (mut kills, mut connected, mut inside, mut ended) = (0, 0, 0, 0);
    while kills < KILLS {
        let mut job = pod.start();
        // One in ten dies before it has connected, two soon after, and the others when they have begun to move rows.
        match kills % 10 {
            0 => {}
            1 | 2 => has_come(&world, &mut job, 0).await,
            _ => has_come(&world, &mut job, 1).await,
        }
        // A batch may be over in a few milliseconds: four in ten die as soon as one has begun.
        if !matches!(kills % 10, 3..=6) {
            tokio::time::sleep(Duration::from_micros(random.u64(0..15_000))).await;
        }
        let row = world.admin.query_one(SESSIONS, &[]).await.unwrap();
        if job.try_wait().unwrap().is_some() {
            ended += 1;
            assert!(ended < KILLS, "the job does not run: {}", pod.report());
            continue;
        }
        job.kill().unwrap();
        job.wait().unwrap();
        kills += 1;
        connected += usize::from(row.get::<_, i64>(0) > 0);
        inside += usize::from(row.get::<_, i64>(1) > 0);
        if kills % 25 == 0 {
            assert_eq!(ledger::wrong(&world, true).await, "", "after {kills} kills");
        }
    }
    let archived = world.count("stories_archive").await;
    let changes = writers.end().await;
    println!(
        "{kills} kills of the job, {connected} while it was connected, {inside} in the middle of a batch; {ended} ended before; \
         {archived} rows archived meanwhile, {changes} changes of writers"
    );
    assert!(inside > KILLS / 10 && archived > 1_000 && changes > 1_000);
    // The last one is let live.
    let session = world.session().await;
    task.pace.rows = 5_000;
    carry_out(&task, &session, &Watch::default()).await.unwrap();
    assert_eq!(ledger::wrong(&world, true).await, "");
    assert_eq!(world.one("select count(*) from stories where created_at < '2026-05-25 00:00+00'").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_the_server_ends_lose_nothing_and_the_job_says_why() {
    let world = world().await;
    let mut task = world.task(&ledger::spec()).await;
    task.pace.rows = 200;
    let pod = Pod::new(&world, &task);
    let writers = Writers::start(&world, 2, 60_000).await;
    let mut random = fastrand::Rng::with_seed(9);
    let mut ended = 0;
    let sessions = "select count(*) from pg_stat_activity where application_name = 'pgreeve' and datname = current_database()";
    for _ in 0..60 {
        // The one before takes a moment to leave, and would be taken for this one.
        let has_left = async || (world.one(sessions).await == "0").then_some(());
        crate::support::eventually("the former Job has left", Duration::from_secs(30), has_left).await;
        let mut job = pod.start();
        has_come(&world, &mut job, 0).await;
        tokio::time::sleep(Duration::from_micros(random.u64(0..80_000))).await;
        let query =
            "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'pgreeve'";
        let terminated: i64 = world.admin.query_one(query, &[]).await.unwrap().get(0);
        if terminated == 0 {
            job.kill().unwrap();
        }
        let status = job.wait().unwrap();
        if terminated > 0 {
            ended += 1;
            let report = pod.report();
            assert_eq!((status.code(), report["reason"].as_str()), (Some(1), Some("ConnectionLost")), "{report}");
        }
    }
    println!("{ended} sessions ended by the server, {} rows archived meanwhile", world.count("stories_archive").await);
    assert!(ended > 20);
    writers.end().await;
    assert_eq!(ledger::wrong(&world, true).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_jobs_at_once_one_works_and_the_other_says_so() {
    let world = world().await;
    let mut task = world.task(&ledger::spec()).await;
    task.pace.rows = 300;
    let pods = [Pod::new(&world, &task), Pod::new(&world, &task)];
    let mut jobs = pods.iter().map(Pod::start).collect::<Vec<_>>();
    let codes: Vec<_> = jobs.iter_mut().map(|job| job.wait().unwrap().code()).collect();
    let reports: Vec<Value> = pods.iter().map(Pod::report).collect();
    let at = |code: i32| codes.iter().position(|found| *found == Some(code)).unwrap_or_else(|| panic!("{codes:?} {reports:?}"));
    assert_eq!(reports[at(1)]["reason"], "OtherOperator");
    assert_eq!(reports[at(0)]["report"], "rowsMoved");
    assert_eq!((reports[at(0)]["rows"].as_i64(), reports[at(0)]["dependents"].as_i64()), (Some(60_000), Some(180_000)));
    assert_eq!(ledger::wrong(&world, true).await, "");
}

/// The lock that keeps two apart is a courtesy: without it, they get in each other's way and nothing worse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_that_do_not_know_of_each_other_double_nothing() {
    let world = world().await;
    let task = world.task(&ledger::spec()).await;
    let mut other = task.clone();
    other.pace.rows = 700;
    let (one, two) = (world.session().await, world.session().await);
    let watch = Watch::default();
    let first = carry_out(&task, &one, &watch);
    let second = async {
        let held = "select count(*) from pg_locks where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())";
        let is_held = async || (world.one(held).await != "0").then_some(());
        crate::support::eventually("the first one has its lock", Duration::from_secs(30), is_held).await;
        one.client().batch_execute("select pg_advisory_unlock_all()").await.unwrap();
        carry_out(&other, &two, &watch).await
    };
    let (first, second) = tokio::join!(first, second);
    let (first, second) = (first.unwrap(), second.unwrap());
    println!("{} rows by one, {} by the other", first.rows, second.rows);
    assert!(first.rows > 0 && second.rows > 0);
    let moved = first.rows + second.rows;
    assert_eq!(ledger::wrong(&world, true).await, "");
    assert_eq!((moved, world.count("stories").await), (60_000, 6_000));
}
