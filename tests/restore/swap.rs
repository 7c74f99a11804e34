//! Does the restored database take the place of the other, and how long does the application notice?

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_goes_back_to_its_backup_and_the_former_one_is_kept() {
    let mut world = World::new().await;
    let name = world.database.name.clone();
    let backup = world.back_up(json!({})).await;
    world.superuser(&name).await.batch_execute("delete from users where id > 5; create table later (n int)").await.unwrap();
    world.start();
    world.start_node();
    world.restore("back", &backup, json!({})).await;
    let status = world.wait("back", "Ready", "False", "ApprovalPending").await;
    assert_eq!(status["plan"]["actions"].as_array().unwrap().len(), 4, "{status:#}");
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
    let backup = world.back_up(json!({})).await;
    world.start();
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
