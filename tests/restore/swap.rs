//! Does the restored database take the place of the other, and how long does the application notice?

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::postgres::connect;
use crate::world::{PATIENCE, World};

/// Connects again and again, and takes down for how long it could not, at the longest.
struct Application {
    longest: Arc<Mutex<Duration>>,
    answers: Arc<AtomicUsize>,
    _connecting: JoinSet<()>,
}

impl Application {
    fn start(world: &World) -> Self {
        let (longest, answers, mut connecting) =
            (Arc::<Mutex<Duration>>::default(), Arc::<AtomicUsize>::default(), JoinSet::new());
        let (url, found, counted) = (world.database.url(&world.roles.operator), Arc::clone(&longest), Arc::clone(&answers));
        connecting.spawn(async move {
            let mut refused: Option<Instant> = None;
            loop {
                let asked = async { connect(url.clone()).await?.query_one("select count(*) from users", &[]).await };
                match asked.await {
                    Ok(_) => {
                        let lasted = refused.take().map(|since| since.elapsed()).unwrap_or_default();
                        let mut longest = found.lock().unwrap();
                        *longest = lasted.max(*longest);
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => drop(refused.get_or_insert_with(Instant::now)),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self { longest, answers, _connecting: connecting }
    }

    /// For how long it could not connect, once it can again; nothing where it was not in the way of the moment.
    async fn longest(&self) -> Duration {
        let before = self.answers.load(Ordering::Relaxed);
        let is_back = async || (self.answers.load(Ordering::Relaxed) > before).then_some(());
        eventually("the client is back", PATIENCE, is_back).await;
        *self.longest.lock().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_makes_way_and_comes_back_and_a_client_is_refused_for_a_moment_only() {
    let mut world = World::new().await;
    let name = world.database.name.clone();
    world.workloads().await;
    let backup = world.back_up().await;
    let before = world.workloads_now().await;
    world.start().await;
    world.start_node();
    let application = Application::start(&world);
    let workloads = json!([{"kind": "Deployment", "selector": "app=shop"}, {"kind": "CronJob", "name": "report"}]);
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), &world.namespace);
    let labels = json!({"metadata": {"labels": {"app": "shop"}}});
    deployments.patch("api", &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    world.restore("back", &backup, json!({"confirm": name, "workloads": workloads})).await;
    let status = world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!(world.workloads_now().await, before);
    assert_eq!(status["workloads"][0]["replicas"], json!(3), "{status:#}");
    let longest = application.longest().await;
    // On a quiet machine a tenth of a second; several tests share this one.
    assert!(longest < Duration::from_secs(30) && status["fencedMillis"].as_i64().unwrap() < 30_000, "{longest:?} {status:#}");
    eprintln!("a client was refused for {longest:?}, fenced for {} ms", status["fencedMillis"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_puts_the_former_database_back_and_what_is_kept_goes_when_its_time_is_over() {
    let mut world = World::new().await;
    let name = world.database.name.clone();
    let backup = world.back_up().await;
    world.superuser(&name).await.batch_execute("delete from users where id > 5").await.unwrap();
    world.start().await;
    world.start_node();
    world.restore("back", &backup, json!({"confirm": name})).await;
    world.wait("back", "Complete", "True", "Restored").await;
    world.patch("back", json!({"spec": {"rollback": true}})).await;
    let status = world.wait("back", "Ready", "True", "RolledBack").await;
    assert_eq!(world.one(&name, "select count(*) from users").await, 5);
    let databases = world.databases().await;
    assert_eq!((databases.len(), &databases[0]), (2, &(name.clone(), Some("the shop".into()), true)));
    assert_eq!((status["previousDatabase"].as_str().unwrap(), databases[1].2), (databases[1].0.as_str(), false));
    world.patch("back", json!({"spec": {"rollback": false}})).await;
    world.wait("back", "Ready", "True", "Restored").await;
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    world.patch("back", json!({"spec": {"keepPrevious": "0s"}})).await;
    eventually("the former one goes", PATIENCE, async || (world.databases().await.len() == 1).then_some(())).await;
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    let status = world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!((&status["previousDatabase"], &status["rollbackUntil"]), (&json!(null), &json!(null)));
    world.patch("back", json!({"spec": {"rollback": true}})).await;
    let status = world.wait("back", "Stalled", "True", "InvalidSpec").await;
    assert_eq!(
        (&status["rolledBack"], world.one(&name, "select count(*) from users").await),
        (&json!(false), 2000),
        "{status:#}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_needs_no_word_and_no_name_that_is_taken() {
    let mut world = World::new().await;
    let name = world.database.name.clone();
    let backup = world.back_up().await;
    world.start().await;
    world.start_node();
    world.restore("taken", &backup, json!({"strategy": "New", "targetDatabase": name})).await;
    world.wait("taken", "Stalled", "True", "NameTaken").await;
    let other = format!("{name}__copy");
    world.restore("copy", &backup, json!({"strategy": "New", "targetDatabase": other})).await;
    world.wait("copy", "Complete", "True", "Restored").await;
    assert_eq!(world.one(&other, "select count(*) from users").await, 2000);
    let databases = world.databases().await;
    assert_eq!(databases[1], (other, Some("the shop".into()), true));
    assert_eq!(databases.len(), 2, "{databases:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_replaced_is_backed_up_before_it_goes() {
    let mut world = World::new().await;
    let name = world.database.name.clone();
    world.workloads().await;
    let before = world.workloads_now().await;
    let backup = world.back_up().await;
    world.superuser(&name).await.batch_execute("delete from users where id > 5").await.unwrap();
    world.start().await;
    world.start_node();
    let workloads = json!([{"kind": "Deployment", "name": "api"}, {"kind": "CronJob", "name": "report"}]);
    world.restore("back", &backup, json!({"confirm": name, "strategy": "Replace", "workloads": workloads})).await;
    let status = world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    assert_eq!(world.databases().await, [(name.clone(), Some("the shop".into()), true)]);
    assert_eq!((&status["proven"]["level"], &status["proven"]["rowsMatched"]), (&json!("Restore"), &json!(5000)), "{status:#}");
    assert_eq!(world.workloads_now().await, before);
    let safety = status["safetyBackup"].as_str().unwrap().replace("pvc://backups", &world.volume.display().to_string());
    let manifest: Value = serde_json::from_slice(&std::fs::read(safety).unwrap()).unwrap();
    let users = manifest["tables"].as_array().unwrap().iter().find(|table| table["name"] == "users").unwrap();
    assert_eq!(users["rows"], json!(5));
    assert_eq!(
        manifest["database"]["properties"]["comment"],
        json!("the shop"),
        "its own, and not what a restore has written there"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_after_the_database_was_dropped_is_said_and_workloads_stay_down_until_it_is_restored() {
    let mut world = World::new().await;
    let name = world.database.name.clone();
    world.workloads().await;
    let before = world.workloads_now().await;
    let backup = world.back_up().await;
    // It is altered by one bit once the database has been dropped for it.
    let (dump, sound) = (world.volume.join("shop/nightly-1"), world.volume.join("sound"));
    let dump = std::fs::read_dir(dump).unwrap().flatten().map(|entry| entry.path());
    let dump = dump.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    std::fs::copy(&dump, &sound).unwrap();
    let damaged = dump.clone();
    world.proxy.show(move |sql| {
        if sql.contains("DROP DATABASE") && sql.contains("__before_") {
            let mut bytes = std::fs::read(&damaged).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&damaged, bytes).unwrap();
        }
    });
    world.start().await;
    world.start_node();
    let workloads = json!([{"kind": "Deployment", "name": "api"}, {"kind": "CronJob", "name": "report"}]);
    world.restore("back", &backup, json!({"confirm": name, "strategy": "Replace", "workloads": workloads})).await;
    let status = world.wait("back", "Failed", "True", "RestoreFailed").await;
    let failure = status["failure"].as_str().unwrap();
    assert!(failure.starts_with("the restore broke off after the database was dropped, so workloads stay down"), "{failure}");
    assert_eq!(world.workloads_now().await["replicas"], json!(0));
    assert!(status["safetyBackup"].is_string() && status["completedAt"].is_null(), "{status:#}");
    world.proxy.show(|_| {});
    std::fs::copy(&sound, &dump).unwrap();
    eventually("it is restored", PATIENCE * 3, async || (world.status("back").await["step"] == "Done").then_some(())).await;
    let status = world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!((&status["failure"], world.workloads_now().await), (&json!(null), before));
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_goes_back_to_its_backup_and_the_former_one_is_kept() {
    let mut world = World::new().await;
    let name = world.database.name.clone();
    let backup = world.back_up().await;
    world.superuser(&name).await.batch_execute("delete from users where id > 5; create table later (n int)").await.unwrap();
    world.start().await;
    world.start_node();
    world.restore("back", &backup, json!({})).await;
    let status = world.wait("back", "Ready", "False", "ApprovalPending").await;
    assert_eq!(status["plan"]["actions"].as_array().unwrap().len(), 3, "{status:#}");
    assert_eq!(world.one(&name, "select count(*) from users").await, 5);
    world.patch("back", json!({"spec": {"confirm": name}})).await;
    let status = world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    assert_eq!(world.one(&name, "select count(*) from pg_class where relname = 'later'").await, 0);
    let databases = world.databases().await;
    assert_eq!(databases.len(), 2, "{databases:?}");
    assert_eq!(databases[0], (name.clone(), Some("the shop".into()), true));
    assert_eq!(status["previousDatabase"], json!(databases[1].0));
    assert_eq!(status["verification"]["rowsMatched"], json!(5000), "{status:#}");
    let uid = world.uid("back").await;
    assert_eq!(databases[1].0, format!("{name}__before_{}", &uid[..8]));
    assert_eq!(
        world.one("postgres", &format!("select datconnlimit::bigint from pg_database where datname = '{name}'")).await,
        50
    );
    world.no_job_is_left().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_word_is_said_and_nothing_is_done() {
    let mut world = World::new().await;
    let name = world.database.name.clone();
    let backup = world.back_up().await;
    world.start().await;
    world.start_node();
    world.restore("back", &backup, json!({"confirm": "another"})).await;
    world.wait("back", "Ready", "False", "ApprovalPending").await;
    let status = world.status("back").await;
    let message =
        status["conditions"].as_array().unwrap().iter().find(|found| found["type"] == "Ready").unwrap()["message"].clone();
    assert!(
        message.as_str().unwrap().starts_with(&format!("spec.confirm is another and must be {name} or {name}@")),
        "{message}"
    );
    world.patch("back", json!({"spec": {"confirm": name, "dryRun": true}})).await;
    world.wait("back", "Ready", "False", "ApprovalPending").await;
    assert_eq!(world.databases().await.len(), 1);
    let pinned = status["chosen"]["systemIdentifier"].as_str().unwrap();
    world.patch("back", json!({"spec": {"confirm": format!("{name}@{pinned}"), "dryRun": false}})).await;
    world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!(world.databases().await.len(), 2);
}
