//! Is a server that the connection leads to meanwhile taken for the one that a restore was planned for?

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::world::{PATIENCE, World};

/// As if the plan had been made on another server than the one that is there.
async fn planned_elsewhere(world: &World, system: &str) {
    let patch = Patch::Merge(json!({"status": {"chosen": {"systemIdentifier": system}}}));
    world.api("Restore").patch_status("back", &PatchParams::default(), &patch).await.unwrap();
}

fn message(status: &Value, condition: &str) -> String {
    let found = status["conditions"].as_array().unwrap().iter().find(|found| found["type"] == condition);
    found.and_then(|found| found["message"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_for_another_server_is_made_anew_and_a_restore_that_has_begun_goes_on_on_its_own_alone() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.start().await;
    world.start_node();
    world.restore("back", &backup, json!({})).await;
    let status = world.wait("back", "Ready", "False", "ApprovalPending").await;
    let system = status["chosen"]["systemIdentifier"].as_str().unwrap().to_owned();
    world.stop().await;
    planned_elsewhere(&world, "7").await;
    world.start().await;
    eventually("it is planned for this server", PATIENCE, async || {
        (world.status("back").await["chosen"]["systemIdentifier"] == json!(system)).then_some(())
    })
    .await;
    world.patch("back", json!({"spec": {"confirm": format!("{name}@{system}")}})).await;
    world.wait("back", "Complete", "True", "Restored").await;
    world.stop().await;
    planned_elsewhere(&world, "7").await;
    world.patch("back", json!({"spec": {"keepPrevious": "0s"}})).await;
    world.start().await;
    let status = world.wait("back", "Stalled", "True", "DatabaseMissing").await;
    let said = message(&status, "Stalled");
    assert!(said.contains(&format!("system identifier {system}")) && said.contains("began on 7"), "{said}");
    assert_eq!(world.databases().await.len(), 2, "nothing is dropped there");
    world.stop().await;
    planned_elsewhere(&world, &system).await;
    world.start().await;
    eventually("the former one goes", PATIENCE, async || (world.databases().await.len() == 1).then_some(())).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_keeps_a_database_on_a_server_that_nobody_leads_to_any_more_may_go() {
    let (mut world, backup) = World::copy().await;
    world.start().await;
    world.start_node();
    world.restore("back", &backup, json!({"confirm": world.database.name})).await;
    let status = world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!(status["step"], "Keeping");
    let kept = status["previousDatabase"].as_str().unwrap().to_owned();
    world.stop().await;
    planned_elsewhere(&world, "7").await;
    world.api("Restore").delete("back", &DeleteParams::default()).await.unwrap();
    world.start().await;
    eventually("it goes", PATIENCE, async || world.api("Restore").get_opt("back").await.unwrap().is_none().then_some(())).await;
    assert_eq!(world.databases().await.len(), 2, "nothing is dropped there");
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    let says = format!("database {kept}, which was kept from before, may still be on the former server");
    eventually("an event says what may be left", PATIENCE, async || {
        let told = events.list(&ListParams::default()).await.unwrap().items;
        told.iter().any(|event| event.note.as_ref().is_some_and(|note| note.contains(&says))).then_some(())
    })
    .await;
    world.stop().await;
}
