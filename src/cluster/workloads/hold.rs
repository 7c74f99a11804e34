//! How is kept still what would scale a workload up, and let go exactly as it was?
//!
//! Each has a documented switch. What it was, and for which workloads it is held, is written onto the object that is held, in the same
//! request: several workloads may hang on one Application, and the last one that comes back lets it go.

use std::collections::BTreeMap;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::MANAGER;
use super::kind::resource;
use super::witness::{RESTORED_BY, RestoreId};

/// Annotation of what is held: what it was, and for whom, as [`Holding`] in JSON.
pub const RESTORE_HOLD: &str = "pgreeve.dev/restore-hold";

/// Where a switch is.
#[derive(Clone, Copy, Debug)]
enum At {
    Annotation(&'static str),
    Spec(&'static str),
}

/// A kind of thing that scales workloads, and its documented switch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch {
    pub kind: &'static str,
    pub api_version: &'static str,
    pub plural: &'static str,
    at: At,
    /// Whether it would take the workload down again, so that it must be let go before the workload comes back.
    pub opposes: bool,
    /// Whether one in another namespace than the workload's is held too.
    pub reaches: bool,
}

/// One thing that is held, as an entry of `held` names it: `KIND NAME`, or `KIND NAMESPACE/NAME` in another namespace.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub switch: &'static Switch,
    /// Its own, where that is not the workload's.
    pub namespace: Option<String>,
    pub name: String,
}

/// KEDA scales to the number of the annotation and stays there (<https://keda.sh/docs/latest/concepts/scaling-deployments/#pause-autoscaling>).
pub(super) const SCALED_OBJECT: Switch = Switch {
    kind: "ScaledObject",
    api_version: "keda.sh/v1alpha1",
    plural: "scaledobjects",
    at: At::Annotation("autoscaling.keda.sh/paused-replicas"),
    opposes: true,
    reaches: false,
};
/// Argo CD leaves the Application alone (<https://argo-cd.readthedocs.io/en/stable/user-guide/skip_reconcile/>).
pub(super) const APPLICATION: Switch = Switch {
    kind: "Application",
    api_version: "argoproj.io/v1alpha1",
    plural: "applications",
    at: At::Annotation("argocd.argoproj.io/skip-reconcile"),
    opposes: false,
    reaches: true,
};
/// Flux neither upgrades the release nor corrects what has drifted (<https://fluxcd.io/flux/components/helm/helmreleases/#suspend>).
pub(super) const HELM_RELEASE: Switch = Switch {
    kind: "HelmRelease",
    api_version: "helm.toolkit.fluxcd.io/v2",
    plural: "helmreleases",
    at: At::Spec("suspend"),
    opposes: false,
    reaches: false,
};

/// All that can be held.
pub(super) const SWITCHES: [Switch; 3] = [SCALED_OBJECT, APPLICATION, HELM_RELEASE];

/// What an object that is held remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Holding {
    /// What the switch said; null where it was absent.
    former: Value,
    /// UIDs of the workloads that need it held, each with its Restore.
    by: BTreeMap<String, RestoreId>,
}

impl Switch {
    /// Objects of this kind.
    pub fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &resource(self.api_version, self.kind, self.plural))
    }

    /// Objects of this kind, wherever they are.
    pub fn everywhere(&self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &resource(self.api_version, self.kind, self.plural))
    }

    /// What the switch says while it is held.
    fn held(&self) -> Value {
        match (self.at, self.opposes) {
            (At::Annotation(_), true) => json!("0"),
            (At::Annotation(_), false) => json!("true"),
            (At::Spec(_), _) => json!(true),
        }
    }

    fn value(&self, object: &DynamicObject) -> Value {
        match self.at {
            At::Annotation(name) => object.annotations().get(name).map_or(Value::Null, |value| json!(value)),
            At::Spec(name) => object.data["spec"][name].clone(),
        }
    }

    /// A patch of this very object as it was read, that sets the annotation of ours, and the switch where a value is given.
    fn patch(&self, object: &DynamicObject, holding: Option<&Holding>, value: Option<Value>) -> Value {
        let restore = holding.and_then(|holding| holding.by.values().next());
        let mut patch = json!({"metadata": {
            "uid": object.metadata.uid, "resourceVersion": object.metadata.resource_version,
            "labels": {RESTORED_BY: restore.map(|restore| &restore.uid)},
            "annotations": {RESTORE_HOLD: holding.map(|holding| json!(holding).to_string())},
        }});
        match (self.at, value) {
            (_, None) => {}
            (At::Annotation(name), Some(value)) => patch["metadata"]["annotations"][name] = value,
            (At::Spec(name), Some(value)) => patch["spec"] = json!({name: value}),
        }
        patch
    }
}

