//! What would scale a workload up while it is meant to be down?

use kube::api::{DynamicObject, ListParams};
use kube::discovery::ApiResource;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::hold::{APPLICATION, HELM_RELEASE, Held, SCALED_OBJECT, Switch};
use super::kind::{Kind, may_patch, resource};
use super::witness::FLUX;

/// The annotation by which Argo CD knows what belongs to an Application, and the labels by which older settings do.
/// <https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/>
const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
const TRACKING_LABELS: [&str; 2] = ["argocd.argoproj.io/instance", "app.kubernetes.io/instance"];

/// What scales workloads in a namespace.
pub(super) struct Rivals<'a> {
    client: &'a Client,
    namespace: &'a str,
    autoscalers: Vec<DynamicObject>,
    scaled_objects: Vec<DynamicObject>,
}

impl<'a> Rivals<'a> {
    /// Reads them.
    pub async fn of(client: &'a Client, namespace: &'a str) -> kube::Result<Self> {
        let autoscalers = resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers");
        let autoscalers = Api::namespaced_with(client.clone(), namespace, &autoscalers);
        Ok(Self {
            client,
            namespace,
            autoscalers: listed(&autoscalers).await?,
            scaled_objects: listed(&SCALED_OBJECT.api(client, namespace)).await?,
        })
    }

    /// Those of one workload, as `held` names them.
    pub async fn of_workload(&self, kind: &Kind, object: &DynamicObject) -> kube::Result<Vec<String>> {
        let mut found = Vec::new();
        for scaled_object in self.scaled_objects.iter().filter(|scaler| targets(scaler, &kind.resource, object)) {
            found.push(self.held(&SCALED_OBJECT, None, scaled_object.name_any()).await?);
        }
        for autoscaler in self.autoscalers.iter().filter(|scaler| targets(scaler, &kind.resource, object)) {
            found.extend(self.autoscaler(autoscaler));
        }
        found.extend(self.application(kind, object).await?);
        for (tool, group, _) in FLUX {
            found.extend(self.flux(tool, group, object).await?);
        }
        let owner = object.owner_references().iter().find(|owner| owner.controller == Some(true));
        found.extend(
            owner.map(|owner| format!("{} {}: it made this, and may scale it up, which is undone", owner.kind, owner.name)),
        );
        Ok(found)
    }

    /// The entry of one that is held, or of one that we may not hold.
    async fn held(&self, switch: &'static Switch, namespace: Option<String>, name: String) -> kube::Result<String> {
        let resource = resource(switch.api_version, switch.kind, switch.plural);
        let may = may_patch(self.client, namespace.as_deref().unwrap_or(self.namespace), &resource, "").await?;
        let entry = Held { switch, namespace, name }.entry();
        Ok(match may {
            true => entry,
            false => format!("{entry}: the operator may not patch it, so what it scales up is scaled down again"),
        })
    }

    /// A HorizontalPodAutoscaler does nothing at zero replicas, unless its own minimum is zero; there is nothing to hold.
    fn autoscaler(&self, autoscaler: &DynamicObject) -> Option<String> {
        let name = autoscaler.name_any();
        let by_keda = autoscaler.owner_references().iter().find(|owner| owner.kind == SCALED_OBJECT.kind);
        match by_keda {
            Some(owner) if self.scaled_objects.iter().any(|known| known.name_any() == owner.name) => None,
            Some(owner) => Some(format!(
                "ScaledObject {}: the operator may not read it, so what it scales up is scaled down again",
                owner.name
            )),
            None if autoscaler.data["spec"]["minReplicas"] == 0 => {
                Some(format!("HorizontalPodAutoscaler {name}: its minReplicas is 0, so what it scales up is scaled down again"))
            }
            None => Some(format!("HorizontalPodAutoscaler {name}")),
        }
    }

