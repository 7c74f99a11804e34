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
