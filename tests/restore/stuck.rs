//! What becomes of the application where the way to the server is lost while it makes way?

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::pgproxy::StartupFault;
use crate::world::{PATIENCE, World};

/// Takes every way to the server away. Other worlds share the role.
fn cut_off(world: &World) {
    world.proxy.plan_startup(StartupFault::Refused("28P01"), usize::MAX);
    world.proxy.cut();
}

fn says(status: &Value, words: &str) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|found| found["type"] == "Ready");
    ready.and_then(|ready| ready["message"].as_str()).is_some_and(|message| message.contains(words))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_come_back_though_the_server_does_not_let_us_in_and_a_deleted_restore_waits_for_its_secret() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.workloads().await;
    let before = world.workloads_now().await;
    // It never goes, since there is no kubelet.
    let pod =
        json!({"metadata": {"name": "stays", "labels": {"app": "shop"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    world.start().await;
    world.start_node();
    let workloads = json!([{"kind": "Deployment", "name": "api"}, {"kind": "CronJob", "name": "report"}]);
    world.restore("back", &backup, json!({"confirm": name, "workloads": workloads, "quiesceTimeout": "5m"})).await;
    world.wait("back", "Ready", "False", "Quiescing").await;
    eventually("they go", PATIENCE, async || (world.workloads_now().await["replicas"] == 0).then_some(())).await;
    cut_off(&world);
    world.patch("back", json!({"spec": {"quiesceTimeout": "3s"}})).await;
    eventually("they are back", PATIENCE, async || (world.workloads_now().await == before).then_some(())).await;
    let status = world.status("back").await;
    assert!(status["failure"].as_str().is_some_and(|failure| failure.contains("quiesceTimeout (3s)")), "{status:#}");
    assert!(world.databases().await.iter().all(|(_, _, is_open)| *is_open));
    // What is left is the database beside, which nobody may forget because a Secret is away for a moment.
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let secret = secrets.get("db").await.unwrap();
    secrets.delete("db", &DeleteParams::default()).await.unwrap();
    world.api("Restore").delete("back", &DeleteParams::default()).await.unwrap();
    eventually("it waits", PATIENCE, async || {
        let restore = world.api("Restore").get_opt("back").await.unwrap().expect("nobody looks after its database any more");
        says(&restore.data["status"], "deleted, and waits to put back").then_some(())
    })
    .await;
    let again = Secret { metadata: kube::core::ObjectMeta { name: Some("db".into()), ..Default::default() }, ..secret };
    secrets.create(&PostParams::default(), &again).await.unwrap();
    world.proxy.plan_startup(StartupFault::Closed, 1);
    eventually("all is put back", PATIENCE, async || {
        let is_gone = world.api("Restore").get_opt("back").await.unwrap().is_none();
        (is_gone && world.databases().await.len() == 1).then_some(())
    })
    .await;
    world.stop().await;
}
