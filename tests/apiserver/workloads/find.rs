//! What is meant is found, or it is said what is wrong with it, and nothing is changed.

use kube::Client;
use kube::ResourceExt as _;
use pgreeve::api::Reason;
use pgreeve::api::restore::Workload;
use pgreeve::cluster::workloads;
use serde_json::{Value, json};

use super::stage::{Stage, other_kinds, schedule, spec};
use crate::support::apiserver::apiserver;
use crate::support::kubefault::{KubeFaults, ReadFault};

#[tokio::test]
async fn a_name_or_a_selector_means_each_object_once_and_nothing_is_written() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    stage.scaled("Deployment", "worker", 2).await;
    stage.scaled("StatefulSet", "queue", 1).await;
    stage.create("CronJob", json!({"name": "report", "labels": {"tier": "batch"}}), schedule(false)).await;
    let wanted: Vec<Workload> = serde_json::from_value(json!([
        {"kind": "Deployment", "selector": "tier in (backend)"},
        {"kind": "Deployment", "apiVersion": "apps/v1", "name": "api"},
        {"kind": "StatefulSet", "name": "queue"},
        {"kind": "CronJob", "selector": "tier=batch"},
    ]))
    .unwrap();
    let faults = KubeFaults::default();
    let client = faults.client(&apiserver().admin_config().await);
    let found = workloads::find(&client, &stage.namespace, &wanted).await.unwrap();
    let seen: Vec<_> = found
        .iter()
        .map(|found| (found.api_version.as_str(), found.kind.as_str(), found.name.as_str(), found.replicas, found.suspended))
        .collect();
    let expected = [
        ("apps/v1", "Deployment", "api", Some(3), None),
        ("apps/v1", "Deployment", "worker", Some(2), None),
        ("apps/v1", "StatefulSet", "queue", Some(1), None),
        ("batch/v1", "CronJob", "report", None, Some(false)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(found[0].uid, stage.get("Deployment", "api").await.uid().unwrap());
    assert!(found.iter().all(|found| found.fought == 0 && found.state.is_none() && found.held.is_empty()));
    assert_eq!(faults.count(), 0);
    assert!(stage.find(json!([])).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_scaled_is_refused_with_the_object_the_value_and_the_next_step() {
    other_kinds().await;
    let stage = Stage::new().await;
    let deployment = stage.scaled("Deployment", "api", 3).await;
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": deployment.uid(), "controller": true});
    stage.create("ReplicaSet", json!({"name": "api-1", "ownerReferences": [owner]}), spec("api", 3)).await;
    stage.create("Rollout", json!({"name": "unset"}), json!({})).await;
    let argo = "argoproj.io/v1alpha1";
    let cases: [(Value, Reason, &str); 11] = [
        (json!({"kind": "Deployment", "name": "apo"}), Reason::WorkloadNotFound, "Deployment apo in namespace"),
        (json!({"kind": "CronJob", "selector": "app=none"}), Reason::WorkloadNotFound, "CronJob (app=none) in namespace"),
        (json!({"kind": "Deployment", "selector": "app in api"}), Reason::InvalidSpec, "the selector is wrong"),
        (json!({"kind": "Rollout", "name": "api"}), Reason::InvalidSpec, "give its apiVersion"),
        (json!({"kind": "DaemonSet", "apiVersion": "apps/v1", "name": "api"}), Reason::InvalidSpec, "has no scale"),
        (json!({"kind": "Application", "apiVersion": argo, "name": "api"}), Reason::InvalidSpec, "has no scale"),
        (
            json!({"kind": "Deployment", "apiVersion": "apps/v9", "name": "api"}),
            Reason::InvalidSpec,
            "knows no apiVersion apps/v9",
        ),
        (json!({"kind": "Rollback", "apiVersion": argo, "name": "api"}), Reason::InvalidSpec, "has no kind Rollback"),
        (json!({"kind": "Namespace", "apiVersion": "v1", "name": "api"}), Reason::InvalidSpec, "that lives in a namespace"),
        (json!({"kind": "ReplicaSet", "name": "api-1"}), Reason::InvalidSpec, "belongs to Deployment api"),
        (
            json!({"kind": "Rollout", "apiVersion": argo, "name": "unset"}),
            Reason::KubernetesUnavailable,
            "Rollout unset in namespace",
        ),
    ];
    for (wanted, reason, words) in cases {
        let refused = stage.find(json!([{"kind": "Deployment", "name": "api"}, wanted])).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{}", refused.message);
        assert!(refused.message.contains(words), "{words}: {}", refused.message);
    }
}

#[tokio::test]
async fn a_kind_of_the_core_group_is_known_too() {
    let stage = Stage::new().await;
    let core = kube::discovery::ApiResource::from_gvk_with_plural(
        &kube::core::GroupVersionKind::gvk("", "v1", "ReplicationController"),
        "replicationcontrollers",
    );
    let api: kube::Api<kube::api::DynamicObject> = kube::Api::namespaced_with(stage.client.clone(), &stage.namespace, &core);
    let template = spec("old", 2)["template"].clone();
    let object = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"},
        "spec": {"replicas": 2, "selector": {"app": "old"}, "template": template}});
    api.create(&Default::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let wanted = json!([{"kind": "ReplicationController", "apiVersion": "v1", "name": "old"}]);
    let mut workload = stage.find(wanted).await.unwrap().remove(0);
    stage.lower(&mut workload).await;
    assert_eq!(api.get("old").await.unwrap().data["spec"]["replicas"], 0);
    stage.raise(&mut workload).await;
    assert_eq!(api.get("old").await.unwrap().data["spec"]["replicas"], 2);
}

/// A client of a service account that may do this in the stage's namespace, and nothing else.
pub async fn allowed(stage: &Stage, rules: Value) -> Client {
    let config = apiserver().config_of(&stage.namespace, "limited").await;
    let role = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
         "metadata": {"name": "limited", "namespace": stage.namespace}, "rules": rules},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
         "metadata": {"name": "limited", "namespace": stage.namespace},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "limited"},
         "subjects": [{"kind": "ServiceAccount", "name": "limited", "namespace": stage.namespace}]}]});
    let file = std::env::temp_dir().join(format!("{}-{}.json", stage.namespace, std::process::id()));
    std::fs::write(&file, role.to_string()).unwrap();
    apiserver().kubectl_output(&["apply", "-f", file.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
    let last = rules.as_array().and_then(|rules| rules.last()).unwrap();
    let [verb, group, resource] = ["verbs", "apiGroups", "resources"].map(|what| last[what][0].as_str().unwrap());
    apiserver().until_allowed(&stage.namespace, "limited", (verb, group, resource)).await;
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn a_right_that_lacks_is_named_before_anything_is_touched() {
    other_kinds().await;
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    stage.create("Rollout", json!({"name": "api"}), json!({"wanted": {"count": 1}})).await;
    let rules = json!([
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]},
        {"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["get", "list", "patch"]},
        {"apiGroups": ["argoproj.io"], "resources": ["rollouts/scale"], "verbs": ["get"]},
    ]);
    let client = allowed(&stage, rules).await;
    let cases = [
        (json!({"kind": "Deployment", "name": "api"}), "patch deployments"),
        (json!({"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "api"}), "patch rollouts/scale"),
        (json!({"kind": "StatefulSet", "name": "api"}), "cannot get resource \"statefulsets\""),
        (json!({"kind": "CronJob", "selector": "app=api"}), "cannot list resource \"cronjobs\""),
    ];
    for (wanted, right) in cases {
        let wanted: Vec<Workload> = vec![serde_json::from_value(wanted).unwrap()];
        let refused = workloads::find(&client, &stage.namespace, &wanted).await.unwrap_err();
        assert_eq!(refused.reason, Reason::WorkloadForbidden);
        assert!(refused.message.contains(right) && refused.message.contains("restores.workloads"), "{}", refused.message);
    }
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_passes_by_itself() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    let faults = KubeFaults::default();
    let client = faults.client(&apiserver().admin_config().await);
    let wanted: Vec<Workload> = serde_json::from_value(json!([{"kind": "Deployment", "name": "api"}])).unwrap();
    for skipped in [ReadFault::Cut, ReadFault::Refused(500)] {
        faults.plan_reads(skipped, 1);
        let refused = workloads::find(&client, &stage.namespace, &wanted).await.unwrap_err();
        assert_eq!(refused.reason, Reason::KubernetesUnavailable, "{}", refused.message);
    }
    assert_eq!(workloads::find(&client, &stage.namespace, &wanted).await.unwrap().len(), 1);
}
