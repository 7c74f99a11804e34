//! What if processes die, again and again? SIGKILL for the operator and for its Jobs, while partitions leave and rows move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::checker::Checker;
use crate::ledger::{self, Writers};
use crate::node::Node;
use crate::operator::Operator;
use crate::support::eventually;
use crate::world::{ROLES, World};

/// How often a Job dies, at least, and how often the operator does. The Job of plain rows dies 500 times in a test of its own.
const JOB_DEATHS: usize = 215;
const OPERATOR_DEATHS: usize = 290;

/// Longest life of an operator here, and of one that dies in a moment which each of them has.
const LIFE: Duration = Duration::from_millis(1200);
const LIFE_OF_MOST: Duration = Duration::from_secs(5);

/// Longest that all these deaths may take.
const LONGEST: Duration = Duration::from_secs(900);

/// Expired partitions that wait to leave, at least, and old stories.
const SUPPLY: i64 = 4;

/// What a session of the operator is doing that changes something; a Job's changes look otherwise.
const CHANGES: &str = "select count(*) from pg_stat_activity where usename = 'reeve' and backend_xid is not null
    and not (query ~ 'ADD CONSTRAINT \"pgreeve_closed|OR \\(NOT EXISTS' or query ~ '\"stories')";

/// Partitions between detach and drop, and partitions on their way to the archive.
const DETACHED: &str = "select count(*) from pg_class c where relkind = 'r' and not relispartition and relname like 'events_d%'
    and obj_description(oid, 'pg_class') like 'pgreeve: %'";
const ARRIVING: &str = "select count(*) from pg_constraint where conname = 'pgreeve_arrival'";

/// Where operators were when they died.
#[derive(Debug, Default)]
struct Deaths {
    all: usize,
    in_a_transaction: usize,
    between_detach_and_drop: usize,
    between_check_and_move: usize,
}

/// What all lanes share.
struct Stage {
    world: Arc<World>,
    checker: Mutex<Checker>,
    job_deaths: AtomicUsize,
    operator_deaths: AtomicUsize,
    is_over: AtomicBool,
}

impl Stage {
    fn goes_on(&self) -> bool {
        let enough = self.job_deaths.load(Ordering::Relaxed) >= JOB_DEATHS
            && self.operator_deaths.load(Ordering::Relaxed) >= OPERATOR_DEATHS;
        !enough && !self.is_over.load(Ordering::Relaxed)
    }

    async fn check(&self) {
        self.checker.lock().await.check().await;
    }
}

