//! Does a PartitionPolicy do on a real API server what its fields say?

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{World, condition_of, version};

const EVENTS: &str = "create table events (id bigint, at timestamptz not null) partition by range (at)";

fn events(more: Value) -> Value {
    let mut spec = json!({
        "databaseRef": {"name": "db"}, "table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 month", "create": {"ahead": 1},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

async fn partitions(world: &World) -> i64 {
    let query = "select count(*) from pg_inherits where inhparent = 'events'::regclass";
    world.database.superuser().await.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_policy_becomes_ready_and_then_nothing_is_written() {
    let mut world = World::new(15).await;
    world.as_owner(EVENTS).await;
    world.create("PartitionPolicy", "events", events(json!({}))).await;
    world.start().await;
    let ready = world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    let status = &ready.data["status"];
    assert_eq!(status["coveredUntil"], "2027-01-01T00:00:00Z");
    assert_eq!(status["coverageSeconds"], 40 * 86_400);
    assert_eq!(status["partitions"]["count"], 2);
    assert_eq!(status["nextRun"], "2026-12-01T00:00:00Z");
    assert_eq!(status["lastRun"]["outcome"], "Succeeded");
    assert_eq!(status["lastRun"]["actions"], 2);
    for (type_, expected) in [("Reconciling", "False"), ("Stalled", "False"), ("Drifted", "False")] {
        assert_eq!(condition_of(&ready, type_).unwrap()["status"], expected);
    }
    let database = world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    assert_eq!(database.data["status"]["policies"], 1);
    // Several passes later, the same versions: a settled object is not written.
    let versions = async || {
        (
            version(&world.api("PartitionPolicy").get("events").await.unwrap()),
            version(&world.api("PostgresDatabase").get("db").await.unwrap()),
        )
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = versions().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(versions().await, before);
    let told = world.events("events").await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("Applied create events_y2026m11") && told[1].starts_with("UpToDate"), "{told:?}");
}

#[tokio::test]
async fn a_partition_that_somebody_drops_comes_back() {
    let mut world = World::new(15).await;
    world.as_owner(EVENTS).await;
    world.create("PartitionPolicy", "events", events(json!({}))).await;
    world.start().await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    world.as_owner("drop table events_y2026m12").await;
    crate::support::eventually("the partition is back", crate::world::PATIENCE, async || {
        (partitions(&world).await == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn observe_plans_and_reports_and_apply_then_does_it() {
    let mut world = World::new(15).await;
    world.as_owner(EVENTS).await;
    world.create("PartitionPolicy", "events", events(json!({"mode": "Observe"}))).await;
    world.start().await;
    let planned = world.wait("PartitionPolicy", "events", "Ready", "True", "Planned").await;
    assert_eq!(condition_of(&planned, "Drifted").unwrap()["status"], "True");
    assert_eq!(planned.data["status"]["plan"]["summary"], "2 to create");
    assert_eq!(partitions(&world).await, 0);
    world.patch("PartitionPolicy", "events", json!({"spec": {"mode": "Apply"}})).await;
    let done = world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    assert_eq!((partitions(&world).await, &done.data["status"]["plan"]), (2, &Value::Null));
}

#[tokio::test]
async fn manual_approval_waits_for_the_fingerprint_and_for_no_other() {
    let mut world = World::new(15).await;
    world.as_owner(EVENTS).await;
    world.create("PartitionPolicy", "events", events(json!({"approval": "Manual"}))).await;
    world.start().await;
    let waiting = world.wait("PartitionPolicy", "events", "Ready", "True", "ApprovalPending").await;
    let fingerprint = waiting.data["status"]["plan"]["fingerprint"].as_str().unwrap().to_owned();
    let approve = async |value: &str| {
        world.patch("PartitionPolicy", "events", json!({"metadata": {"annotations": {"pgreeve.dev/approve": value}}})).await;
    };
    approve("0123456789abcdef").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(partitions(&world).await, 0);
    approve(&fingerprint).await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    assert_eq!(partitions(&world).await, 2);
}

#[tokio::test]
async fn suspend_stops_all_work_and_a_request_for_a_pass_is_echoed() {
    let mut world = World::new(15).await;
    world.as_owner(EVENTS).await;
    world.create("PartitionPolicy", "events", events(json!({"suspend": true}))).await;
    world.start().await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "Suspended").await;
    assert_eq!(partitions(&world).await, 0);
    let request = json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": "now"}}, "spec": {"suspend": false}});
    world.patch("PartitionPolicy", "events", request).await;
    let ready = world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    assert_eq!(ready.data["status"]["lastHandledReconcileAt"], "now");
}

#[tokio::test]
async fn outside_its_window_a_plan_waits_for_the_next_one() {
    let mut world = World::new(15).await;
    world.as_owner(EVENTS).await;
    let window = json!([{"schedule": "0 1 * * *", "duration": "4h", "timeZone": "Europe/Berlin"}]);
    world.create("PartitionPolicy", "events", events(json!({"window": window}))).await;
    world.start().await;
    let waiting = world.wait("PartitionPolicy", "events", "Ready", "True", "OutsideWindow").await;
    assert_eq!(waiting.data["status"]["nextRun"], "2026-11-22T00:00:00Z");
    assert_eq!(partitions(&world).await, 0);
}

#[tokio::test]
async fn a_stalled_policy_says_why_and_recovers_by_itself() {
    let mut world = World::new(15).await;
    world.create("PartitionPolicy", "events", events(json!({}))).await;
    world.create("PartitionPolicy", "lost", events(json!({"databaseRef": {"name": "other"}}))).await;
    world.start().await;
    let stalled = world.wait("PartitionPolicy", "events", "Stalled", "True", "TableNotFound").await;
    assert_eq!(condition_of(&stalled, "Ready").unwrap()["status"], "False");
    world.wait("PartitionPolicy", "lost", "Stalled", "True", "DatabaseNotFound").await;
    world.as_owner(EVENTS).await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
}

#[tokio::test]
async fn a_malformed_object_stalls_and_does_not_stop_the_others() {
    let mut world = World::new(15).await;
    world.as_owner(EVENTS).await;
    world.create("PartitionPolicy", "events", events(json!({}))).await;
    // A time zone is checked when a pass reads it: no schema knows them all.
    world.create("PartitionPolicy", "broken", events(json!({"timeZone": "Mars/Olympus"}))).await;
    world.start().await;
    let broken = world.wait("PartitionPolicy", "broken", "Stalled", "True", "InvalidSpec").await;
    let message = condition_of(&broken, "Stalled").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Mars/Olympus"), "{message}");
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
}

#[tokio::test]
async fn deleting_a_policy_drops_nothing() {
    let mut world = World::new(15).await;
    world.as_owner(EVENTS).await;
    world.create("PartitionPolicy", "events", events(json!({}))).await;
    world.start().await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    world.api("PartitionPolicy").delete("events", &Default::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(partitions(&world).await, 2);
    world.stop().await;
}
