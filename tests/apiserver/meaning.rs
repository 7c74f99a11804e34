//! What becomes of an object that the API server takes, and that means nothing? It stalls, and says what `pgreeve validate` says.

use serde_json::json;

use crate::support::bad_input::{By, cases};
use crate::world::{World, condition_of};

#[tokio::test]
async fn what_no_schema_can_know_stalls_with_the_field_and_the_value() {
    let mut world = World::new(15).await;
    world.as_owner("create table chat_history (created_at timestamptz not null) partition by range (created_at)").await;
    let mut stalled = Vec::new();
    for (number, case) in cases().into_iter().filter(|case| case.by == By::Meaning).enumerate() {
        let (kind, name) = (case.object["kind"].as_str().unwrap().to_owned(), format!("case-{number}"));
        let mut spec = case.object["spec"].clone();
        if kind == "PostgresDatabase" {
            spec["connection"] = json!({"secretRef": {"name": "db"}, "tls": {"mode": "Disable"}});
        } else {
            spec["databaseRef"] = json!({"name": "db"});
        }
        world.create(&kind, &name, spec).await;
        stalled.push((kind, name, case));
    }
    world.start().await;
    for (kind, name, case) in stalled {
        let object = world.wait(&kind, &name, "Stalled", "True", "InvalidSpec").await;
        let message = condition_of(&object, "Stalled").unwrap()["message"].as_str().unwrap().to_owned();
        assert!(case.says.iter().all(|fragment| message.contains(fragment)), "{}: {message:?} lacks {:?}", case.field, case.says);
    }
}
