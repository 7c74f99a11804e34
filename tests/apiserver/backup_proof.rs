//! What does a Backup say of a proof that is still to come, or that could not be made?

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::backup::Stage;
use crate::doorman::Doorman;
use crate::support::eventually;
use crate::world::{PATIENCE, condition_of};

/// A stage whose Jobs have a doorman.
async fn staged() -> (Stage, Doorman) {
    let (mut stage, doorman) = (Stage::idle().await, Doorman::new());
    stage.guard(&doorman);
    stage.start().await;
    (stage, doorman)
}

fn said(object: &DynamicObject, condition: &str) -> (Value, String) {
    let found = condition_of(object, condition).unwrap();
    (found["status"].clone(), found["message"].as_str().unwrap().to_owned())
}

async fn becomes(stage: &Stage, backup: &str, wanted: Option<i64>) {
    let series = format!("pgreeve_job_failures{{kind=\"Backup\",namespace=\"{}\",name=\"{backup}\"}}", stage.world.namespace);
    let is_so = async || (stage.world.metric(&series) == wanted).then_some(());
    eventually(&format!("{series} is {wanted:?}"), PATIENCE, is_so).await;
}

async fn asks(stage: &Stage, backup: &str, request: &str) {
    let annotation = json!({"metadata": {"annotations": {"pgreeve.dev/restoreTest": request}}});
    stage.world.patch("Backup", backup, annotation).await;
}

#[tokio::test]
async fn a_backup_is_verified_when_it_is_proven_as_far_as_it_says_and_not_before() {
    let (stage, doorman) = staged().await;
    doorman.hold("verifyBackup");
    stage.backup("b", json!({"verify": "Restore"})).await;
    let complete = stage.complete("b").await;
    assert_eq!(complete.data["status"]["verification"]["level"], "Catalog", "it was read back");
    let (verified, message) = said(&complete, "Verified");
    assert_eq!(verified, "False");
    assert!(message.contains("read back whole") && message.contains("a restore is still to come"), "{message}");
    // Nobody can do it, three times.
    doorman.refuse("verifyBackup", "ScratchFull");
    doorman.release("verifyBackup");
    let given_up = stage.world.wait("Backup", "b", "Stalled", "True", "ScratchFull").await;
    let status = &given_up.data["status"];
    assert_eq!((&status["failures"], &status["verification"]["level"]), (&json!(3), &json!("Catalog")));
    assert_eq!((&status["unproven"]["level"], &status["unproven"]["reason"]), (&json!("Restore"), &json!("ScratchFull")));
    assert_eq!(said(&given_up, "Complete").0, "True");
    let (verified, message) = said(&given_up, "Verified");
    assert!(verified == "False" && message.contains("turned away") && !message.contains("tried again at"), "{message}");
    assert!(said(&given_up, "Ready").1.contains("pgreeve.dev/restoreTest"), "{given_up:?}");
    stage.no_job_is_left().await;
    becomes(&stage, "b", Some(3)).await;
    // Somebody mends it, and asks.
    doorman.admit("verifyBackup");
    asks(&stage, "b", "mended").await;
    let proven = stage.world.wait("Backup", "b", "Verified", "True", "Verified").await;
    let status = &proven.data["status"];
    assert_eq!((&status["verification"]["level"], &status["unproven"]), (&json!("Restore"), &Value::Null));
    assert_eq!((&status["failures"], &status["lastRestoreTest"]), (&json!(0), &json!("mended")));
    becomes(&stage, "b", None).await;
}

#[tokio::test]
async fn a_restore_test_that_cannot_be_made_takes_nothing_back_and_is_said() {
    let (stage, doorman) = staged().await;
    doorman.refuse("verifyBackup", "JobFailed");
    stage.backup("b", json!({})).await;
    stage.complete("b").await;
    asks(&stage, "b", "first").await;
    let given_up = stage.world.wait("Backup", "b", "Stalled", "True", "JobFailed").await;
    assert_eq!(given_up.data["status"]["lastRestoreTest"], "first");
    let (verified, message) = said(&given_up, "Verified");
    assert!(verified == "True" && message.contains("read back whole"), "{message}");
    assert_eq!(said(&given_up, "Ready").0, "False");
    becomes(&stage, "b", Some(3)).await;
    stage.no_job_is_left().await;
    stage.world.api("Backup").delete("b", &Default::default()).await.unwrap();
    stage.is_gone("b").await;
    becomes(&stage, "b", None).await;
}
