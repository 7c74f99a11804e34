//! Does a Backup become what it says, whatever happens to it?

use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use pgreeve::clock::Clock;
use pgreeve::controller::Config;
use pgreeve::controller::jobs::Options;
use serde_json::{Value, json};

use crate::doorman::Doorman;
use crate::jobs::image;
use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::node::{Node, Pods};
use crate::support::versitygw::{ACCESS_KEY, S3, SECRET_KEY, s3};
use crate::world::{PATIENCE, World, condition_of};

const USERS: &str = "create table users (id bigint primary key, name text);
    insert into users select n, 'user ' || n from generate_series(1, 1234) n;
    create table orders (id bigint); insert into orders select generate_series(1, 10)";

/// When Jobs ended that are tried again at once.
pub const LONG_AGO: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// A database, a bucket, a node, and an operator whose clock runs as it is told.
pub struct Stage {
    pub world: World,
    pub node: Node,
    pub s3: std::sync::Arc<S3>,
    pub bucket: String,
    clock: std::sync::Arc<std::sync::atomic::AtomicI64>,
}

impl Stage {
    pub async fn new() -> Self {
        let mut stage = Self::idle().await;
        stage.start().await;
        stage
    }

    /// Without an operator.
    pub async fn idle() -> Self {
        Self::idle_on(15).await
    }

