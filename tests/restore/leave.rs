//! Does a Restore that cannot put anything back keep what it lives in?

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::support::eventually;
use crate::support::pgproxy::StartupFault;
use crate::world::{PATIENCE, World};

/// A Restore whose database was made beside the other, which no Job fills and whose server is away from now on.
async fn stranded() -> World {
    let mut world = World::new().await;
    let backup = world.back_up().await;
    world.start().await;
    world.start_node();
    world.restore("back", &backup, json!({"confirm": world.database.name})).await;
    eventually("it is made", PATIENCE, async || (world.databases().await.len() == 2).then_some(())).await;
    world.proxy.plan_startup(StartupFault::Closed, usize::MAX);
    let query = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
    world.superuser("postgres").await.execute(query, &[&world.roles.operator]).await.unwrap();
    world
}

async fn is_there(world: &World) -> bool {
    world.api("Restore").get_opt("back").await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_deleted_waits_for_its_server_and_keeps_no_namespace() {
    let mut world = stranded().await;
    world.api("Restore").delete("back", &DeleteParams::default()).await.unwrap();
    eventually("it says what it waits for", PATIENCE, async || {
        let restore = world.api("Restore").get_opt("back").await.unwrap().expect("nobody could look after its database");
        let conditions = restore.data["status"]["conditions"].as_array().unwrap().clone();
        let ready = conditions.into_iter().find(|found| found["type"] == "Ready")?;
        let says =
            ready["message"].as_str()?.starts_with("deleted, and waits to put back what it has touched: PostgresDatabase db ");
        (says && ready["reason"] == "Unreachable").then_some(())
    })
    .await;
    assert!(is_there(&world).await);
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    eventually("it goes", PATIENCE, async || (!is_there(&world).await).then_some(())).await;
    // What it had made is left, and nothing else.
    assert_eq!(world.databases().await.len(), 2);
    assert_eq!(world.one(&world.database.name, "select count(*) from users").await, 2000);
    world.stop().await;
}
