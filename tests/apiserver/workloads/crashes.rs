//! Wherever it stops, whoever goes on brings everything back to exactly what it was.

use kube::Client;
use pgreeve::api::restore::ScaledWorkload;
use pgreeve::cluster::workloads::{self, UP};
use pgreeve::plan::action::Blocked;
use serde_json::{Value, json};

use super::stage::{Stage, other_kinds, schedule, spec};
use crate::support::apiserver::apiserver;
use crate::support::kubefault::{KubeFaults, WriteFault};

const FAULTS: [WriteFault; 5] = [
    WriteFault::CutBefore,
    WriteFault::CutAfter,
    WriteFault::Refused(500, None),
    WriteFault::Refused(409, None),
    WriteFault::Disowned(504),
];

/// One of each way to be scaled, with everything that can be held.
struct Shop {
    stage: Stage,
    recorded: Vec<ScaledWorkload>,
    before: Vec<Value>,
}

impl Shop {
    async fn new() -> Self {
        other_kinds().await;
        let stage = Stage::new().await;
        let tracking = format!("shop:apps/Deployment:{}/api", stage.namespace);
        let labels = json!({"helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": stage.namespace});
        let annotations = json!({"argocd.argoproj.io/tracking-id": tracking});
        stage.create("Deployment", json!({"name": "api", "labels": labels, "annotations": annotations}), spec("api", 3)).await;
        stage.create("CronJob", json!({"name": "report"}), schedule(false)).await;
        stage.create("Rollout", json!({"name": "web"}), json!({"wanted": {"count": 4}})).await;
        stage.create("Application", json!({"name": "shop"}), json!({})).await;
        stage.create("HelmRelease", json!({"name": "shop"}), json!({"interval": "10m"})).await;
        stage.create("ScaledObject", json!({"name": "api"}), json!({"scaleTargetRef": {"name": "api"}})).await;
        let recorded = stage.find(json!([{"kind": "Deployment", "name": "api"}, {"kind": "CronJob", "name": "report"},
            {"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "web"}]));
        let recorded = recorded.await.unwrap();
        assert_eq!(recorded[0].held, ["ScaledObject api", "Application shop", "HelmRelease shop"]);
        let before = Self::all(&stage).await;
        Self { stage, recorded, before }
    }

    /// Everything that matters of every object.
    async fn all(stage: &Stage) -> Vec<Value> {
        let mut all = Vec::new();
        for (kind, name) in [
            ("Deployment", "api"),
            ("CronJob", "report"),
            ("Rollout", "web"),
            ("Application", "shop"),
            ("HelmRelease", "shop"),
            ("ScaledObject", "api"),
        ] {
            let object = stage.get(kind, name).await;
            let (labels, annotations) =
                (object.metadata.labels.unwrap_or_default(), object.metadata.annotations.unwrap_or_default());
            all.push(json!([kind, labels, annotations, object.data["spec"]]));
        }
        all
    }

    async fn lower(&self, client: &Client, status: &mut [ScaledWorkload]) -> Result<(), Blocked> {
        for workload in status {
            workloads::lower(client, &self.stage.namespace, &self.stage.restore, workload).await?;
        }
        Ok(())
    }

    async fn raise(&self, client: &Client, status: &mut [ScaledWorkload]) -> Result<(), Blocked> {
        for workload in status {
            assert!(workloads::raise(client, &self.stage.namespace, &self.stage.restore, workload).await?);
        }
        Ok(())
    }

    /// What the Restore's status says after a crash: what it said before the step.
    async fn down(&self, client: &Client) {
        while self.lower(client, &mut self.recorded.clone()).await.is_err() {}
    }

    async fn is_as_before(&self, what: &str) {
        assert_eq!(Self::all(&self.stage).await, self.before, "{what}");
    }
}

/// How many requests change something on the way down, and on the way up.
async fn writes() -> (usize, usize) {
    let shop = Shop::new().await;
    let faults = KubeFaults::default();
    let client = faults.client(&apiserver().admin_config().await);
    let mut status = shop.recorded.clone();
    shop.lower(&client, &mut status).await.unwrap();
    let down = faults.count();
    shop.raise(&client, &mut status).await.unwrap();
    assert!(status.iter().all(|workload| workload.state.as_deref() == Some(UP) && workload.fought == 0));
    shop.is_as_before("without a crash").await;
    (down, faults.count() - down)
}

#[tokio::test]
async fn a_crash_at_any_request_leaves_nothing_that_the_next_try_does_not_put_right() {
    let (down, up) = writes().await;
    assert!((8..=12).contains(&down) && (8..=14).contains(&up), "{down} and {up} requests");
    let shop = Shop::new().await;
    for number in 1..=down + up {
        for fault in FAULTS {
            let what = format!("{fault:?} at request {number}");
            let faults = KubeFaults::default();
            let client = faults.client(&apiserver().admin_config().await);
            faults.plan(number, fault);
            shop.down(&client).await;
            let levels = Shop::all(&shop.stage).await;
            assert_eq!(
                (&levels[0][3]["replicas"], &levels[1][3]["suspend"], &levels[2][3]["wanted"]["count"]),
                (&json!(0), &json!(true), &json!(0)),
                "{what}"
            );
            while shop.raise(&client, &mut shop.recorded.clone()).await.is_err() {}
            assert!(faults.all_met(), "{what}");
            shop.is_as_before(&what).await;
        }
    }
}

#[tokio::test]
async fn what_a_crash_leaves_behind_tells_by_itself_how_it_comes_back() {
    let (down, _) = writes().await;
    let shop = Shop::new().await;
    for number in 1..=down {
        for fault in [WriteFault::CutBefore, WriteFault::CutAfter] {
            let faults = KubeFaults::default();
            let client = faults.client(&apiserver().admin_config().await);
            faults.plan(number, fault);
            shop.lower(&client, &mut shop.recorded.clone()).await.unwrap_err();
            let namespace = Some(shop.stage.namespace.as_str());
            for mut left in workloads::stranded(&shop.stage.client, namespace).await.unwrap() {
                let owner = left.restore.owner();
                assert_eq!(owner, shop.stage.restore);
                assert!(workloads::raise(&shop.stage.client, &owner.namespace, &owner, &mut left.workload).await.unwrap());
            }
            assert!(workloads::held(&shop.stage.client, namespace).await.unwrap().is_empty());
            shop.is_as_before(&format!("{fault:?} at request {number}")).await;
        }
    }
}

#[tokio::test]
async fn a_restore_that_was_never_begun_is_raised_without_a_change() {
    let shop = Shop::new().await;
    let mut status = shop.recorded.clone();
    shop.raise(&shop.stage.client, &mut status).await.unwrap();
    assert!(status.iter().all(|workload| workload.state.as_deref() == Some(UP)));
    shop.is_as_before("never begun").await;
}

#[tokio::test]
async fn what_is_held_for_a_workload_that_is_gone_is_let_go() {
    let shop = Shop::new().await;
    shop.down(&shop.stage.client).await;
    shop.stage.api("Deployment").delete("api", &Default::default()).await.unwrap();
    let namespace = Some(shop.stage.namespace.as_str());
    let held = workloads::held(&shop.stage.client, namespace).await.unwrap();
    let entries: Vec<_> = held.iter().map(|held| held.entry.as_str()).collect();
    assert_eq!(entries, ["ScaledObject api", "Application shop", "HelmRelease shop"]);
    shop.raise(&shop.stage.client, &mut shop.recorded.clone()).await.unwrap();
    assert!(workloads::held(&shop.stage.client, namespace).await.unwrap().is_empty());
    shop.stage.create("Deployment", json!({"name": "api"}), spec("api", 3)).await;
    assert_eq!(Shop::all(&shop.stage).await[1..], shop.before[1..]);
}
