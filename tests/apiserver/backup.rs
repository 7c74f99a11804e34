//! Does a Backup become what it says, whatever happens to it?

use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use pgreeve::clock::Clock;
use pgreeve::controller::Config;
use pgreeve::controller::jobs::Options;
use serde_json::{Value, json};

use crate::jobs::image;
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::versitygw::{ACCESS_KEY, S3, SECRET_KEY, s3};
use crate::world::{PATIENCE, World, condition_of};

const USERS: &str = "create table users (id bigint primary key, name text);
    insert into users select n, 'user ' || n from generate_series(1, 1234) n;
    create table orders (id bigint); insert into orders select generate_series(1, 10)";

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
        let world = World::new(15).await;
        world.as_owner(USERS).await;
        let s3 = s3();
        let bucket = s3.bucket();
        world.secret("store", &json!({"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY})).await;
        let node = Node::start_patiently(&world.client, &world.namespace);
        Self { world, node, s3, bucket, clock: std::sync::Arc::default() }
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
async fn a_deleted_backup_leaves_its_objects_or_takes_them_with_it_as_it_says() {
    let stage = Stage::new().await;
    stage.backup("stays", json!({"verify": "None"})).await;
    stage.complete("stays").await;
    stage.backup("goes", json!({"verify": "None", "deletionPolicy": "Delete"})).await;
    let goes = stage.complete("goes").await;
    assert_eq!(goes.finalizers(), ["pgreeve.dev/objects"]);
    assert_eq!(stage.objects("manifest.json").len(), 2);
    for name in ["stays", "goes"] {
        stage.world.api("Backup").delete(name, &Default::default()).await.unwrap();
        stage.is_gone(name).await;
    }
    let left = stage.objects("");
    assert!(left.iter().all(|path| path.contains("/db/stays-")) && left.len() >= 3, "{left:?}");
}

#[tokio::test]
async fn a_store_that_is_gone_keeps_a_deleted_backup_until_somebody_lets_its_objects_go() {
    let stage = Stage::new().await;
    stage.backup("b", json!({"verify": "None", "deletionPolicy": "Delete"})).await;
    stage.complete("b").await;
    stage.world.delete_secret("store").await;
    stage.world.api("Backup").delete("b", &Default::default()).await.unwrap();
    let waiting = stage.world.wait("Backup", "b", "Ready", "False", "SecretNotFound").await;
    let said = condition_of(&waiting, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(said.contains("store") && said.contains("spec.deletionPolicy to Retain"), "{said}");
    stage.world.patch("Backup", "b", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    stage.is_gone("b").await;
    assert_eq!(stage.objects("manifest.json").len(), 1);
}

#[tokio::test]
async fn no_backup_keeps_a_namespace_from_terminating() {
    let stage = Stage::new().await;
    stage.backup("b", json!({"verify": "None", "deletionPolicy": "Delete"})).await;
    stage.complete("b").await;
    stage.world.delete_secret("store").await;
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(stage.world.client.clone());
    namespaces.delete(&stage.world.namespace, &Default::default()).await.unwrap();
    // As the controller of namespaces does it.
    stage.world.api("Backup").delete("b", &Default::default()).await.unwrap();
    stage.is_gone("b").await;
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_is_tried_for_half_an_hour_and_has_failed_then() {
    let stage = Stage::new().await;
    let nowhere = json!({"host": "127.0.0.1", "port": "1", "dbname": "d", "username": "u", "password": "p"});
    stage.world.secret("nowhere", &nowhere).await;
    let connection = json!({"connection": {"secretRef": {"name": "nowhere"}, "tls": {"mode": "Disable"}}});
    stage.world.create("PostgresDatabase", "nowhere", connection).await;
    stage.backup("b", json!({"databaseRef": {"name": "nowhere"}})).await;
    let waiting = stage.world.wait("Backup", "b", "Ready", "False", "Unreachable").await;
    assert_eq!(condition_of(&waiting, "Failed").unwrap()["status"], "False");
    assert_eq!(condition_of(&waiting, "Reconciling").unwrap()["status"], "True");
    stage.go_ahead(31 * 60);
    let failed = stage.world.wait("Backup", "b", "Failed", "True", "Unreachable").await;
    assert_eq!(condition_of(&failed, "Stalled").unwrap()["status"], "True");
    assert!(condition_of(&failed, "Failed").unwrap()["message"].as_str().unwrap().starts_with("given up: "));
    assert_eq!(stage.objects(""), [""; 0]);
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
