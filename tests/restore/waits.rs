//! Who waits for whom, and what becomes of applications and databases where that lasts too long?

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use pgreeve::job::backup::BackedUp;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::watch::Watchman;
use crate::world::{PATIENCE, World};

/// What [`World::workloads`] makes.
fn workloads() -> Value {
    json!([{"kind": "Deployment", "name": "api"}, {"kind": "CronJob", "name": "report"}])
}

/// A Restore whose database is made and not filled, since no node runs Jobs from then on.
async fn made(world: &mut World, name: &str, backup: &BackedUp, spec: Value) {
    world.start_node();
    world.restore(name, backup, spec).await;
    world.wait(name, "Ready", "False", "ApprovalPending").await;
    world.stop_node().await;
    world.patch(name, json!({"spec": {"confirm": world.database.name}})).await;
    eventually("its database is made", PATIENCE, async || (world.databases().await.len() == 2).then_some(())).await;
}

/// Waits until a Restore's Ready condition says this.
async fn says(world: &World, name: &str, words: &str) {
    eventually(&format!("Restore {name} says {words}"), PATIENCE, async || {
        let status = world.status(name).await;
        let ready = status["conditions"].as_array()?.iter().find(|found| found["type"] == "Ready")?.clone();
        ready["message"].as_str()?.contains(words).then_some(())
    })
    .await;
}

/// Whether a Restore must not go before it has put everything back.
async fn is_kept(world: &World, name: &str) -> bool {
    !world.api("Restore").get(name).await.unwrap().finalizers().is_empty()
}

