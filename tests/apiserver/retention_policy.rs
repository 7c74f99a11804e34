//! Does data leave on time in a cluster: when it is due, after its proof, and not when something keeps it?

use std::path::Path;

use kube::api::{Patch, PatchParams};
use pgreeve::controller::{Config, jobs};
use serde_json::{Value, json};

use crate::jobs::image;
use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::world::{PATIENCE, World, condition_of};

/// Three years of visits, the first two of them old.
const VISITS: &str = "create table visits (at timestamptz not null, text text) partition by range (at);
    create table visits_2024 partition of visits for values from ('2024-01-01 00:00:00+00') to ('2025-01-01 00:00:00+00');
    create table visits_2025 partition of visits for values from ('2025-01-01 00:00:00+00') to ('2026-01-01 00:00:00+00');
    create table visits_2026 partition of visits for values from ('2026-01-01 00:00:00+00') to ('2027-01-01 00:00:00+00');
    insert into visits select timestamptz '2024-06-01 00:00:00+00' + n * interval '1 s', 'row ' || n from generate_series(1, 300) as n";

const SESSIONS: &str = "create table sessions (id bigint primary key, at timestamptz not null);
    create index on sessions (at);
    insert into sessions select n, timestamptz '2025-06-01 00:00:00+00' + n * interval '1 day' from generate_series(1, 300) as n";

/// A moment long after the objects of a test are created: a run is due.
const LATER: &str = "2030-11-21T08:00:00Z";

/// A moment before they are: none is.
const EARLIER: &str = "2026-01-21T08:00:00Z";

async fn world(setup: &str) -> World {
    let world = World::new(15).await;
    world.as_owner(setup).await;
    world
}

fn visits(more: &Value) -> Value {
    let mut spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "visits"}, "keep": {"age": "1 year"},
        "partitions": {"action": "Drop", "grace": "0s"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

async fn start(world: &mut World, now: &str) {
    let quick = Config {
        resync: std::time::Duration::from_millis(500),
        backoff_min: std::time::Duration::from_millis(50),
        backoff_max: std::time::Duration::from_millis(500),
        jobs: jobs::Options { image: Some(image()), ..jobs::Options::default() },
        ..world.config(now)
    };
    world.start_with(world.client.clone(), quick).await;
}

async fn count(world: &World, what: &str) -> i64 {
    world.database.superuser().await.query_one(&format!("select count(*) from {what}"), &[]).await.unwrap().get(0)
}

async fn annotate(world: &World, name: &str, annotations: Value) {
    let patch = json!({"metadata": {"annotations": annotations}});
    world.api("RetentionPolicy").patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

async fn gone(world: &World, partition: &str) {
    let table = format!("pg_class where relname = '{partition}'");
    eventually(&format!("{partition} is gone"), PATIENCE, async || (count(world, &table).await == 0).then_some(())).await;
}

fn message(object: &kube::api::DynamicObject) -> String {
    condition_of(object, "Ready").unwrap()["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_archived_by_a_job_once() {
    let mut world = world(SESSIONS).await;
    let spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "sessions"}, "keep": {"age": "300 days"},
        "rows": {"column": "at", "batch": {"rows": 100, "pause": "0ms", "maxLoad": 100}}, "guards": {"approveAbovePercent": 100}});
    world.create("RetentionPolicy", "sessions", spec).await;
    start(&mut world, "2026-11-21T08:00:00Z").await;
    annotate(&world, "sessions", json!({"pgreeve.dev/requestedAt": "now"})).await;
    let (volume, api) = (tempfile::tempdir().unwrap(), world.api("RetentionPolicy"));
    let kubelet = Kubelet::of(&world.client, &world.namespace);
    let moved = eventually("rows are archived", PATIENCE, async || {
        let object = api.get("sessions").await.unwrap();
        let removed = object.data["status"]["rows"]["removed"].as_i64();
        removed.filter(|_| object.data["status"]["run"].is_null())
    });
    let moved = tokio::select! {
        () = kubelet.serve(Path::new(env!("CARGO_BIN_EXE_pgreeve")), volume.path()) => unreachable!("a node serves for ever"),
        moved = moved => moved,
    };
    let archived = count(&world, "sessions_archive").await;
    assert!(moved > 0 && archived == moved, "{moved} and {archived}");
    assert_eq!(count(&world, "sessions").await + archived, 300);
}