/// Ends the other lanes where one of them panics.
struct Ends<'a>(&'a Stage);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.is_over.store(true, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_kills_of_operator_and_jobs_lose_nothing_and_double_nothing() {
    let world = Arc::new(World::new(16).await);
    let checker = Mutex::new(Checker::new(&world).await);
    let stage = Arc::new(Stage {
        world: Arc::clone(&world),
        checker,
        job_deaths: AtomicUsize::new(0),
        operator_deaths: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    });
    let mut admin = world.admin().await;
    supply(&mut admin).await;
    world.retain_all().await;
    let writers = Writers::start(&world, 2);
    let begun = Instant::now();
    let nodes = tokio::spawn(kill_jobs(Arc::clone(&stage)));
    let operators = tokio::spawn(kill_operators(Arc::clone(&stage)));
    while stage.goes_on() {
        assert!(begun.elapsed() < LONGEST, "{}", counts(&stage));
        supply(&mut admin).await;
        world.request_runs().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let (mut node, operators) = (nodes.await.unwrap(), operators.await.unwrap());
    let took = begun.elapsed();
    let (changes, refused) = writers.end().await;
    settle(&world, &mut node, &admin).await;
    let mut checker = stage.checker.lock().await;
    checker.check().await;
    let places = checker.places().await;
    let exports = checker.verify_all().await;
    println!(
        "{} kills in {took:?}: {} of Jobs ({:?}) and {} of the operator ({operators:?}); {} Jobs ended; {} exports; {changes} changes of writers and {refused} refused; \
         {} snapshots; in the end {places:?}",
        node.deaths.all + operators.all,
        node.deaths.all,
        node.deaths,
        operators.all,
        node.done,
        exports.len(),
        checker.snapshots,
    );
    let twice: Vec<_> = exports.iter().filter(|(_, exports)| exports.len() != 1).collect();
    assert!(twice.is_empty(), "a partition is exported once, however often its Job dies: {twice:?}");
    assert!(node.deaths.all >= JOB_DEATHS && operators.all >= OPERATOR_DEATHS);
    // They hit what matters, and not only the beginning.
    let deaths = &node.deaths;
    assert!(deaths.in_a_transaction >= 20, "{deaths:?}");
    assert!(deaths.before_the_manifest >= 3 && deaths.before_the_report >= 2, "{deaths:?}");
    assert!(operators.in_a_transaction >= 10 && operators.between_detach_and_drop >= 10, "{operators:?}");
    assert!(
        changes > 1000 && refused > 10 && exports.len() > 10,
        "{changes} changes, {refused} refused, {} exports",
        exports.len()
    );
}

fn counts(stage: &Stage) -> String {
    format!(
        "{} Jobs and {} operators died in {LONGEST:?}",
        stage.job_deaths.load(Ordering::Relaxed),
        stage.operator_deaths.load(Ordering::Relaxed)
    )
}

/// Keeps something there that must leave.
async fn supply(admin: &mut Client) {
    let waiting = "select count(*) from pg_inherits where inhparent = 'events'::regclass";
    let waits: i64 = admin.query_one(waiting, &[]).await.unwrap().get(0);
    for _ in waits..=SUPPLY {
        ledger::another_day(admin, ROLES[0]).await;
    }
    let stories = "select count(*) from stories where at < '2021-01-01'";
    if admin.query_one(stories, &[]).await.unwrap().get::<_, i64>(0) < 100 {
        ledger::more_stories(admin, 150).await;
    }
}

/// Kills Jobs until enough have died.
async fn kill_jobs(stage: Arc<Stage>) -> Node {
    let _ends = Ends(&stage);
    let mut node = Node::new(&stage.world, 4).await;
    while stage.goes_on() {
        let before = node.deaths.all;
        node.look(true).await;
        stage.job_deaths.store(node.deaths.all, Ordering::Relaxed);
        if node.deaths.all > before {
            stage.check().await;
        }
    }
    node
}

/// Starts an operator and kills it, again and again, in the middle of what it does.
async fn kill_operators(stage: Arc<Stage>) -> Deaths {
    let _ends = Ends(&stage);
    let (mut random, mut deaths) = (fastrand::Rng::with_seed(5), Deaths::default());
    let admin = stage.world.admin().await;
    let count = async |query: &str| admin.query_one(query, &[]).await.unwrap().get::<_, i64>(0) > 0;
    while stage.goes_on() {
        let mut operator = Operator::start(&stage.world);
        let begun = Instant::now();
        let (aim, life) = (random.u32(0..10), Duration::from_millis(random.u64(50..700)));
        let mut changes = false;
        let limit = if (3..=8).contains(&aim) { LIFE_OF_MOST } else { LIFE };
        while begun.elapsed() < limit {
            let is_the_moment = match aim {
                0..=2 => begun.elapsed() > life,
                3..=5 => {
                    changes = count(CHANGES).await;
                    changes
                }
                6..=8 => count(DETACHED).await,
                _ => count(ARRIVING).await,
            };
            // What a former operator has left is no moment of this one's.
            if is_the_moment && begun.elapsed() > Duration::from_millis(50) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(
            operator.runs(),
            "the operator ended by itself: {}",
            std::fs::read_to_string(Operator::log(&stage.world)).unwrap()
        );
        operator.kill();
        // What is left behind in the database stays until the next one comes.
        let (detached, arriving) = (count(DETACHED).await, count(ARRIVING).await);
        deaths.all += 1;
        deaths.in_a_transaction += usize::from(changes);
        deaths.between_detach_and_drop += usize::from(detached);
        deaths.between_check_and_move += usize::from(arriving);
        stage.operator_deaths.store(deaths.all, Ordering::Relaxed);
        stage.check().await;
    }
    deaths
}

/// Lets it all run to its end: nothing old is left where it was, and nothing is half done.
async fn settle(world: &Arc<World>, node: &mut Node, admin: &Client) {
    let _operator = Operator::start(world);
    let left = format!(
        "select (select count(*) from pg_inherits where inhparent in ('events'::regclass, 'logs'::regclass)) - 2
            + (select count(*) from stories where at < '2021-01-01') + ({DETACHED}) + ({ARRIVING})"
    );
    let begun = Instant::now();
    loop {
        let left: i64 = admin.query_one(&left, &[]).await.unwrap().get(0);
        if left == 0 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "{left} things are left; {}", world.told().await);
        world.request_runs().await;
        node.look(false).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eventually("no run is under way", Duration::from_secs(30), async || {
        node.look(false).await;
        let policies = world.policies().list(&Default::default()).await.unwrap();
        policies.iter().all(|policy| policy.status.as_ref().is_some_and(|status| status.run.is_none())).then_some(())
    })
    .await;
}
