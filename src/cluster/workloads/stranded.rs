//! What is down, or held, for a Restore that may look after it no more?

use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt as _};

use super::super::jobs::Owner;
use super::super::objects::unavailable;
use super::hold::{self, SWITCHES, holders, release};
use super::kind::{How, Kind, own_kinds, refused};
use super::witness::{RESTORED_BY, RestoreId, Witness};
use crate::api::restore::ScaledWorkload;
use crate::api::{GROUP, VERSION};
use crate::plan::action::Blocked;

/// A workload that says that it is down.
#[derive(Clone, Debug, PartialEq)]
pub struct Stranded {
    /// For whom.
    pub restore: RestoreId,
    /// What it had.
    pub workload: ScaledWorkload,
}

/// Something that is held for a workload, whether that is still there or not.
#[derive(Clone, Debug)]
pub struct Held {
    /// For whom.
    pub restore: RestoreId,
    /// UID of the workload.
    pub workload: String,
    /// Kind and name, as in [`ScaledWorkload::held`].
    pub entry: String,
    held: hold::Held,
}

impl RestoreId {
    /// The Restore as an owner.
    pub fn owner(&self) -> Owner {
        Owner {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "Restore".into(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }
}

/// The workloads that say so: Kubernetes' own kinds, and all others that have a scale and that the operator may look at.
pub(super) async fn workloads(client: &Client, namespace: Option<&str>) -> Result<Vec<Stranded>, Blocked> {
    let discovered = Discovery::new(client.clone()).run_aggregated().await;
    let discovered = discovered.map_err(|error| unavailable("the kinds that have a scale", &error))?;
    let known: Vec<Kind> = own_kinds().collect();
    let others = discovered.groups().flat_map(|group| group.recommended_resources()).filter(|(resource, able)| {
        let is_known = known.iter().any(|known| known.resource.group == resource.group && known.resource.kind == resource.kind);
        let has_scale = able.subresources.iter().any(|(_, subresource)| subresource.supports_operation(verbs::PATCH));
        !is_known && has_scale && able.scope == Scope::Namespaced
    });
    let others = others.map(|(resource, _)| Kind { resource, how: How::Scale });
    let mut found = Vec::new();
    for kind in known.iter().cloned().chain(others) {
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => kind.api(client, namespace),
            None => Api::all_with(client.clone(), &kind.resource),
        };
        found.extend(labelled(&api).await?.iter().filter_map(|object| stranded(&kind, object)));
    }
    Ok(found)
}

/// What an object says, of itself: its kind and name are its own, whatever the annotation says.
fn stranded(kind: &Kind, object: &DynamicObject) -> Option<Stranded> {
    let Witness { restore, workload, .. } = Witness::of(object)?;
    let (api_version, kind) = (kind.resource.api_version.clone(), kind.resource.kind.clone());
    Some(Stranded { restore, workload: ScaledWorkload { api_version, kind, name: object.name_any(), ..workload } })
}

/// What says that it is held.
pub(super) async fn held(client: &Client, namespace: Option<&str>) -> Result<Vec<Held>, Blocked> {
    let mut found = Vec::new();
    for switch in &SWITCHES {
        let api = match namespace {
            Some(namespace) => switch.api(client, namespace),
            None => switch.everywhere(client),
        };
        for object in labelled(&api).await? {
            found.extend(holders(&object).filter_map(|(workload, restore)| {
                let namespace = object.namespace().filter(|namespace| *namespace != restore.namespace);
                // Nothing of this kind is held from another namespace.
                let is_ours = namespace.is_none() || switch.reaches;
                let held = hold::Held { switch, namespace, name: object.name_any() };
                is_ours.then(|| Held { restore, workload, entry: held.entry(), held })
            }));
        }
    }
    Ok(found)
}

/// Lets one go.
pub(super) async fn let_go(client: &Client, held: &Held) -> Result<(), Blocked> {
    let released = release(client, &held.held, &held.restore.namespace, &held.workload).await;
    released.map_err(|error| refused(&format!("{} in namespace {}", held.entry, held.restore.namespace), &error))
}

/// What has our label; nothing where the kind is unknown or the operator may not look, since then it has not changed anything there.
async fn labelled(api: &Api<DynamicObject>) -> Result<Vec<DynamicObject>, Blocked> {
    match api.list(&ListParams::default().labels(RESTORED_BY)).await {
        Ok(found) => Ok(found.items),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 405 || status.is_forbidden() => Ok(vec![]),
        Err(error) => Err(unavailable("what is down for a Restore", &error)),
    }
}
