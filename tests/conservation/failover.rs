//! What if the server crashes and its standby has not heard of our last commit? What was done is not done, and nobody must rely on it.
//!
//! The operator lives through it all; what it has been told of exports, it has in Kubernetes, which forgets nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::checker::Checker;
use crate::ledger::{self, Writers, partition};
use crate::node::Node;
use crate::operator::Operator;
use crate::world::{ROLES, World};

/// How long a test waits for a state: an operator that lost its server waits for some seconds before it looks again.
const PATIENCE: Duration = Duration::from_secs(180);

/// A world with everything at work, and one day of old data in it.
struct Stage {
    world: Arc<World>,
    checker: Checker,
    writers: Writers,
    node: JoinHandle<()>,
    /// Whether Jobs run now.
    works: Arc<AtomicBool>,
    _operator: Operator,
    /// The partition of `events` that is to leave, and its OID.
    day: String,
    oid: u32,
}

impl Stage {
    /// Nothing has a policy yet.
    async fn new() -> Self {
        let world = Arc::new(World::new(17).await);
        let mut admin = world.admin().await;
        let day = partition("events", ledger::another_day(&mut admin, ROLES[0]).await);
        let oid = admin.query_one(&format!("select '{day}'::regclass::oid"), &[]).await.unwrap().get(0);
        let (checker, works) = (Checker::new(&world).await, Arc::new(AtomicBool::new(true)));
        let node = tokio::spawn(serve(Node::new(&world, 6).await, Arc::clone(&works)));
        let (writers, operator) = (Writers::start(&world, 3), Operator::start(&world));
        Self { world, checker, writers, node, works, _operator: operator, day, oid }
    }

    /// Exports are dropped at once, or wait for a day after they are detached.
    async fn export(&self, grace: &str) {
        let export = json!({"destination": self.world.destination(), "format": "Parquet"});
        self.world.retain("events", json!({"partitions": {"action": "Drop", "grace": grace}, "export": export})).await;
        self.world.request_runs().await;
    }

    /// Keeps partitions from being detached, as a long reader of the table does.
    async fn hold(&self) -> Client {
        let client = self.world.admin().await;
        client.batch_execute("begin; lock table only events in access share mode").await.unwrap();
        client
    }

