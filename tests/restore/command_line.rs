//! Does a person with the command line alone get from a backup back to it, with the operator in between?

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::support::apiserver::apiserver;
use crate::world::World;

/// Runs the program in the world's namespace to its end, and returns what it printed.
async fn types(world: &World, arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pgreeve"));
    command.args(arguments).args(["-n", &world.namespace]).env("KUBECONFIG", apiserver().kubeconfig()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_backed_up_from_the_command_line_comes_back_from_there_and_the_application_too() {
    let mut world = World::new().await;
    let name = world.database.name.clone();
    world.start().await;
    world.start_node();
    let backup = json!({"destination": {"pvc": {"claimName": "backups"}}, "verify": "Catalog"});
    let spec = json!({"databaseRef": {"name": "db"}, "schedule": "0 2 * * *", "suspend": true, "backup": backup});
    world.create("BackupSchedule", "nightly", spec).await;
    let made = types(&world, &["backup", "--schedule", "nightly"]).await;
    assert!(made.contains("with 5000 rows\nProven    Catalog"), "{made}");
    let listed = types(&world, &["backups"]).await;
    assert!(listed.lines().nth(1).is_some_and(|line| line.contains("Complete") && line.ends_with("Catalog")), "{listed}");
    world.superuser(&name).await.batch_execute("delete from users where id > 5").await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), &world.namespace);
    let template = json!({"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [{"name": "main", "image": "registry.example/main"}]}});
    let api = json!({"metadata": {"name": "api"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "api"}}, "template": template}});
    deployments.create(&PostParams::default(), &serde_json::from_value(api).unwrap()).await.unwrap();
    let planned = types(&world, &["restore", "--latest-verified", "--workload", "Deployment/api", "--dry-run"]).await;
    assert!(planned.contains("scale Deployment api from 3 to 0"), "{planned}");
    assert_eq!(world.one(&name, "select count(*) from users").await, 5);
    let restored = types(
        &world,
        &["restore", "db", "--latest-verified", "--workload", "Deployment/api", "--keep-previous", "2h", "--yes-restore", &name],
    )
    .await;
    assert!(restored.contains("5000 rows were counted, and are as many as were backed up"), "{restored}");
    assert!(restored.contains(&format!("The former one is {name}__before_")), "{restored}");
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    let api = deployments.get("api").await.unwrap();
    assert_eq!((api.spec.replicas, api.metadata.annotations, api.metadata.labels), (Some(3), None, None));
    world.stop().await;
}
