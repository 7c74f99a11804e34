//! How does a command make an object of ours in a cluster, change it, and see what becomes of it?

use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::exit::{Exit, Failure};
use super::{Cluster, refused};

/// Most objects of a page.
const PAGE: u32 = 200;

impl Cluster {
    /// An object; `None` where there is none of this name.
    ///
    /// # Errors
    /// What the API server or the connection said.
    pub async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, Failure>
    where
        K: Ours,
    {
        let what = format!("reading {} {namespace}/{name} of {}", K::kind(&()), self.name());
        self.api::<K>(namespace).get_opt(name).await.map_err(|error| refused(&what, &error))
    }

    /// All objects of a kind in a namespace, with their statuses.
    ///
    /// # Errors
    /// What the API server or the connection said.
    pub async fn all<K>(&self, namespace: &str, wanted: ListParams) -> Result<Vec<K>, Failure>
    where
        K: Ours,
    {
        let what = format!("listing {} in namespace {namespace} of {}", K::plural(&()), self.name());
        let (mut all, mut next) = (Vec::new(), Some(wanted.limit(PAGE)));
        while let Some(wanted) = next {
            let found = self.api::<K>(namespace).list(&wanted).await.map_err(|error| refused(&what, &error))?;
            next = found.metadata.continue_.filter(|token| !token.is_empty()).map(|token| wanted.continue_token(&token));
            all.extend(found.items);
        }
        Ok(all)
    }

    /// Makes an object.
    ///
    /// # Errors
    /// What the API server or the connection said: a value that a rule refuses, a name that is taken, a right that lacks.
    pub async fn create<K>(&self, namespace: &str, object: &K) -> Result<K, Failure>
    where
        K: Ours,
    {
        let what = format!("making {} {namespace}/{} in {}", K::kind(&()), object.name_any(), self.name());
        self.api::<K>(namespace).create(&PostParams::default(), object).await.map_err(|error| changed(&what, &error))
    }

    /// Merges a spec into this very object.
    ///
    /// # Errors
    /// What the API server or the connection said; a conflict where another object has its name now.
    pub async fn merge_spec<K>(&self, namespace: &str, object: &K, spec: Value) -> Result<(), Failure>
    where
        K: Ours,
    {
        let name = object.name_any();
        let what = format!("changing {} {namespace}/{name} in {}", K::kind(&()), self.name());
        let patch = json!({"metadata": {"uid": object.uid()}, "spec": spec});
        let patched = self.api::<K>(namespace).patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map(drop).map_err(|error| changed(&what, &error))
    }

    /// Deletes this very object. One that is gone is fine.
    ///
    /// # Errors
    /// What the API server or the connection said.
    pub async fn delete<K>(&self, namespace: &str, object: &K) -> Result<(), Failure>
    where
        K: Ours,
    {
        let name = object.name_any();
        let what = format!("deleting {} {namespace}/{name} in {}", K::kind(&()), self.name());
        let this = Preconditions { uid: object.uid(), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
        match self.api::<K>(namespace).delete(&name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(changed(&what, &error)),
        }
    }

    fn api<K: Ours>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// A kind of ours that lives in a namespace.
pub trait Ours:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + Serialize + DeserializeOwned
{
}

impl<K> Ours for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + Serialize + DeserializeOwned
{
}

/// The metadata of a new object.
pub fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(namespace.to_owned()), name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// What a change that is refused amounts to: what a rule says is a matter of the input.
fn changed(what: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.is_invalid() || status.is_already_exists() || status.is_conflict() => {
            Failure::new(Exit::Error, format!("{what}: {}", status.message))
        }
        error => refused(what, error),
    }
}
