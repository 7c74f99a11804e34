//! Which cluster is meant, and what does it hold? The one of a kube context, or of the Pod that this runs in.

mod change;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::exit::{Exit, Failure};
use crate::api::retention_policy::BackupGuard;
use crate::api::{PostgresDatabase, RetentionHold};
use crate::cluster::{backups, objects, secrets};
use crate::plan::action::Blocked;
use crate::postgres::connect::Target;
use crate::target;
pub use change::named;

/// Longest that a person waits for an API server that does not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A cluster.
pub struct Cluster {
    client: Client,
    /// The namespace of the context, or of the Pod.
    pub namespace: String,
    /// How messages speak of it.
    name: String,
}

/// Objects of one kind.
pub struct Found<K> {
    /// Those that can be read.
    pub objects: Vec<K>,
    /// What to say of the others.
    pub unreadable: Vec<String>,
}

impl Cluster {
    /// The cluster of this context; without one, that of the present context, or of the Pod. Nothing is asked yet.
    ///
    /// # Errors
    /// If there is no such context, or none at all: then what was tried is said after `otherwise`, which names the other way.
    pub async fn find(context: Option<&str>, otherwise: &str) -> Result<Self, Failure> {
        let (name, mut config) = match context {
            Some(context) => (format!("context {context}"), of_context(context).await?),
            None => inferred().await.map_err(|tried| {
                let message = format!("{otherwise}, or choose a cluster with KUBECONFIG or --context (tried: {tried})");
                Failure::new(Exit::Usage, message)
            })?,
        };
        config.connect_timeout = Some(PATIENCE);
        config.read_timeout = Some(PATIENCE);
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|error| unreachable(&format!("the cluster of {name}"), &error))?;
        Ok(Self { client, namespace, name })
    }

    /// The objects of a kind in a namespace that refer to a database; only those of this one, if it is named.
    ///
    /// # Errors
    /// What the API server or the connection said.
    pub async fn of_database<K>(&self, namespace: &str, database: Option<&str>) -> Result<Found<K>, Failure>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let wanted = match database {
            Some(name) => ListParams::default().fields(&format!("spec.databaseRef.name={name}")),
            None => ListParams::default(),
        };
        self.list(namespace, wanted).await
    }

    /// The holds on tables of a database.
    ///
    /// # Errors
    /// What the API server or the connection said; a hold that cannot be read is no reason to act as if there were none.
    pub async fn holds(&self, namespace: &str, database: &str) -> Result<Vec<RetentionHold>, Failure> {
        let found = self.of_database::<RetentionHold>(namespace, Some(database)).await?;
        match found.unreadable.into_iter().next() {
            None => Ok(found.objects.into_iter().filter(|hold| hold.metadata.deletion_timestamp.is_none()).collect()),
            Some(why) => Err(Failure::new(Exit::Error, format!("nothing is planned without it: {why}"))),
        }
    }

    /// Why no backup satisfies the guard, if so.
    pub async fn backup_missing(&self, namespace: &str, guard: &BackupGuard, now: Timestamp) -> Option<String> {
        backups::missing(&self.client, namespace, guard, now).await
    }

    /// The databases of a namespace.
    ///
    /// # Errors
    /// What the API server or the connection said.
    pub async fn databases(&self, namespace: &str) -> Result<Found<PostgresDatabase>, Failure> {
        self.list(namespace, ListParams::default()).await
    }

    async fn list<K>(&self, namespace: &str, wanted: ListParams) -> Result<Found<K>, Failure>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let what = format!("listing {} in namespace {namespace} of {}", K::plural(&()), self.name);
        let fetched = objects::list::<K>(&self.client, namespace, wanted).await.map_err(|error| refused(&what, &error))?;
        let mut found = Found { objects: vec![], unreadable: vec![] };
        for one in fetched {
            match one.typed {
                Ok(object) => found.objects.push(object),
                Err(why) => {
                    found.unreadable.push(format!("{} {namespace}/{} is left out: {why}", K::kind(&()), one.raw.name_any()));
                }
            }
        }
        Ok(found)
    }

    /// A PostgresDatabase.
    ///
    /// # Errors
    /// If there is none of this name or it cannot be read; what the API server or the connection said.
    pub async fn database(&self, namespace: &str, name: &str) -> Result<PostgresDatabase, Failure> {
        let what = format!("PostgresDatabase {namespace}/{name}");
        let reading = format!("reading {what} of {}", self.name);
        let fetched = objects::fetch::<PostgresDatabase>(&self.client, namespace, name).await;
        let Some(found) = fetched.map_err(|error| refused(&reading, &error))? else {
            let message = format!("{what} does not exist in {}; create it, or correct spec.databaseRef.name", self.name);
            return Err(Failure::new(Exit::Connection, message));
        };
        found.typed.map_err(|why| Failure::new(Exit::Error, format!("{what}: {why}")))
    }

    /// Where a PostgresDatabase leads, with the Secrets that this cluster has for it.
    ///
    /// # Errors
    /// What lacks in its Secrets.
    pub async fn target(&self, database: &PostgresDatabase, namespace: &str) -> Result<Target, Failure> {
        let name = database.name_any();
        let target = target::of(&self.client, database, namespace, &name).await;
        target.map_err(|blocked| Failure::new(Exit::Connection, blocked.message))
    }

    /// The data of a Secret that `object` names.
    ///
    /// # Errors
    /// That there is none, that it may not be read, or what else the API server said.
    pub async fn secret(&self, object: &str, namespace: &str, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Blocked> {
        secrets::data(&self.client, object, namespace, name).await
    }

    /// How messages speak of it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A context that was asked for by its name must be there.
async fn of_context(context: &str) -> Result<Config, Failure> {
    let kubeconfig = Kubeconfig::read().map_err(|error| Failure::new(Exit::Usage, format!("context {context}: {error}")))?;
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    if !known.contains(&context) {
        let message = format!("the kubeconfig has no context {context}; it has: {}", known.join(", "));
        return Err(Failure::new(Exit::Usage, message));
    }
    let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    config.map_err(|error| unreachable(&format!("context {context}"), &error))
}

/// The present context, or the Pod's own cluster; otherwise what was tried.
async fn inferred() -> Result<(String, Config), String> {
    let kubeconfig = Kubeconfig::read();
    let present = kubeconfig.as_ref().ok().and_then(|kubeconfig| kubeconfig.current_context.clone());
    let tried = match kubeconfig {
        Err(error) => error.to_string(),
        Ok(kubeconfig) => match Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await {
            Ok(config) => return Ok((format!("context {}", present.unwrap_or_default()), config)),
            Err(error) => format!("the kubeconfig: {error}"),
        },
    };
    match Config::incluster() {
        Ok(config) => Ok(("this Pod's cluster".into(), config)),
        Err(error) => Err(format!("{tried}; in a Pod: {error}")),
    }
}

fn unreachable(what: &str, error: &(dyn Error + 'static)) -> Failure {
    Failure::new(Exit::Connection, format!("{what}: {}", words(error)))
}

/// What an error says, with what its causes add. Most texts repeat their cause already.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let words = deeper.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = deeper.source();
    }
    text
}

/// What an error of the API server amounts to: a kind that it does not know is not a matter of the connection.
fn refused(what: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.is_not_found() => Failure::new(
            Exit::Error,
            format!("{what}: the cluster does not know the kind; install it: pgreeve crds | kubectl apply -f -"),
        ),
        kube::Error::Api(status) => Failure::new(Exit::Connection, format!("{what}: {}", status.message)),
        error => unreachable(what, error),
    }
}
