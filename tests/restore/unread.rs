//! What becomes of a restore whose status another version of the operator wrote, so that this one cannot read it?

use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::apiserver::apiserver;
use crate::support::eventually;
use crate::world::{PATIENCE, World};

/// Writes the step where the object is stored, past every schema.
async fn store_step(world: &World, step: &str) {
    let path = format!("restores/{}/back", world.namespace);
    apiserver().rewrite_stored(&path, |object| object["status"]["step"] = json!(step)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_restore_that_has_ended_does_not_begin_again_and_goes_on_once_its_status_can_be_read() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.start().await;
    world.start_node();
    world.restore("back", &backup, json!({"confirm": name})).await;
    let before = world.wait("back", "Complete", "True", "Restored").await;
    world.stop().await;
    world.superuser(&name).await.batch_execute("delete from users where id > 7").await.unwrap();
    let databases = world.databases().await;
    store_step(&world, "Sealing").await;
    world.start().await;
    let status = world.wait("back", "Stalled", "True", "StatusUnreadable").await;
    assert!(status["conditions"].to_string().contains("status.step: unknown variant `Sealing`"), "{status:#}");
    let kept = ["step", "chosen", "previousDatabase", "restoredOid", "completedAt", "verification", "plan"];
    assert!(kept.iter().all(|field| *field == "step" || status[*field] == before[*field]), "{status:#}");
    assert_eq!(status["step"], "Sealing");
    assert_eq!(world.databases().await, databases);
    // Another one might meet what it is at, which nobody knows.
    world.restore("next", &backup, json!({"confirm": name})).await;
    world.wait("next", "Ready", "False", "RestoreWaits").await;
    world.api("Restore").delete("next", &DeleteParams::default()).await.unwrap();
    world.api("Restore").delete("back", &DeleteParams::default()).await.unwrap();
    eventually("it says that it is kept", PATIENCE, async || {
        let restore = world.api("Restore").get_opt("back").await.unwrap().expect("it is kept");
        assert!(!restore.finalizers().is_empty());
        restore.data["status"]["conditions"].to_string().contains("deleted, and kept until then").then_some(())
    })
    .await;
    assert_eq!(world.databases().await, databases);
    assert_eq!(world.one(&name, "select count(*) from users").await, 7, "nobody restores it");
    world.stop().await;
    store_step(&world, "Keeping").await;
    world.start().await;
    eventually("it goes", PATIENCE, async || world.api("Restore").get_opt("back").await.unwrap().is_none().then_some(())).await;
    world.stop().await;
}
