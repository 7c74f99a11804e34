//! Do Jobs restore every version of PostgreSQL whose programs there are? What happens around them is the same for all (`versions`).

use serde_json::json;

use crate::world::World;

async fn goes_back_and_forth(major: u32) {
    let mut world = World::on(major).await;
    let name = world.database.name.clone();
    world.workloads().await;
    let before = world.workloads_now().await;
    let backup = world.back_up().await;
    assert_eq!(backup.major, i32::try_from(major).unwrap());
    world.superuser(&name).await.batch_execute("delete from users where id > 5").await.unwrap();
    world.start().await;
    world.start_node();
    let workloads = json!([{"kind": "Deployment", "name": "api"}]);
    world.restore("back", &backup, json!({"confirm": name, "workloads": workloads})).await;
    let status = world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!(status["verification"]["rowsMatched"], json!(5000), "{status:#}");
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    world.patch("back", json!({"spec": {"rollback": true}})).await;
    world.wait("back", "Ready", "True", "RolledBack").await;
    assert_eq!(world.one(&name, "select count(*) from users").await, 5);
    // With a proof and a backup before the former one goes.
    world.restore("again", &backup, json!({"confirm": name, "strategy": "Replace", "workloads": workloads})).await;
    let status = world.wait("again", "Complete", "True", "Restored").await;
    assert_eq!(status["proven"]["rowsMatched"], json!(5000), "{status:#}");
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    assert_eq!(world.workloads_now().await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_restore_a_16() {
    goes_back_and_forth(16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_restore_an_18() {
    goes_back_and_forth(18).await;
}
