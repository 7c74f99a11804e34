//! Are the rights that the chart gives the operator enough, and no more?

use kube::Client;
use kube::api::{Api, ListParams};
use pgreeve::api::restore::Workload;
use pgreeve::cluster::workloads::{self, Lowered, UP};
use serde_json::json;

use crate::job_queue::{self, Woken};
use crate::jobs::{owner, task};
use crate::support::apiserver::{apiserver, program};
use crate::support::kubelet::Kubelet;
use crate::support::process::run;
use crate::workloads::stage::{Stage, other_kinds, schedule, spec};
use crate::world::World;

/// A client of a ServiceAccount with the chart's rights for one namespace, and these of its values.
async fn as_the_operator_with(namespace: &str, values: &[&str]) -> Client {
    let config = apiserver().config_of(namespace, "operator").await;
    let mut helm = std::process::Command::new(program("helm"));
    helm.args([
        "template",
        "pgreeve",
        concat!(env!("CARGO_MANIFEST_DIR"), "/charts/pgreeve"),
        "--namespace",
        namespace,
        "--kube-version",
        "1.34",
    ]);
    helm.args(["--set", &format!("watchNamespaces={{{namespace}}}"), "--set", "serviceAccount.name=operator"]);
    helm.args(values.iter().flat_map(|value| ["--set", value]));
    helm.args(["--set", "serviceAccount.create=false", "--show-only", "templates/rbac.yaml"]);
    let manifest = std::env::temp_dir().join(format!("{namespace}-{}.yaml", std::process::id()));
    std::fs::write(&manifest, run(&mut helm)).unwrap();
    apiserver().kubectl_output(&["apply", "-f", manifest.to_str().unwrap()]);
    std::fs::remove_file(manifest).unwrap();
    apiserver().until_allowed(namespace, "operator", ("create", "batch", "jobs")).await;
    Client::try_from(config).unwrap()
}

async fn as_the_operator(namespace: &str) -> Client {
    as_the_operator_with(namespace, &[]).await
}

#[tokio::test]
async fn with_the_charts_rights_a_policy_becomes_ready_and_secrets_stay_unlisted() {
    let mut world = World::new(15).await;
    world.as_owner("create table events (at timestamptz not null) partition by range (at)").await;
    let spec =
        json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 month"});
    world.create("PartitionPolicy", "events", spec).await;
    let client = as_the_operator(&world.namespace).await;
    world.start_as(client.clone(), "2026-11-21T08:00:00Z").await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    world.told("events", "UpToDate").await;
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(client.clone(), &world.namespace);
    let refused = secrets.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_forbidden()));
    let elsewhere: Api<pgreeve::api::PartitionPolicy> = Api::namespaced(client, "default");
    assert!(elsewhere.list(&ListParams::default()).await.is_err(), "another namespace is none of its business");
}

#[tokio::test]
async fn with_the_charts_rights_a_job_is_made_heard_of_read_and_removed() {
    let world = World::new(15).await;
    let client = as_the_operator(&world.namespace).await;
    let (jobs, owner) = (job_queue::jobs(&client, 1), owner(&world.namespace, "events"));
    let kubelet = Kubelet::of(&world.client, &world.namespace);
    let woken = Woken::by(&jobs, &world.namespace);
    assert!(job_queue::run(&jobs, &owner).await.contains("is about to start"));
    woken.has("events").await;
    kubelet.succeed(&kubelet.job().await, r#"{"rows":3}"#).await;
    woken.has("events").await;
    assert_eq!(job_queue::run(&jobs, &owner).await, r#"done {"rows":3}"#);
    jobs.forget(&owner, "db", &task(&world.namespace, "events").action).await.unwrap();
    assert!(kubelet.jobs.list(&ListParams::default()).await.unwrap().items.is_empty());
    let theirs = Kubelet::of(&client, &world.namespace);
    let refused = theirs.pods.delete("any", &Default::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_forbidden()), "Pods are only looked at");
}

#[tokio::test]
async fn with_the_charts_rights_workloads_go_down_and_up_and_without_them_it_is_said_which_lacks() {
    other_kinds().await;
    let stage = Stage::new().await;
    let tracking = json!({"argocd.argoproj.io/tracking-id": format!("shop:apps/Deployment:{}/api", stage.namespace)});
    let labels = json!({"helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": stage.namespace});
    let metadata = json!({"name": "api", "labels": labels, "annotations": tracking});
    stage.create("Deployment", metadata, spec("api", 3)).await;
    stage.create("CronJob", json!({"name": "report"}), schedule(false)).await;
    stage.create("Rollout", json!({"name": "web"}), json!({"wanted": {"count": 4}})).await;
    stage.create("Application", json!({"name": "shop"}), json!({})).await;
    stage.create("HelmRelease", json!({"name": "shop"}), json!({})).await;
    stage.create("ScaledObject", json!({"name": "api"}), json!({"scaleTargetRef": {"name": "api"}})).await;
    let wanted: Vec<Workload> = serde_json::from_value(json!([{"kind": "Deployment", "name": "api"},
        {"kind": "CronJob", "name": "report"}, {"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "web"}]))
    .unwrap();
    let usual = as_the_operator(&apiserver().namespace(&stage.client).await).await;
    let refused = workloads::find(&usual, &stage.namespace, &wanted).await.unwrap_err();
    assert!(refused.message.contains("restores.workloads"), "{}", refused.message);
    let kinds = ["restores.workloads.kinds[0].group=argoproj.io", "restores.workloads.kinds[0].resource=rollouts"];
    let client = as_the_operator_with(&stage.namespace, &["restores.workloads.enabled=true", kinds[0], kinds[1]]).await;
    let found = workloads::find(&client, &stage.namespace, &wanted).await.unwrap();
    assert_eq!(found[0].held, ["ScaledObject api", "Application shop", "HelmRelease shop"]);
    for mut workload in found {
        assert_eq!(workloads::lower(&client, &stage.namespace, &stage.restore, &mut workload).await.unwrap(), Lowered::Gone);
        assert!(workloads::raise(&client, &stage.namespace, &stage.restore, &mut workload).await.unwrap());
        assert_eq!(workload.state.as_deref(), Some(UP));
    }
    assert!(workloads::stranded(&client, Some(&stage.namespace)).await.unwrap().is_empty());
    assert!(workloads::held(&client, Some(&stage.namespace)).await.unwrap().is_empty());
}