    /// Asks for runs, and counts, until this is so.
    async fn until(&mut self, what: &str, is_so: impl AsyncFn(&World) -> bool) {
        let (begun, mut asked) = (Instant::now(), Instant::now());
        while !is_so(&self.world).await {
            assert!(begun.elapsed() < PATIENCE, "{what}: not so after {PATIENCE:?}; {}", self.world.told().await);
            assert!(!self.node.is_finished(), "the node has ended");
            if asked.elapsed() > Duration::from_millis(500) {
                asked = Instant::now();
                self.world.request_runs().await;
            }
            self.checker.check().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The operator has been told of a verified export.
    async fn exported(&mut self) {
        self.until("the export is known", async |world| {
            let policy = world.policies().get("events").await.unwrap();
            policy.status.is_some_and(|status| !status.exports.is_empty())
        })
        .await;
    }

    /// What a query on the partition's OID says.
    async fn is(&mut self, what: &str, query: &str) {
        let query = query.replace("OID", &self.oid.to_string());
        self.until(what, async |world| is_so(world, &query).await).await;
    }

    /// The server crashes, and the standby takes over.
    async fn fail_over(&mut self) {
        self.checker.check().await;
        self.world.fail_over().await;
        self.checker.begin_anew().await;
        self.checker.check().await;
    }

    /// Ends the writers, counts once more, and says how many exports there are of the partition.
    async fn end(mut self) -> usize {
        let (changes, refused) = self.writers.end().await;
        self.checker.check().await;
        let places = self.checker.places().await;
        let exports = self.checker.verify_all().await.get(&self.oid).map_or(0, Vec::len);
        self.node.abort();
        println!(
            "{changes} changes of writers, {refused} refused, {} snapshots, {exports} exports; in the end {places:?}",
            self.checker.snapshots
        );
        assert!(changes > 20);
        exports
    }
}

/// Runs Jobs for as long as they are to run.
async fn serve(mut node: Node, works: Arc<AtomicBool>) {
    loop {
        if works.load(Ordering::Relaxed) {
            node.look(false).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_so(world: &World, query: &str) -> bool {
    world.admin().await.query_one(&format!("select {query}"), &[]).await.unwrap().get(0)
}

const CLOSED: &str = "exists (select from pg_constraint where conrelid = OID and conname = 'pgreeve_closed')";
const ATTACHED: &str = "exists (select from pg_inherits where inhrelid = OID and not inhdetachpending)";
const DETACHED: &str = "exists (select from pg_class where oid = OID and not relispartition)";
const GONE: &str = "not exists (select from pg_class where oid = OID)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closing_that_is_lost_after_its_export_was_verified_drops_nothing_and_the_partition_is_exported_anew() {
    let mut stage = Stage::new().await;
    stage.world.standby_of_this_moment().await;
    let reader = stage.hold().await;
    stage.export("0s").await;
    stage.exported().await;
    stage.works.store(false, Ordering::Relaxed);
    stage.fail_over().await;
    drop(reader);
    // The operator has a proof of a partition that is open again.
    stage.is("the partition is open and attached", &format!("not {CLOSED} and {ATTACHED}")).await;
    let (admin, day) = (stage.world.admin().await, stage.day.clone());
    let late = ledger::insert(&day, "timestamptz '2015-01-02 23:00:00Z'", 25);
    admin.batch_execute(&late).await.expect("rows come in after the verified export was made");
    stage.works.store(true, Ordering::Relaxed);
    stage.is("the partition leaves", GONE).await;
    assert_eq!(stage.end().await, 2, "the export that lacks the late rows, and one that has them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detach_that_is_lost_is_done_again_by_the_same_export() {
    let mut stage = Stage::new().await;
    let reader = stage.hold().await;
    stage.export("1 day").await;
    stage.exported().await;
    stage.world.standby_of_this_moment().await;
    drop(reader);
    stage.is("the partition is detached", DETACHED).await;
    stage.fail_over().await;
    stage.world.patch("events", json!({"spec": {"partitions": {"grace": "0s"}}})).await;
    stage.is("the partition leaves", GONE).await;
    assert_eq!(stage.end().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_that_is_lost_goes_again() {
    let mut stage = Stage::new().await;
    stage.export("1 day").await;
    stage.is("the partition is detached", DETACHED).await;
    stage.world.standby_of_this_moment().await;
    stage.world.patch("events", json!({"spec": {"partitions": {"grace": "0s"}}})).await;
    stage.is("the partition is dropped", GONE).await;
    stage.fail_over().await;
    stage.is("the partition leaves again", GONE).await;
    assert_eq!(stage.end().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_rows_and_moves_of_partitions_that_are_lost_are_done_again() {
    let mut stage = Stage::new().await;
    ledger::more_stories(&stage.world.admin().await, 4000).await;
    stage.world.standby_of_this_moment().await;
    stage.world.retain_all().await;
    stage.world.request_runs().await;
    let archived = "to_regclass('stories_archive') is not null";
    stage.until("the archive is there", async |world| is_so(world, archived).await).await;
    let moved = "(select count(*) > 300 from stories_archive) and exists (select from pg_inherits where inhparent = 'logs_archive'::regclass)";
    stage.until("rows and a partition have moved", async |world| is_so(world, moved).await).await;
    stage.fail_over().await;
    let empty = "not exists (select from stories where at < '2021-01-01') and exists (select from pg_inherits where inhparent = 'logs_archive'::regclass)";
    stage.until("all has moved again", async |world| is_so(world, archived).await && is_so(world, empty).await).await;
    stage.end().await;
}
