//! How many replicas has a workload, and how is that changed?

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::Selector;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::MANAGER;
use super::kind::{How, Kind};

/// What a workload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// So many replicas.
    Replicas(i32),
    /// A schedule, which is suspended or not.
    Suspended(bool),
}

impl Level {
    /// Whether it starts nothing.
    pub fn is_down(self) -> bool {
        matches!(self, Self::Replicas(0) | Self::Suspended(true))
    }
}

/// A workload as it was read.
pub(super) struct Found {
    pub api: Api<DynamicObject>,
    pub kind: Kind,
    pub object: DynamicObject,
    pub level: Level,
    /// Labels of its Pods, where it says.
    pub pods: Option<String>,
}

impl Found {
    /// The workload of this name; `None` if it is gone.
    pub async fn get(client: &Client, namespace: &str, kind: &Kind, name: &str) -> kube::Result<Option<Self>> {
        let api = kind.api(client, namespace);
        match api.get_opt(name).await? {
            Some(object) => Self::of(api, kind, object).await.map(Some),
            None => Ok(None),
        }
    }

    /// The workload that an object is.
    pub async fn of(api: Api<DynamicObject>, kind: &Kind, object: DynamicObject) -> kube::Result<Self> {
        let spec = &object.data["spec"];
        let number = |value: &Value| value.as_i64().and_then(|value| i32::try_from(value).ok());
        let (level, pods) = match kind.how {
            How::Replicas => (Level::Replicas(number(&spec["replicas"]).unwrap_or(1)), selector(&spec["selector"])),
            How::Suspend => (Level::Suspended(spec["suspend"] == true), None),
            How::Scale => {
                let scale = api.get_scale(&object.name_any()).await?;
                let pods = scale.status.and_then(|status| status.selector).filter(|selector| !selector.is_empty());
                // The API server leaves out a zero.
                (Level::Replicas(scale.spec.and_then(|spec| spec.replicas).unwrap_or(0)), pods)
            }
        };
        Ok(Self { api, kind: kind.clone(), object, level, pods })
    }

    /// Changes the metadata, and the level where one is given, of this very object as it was read: a conflict says that it is another one by
    /// now. In one request, but where the level is a matter of the subresource; then the metadata come first.
    pub async fn change(&mut self, metadata: Value, level: Option<Level>) -> kube::Result<()> {
        let mut patch = json!({"metadata": metadata});
        match (self.kind.how, level) {
            (How::Replicas, Some(Level::Replicas(replicas))) => patch["spec"] = json!({"replicas": replicas}),
            (How::Suspend, Some(Level::Suspended(suspend))) => patch["spec"] = json!({"suspend": suspend}),
            _ => {}
        }
        if patch.get("spec").is_some() || metadata != json!({}) {
            patch["metadata"]["uid"] = json!(self.object.metadata.uid);
            patch["metadata"]["resourceVersion"] = json!(self.object.metadata.resource_version);
            self.object = self.api.patch(&self.object.name_any(), &manager(), &Patch::Merge(&patch)).await?;
        }
        if let (How::Scale, Some(Level::Replicas(replicas))) = (self.kind.how, level) {
            self.scale(replicas).await?;
        }
        self.level = level.unwrap_or(self.level);
        Ok(())
    }

    async fn scale(&mut self, replicas: i32) -> kube::Result<()> {
        let name = self.object.name_any();
        let (uid, version) = (&self.object.metadata.uid, &self.object.metadata.resource_version);
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": version}, "spec": {"replicas": replicas}});
        let scaled = self.api.patch_scale(&name, &manager(), &Patch::Merge(&patch)).await?;
        self.object.metadata.resource_version = scaled.metadata.resource_version;
        Ok(())
    }

    /// Whether Kubernetes removes its volumes, with what is on them, when it is scaled down.
    pub fn loses_volumes(&self) -> bool {
        self.kind.resource.kind == "StatefulSet"
            && self.object.data["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete"
    }

    /// Whether its controller has seen what it asks for, so that what it lacks it will not make any more.
    pub fn is_seen(&self) -> bool {
        let seen = self.object.data["status"]["observedGeneration"].as_i64();
        seen.is_none_or(|seen| Some(seen) >= self.object.metadata.generation)
    }
}

fn selector(value: &Value) -> Option<String> {
    let selector: LabelSelector = serde_json::from_value(value.clone()).ok()?;
    let selector = Selector::try_from(selector).ok()?.to_string();
    Some(selector).filter(|selector| !selector.is_empty())
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}
