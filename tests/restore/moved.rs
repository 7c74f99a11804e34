//! What does a Restore do when somebody else changes the databases that it is about?

use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::support::eventually;
use crate::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_waits_where_somebody_has_made_a_database_of_the_name_that_it_has_given_away() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.workloads().await;
    let before = world.workloads_now().await;
    // Where the directory of the backup would be that is made before the drop.
    let in_the_way = world.volume.join(&name);
    std::fs::write(&in_the_way, "").unwrap();
    world.watch_jobs();
    world.start_node();
    world.start().await;
    let workloads = json!([{"kind": "Deployment", "name": "api"}, {"kind": "CronJob", "name": "report"}]);
    world.restore("back", &backup, json!({"confirm": name, "strategy": "Replace", "workloads": workloads})).await;
    let fails = async || world.status("back").await["setback"].is_object().then_some(());
    eventually("it cannot be backed up", PATIENCE, fails).await;
    let server = world.superuser("postgres").await;
    server.batch_execute(&format!("create database {name}")).await.unwrap();
    let status = world.wait("back", "Stalled", "True", "NameTaken").await;
    assert_eq!((&status["failure"], &status["completedAt"]), (&json!(null), &json!(null)), "{status:#}");
    assert_eq!(world.workloads_now().await["replicas"], json!(0));
    server.batch_execute(&format!("drop database {name} with (force)")).await.unwrap();
    std::fs::remove_file(&in_the_way).unwrap();
    // It is tried again at once.
    world.kubelet.jobs.delete_collection(&DeleteParams::background(), &ListParams::default()).await.unwrap();
    world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!((world.workloads_now().await, world.one(&name, "select count(*) from users").await), (before, 2000));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_half_dropped_does_not_come_back() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.start_node();
    world.start().await;
    world.restore("back", &backup, json!({"confirm": name})).await;
    let status = world.wait("back", "Complete", "True", "Restored").await;
    world.stop().await;
    // As PostgreSQL leaves one whose drop broke off.
    let half = "update pg_database set datconnlimit = -2 where datname = $1";
    let previous = status["previousDatabase"].as_str().unwrap();
    assert_eq!(world.superuser("postgres").await.execute(half, &[&previous]).await.unwrap(), 1);
    world.patch("back", json!({"spec": {"rollback": true}})).await;
    world.start().await;
    eventually("it goes", PATIENCE, async || (world.databases().await.len() == 1).then_some(())).await;
    world.wait("back", "Stalled", "True", "InvalidSpec").await;
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    world.stop().await;
}