/// The process of a session.
async fn pid(session: &tokio_postgres::Client) -> i32 {
    session.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superuser_is_waited_for_with_the_database_open_and_workloads_stay_down_for_as_long_as_that_is_wanted() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.workloads().await;
    let before = world.workloads_now().await;
    world.start().await;
    let spec = |confirm: Value| json!({"confirm": confirm, "workloads": workloads(), "onFailure": "StayDown"});
    made(&mut world, "back", &backup, spec(Value::Null)).await;
    let superuser = world.superuser(&name).await;
    let pid = pid(&superuser).await;
    let watchman = Watchman::start(world.superuser("postgres").await, &name).await;
    world.start_node();
    says(&world, "back", &format!("postgres, pid {pid}")).await;
    world.patch("back", json!({"spec": {"quiesceTimeout": "1s"}})).await;
    let status = world.wait("back", "Failed", "True", "RestoreFailed").await;
    let failure = status["failure"].as_str().unwrap();
    assert!(failure.contains("within quiesceTimeout (1s): ") && failure.contains(&format!("pid {pid}")), "{failure}");
    assert_eq!((&status["step"], world.workloads_now().await["replicas"].clone()), (&json!("Done"), json!(0)));
    assert!(watchman.seen().away.is_zero() && watchman.seen().looks > 0, "{:?}", watchman.seen());
    assert!(is_kept(&world, "back").await);
    world.patch("back", json!({"spec": {"onFailure": "ScaleUp"}})).await;
    eventually("it has nothing left to do", PATIENCE, async || (!is_kept(&world, "back").await).then_some(())).await;
    assert_eq!(world.workloads_now().await, before);
    drop(superuser);
    // One whose Pod stays; its Restore is deleted.
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    let pod =
        json!({"metadata": {"name": "stays", "labels": {"app": "shop"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    world.restore("again", &backup, spec(json!(name))).await;
    says(&world, "again", "waits for Deployment api (1 Pods) to go").await;
    world.patch("again", json!({"spec": {"quiesceTimeout": "1s"}})).await;
    world.wait("again", "Failed", "True", "RestoreFailed").await;
    assert_eq!(world.workloads_now().await["replicas"], json!(0));
    world.api("Restore").delete("again", &DeleteParams::default()).await.unwrap();
    let is_gone = async || world.api("Restore").get_opt("again").await.unwrap().is_none().then_some(());
    eventually("it goes", PATIENCE, is_gone).await;
    assert_eq!(world.workloads_now().await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_that_cannot_come_about_is_put_off_and_needs_no_workload_that_is_gone() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.workloads().await;
    world.start_node();
    world.start().await;
    world.restore("back", &backup, json!({"confirm": name, "workloads": workloads()})).await;
    world.wait("back", "Complete", "True", "Restored").await;
    let crons: Api<CronJob> = Api::namespaced(world.client.clone(), &world.namespace);
    crons.delete("report", &DeleteParams::default()).await.unwrap();
    let superuser = world.superuser(&name).await;
    world.patch("back", json!({"spec": {"rollback": true}})).await;
    says(&world, "back", &format!("pid {}", pid(&superuser).await)).await;
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), &world.namespace);
    assert_eq!(deployments.get("api").await.unwrap().spec.replicas, Some(0));
    world.patch("back", json!({"spec": {"quiesceTimeout": "1s"}})).await;
    let status = world.wait("back", "Stalled", "True", "DatabaseInUse").await;
    assert_eq!((&status["step"], &status["rolledBack"]), (&json!("Keeping"), &json!(false)), "{status:#}");
    let api = deployments.get("api").await.unwrap();
    assert_eq!(api.spec.replicas, Some(3));
    for request in ["1", "2"] {
        world.patch("back", json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": request}}})).await;
        let answered = async || (world.status("back").await["lastHandledReconcileAt"] == request).then_some(());
        eventually("a pass", PATIENCE, answered).await;
    }
    assert_eq!(deployments.get("api").await.unwrap().metadata.generation, api.metadata.generation, "it was let be");
    drop(superuser);
    world.patch("back", json!({"spec": {"quiesceTimeout": "5m"}})).await;
    let status = world.wait("back", "Ready", "True", "RolledBack").await;
    assert_eq!((&status["rolledBack"], &status["setback"]), (&json!(true), &json!(null)), "{status:#}");
    assert_eq!(world.one(&name, "select count(*) from users").await, 5);
    assert_eq!(deployments.get("api").await.unwrap().spec.replicas, Some(3));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_restores_of_a_database_come_one_after_the_other_and_the_first_cannot_be_rolled_back_then() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.start().await;
    made(&mut world, "one", &backup, json!({})).await;
    world.restore("two", &backup, json!({"confirm": name})).await;
    world.wait("two", "Ready", "False", "RestoreWaits").await;
    world.start_node();
    world.wait("one", "Complete", "True", "Restored").await;
    world.wait("two", "Complete", "True", "Restored").await;
    world.patch("one", json!({"spec": {"rollback": true}})).await;
    world.wait("one", "Stalled", "True", "InvalidSpec").await;
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_waits_for_one_that_comes_to_the_same_database_by_another_name() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    let connection = json!({"connection": {"secretRef": {"name": "db"}, "tls": {"mode": "Disable"}}});
    world.create("PostgresDatabase", "again", connection).await;
    world.start().await;
    made(&mut world, "one", &backup, json!({})).await;
    let source = json!({"url": backup.url, "destination": {"pvc": {"claimName": "backups"}}});
    world.create("Restore", "two", json!({"databaseRef": {"name": "again"}, "source": source, "confirm": name})).await;
    world.wait("two", "Ready", "False", "RestoreWaits").await;
    world.start_node();
    world.wait("one", "Complete", "True", "Restored").await;
    world.wait("two", "Complete", "True", "Restored").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_dropped_and_cannot_be_made_again_comes_back_by_another_restore() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.workloads().await;
    let before = world.workloads_now().await;
    world.restore("back", &backup, json!({"confirm": name, "strategy": "Replace", "workloads": workloads()})).await;
    let beside = format!("__restore_{}", &world.uid("back").await[..8]);
    // One was made before, to see that it can be.
    let dropped = std::sync::atomic::AtomicBool::new(false);
    world.proxy.refuse(move |sql| {
        let drops = sql.contains("DROP DATABASE") && sql.contains("__before_");
        let is_dropped = dropped.fetch_or(drops, std::sync::atomic::Ordering::Relaxed);
        (is_dropped && sql.starts_with("CREATE DATABASE") && sql.contains(&beside)).then_some("53100")
    });
    world.start_node();
    world.start().await;
    let status = world.wait("back", "Failed", "True", "RestoreFailed").await;
    assert!(status["droppedAt"].is_string() && world.databases().await.is_empty(), "{status:#}");
    assert_eq!(world.workloads_now().await["replicas"], json!(0));
    let source = json!({"url": status["safetyBackup"], "destination": {"pvc": {"claimName": "backups"}}});
    let spec = json!({"databaseRef": {"name": "db"}, "source": source, "strategy": "New", "targetDatabase": name});
    world.create("Restore", "instead", spec).await;
    world.wait("instead", "Complete", "True", "Restored").await;
    eventually("the first is over", PATIENCE, async || (world.status("back").await["step"] == "Done").then_some(())).await;
    let status = world.wait("back", "Failed", "True", "RestoreFailed").await;
    assert_eq!(status["failure"], json!(format!("Restore instead has restored database {name} in place of this one")));
    assert_eq!((world.workloads_now().await, world.one(&name, "select count(*) from users").await), (before, 5));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_whose_database_cannot_be_backed_up_gives_the_name_back() {
    let (mut world, backup) = World::copy().await;
    let name = world.database.name.clone();
    world.workloads().await;
    let before = world.workloads_now().await;
    // Where its directory would be.
    std::fs::write(world.volume.join(&name), "").unwrap();
    world.watch_jobs();
    world.start_node();
    world.start().await;
    world.restore("back", &backup, json!({"confirm": name, "strategy": "Replace", "workloads": workloads()})).await;
    let fails = async || world.status("back").await["setback"].is_object().then_some(());
    eventually("it cannot be backed up", PATIENCE, fails).await;
    assert_eq!(world.databases().await.iter().filter(|(found, ..)| *found == name).count(), 0);
    world.patch("back", json!({"spec": {"quiesceTimeout": "1s"}})).await;
    let status = world.wait("back", "Failed", "True", "RestoreFailed").await;
    assert!(status["failure"].as_str().unwrap().contains("for longer than quiesceTimeout (1s)"), "{status:#}");
    assert_eq!(world.databases().await, [(name.clone(), Some("the shop".into()), true)]);
    assert_eq!((world.workloads_now().await, world.one(&name, "select count(*) from users").await), (before, 5));
    world.stop().await;
}