impl Held {
    /// What an entry of `held` speaks of; `None` for one that only says why something is not held.
    pub fn parse(entry: &str) -> Option<Self> {
        let (kind, name) = entry.split_once(' ')?;
        let switch = SWITCHES.iter().find(|switch| switch.kind == kind)?;
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) if switch.reaches => (Some(namespace.to_owned()), name),
            _ => (None, name),
        };
        (!name.contains([' ', '/', ':'])).then(|| Self { switch, namespace, name: name.to_owned() })
    }

    /// The entry.
    pub fn entry(&self) -> String {
        let Self { switch, namespace, name } = self;
        match namespace {
            Some(namespace) => format!("{} {namespace}/{name}", switch.kind),
            None => format!("{} {name}", switch.kind),
        }
    }

    /// Where it lies, for a workload of this namespace.
    fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        self.switch.api(client, self.namespace.as_deref().unwrap_or(namespace))
    }
}

/// Holds one for a workload. One that is gone needs no holding, and what somebody has switched back meanwhile is switched again.
pub(super) async fn hold(client: &Client, held: &Held, restore: &RestoreId, workload: &str) -> kube::Result<()> {
    let (api, switch) = (held.api(client, &restore.namespace), held.switch);
    let Some(object) = api.get_opt(&held.name).await? else { return Ok(()) };
    let known = holding(&object);
    let is_held = switch.value(&object) == switch.held();
    if is_held && known.as_ref().is_some_and(|holding| holding.by.contains_key(workload)) {
        return Ok(());
    }
    let mut holding = known.unwrap_or_else(|| Holding { former: switch.value(&object), by: BTreeMap::new() });
    holding.by.insert(workload.to_owned(), restore.clone());
    let patch = switch.patch(&object, Some(&holding), Some(switch.held()));
    api.patch(&held.name, &manager(), &Patch::Merge(&patch)).await.map(drop)
}

/// Lets one go for a workload: it is as it was when the last workload lets it go, unless somebody has switched it meanwhile.
pub(super) async fn release(client: &Client, held: &Held, namespace: &str, workload: &str) -> kube::Result<()> {
    let (api, switch) = (held.api(client, namespace), held.switch);
    let Some(object) = api.get_opt(&held.name).await? else { return Ok(()) };
    let Some(mut holding) = holding(&object) else { return Ok(()) };
    if holding.by.remove(workload).is_none() {
        return Ok(());
    }
    let patch = match holding.by.is_empty() {
        false => switch.patch(&object, Some(&holding), None),
        true => {
            let former = (switch.value(&object) == switch.held()).then_some(holding.former);
            switch.patch(&object, None, former)
        }
    };
    api.patch(&held.name, &manager(), &Patch::Merge(&patch)).await.map(drop)
}

fn holding(object: &DynamicObject) -> Option<Holding> {
    serde_json::from_str(object.annotations().get(RESTORE_HOLD)?).ok()
}

/// The Restores for which an object is held, each with the UID of a workload.
pub(super) fn holders(object: &DynamicObject) -> impl Iterator<Item = (String, RestoreId)> {
    holding(object).into_iter().flat_map(|holding| holding.by)
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}