    /// The same, with a server of this major.
    pub async fn idle_on(major: u32) -> Self {
        let world = World::new(major).await;
        world.as_owner(USERS).await;
        let s3 = s3();
        let bucket = s3.bucket();
        world.secret("store", &json!({"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY})).await;
        let node = Node::start_patiently(&world.client, &world.namespace);
        Self { world, node, s3, bucket, clock: std::sync::Arc::default() }
    }

    /// Jobs have this doorman, and those that fail are tried again at once.
    pub fn guard(&mut self, doorman: &Doorman) {
        let kubelet = Kubelet::of(&self.world.client, &self.world.namespace).ending_at(Clock::system().now() - LONG_AGO);
        self.node = Node::of(kubelet, Pods::One, doorman.program());
    }

    /// An operator that knows how Jobs are made.
    pub async fn start(&mut self) {
        let client = self.world.client.clone();
        self.start_with(client).await;
    }

    /// One with this client.
    pub async fn start_with(&mut self, client: kube::Client) {
        let config = self.config();
        self.world.start_with(client, config).await;
    }

    /// How an operator is that looks often.
    pub fn config(&self) -> Config {
        let clock = self.clock.clone();
        let ahead = move || jiff::SignedDuration::from_secs(clock.load(std::sync::atomic::Ordering::Relaxed));
        Config {
            jobs: Options { image: Some(image()), look: Duration::from_millis(300), ..Options::default() },
            clock_of_jobs: Some(Clock::system()),
            clock: Clock::from_fn(move || Clock::system().now() + ahead()),
            resync: Duration::from_millis(500),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(500),
            ..self.world.config("2026-11-21T08:00:00Z")
        }
    }

    /// From here on the operator's clock is ahead of ours by so many seconds.
    pub fn go_ahead(&self, seconds: i64) {
        self.clock.store(seconds, std::sync::atomic::Ordering::Relaxed);
    }

    pub fn destination(&self) -> Value {
        json!({"s3": {"bucket": self.bucket, "endpoint": self.s3.endpoint, "credentialsSecretRef": {"name": "store"}}})
    }

    /// Creates a Backup with these settings beside where it goes.
    pub async fn backup(&self, name: &str, more: Value) {
        let mut spec = json!({"databaseRef": {"name": "db"}, "destination": self.destination()});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.world.create("Backup", name, spec).await;
    }

    /// Deletes a Backup.
    pub async fn delete(&self, name: &str) {
        self.world.api("Backup").delete(name, &Default::default()).await.unwrap();
    }

    pub async fn complete(&self, name: &str) -> DynamicObject {
        self.world.wait("Backup", name, "Complete", "True", "Completed").await
    }

    /// Files in the bucket whose names end so.
    pub fn objects(&self, end: &str) -> Vec<String> {
        fn walk(directory: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() { walk(&entry.path(), found) } else { found.push(entry.path().display().to_string()) }
            }
        }
        let mut found = vec![];
        walk(&self.s3.home.join(&self.bucket), &mut found);
        found.retain(|path| path.ends_with(end));
        found
    }

    pub async fn is_gone(&self, name: &str) {
        let gone = async || self.world.api("Backup").get_opt(name).await.unwrap().is_none().then_some(());
        eventually(&format!("Backup {name} is gone"), PATIENCE, gone).await;
    }

    pub async fn no_job_is_left(&self) {
        let done = async || self.node.has_done_all().then_some(());
        eventually("no Job is left", PATIENCE, done).await;
    }
}

#[tokio::test]
async fn a_backup_on_demand_is_complete_restored_and_leaves_no_job() {
    let stage = Stage::new().await;
    let assertion = json!({"name": "users exist", "sql": "select count(*) from users", "atLeast": 1000});
    stage.backup("before-release", json!({"verify": "Restore", "assertions": [assertion]})).await;
    let backup = stage.complete("before-release").await;
    let status = &backup.data["status"];
    assert_eq!(status["tables"], json!({"count": 2, "rows": 1244}), "{status}");
    assert!(status["url"].as_str().unwrap().ends_with("/manifest.json") && status["sha256"].as_str().unwrap().len() == 64);
    assert!(status["serverVersion"].as_str().unwrap().starts_with("15."), "{status}");
    let backup = stage.world.wait("Backup", "before-release", "Verified", "True", "Verified").await;
    let backup = match backup.data["status"]["verification"]["level"].as_str() {
        Some("Restore") => backup,
        _ => {
            eventually("it is restored", PATIENCE, async || {
                let backup = stage.world.api("Backup").get("before-release").await.unwrap();
                (backup.data["status"]["verification"]["level"] == "Restore").then_some(backup)
            })
            .await
        }
    };
    let verification = &backup.data["status"]["verification"];
    assert_eq!((&verification["rowsMatched"], &verification["assertions"]), (&json!(1244), &json!(1)));
    let backup = stage.world.wait("Backup", "before-release", "Ready", "True", "Completed").await;
    assert!(backup.finalizers().is_empty(), "nothing keeps a complete backup whose objects stay: {:?}", backup.finalizers());
    stage.no_job_is_left().await;
    stage.world.told("before-release", "2 tables with 1244 rows").await;
    let versions: Vec<_> = settled_versions(&stage, "before-release").await;
    assert_eq!(versions.first(), versions.last(), "a settled backup is not written again");
}

/// Resource versions within a second.
async fn settled_versions(stage: &Stage, name: &str) -> Vec<Option<String>> {
    let mut versions = vec![];
    for _ in 0..3 {
        versions.push(stage.world.api("Backup").get(name).await.unwrap().resource_version());
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    versions
}

#[tokio::test]
async fn how_far_a_dump_is_stands_in_the_status_while_it_is_under_way() {
    let mut stage = Stage::idle().await;
    // Nobody runs the Job: the test says what it would.
    stage.node = Node::start_patiently(&stage.world.client, "default");
    stage.start().await;
    stage.backup("b", json!({})).await;
    let status = async || stage.world.api("Backup").get("b").await.unwrap().data["status"].clone();
    let begun = eventually("its Job is made", PATIENCE, async || {
        let status = status().await;
        status["directory"].is_string().then_some(status)
    })
    .await;
    let name = pgreeve::plan::backup::progress::name(begun["directory"].as_str().unwrap(), 43);
    let session = stage.world.database.connect(&stage.world.roles.operator).await;
    session.batch_execute(&format!("set application_name = '{name}'")).await.unwrap();
    eventually("it says so", PATIENCE, async || (status().await["progressPercent"] == 43).then_some(())).await;
}

#[tokio::test]
async fn backups_of_one_database_go_one_after_the_other() {
    let mut stage = Stage::idle().await;
    for name in ["b-second", "a-third"] {
        // The API server counts seconds: of one second, the name decides.
        stage.backup(name, json!({"verify": "None"})).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    stage.start().await;
    stage.complete("a-third").await;
    let completed = async |name: &str| -> jiff::Timestamp {
        let status = stage.world.api("Backup").get(name).await.unwrap().data["status"].clone();
        status["completedAt"].as_str().unwrap().parse().unwrap()
    };
    assert!(completed("b-second").await <= completed("a-third").await);
    assert_eq!(stage.node.broken(), [""; 0]);
}

#[tokio::test]
async fn an_object_that_somebody_alters_makes_a_backup_doubtful_and_a_restore_test_says_so() {
    let stage = Stage::new().await;
    stage.backup("b", json!({})).await;
    stage.complete("b").await;
    stage.world.wait("Backup", "b", "Verified", "True", "Verified").await;
    let data = stage.objects("").into_iter().find(|path| path.contains(".dump")).unwrap();
    let mut bytes = std::fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    stage.world.patch("Backup", "b", json!({"metadata": {"annotations": {"pgreeve.dev/restoreTest": "now"}}})).await;
    let damaged = stage.world.wait("Backup", "b", "Verified", "False", "BackupDamaged").await;
    assert_eq!(condition_of(&damaged, "Complete").unwrap()["status"], "True");
    assert_eq!(condition_of(&damaged, "Ready").unwrap()["status"], "False");
}
