//! What does an object do that our types cannot read? It was written under an older schema, or past any schema.

use serde_json::{Value, json};

use crate::support::apiserver::apiserver;
use crate::world::{World, condition_of};

fn policy(table: &str) -> Value {
    json!({"databaseRef": {"name": "db"}, "table": {"name": table}, "key": {"column": "at"}, "interval": "1 month", "create": {"ahead": 1}})
}

const TABLES: &str = "create table events (at timestamptz not null) partition by range (at);
    create table other (at timestamptz not null) partition by range (at)";

#[tokio::test]
async fn it_stalls_with_the_field_in_its_message_and_harms_nobody_else() {
    let mut world = World::new(15).await;
    world.as_owner(TABLES).await;
    world.create("PartitionPolicy", "broken", policy("other")).await;
    // No API server would take it now.
    let path = format!("partitionpolicies/{}/broken", world.namespace);
    apiserver().rewrite_stored(&path, |object| object["spec"]["interval"] = json!("a month of Sundays")).await;
    world.create("PartitionPolicy", "events", policy("events")).await;
    world.start().await;
    let broken = world.wait("PartitionPolicy", "broken", "Stalled", "True", "InvalidSpec").await;
    let message = condition_of(&broken, "Stalled").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("broken") && message.contains("a month of Sundays"), "{message}");
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    // One that comes while the operator runs does not stop the watch either.
    world.patch("PartitionPolicy", "broken", json!({"spec": {"interval": "1 month"}})).await;
    world.wait("PartitionPolicy", "broken", "Ready", "True", "UpToDate").await;
    apiserver().rewrite_stored(&path, |object| object["spec"]["key"] = json!(["at"])).await;
    world.patch("PartitionPolicy", "events", json!({"spec": {"create": {"ahead": 2}}})).await;
    let events = world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    assert_eq!(events.data["status"]["partitions"]["count"], 3);
}

#[tokio::test]
async fn a_status_that_cannot_be_read_stays_where_it_remembers_what_was_done_and_is_written_anew_elsewhere() {
    let mut world = World::new(15).await;
    world.as_owner(TABLES).await;
    world.create("PartitionPolicy", "events", policy("events")).await;
    let keeps = json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "keep": {"age": "50 years"},
        "partitions": {"action": "Drop", "grace": "0s"}});
    world.create("RetentionPolicy", "events", keeps).await;
    for plural in ["retentionpolicies", "partitionpolicies"] {
        let status = json!({"lastSlot": "yesterday", "nextRun": "tomorrow"});
        let path = format!("{plural}/{}/events", world.namespace);
        apiserver().rewrite_stored(&path, |object| object["status"] = status).await;
    }
    world.start().await;
    let left = world.wait("RetentionPolicy", "events", "Stalled", "True", "StatusUnreadable").await;
    let message = condition_of(&left, "Stalled").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("status.lastSlot: ") && message.contains("status.nextRun: "), "{message}");
    assert_eq!((&left.data["status"]["lastSlot"], &left.data["status"]["nextRun"]), (&json!("yesterday"), &json!("tomorrow")));
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
}
