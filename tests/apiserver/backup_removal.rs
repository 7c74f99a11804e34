//! What goes with a Backup that is deleted, and does it ever stay for ever?

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::backup::Stage;
use crate::doorman::Doorman;
use crate::world::condition_of;

#[tokio::test]
async fn a_deleted_backup_leaves_its_objects_or_takes_them_with_it_as_it_says() {
    let stage = Stage::new().await;
    stage.backup("stays", json!({"verify": "None"})).await;
    stage.complete("stays").await;
    stage.backup("goes", json!({"verify": "None", "deletionPolicy": "Delete"})).await;
    let goes = stage.complete("goes").await;
    assert_eq!(goes.finalizers(), ["pgreeve.dev/objects"]);
    assert_eq!(stage.objects("manifest.json").len(), 2);
    for name in ["stays", "goes"] {
        stage.delete(name).await;
        stage.is_gone(name).await;
    }
    let left = stage.objects("");
    assert!(left.iter().all(|path| path.contains("/db/stays-")) && left.len() >= 3, "{left:?}");
}

#[tokio::test]
async fn a_store_that_is_gone_keeps_a_deleted_backup_until_somebody_lets_its_objects_go() {
    let stage = Stage::new().await;
    stage.backup("b", json!({"verify": "None", "deletionPolicy": "Delete"})).await;
    stage.complete("b").await;
    stage.world.delete_secret("store").await;
    stage.delete("b").await;
    let waiting = stage.world.wait("Backup", "b", "Ready", "False", "SecretNotFound").await;
    let said = condition_of(&waiting, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(said.contains("store") && said.contains("spec.deletionPolicy to Retain"), "{said}");
    stage.world.patch("Backup", "b", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    stage.is_gone("b").await;
    assert_eq!(stage.objects("manifest.json").len(), 1);
}

#[tokio::test]
async fn no_backup_keeps_a_namespace_from_terminating() {
    let stage = Stage::new().await;
    stage.backup("b", json!({"verify": "None", "deletionPolicy": "Delete"})).await;
    stage.complete("b").await;
    stage.world.delete_secret("store").await;
    let namespaces: Api<Namespace> = Api::all(stage.world.client.clone());
    namespaces.delete(&stage.world.namespace, &Default::default()).await.unwrap();
    // As the controller of namespaces does it.
    stage.delete("b").await;
    stage.is_gone("b").await;
}

/// What a deleted Backup says that cannot go for this reason.
async fn said_of_waiting(stage: &Stage, name: &str, reason: &str) -> String {
    let waiting = stage.world.wait("Backup", name, "Ready", "False", reason).await;
    condition_of(&waiting, "Ready").unwrap()["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_a_backup_that_is_not_complete_has_left_keeps_it_only_while_somebody_can_remove_it() {
    let (mut stage, doorman) = (Stage::idle().await, Doorman::new());
    stage.guard(&doorman);
    stage.start().await;
    doorman.hold("dumpDatabase");
    doorman.hold("removeBackup");
    // Its keys are gone: nobody can.
    stage.backup("in-a-bucket", json!({})).await;
    stage.world.wait("Backup", "in-a-bucket", "Progressing", "True", "JobRunning").await;
    stage.world.delete_secret("store").await;
    stage.delete("in-a-bucket").await;
    stage.is_gone("in-a-bucket").await;
    stage.world.told("in-a-bucket", &format!("may still lie in s3://{}/db/in-a-bucket-", stage.bucket)).await;
    // Its volume cannot be mounted: somebody might, but not for ever.
    stage.backup("on-a-volume", json!({"destination": {"pvc": {"claimName": "backups"}}})).await;
    stage.world.wait("Backup", "on-a-volume", "Progressing", "True", "JobRunning").await;
    stage.delete("on-a-volume").await;
    let said = said_of_waiting(&stage, "on-a-volume", "Removing").await;
    assert!(said.contains("let go at ") && !said.contains("deletionPolicy"), "{said}");
    stage.go_ahead(31 * 60);
    stage.is_gone("on-a-volume").await;
    stage.world.told("on-a-volume", "may still lie in pvc://backups/db/on-a-volume-").await;
}

#[tokio::test]
async fn a_backup_that_another_one_replaces_can_be_let_go_without_its_store() {
    let stage = Stage::new().await;
    stage.backup("b", json!({"verify": "None"})).await;
    stage.complete("b").await;
    let leaving = json!({"annotations": {"pgreeve.dev/replacedBy": "db/newer-00000000"}, "finalizers": ["pgreeve.dev/objects"]});
    stage.world.patch("Backup", "b", json!({"metadata": leaving})).await;
    stage.world.delete_secret("store").await;
    stage.delete("b").await;
    let said = said_of_waiting(&stage, "b", "SecretNotFound").await;
    assert!(said.contains("annotation pgreeve.dev/replacedBy") && !said.contains("deletionPolicy"), "{said}");
    stage.world.patch("Backup", "b", json!({"metadata": {"annotations": {"pgreeve.dev/replacedBy": Value::Null}}})).await;
    stage.is_gone("b").await;
    assert_eq!(stage.objects("manifest.json").len(), 1);
}

/// Everything below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_backup_on_a_volume_goes_by_a_job_that_needs_no_database() {
    let (mut stage, doorman) = (Stage::idle().await, Doorman::new());
    stage.guard(&doorman);
    stage.start().await;
    for name in ["goes", "stays"] {
        stage.backup(name, json!({"destination": {"pvc": {"claimName": "backups"}}, "deletionPolicy": "Delete"})).await;
        stage.complete(name).await;
    }
    let volume = stage.node.volume.path().to_owned();
    assert_eq!(files(&volume).iter().filter(|path| path.ends_with("manifest.json")).count(), 2);
    stage.world.api("PostgresDatabase").delete("db", &Default::default()).await.unwrap();
    stage.delete("goes").await;
    stage.is_gone("goes").await;
    let left = files(&volume);
    let all = |end: &str| left.iter().all(|path| path.display().to_string().contains(end));
    assert!(all("/db/stays-") && left.len() >= 3, "{left:?}");
    stage.no_job_is_left().await;
    // Nobody keeps a namespace, where no Job can be made any more.
    doorman.hold("removeBackup");
    let namespaces: Api<Namespace> = Api::all(stage.world.client.clone());
    namespaces.delete(&stage.world.namespace, &Default::default()).await.unwrap();
    stage.delete("stays").await;
    stage.is_gone("stays").await;
    assert_eq!(files(&volume).len(), left.len());
}
