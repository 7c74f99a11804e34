//! How is an object read, and its status written?

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::Reason;
use crate::plan::action::Blocked;

/// An object as the API server has it, and as our types read it.
#[derive(Clone, Debug)]
pub struct Fetched<K> {
    /// Everything, untyped; the status in it is compared with the new one.
    pub raw: DynamicObject,
    /// The typed object, or why our types cannot read it: it was written under another schema.
    pub typed: Result<K, String>,
}

/// The object of this name; `None` if it is gone. A read from the API server itself, so that no cache can be stale.
///
/// # Errors
/// What the API server or the connection said.
pub async fn fetch<K>(client: &Client, namespace: &str, name: &str) -> kube::Result<Option<Fetched<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let resource = resource::<K>();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let Some(raw) = api.get_opt(name).await? else { return Ok(None) };
    let typed = typed(&raw);
    Ok(Some(Fetched { raw, typed }))
}

/// Most objects of a page: some kilobytes each, and there may be ten thousand.
const PAGE: u32 = 200;

/// One page of the objects of a namespace, without their statuses, and what to ask for the next one, if there is one. Objects that our
/// types cannot read are left out: they say so in their own status, and harm nobody else.
///
/// # Errors
/// What the API server or the connection said.
pub async fn page<K>(client: &Client, namespace: &str, wanted: &ListParams) -> kube::Result<(Vec<K>, Option<ListParams>)>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let (found, next) = raw_page::<K>(client, namespace, wanted, Keep::Spec).await?;
    Ok((found.into_iter().filter_map(|fetched| fetched.typed.ok()).collect(), next))
}

/// All objects of a namespace, page by page, without their statuses: those that our types cannot read too.
///
/// # Errors
/// What the API server or the connection said.
pub async fn list<K>(client: &Client, namespace: &str, wanted: ListParams) -> kube::Result<Vec<Fetched<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    all::<K>(client, namespace, wanted, Keep::Spec).await
}

/// The same with their statuses: for kinds of which a namespace has some hundreds.
///
/// # Errors
/// What the API server or the connection said.
pub async fn list_whole<K>(client: &Client, namespace: &str, wanted: ListParams) -> kube::Result<Vec<Fetched<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    all::<K>(client, namespace, wanted, Keep::All).await
}

/// What is kept of listed objects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Spec,
    All,
}

async fn all<K>(client: &Client, namespace: &str, wanted: ListParams, keep: Keep) -> kube::Result<Vec<Fetched<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let (mut all, mut next) = raw_page::<K>(client, namespace, &wanted, keep).await?;
    while let Some(wanted) = next {
        let (found, following) = raw_page::<K>(client, namespace, &wanted, keep).await?;
        all.extend(found);
        next = following;
    }
    Ok(all)
}

async fn raw_page<K>(
    client: &Client,
    namespace: &str,
    wanted: &ListParams,
    keep: Keep,
) -> kube::Result<(Vec<Fetched<K>>, Option<ListParams>)>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let resource = resource::<K>();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let found = api.list(&wanted.clone().limit(PAGE)).await?;
    let next = found.metadata.continue_.filter(|token| !token.is_empty()).map(|token| wanted.clone().continue_token(&token));
    let objects = found.items.into_iter().map(|mut raw| {
        raw.metadata.managed_fields = None;
        if let Some(data) = raw.data.as_object_mut()
            && keep == Keep::Spec
        {
            data.remove("status");
        }
        let typed = typed(&raw);
        Fetched { raw, typed }
    });
    Ok((objects.collect(), next))
}

fn typed<K: DeserializeOwned>(raw: &DynamicObject) -> Result<K, String> {
    let mut value = serde_json::to_value(raw).map_err(|error| error.to_string())?;
    match serde_json::from_value(value.clone()) {
        Ok(object) => Ok(object),
        Err(_) => {
            // An unreadable status is no reason to stop: it is written anew.
            if let Some(object) = value.as_object_mut() {
                object.remove("status");
            }
            serde_json::from_value(value).map_err(|error| error.to_string())
        }
    }
}

/// Tries to write a status while other parts of the object change.
const STATUS_TRIES: usize = 4;

/// Applies a status, if it differs from the one that the object has. Returns whether it was written. A status that somebody else has written
/// since `raw` was read is not overwritten: what was noted there, such as the proof of an export, is not known to this one.
///
/// # Errors
/// What the API server or the connection said; a conflict where there is another status now.
pub async fn apply_status<K>(client: &Client, raw: &DynamicObject, manager: &str, status: &Value) -> kube::Result<bool>
where
    K: Resource<DynamicType = ()>,
{
    if raw.data.get("status").is_some_and(|found| same(found, status)) {
        return Ok(false);
    }
    let resource = resource::<K>();
    let namespace = raw.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let mut version = raw.metadata.resource_version.clone();
    for attempt in 1.. {
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            // The UID makes sure that a status never lands on a namesake that was created meanwhile.
            "metadata": { "name": raw.name_any(), "uid": raw.metadata.uid, "resourceVersion": version },
            "status": status,
        });
        let conflict = match api.patch_status(&raw.name_any(), &PatchParams::apply(manager).force(), &Patch::Apply(&patch)).await
        {
            Err(kube::Error::Api(error)) if error.is_conflict() && attempt < STATUS_TRIES => error,
            answer => return answer.map(|_| true),
        };
        // A new spec or annotation is no reason to lose what a pass has done.
        match api.get_opt(&raw.name_any()).await? {
            Some(now) if now.metadata.uid == raw.metadata.uid && now.data.get("status") == raw.data.get("status") => {
                version = now.metadata.resource_version;
            }
            _ => return Err(kube::Error::Api(conflict)),
        }
    }
    Ok(false)
}

/// Adds a finalizer to an object, or removes it. Only from the object as it was read: whoever has changed it meanwhile is not overruled.
///
/// # Errors
/// What the API server or the connection said; a conflict where the object is another one now.
pub async fn set_finalizer<K>(client: &Client, raw: &DynamicObject, finalizer: &str, wanted: bool) -> kube::Result<DynamicObject>
where
    K: Resource<DynamicType = ()>,
{
    let mut finalizers: Vec<String> = raw.finalizers().iter().filter(|found| *found != finalizer).cloned().collect();
    if wanted {
        finalizers.push(finalizer.to_owned());
    }
    let metadata = json!({"uid": raw.metadata.uid, "resourceVersion": raw.metadata.resource_version, "finalizers": finalizers});
    let namespace = raw.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource::<K>());
    api.patch(&raw.name_any(), &PatchParams::default(), &Patch::Merge(json!({"metadata": metadata}))).await
}

fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&K::group(&()), &K::version(&()), &K::kind(&())), &K::plural(&()))
}

/// Equal, a missing field counting as null.
fn same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            let keys = found.keys().chain(wanted.keys());
            let get = |map: &serde_json::Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
            keys.into_iter().all(|key| same(&get(found, key), &get(wanted, key)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| same(found, wanted))
        }
        _ => found == wanted,
    }
}

/// The refusal that an error of the API server amounts to.
pub fn unavailable(what: &str, error: &kube::Error) -> Blocked {
    Blocked::new(Reason::KubernetesUnavailable, format!("{what}: {error}"))
}
