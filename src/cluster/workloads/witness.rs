//! What does a workload itself remember of a restore? An annotation with what it had, and a label by which it is found.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::jobs::Owner;
use crate::api::restore::ScaledWorkload;

/// Label of a workload that is down, and of what was held for it: the UID of the Restore.
pub const RESTORED_BY: &str = "pgreeve.dev/restored-by";
/// Annotation of a workload that is down: what it had, and for which Restore, as [`Witness`] in JSON.
pub const RESTORE_STATE: &str = "pgreeve.dev/restore-state";

/// A Restore, as a workload names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RestoreId {
    /// Its namespace, which is the workload's too.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl RestoreId {
    /// The Restore of this namespace.
    pub(super) fn of(namespace: &str, restore: &Owner) -> Self {
        Self { namespace: namespace.to_owned(), name: restore.name.clone(), uid: restore.uid.clone() }
    }
}

/// What a workload that is down remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Witness {
    /// Why it is down.
    pub restore: RestoreId,
    /// What it had.
    pub workload: ScaledWorkload,
    /// Annotations of others that were set to [`DISABLED`] on it, with what they were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, Option<String>>,
}

/// The value of Flux's annotations that keeps its controllers away from an object.
pub(super) const DISABLED: &str = "disabled";

/// Flux's labels of what it made, and the annotation that keeps the controller away that made it.
/// <https://fluxcd.io/flux/components/kustomize/kustomizations/#controlling-the-apply-behavior-of-resources>,
/// <https://fluxcd.io/flux/components/helm/helmreleases/#ignore-annotation>
pub(super) const FLUX: [(&str, &str, &str); 2] = [
    ("Kustomization", "kustomize.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io/reconcile"),
    ("HelmRelease", "helm.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io/driftDetection"),
];

impl Witness {
    /// What an object remembers. A copy of another object remembers nothing: what it says is about the other one.
    pub fn of(object: &DynamicObject) -> Option<Self> {
        let text = object.annotations().get(RESTORE_STATE)?;
        let found: Self = serde_json::from_str(text).ok()?;
        let is_its_own = Some(&found.workload.uid) == object.metadata.uid.as_ref();
        (is_its_own && Some(&found.restore.namespace) == object.metadata.namespace.as_ref()).then_some(found)
    }

    /// What this object is to remember.
    pub fn new(restore: &RestoreId, workload: &ScaledWorkload, object: &DynamicObject) -> Self {
        let made_by_flux = FLUX.iter().filter(|(_, group, _)| object.labels().contains_key(&format!("{group}/name")));
        let annotations = made_by_flux.map(|(_, _, annotation)| {
            let former = object.annotations().get(*annotation).cloned();
            ((*annotation).to_owned(), former)
        });
        let recorded = ScaledWorkload { state: None, fought: 0, ..workload.clone() };
        Self { restore: restore.clone(), workload: recorded, annotations: annotations.collect() }
    }

    /// The metadata with which an object remembers it.
    pub fn mark(&self) -> Value {
        let mut annotations: BTreeMap<&str, String> =
            self.annotations.keys().map(|name| (name.as_str(), DISABLED.to_owned())).collect();
        annotations.insert(RESTORE_STATE, json!(self).to_string());
        json!({"labels": {RESTORED_BY: self.restore.uid}, "annotations": annotations})
    }

    /// The metadata with which it forgets it. What somebody else has set meanwhile stays.
    pub fn unmark(&self, object: &DynamicObject) -> Value {
        let ours = |name: &&String| object.annotations().get(*name).is_some_and(|value| value == DISABLED);
        let mut annotations: BTreeMap<&str, Option<&str>> =
            self.annotations.keys().filter(ours).map(|name| (name.as_str(), self.annotations[name].as_deref())).collect();
        annotations.insert(RESTORE_STATE, None);
        json!({"labels": {RESTORED_BY: null}, "annotations": annotations})
    }
}
