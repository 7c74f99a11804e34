//! A namespace with a database in it, and an operator that works there: what most tests of a kind begin with.

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt as _};
use pgreeve::clock::Clock;
use pgreeve::controller::{self, Config, Telltales};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::apiserver::apiserver;
use crate::support::postgres::{Database, Roles};
use crate::support::{Patience, eventually};

/// How long a test waits for a state.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One test's world.
pub struct World {
    pub client: Client,
    pub namespace: String,
    pub database: Database,
    pub roles: Roles,
    telltales: Telltales,
    operator: Option<(CancellationToken, JoinHandle<()>)>,
}

impl World {
    /// A namespace and a database, with the Secret `db` and the PostgresDatabase `db` that lead there.
    pub async fn new(major: u32) -> Self {
        let world = Self::bare(Database::create(major).await).await;
        let server = world.database.server();
        let secret = json!({
            "host": server.socket, "port": server.port.to_string(), "dbname": world.database.name,
            "username": world.roles.operator, "password": Database::password(&world.roles.operator),
        });
        world.secret("db", &secret).await;
        world
            .create("PostgresDatabase", "db", json!({"connection": {"secretRef": {"name": "db"}, "tls": {"mode": "Disable"}}}))
            .await;
        world
    }

    /// A namespace and this database, and nothing that leads there.
    pub async fn bare(database: Database) -> Self {
        let client = apiserver().admin().await;
        let namespace = apiserver().namespace(&client).await;
        let roles = database.roles().await;
        Self { client, namespace, database, roles, telltales: Telltales::default(), operator: None }
    }

    /// Creates a Secret of these strings.
    pub async fn secret(&self, name: &str, data: &Value) {
        let secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": data})).unwrap();
        let api: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &secret).await.unwrap();
    }

    /// Deletes a Secret.
    pub async fn delete_secret(&self, name: &str) {
        let api: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        api.delete(name, &Default::default()).await.unwrap();
    }

    /// Runs this as the owner of the tables.
    pub async fn as_owner(&self, sql: &str) {
        let sql = format!("set role {}; {sql}; reset role", self.roles.owner);
        self.database.superuser().await.batch_execute(&sql).await.unwrap();
    }

    /// Objects of one of our kinds.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk(pgreeve::api::GROUP, pgreeve::api::VERSION, kind);
        let plural = match kind {
            "PartitionPolicy" => "partitionpolicies",
            "RetentionPolicy" => "retentionpolicies",
            "RetentionHold" => "retentionholds",
            "BackupSchedule" => "backupschedules",
            "Backup" => "backups",
            "Restore" => "restores",
            _ => "postgresdatabases",
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk_with_plural(&gvk, plural))
    }

    /// Creates an object of one of our kinds.
    pub async fn create(&self, kind: &str, name: &str, spec: Value) {
        let object = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.api(kind).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// Merges this into an object.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) {
        self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Starts an operator that works in this namespace, quickly.
    pub async fn start(&mut self) {
        let client = self.client.clone();
        self.start_as(client, "2026-11-21T08:00:00Z").await;
    }

    /// Starts one with this client, at this moment.
    pub async fn start_as(&mut self, client: Client, now: &str) {
        let config = Config {
            resync: Duration::from_millis(500),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(500),
            ..self.config(now)
        };
        self.start_with(client, config).await;
    }

    /// How an operator is as a user starts it, but in this namespace and at this moment.
    pub fn config(&self, now: &str) -> Config {
        let now = now.parse().unwrap();
        Config { namespaces: vec![self.namespace.clone()], clock: Clock::from_fn(move || now), ..Config::default() }
    }

    /// Starts one with this client and configuration.
    pub async fn start_with(&mut self, client: Client, config: Config) {
        let stop = CancellationToken::new();
        let (stopped, telltales) = (stop.clone(), self.telltales.clone());
        let task = tokio::spawn(async move {
            controller::run_with(client, config, telltales, async move { stopped.cancelled().await }).await.unwrap();
        });
        self.operator = Some((stop, task));
    }

    /// The value of a series of the operator, which is named as Prometheus does it.
    pub fn metric(&self, series: &str) -> Option<i64> {
        let text = self.telltales.metrics.text(Clock::system().now());
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        Some(line.rsplit(' ').next()?.parse().unwrap())
    }

    /// Stops the operator and waits until it has.
    pub async fn stop(&mut self) {
        if let Some((stop, task)) = self.operator.take() {
            stop.cancel();
            task.await.unwrap();
        }
    }

    /// Ends the operator where it is, as SIGKILL would.
    pub fn kill(&mut self) {
        if let Some((_, task)) = self.operator.take() {
            task.abort();
        }
    }

    /// Waits until an object's condition has this status and reason, and returns the object.
    pub async fn wait(&self, kind: &str, name: &str, condition: &str, status: &str, reason: &str) -> DynamicObject {
        let mut patience = Patience::of(PATIENCE);
        loop {
            let object = self.api(kind).get(name).await.unwrap();
            let is_current = object.data["status"]["observedGeneration"] == json!(object.metadata.generation);
            let found = condition_of(&object, condition).unwrap_or_default();
            if is_current && found["status"] == status && found["reason"] == reason {
                return object;
            }
            assert!(!patience.is_over(), "{kind} {name}: not {condition}={status} ({reason}): {}", object.data["status"]);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for an event about an object that contains this text: events are published after the status is.
    pub async fn told(&self, name: &str, text: &str) {
        let is_told = async || self.events(name).await.iter().any(|event| event.contains(text)).then_some(());
        eventually(&format!("an event about {name}: {text}"), PATIENCE, is_told).await;
    }

    /// The events about an object: reason and note, in order of their names' creation.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut events = api.list(&Default::default()).await.unwrap().items;
        events.retain(|event| event.regarding.as_ref().is_some_and(|regarding| regarding.name.as_deref() == Some(name)));
        events.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
        events
            .iter()
            .map(|e| format!("{} {}", e.reason.as_deref().unwrap_or_default(), e.note.as_deref().unwrap_or_default()))
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((stop, task)) = self.operator.take() {
            stop.cancel();
            task.abort();
        }
    }
}

/// A condition of an object.
pub fn condition_of(object: &DynamicObject, type_: &str) -> Option<Value> {
    object.data["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_).cloned()
}

/// The resource version, which changes with every write.
pub fn version(object: &DynamicObject) -> String {
    object.resource_version().unwrap_or_default()
}
