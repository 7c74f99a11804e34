//! The operator brings back what no Restore looks after any more, and leaves alone what one does.

use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use pgreeve::api::Restore;
use pgreeve::clock::Clock;
use pgreeve::cluster::events::Events;
use pgreeve::cluster::jobs::Owner;
use pgreeve::cluster::workloads;
use pgreeve::controller::{self, Config, sweeper};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::stage::{Stage, other_kinds, spec};
use crate::support::eventually;

const PATIENCE: Duration = Duration::from_secs(30);

/// A Restore that is there, and suspends nothing of ours.
async fn restore(stage: &mut Stage) -> Api<Restore> {
    let api: Api<Restore> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let object = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": "Restore", "metadata": {"name": "back"},
        "spec": {"databaseRef": {"name": "none"}, "source": {"backupRef": {"name": "none"}}, "dryRun": true}});
    let made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    stage.restore = Owner::of(&made).unwrap();
    api
}

async fn status(api: &Api<Restore>, status: Value) {
    api.patch_status("back", &PatchParams::default(), &Patch::Merge(&json!({"status": status}))).await.unwrap();
}

/// Runs an operator's sweeper in the stage's namespace while something is waited for.
async fn swept(stage: &Stage, until: impl Future<Output = ()>) {
    let stop = CancellationToken::new();
    let now = "2026-11-21T08:00:00Z".parse().unwrap();
    let config = Config {
        namespaces: vec![stage.namespace.clone()],
        sweep: Duration::from_millis(100),
        clock: Clock::from_fn(move || now),
        ..Config::default()
    };
    let operator = tokio::spawn(controller::run(stage.client.clone(), config, stop.clone().cancelled_owned()));
    until.await;
    stop.cancel();
    operator.await.unwrap().unwrap();
}

/// Sweeps once, without an operator that would look after the Restore too.
async fn sweep(stage: &Stage) {
    let events = Events::new(stage.client.clone(), "sweeper");
    sweeper::once(&stage.client, &events, Some(&stage.namespace)).await.unwrap();
}

#[tokio::test]
async fn a_workload_whose_restore_is_gone_comes_back_and_an_event_says_so() {
    other_kinds().await;
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    stage.create("ScaledObject", json!({"name": "api"}), json!({"scaleTargetRef": {"name": "api"}})).await;
    stage.create("Rollout", json!({"name": "web"}), json!({"wanted": {"count": 4}})).await;
    let mut all = stage
        .find(json!([{"kind": "Deployment", "name": "api"}, {"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "web"}]))
        .await
        .unwrap();
    for workload in &mut all {
        stage.lower(workload).await;
    }
    swept(&stage, async {
        eventually("Deployment api is back", PATIENCE, async || {
            let found = stage.get("Deployment", "api").await;
            (found.data["spec"]["replicas"] == 3 && found.annotations().is_empty()).then_some(())
        })
        .await;
        eventually("Rollout web is back", PATIENCE, async || {
            (stage.get("Rollout", "web").await.data["spec"]["wanted"]["count"] == 4).then_some(())
        })
        .await;
        eventually("the event", PATIENCE, async || {
            let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(stage.client.clone(), &stage.namespace);
            let notes = events.list(&Default::default()).await.unwrap().items.into_iter().filter_map(|event| event.note);
            notes.into_iter().any(|note| note == "Restore back is gone: scaled back to replicas 3").then_some(())
        })
        .await;
    })
    .await;
    assert!(stage.get("ScaledObject", "api").await.annotations().is_empty());
}

#[tokio::test]
async fn a_restore_that_knows_its_workload_keeps_it_down_and_one_of_the_same_name_does_not() {
    let mut stage = Stage::new().await;
    let restores = restore(&mut stage).await;
    for name in ["known", "unknown", "of-another"] {
        stage.scaled("Deployment", name, 2).await;
    }
    let mut known = stage.record("Deployment", "known").await;
    status(&restores, json!({"step": "Quiescing", "conditions": [], "workloads": [known]})).await;
    stage.lower(&mut known).await;
    let mut unknown = stage.record("Deployment", "unknown").await;
    stage.lower(&mut unknown).await;
    let mut of_another = stage.record("Deployment", "of-another").await;
    stage.restore.uid = "7a1e2b3c-0000-4000-8000-00000000dead".into();
    stage.lower(&mut of_another).await;
    sweep(&stage).await;
    assert_eq!(stage.replicas("Deployment", "unknown").await, 2);
    assert_eq!(stage.replicas("Deployment", "of-another").await, 2);
    assert_eq!(stage.replicas("Deployment", "known").await, 0);
}

#[tokio::test]
async fn a_restore_that_is_done_brings_back_what_it_says_is_up_and_nothing_that_stays_down() {
    let mut stage = Stage::new().await;
    let restores = restore(&mut stage).await;
    let mut listed = Vec::new();
    for (name, state) in [("up", "Up"), ("down", "Down")] {
        stage.scaled("Deployment", name, 2).await;
        let mut workload = stage.record("Deployment", name).await;
        stage.lower(&mut workload).await;
        workload.state = Some(state.into());
        listed.push(workload);
    }
    status(&restores, json!({"step": "ScalingUp", "conditions": [], "workloads": listed})).await;
    sweep(&stage).await;
    assert_eq!(stage.replicas("Deployment", "up").await, 0, "it is at it");
    status(&restores, json!({"step": "Done"})).await;
    sweep(&stage).await;
    assert_eq!(stage.replicas("Deployment", "up").await, 2);
    assert_eq!(stage.replicas("Deployment", "down").await, 0);
}

#[tokio::test]
async fn what_is_held_for_a_workload_and_a_restore_that_are_gone_is_let_go() {
    other_kinds().await;
    let stage = Stage::new().await;
    let tracking = json!({"argocd.argoproj.io/tracking-id": format!("shop:apps/Deployment:{}/api", stage.namespace)});
    stage.create("Deployment", json!({"name": "api", "annotations": tracking}), spec("api", 3)).await;
    stage.create("Application", json!({"name": "shop"}), json!({})).await;
    let mut workload = stage.record("Deployment", "api").await;
    stage.lower(&mut workload).await;
    stage.api("Deployment").delete("api", &Default::default()).await.unwrap();
    assert_eq!(workloads::held(&stage.client, Some(&stage.namespace)).await.unwrap().len(), 1);
    sweep(&stage).await;
    assert!(stage.get("Application", "shop").await.annotations().is_empty());
}
