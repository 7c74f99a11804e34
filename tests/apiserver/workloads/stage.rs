//! A namespace with workloads, and a Restore that wants them down. There are no controllers: what they would do, a test does.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt as _};
use pgreeve::api::restore::{ScaledWorkload, Workload};
use pgreeve::cluster::jobs::Owner;
use pgreeve::cluster::workloads::{self, Lowered};
use pgreeve::plan::action::Blocked;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::apiserver::apiserver;
use crate::support::eventually;

/// Kinds of these tests: API version, kind, plural.
const KINDS: [(&str, &str, &str); 9] = [
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "ReplicaSet", "replicasets"),
    ("batch/v1", "CronJob", "cronjobs"),
    ("argoproj.io/v1alpha1", "Rollout", "rollouts"),
    ("argoproj.io/v1alpha1", "Application", "applications"),
    ("keda.sh/v1alpha1", "ScaledObject", "scaledobjects"),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease", "helmreleases"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
];

pub struct Stage {
    pub client: Client,
    pub namespace: String,
    pub restore: Owner,
}

impl Stage {
    pub async fn new() -> Self {
        let client = apiserver().admin().await;
        let namespace = apiserver().namespace(&client).await;
        let restore = restore(&namespace, "back");
        Self { client, namespace, restore }
    }

    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let (api_version, kind, plural) = KINDS.iter().find(|known| known.1 == kind).unwrap();
        let (group, version) = api_version.split_once('/').unwrap();
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Creates an object with this metadata and spec.
    pub async fn create(&self, kind: &str, metadata: Value, spec: Value) -> DynamicObject {
        let (api_version, ..) = KINDS.iter().find(|known| known.1 == kind).unwrap();
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
        self.api(kind).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    /// A Deployment, StatefulSet or ReplicaSet with so many replicas.
    pub async fn scaled(&self, kind: &str, name: &str, replicas: i32) -> DynamicObject {
        self.create(kind, json!({"name": name, "labels": {"app": name, "tier": "backend"}}), spec(name, replicas)).await
    }

    pub async fn get(&self, kind: &str, name: &str) -> DynamicObject {
        self.api(kind).get(name).await.unwrap()
    }

    pub async fn merge(&self, kind: &str, name: &str, patch: Value) {
        self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    pub async fn replicas(&self, kind: &str, name: &str) -> i64 {
        self.get(kind, name).await.data["spec"]["replicas"].as_i64().unwrap()
    }

    pub async fn set_replicas(&self, kind: &str, name: &str, replicas: i32) {
        self.merge(kind, name, json!({"spec": {"replicas": replicas}})).await;
    }

    pub async fn find(&self, wanted: Value) -> Result<Vec<ScaledWorkload>, Blocked> {
        let wanted: Vec<Workload> = serde_json::from_value(wanted).unwrap();
        workloads::find(&self.client, &self.namespace, &wanted).await
    }

    /// The one workload of this kind and name, as it is recorded.
    pub async fn record(&self, kind: &str, name: &str) -> ScaledWorkload {
        let mut found = self.find(json!([{"kind": kind, "name": name}])).await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    pub async fn lower(&self, workload: &mut ScaledWorkload) -> Lowered {
        workloads::lower(&self.client, &self.namespace, &self.restore, workload).await.unwrap()
    }

    pub async fn raise(&self, workload: &mut ScaledWorkload) -> bool {
        workloads::raise(&self.client, &self.namespace, &self.restore, workload).await.unwrap()
    }

    /// A Pod with these labels and this phase, that belongs to this object where one is given.
    pub async fn pod(&self, labels: Value, phase: &str, owner: Option<Value>) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"generateName": "pod-", "labels": labels, "ownerReferences": owner.map(|owner| vec![owner])},
            "spec": {"containers": [{"name": "main", "image": "registry.example/main"}]}});
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let made = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        let status = json!({"status": {"phase": phase}});
        pods.patch_status(&made.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }
}

/// A Restore of this name.
pub fn restore(namespace: &str, name: &str) -> Owner {
    Owner {
        api_version: "pgreeve.dev/v1alpha1".into(),
        kind: "Restore".into(),
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("7a1e2b3c-0000-4000-8000-{:012x}", name.len()),
    }
}

/// Of a Deployment, StatefulSet or ReplicaSet.
pub fn spec(name: &str, replicas: i32) -> Value {
    json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "registry.example/main"}]}}})
}

/// Of a CronJob.
pub fn schedule(suspend: bool) -> Value {
    json!({"schedule": "*/5 * * * *", "suspend": suspend, "jobTemplate": {"spec": {"template": {
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.example/main"}]}}}}})
}

/// Small definitions of other projects' kinds, once for this API server. A Rollout has its replicas elsewhere than Kubernetes' own kinds.
pub async fn other_kinds() {
    static APPLIED: OnceCell<()> = OnceCell::const_new();
    APPLIED.get_or_init(apply_other_kinds).await;
}

async fn apply_other_kinds() {
    let client = apiserver().admin().await;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (api_version, kind, plural) in KINDS.iter().filter(|kind| !kind.0.starts_with("apps") && kind.0.contains('.')) {
        let (group, version) = api_version.split_once('/').unwrap();
        let is_scaled = *kind == "Rollout";
        let scale = json!({"specReplicasPath": ".spec.wanted.count", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"});
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                "versions": [{"name": version, "served": true, "storage": true,
                    "subresources": if is_scaled { json!({"status": {}, "scale": scale}) } else { json!({}) },
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
        let crd: CustomResourceDefinition = serde_json::from_value(crd).unwrap();
        api.patch(&crd.name_any(), &PatchParams::apply("tests").force(), &Patch::Apply(&crd)).await.unwrap();
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        eventually(&format!("{kind} is served"), Duration::from_secs(20), async || {
            objects.list(&Default::default()).await.ok().map(drop)
        })
        .await;
    }
}