    /// The Application that an object belongs to. A label alone says so only if there is one of that name: charts set it too. One in another
    /// namespace, such as Argo CD's own, is held if it says itself that this object is its: what an object says of itself would let whoever
    /// may write it here stop what lies there.
    async fn application(&self, kind: &Kind, object: &DynamicObject) -> kube::Result<Option<String>> {
        let by_id = object.annotations().get(TRACKING_ID).and_then(|id| tracked_by(id, self.namespace, &kind.resource, object));
        let labels = TRACKING_LABELS.iter().filter_map(|label| object.labels().get(*label));
        for (application, is_certain) in by_id.iter().map(|id| (*id, true)).chain(labels.map(|name| (name.as_str(), false))) {
            // `namespace_name` is one outside Argo CD's own namespace.
            let (namespace, name) = match application.split_once('_') {
                Some((namespace, name)) => (Some(namespace), name),
                None => (None, application),
            };
            let api = APPLICATION.api(self.client, self.namespace);
            let is_here = namespace.is_none_or(|namespace| namespace == self.namespace);
            if is_here && readable(api.get_opt(name).await)?.flatten().is_some() {
                return self.held(&APPLICATION, None, name.to_owned()).await.map(Some);
            }
            if let Some(found) = self.application_elsewhere(namespace, name, kind, object).await? {
                return self.held(&APPLICATION, found.namespace(), name.to_owned()).await.map(Some);
            }
            if is_certain {
                let name = application.replacen('_', "/", 1);
                let why =
                    "the operator may read none of this name that lists this workload, so what it scales up is scaled down again";
                return Ok(Some(format!("{} {name}: {why}", APPLICATION.kind)));
            }
        }
        Ok(None)
    }

    /// The Application of this name in another namespace that says that this object is its.
    async fn application_elsewhere(
        &self,
        namespace: Option<&str>,
        name: &str,
        kind: &Kind,
        object: &DynamicObject,
    ) -> kube::Result<Option<DynamicObject>> {
        let api = match namespace {
            Some(namespace) => APPLICATION.api(self.client, namespace),
            None => APPLICATION.everywhere(self.client),
        };
        let named = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = readable(api.list(&named).await)?.map(|found| found.items).unwrap_or_default();
        Ok(found.into_iter().find(|application| self.manages(application, &kind.resource, object)))
    }

    /// Whether an Application tells in its status that this object is its.
    fn manages(&self, application: &DynamicObject, resource: &ApiResource, object: &DynamicObject) -> bool {
        let its = application.data["status"]["resources"].as_array().into_iter().flatten();
        its.into_iter().any(|its| {
            its["group"].as_str().unwrap_or_default() == resource.group
                && its["kind"] == resource.kind
                && its["namespace"] == self.namespace
                && its["name"] == object.name_any()
        })
    }

    /// What Flux made an object from. The object itself tells Flux to leave it alone, wherever that lies; a release here is suspended too.
    async fn flux(&self, tool: &str, group: &str, object: &DynamicObject) -> kube::Result<Option<String>> {
        let label = |name: &str| object.labels().get(&format!("{group}/{name}"));
        let (Some(name), Some(namespace)) = (label("name"), label("namespace")) else { return Ok(None) };
        let is_here = tool == HELM_RELEASE.kind && namespace == self.namespace;
        if is_here && readable(HELM_RELEASE.api(self.client, namespace).get_opt(name).await)?.flatten().is_some() {
            return self.held(&HELM_RELEASE, None, name.clone()).await.map(Some);
        }
        Ok(Some(format!("{tool} {namespace}/{name}")))
    }
}

/// The application of a tracking id, `<application>:<group>/<kind>:<namespace>/<name>`, if that is about this object and no copy of it.
fn tracked_by<'a>(id: &'a str, namespace: &str, resource: &ApiResource, object: &DynamicObject) -> Option<&'a str> {
    let (application, about) = id.split_once(':')?;
    let is_this = about == format!("{}/{}:{namespace}/{}", resource.group, resource.kind, object.name_any());
    is_this.then_some(application)
}

/// Whether an autoscaler's scaleTargetRef is this object. KEDA means a Deployment where it says nothing.
fn targets(scaler: &DynamicObject, resource: &ApiResource, object: &DynamicObject) -> bool {
    let target = &scaler.data["spec"]["scaleTargetRef"];
    let or = |value: &Value, usual: &'static str| value.as_str().unwrap_or(usual).to_owned();
    let api_version = or(&target["apiVersion"], "apps/v1");
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    target["name"] == object.name_any() && or(&target["kind"], "Deployment") == resource.kind && group == resource.group
}

/// What lies there; nothing where the kind is unknown or the operator may not look.
async fn listed(api: &Api<DynamicObject>) -> kube::Result<Vec<DynamicObject>> {
    Ok(readable(api.list(&ListParams::default()).await)?.map(|found| found.items).unwrap_or_default())
}

fn readable<T>(answer: kube::Result<T>) -> kube::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 || status.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}