#[tokio::test]
async fn before_its_schedule_nothing_goes_and_then_it_goes_by_itself() {
    let mut world = world(VISITS).await;
    let spec = visits(&json!({"keep": {"age": "1 year"}, "guards": {"approveAbovePercent": 100}}));
    world.create("RetentionPolicy", "visits", spec).await;
    start(&mut world, EARLIER).await;
    let object = world.wait("RetentionPolicy", "visits", "Ready", "True", "UpToDate").await;
    assert!(
        message(&object).contains("1 partition has expired; the next run begins at 2026-01-22T03:00:00Z"),
        "{}",
        message(&object)
    );
    assert_eq!(object.data["status"]["expired"]["partitions"], json!(1));
    world.stop().await;
    start(&mut world, LATER).await;
    gone(&world, "visits_2024").await;
    gone(&world, "visits_2025").await;
    assert_eq!(count(&world, "pg_class where relname = 'visits_2026'").await, 1, "the newest stays, however old it is");
    world.told("visits", "drop visits_2024").await;
}

#[tokio::test]
async fn a_first_run_that_takes_much_at_once_waits_for_a_word_and_keeps_to_it() {
    let mut world = world(VISITS).await;
    world.create("RetentionPolicy", "visits", visits(&json!({}))).await;
    start(&mut world, LATER).await;
    let object = world.wait("RetentionPolicy", "visits", "Ready", "True", "ApprovalPending").await;
    assert!(message(&object).contains("2 of 3 partitions (66 %) expire by the first run"), "{}", message(&object));
    let fingerprint = object.data["status"]["plan"]["fingerprint"].as_str().unwrap().to_owned();
    annotate(&world, "visits", json!({"pgreeve.dev/approve": fingerprint})).await;
    gone(&world, "visits_2024").await;
    gone(&world, "visits_2025").await;
    let object = world.wait("RetentionPolicy", "visits", "Ready", "True", "UpToDate").await;
    assert_eq!(object.data["status"]["accepted"]["age"], json!("1 year"));
}

#[tokio::test]
async fn a_hold_beats_the_policy_and_says_whom_it_binds() {
    let mut world = world(VISITS).await;
    let hold =
        json!({"databaseRef": {"name": "db"}, "table": {"name": "visits"}, "range": {"from": "2024-02-01"}, "reason": "audit"});
    world.create("RetentionHold", "audit", hold).await;
    world.create("RetentionPolicy", "visits", visits(&json!({"guards": {"approveAbovePercent": 100}}))).await;
    start(&mut world, LATER).await;
    let object = world.wait("RetentionPolicy", "visits", "Ready", "True", "UpToDate").await;
    let held = object.data["status"]["held"].to_string();
    assert!(held.contains("visits_2024 on hold (RetentionHold") && held.contains("visits_2025"), "{held}");
    let api = world.api("RetentionHold");
    let hold = eventually("the hold knows its policy", PATIENCE, async || {
        let hold = api.get("audit").await.unwrap();
        (hold.data["status"]["policies"] == json!(["visits"])).then_some(hold)
    })
    .await;
    assert!(
        message(&hold).contains("keeps all from 2024-02-01 on of public.visits until it is deleted: audit"),
        "{}",
        message(&hold)
    );
    assert_eq!(count(&world, "visits").await, 300);
}

#[tokio::test]
async fn without_the_backup_that_is_asked_for_the_policy_says_so_and_nothing_goes() {
    let mut world = world(VISITS).await;
    let guards = json!({"guards": {"approveAbovePercent": 100, "backup": {"scheduleRef": {"name": "nightly"}, "within": "24h"}}});
    world.create("RetentionPolicy", "visits", visits(&guards)).await;
    start(&mut world, LATER).await;
    let object = world.wait("RetentionPolicy", "visits", "Ready", "False", "BackupMissing").await;
    assert!(
        message(&object).contains("verified Backup of BackupSchedule nightly from the last 24h; there is none"),
        "{}",
        message(&object)
    );
    assert_eq!(count(&world, "visits").await, 300);
}
