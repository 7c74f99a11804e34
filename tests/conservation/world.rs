//! Where does it all take place? A server that may be replaced by its standby, a bucket, a namespace, and three tables that grow old.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use kube::{Client as KubeClient, Resource};
use pgreeve::api::destination::S3;
use pgreeve::api::{Destination, PostgresDatabase, RetentionPolicy};
use pgreeve::storage::{Credentials, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::ledger;
use crate::operator::Operator;
use crate::support::apiserver::apiserver;
use crate::support::postgres::{Options, Server, connect};
use crate::support::versitygw::{ACCESS_KEY, S3 as Gateway, SECRET_KEY, s3};

/// What all keys in the bucket begin with.
const PREFIX: &str = "archive";

/// Owner of the tables, and the role of operator and Jobs: a member of the owner and no superuser.
pub const ROLES: [&str; 2] = ["keeper", "reeve"];

/// One test's world.
pub struct World {
    pub kube: KubeClient,
    pub namespace: String,
    pub bucket: String,
    gateway: Arc<Gateway>,
    /// The server that answers, and its standby.
    servers: Mutex<(Arc<Server>, Option<Arc<Server>>)>,
    /// Its socket is a link to that of the server that answers.
    entry: TempDir,
}

impl World {
    /// On a server of this major, with the tables, the ledger, and the objects that lead there; no policy yet.
    pub async fn new(major: u32) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        // What is committed is on the disk, and so on its way to a standby.
        let settings = vec!["synchronous_commit = on\ntrack_activity_query_size = 32kB".into()];
        let server = Server::start(major, &Options { settings, ..Options::default() });
        let kube = apiserver().admin().await;
        let (namespace, gateway) = (apiserver().namespace(&kube).await, s3());
        let bucket = gateway.bucket();
        let servers = Mutex::new((server, None));
        let world = Self { kube, namespace, bucket, gateway, servers, entry: tempfile::tempdir().unwrap() };
        world.lead_to_the_primary();
        let [owner, reeve] = ROLES;
        let roles = format!(
            "create role {owner} nologin; create role {reeve} login in role {owner}; grant create on schema public to {owner}"
        );
        world.admin().await.batch_execute(&roles).await.unwrap();
        world.admin().await.batch_execute(&ledger::setup(owner)).await.unwrap();
        world.create_objects().await;
        world
    }

    async fn create_objects(&self) {
        let login =
            json!({"host": self.entry.path(), "port": "5432", "dbname": "postgres", "username": ROLES[1], "password": "none"});
        self.secret("login", &login).await;
        self.secret("archive", &json!({"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY})).await;
        let database = json!({"connection": {"secretRef": {"name": "login"}, "tls": {"mode": "Disable"}}});
        self.create(&ApiResource::erase::<PostgresDatabase>(&()), "db", database).await;
    }

    async fn secret(&self, name: &str, data: &Value) {
        let secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": data})).unwrap();
        let api: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(self.kube.clone(), &self.namespace);
        api.create(&PostParams::default(), &secret).await.unwrap();
    }

    async fn create(&self, resource: &ApiResource, name: &str, spec: Value) {
        let object = json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec});
        let api: Api<DynamicObject> = Api::namespaced_with(self.kube.clone(), &self.namespace, resource);
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// Creates the RetentionPolicy of this table, which keeps a year and asks nobody, with these fields besides.
    pub async fn retain(&self, table: &str, more: Value) {
        let mut spec = json!({"databaseRef": {"name": "db"}, "table": {"name": table}, "keep": {"age": "1 year"},
            "guards": {"approveAbovePercent": 100, "maxPartitionsPerRun": 2}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.create(&ApiResource::erase::<RetentionPolicy>(&()), table, spec).await;
    }

    /// Creates all three: partitions are exported and dropped, partitions move, rows move.
    pub async fn retain_all(&self) {
        let export = json!({"destination": self.destination(), "format": "Parquet"});
        self.retain("events", json!({"partitions": {"action": "Drop", "grace": "0s"}, "export": export})).await;
        let archive = json!({"action": "MoveToTable", "archiveTable": {"name": "logs_archive"}});
        self.retain("logs", json!({"partitions": archive})).await;
        let batch = json!({"rows": 20, "pause": "1ms", "maxLoad": 100, "maxDeadTuplePercent": 100});
        self.retain("stories", json!({"rows": {"column": "at", "batch": batch}})).await;
    }

    /// What the policies say of themselves, and the end of the operator's log.
    pub async fn told(&self) -> String {
        let policies = self.policies().list(&Default::default()).await.unwrap();
        let lines = policies.iter().map(|policy| format!("{:#?}", policy.status));
        let log = std::fs::read_to_string(Operator::log(self)).unwrap_or_default();
        let tail = log.len().saturating_sub(3000);
        format!("{}\n{}", lines.collect::<Vec<_>>().join("\n"), log.get(tail..).unwrap_or_default())
    }

    /// The RetentionPolicies.
    pub fn policies(&self) -> Api<RetentionPolicy> {
        Api::namespaced(self.kube.clone(), &self.namespace)
    }

    /// Merges this into a RetentionPolicy.
    pub async fn patch(&self, name: &str, patch: Value) {
        self.policies().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Asks every policy for a run.
    pub async fn request_runs(&self) {
        let now = json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": format!("{:x}", fastrand::u64(..))}}});
        for policy in self.policies().list(&Default::default()).await.unwrap() {
            self.patch(policy.meta().name.as_deref().unwrap(), now.clone()).await;
        }
    }

    /// Where exports go, as a policy says it.
    pub fn destination(&self) -> Value {
        json!({"s3": {"bucket": self.bucket, "prefix": PREFIX, "endpoint": self.gateway.endpoint, "credentialsSecretRef": {"name": "archive"}}})
    }

    /// The same, open.
    pub fn store(&self) -> Store {
        let endpoint = Some(self.gateway.endpoint.clone());
        let s3 = S3 { bucket: self.bucket.clone(), prefix: Some(PREFIX.into()), endpoint, ..S3::default() };
        let secret = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
        let secret = secret.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
        Store::open(&Destination { s3: Some(s3), ..Destination::default() }, &Credentials { secret, ..Credentials::default() })
            .unwrap()
    }

    /// The keys below the prefix, as they lie in the bucket now.
    pub fn keys(&self) -> Vec<String> {
        let below = format!("{PREFIX}/");
        let keys = self.gateway.files(&self.bucket);
        keys.iter().filter_map(|key| key.strip_prefix(&below)).map(str::to_owned).collect()
    }

    /// The directory of the bucket's objects.
    pub fn objects(&self) -> PathBuf {
        self.gateway.home.join(&self.bucket).join(PREFIX)
    }

    /// Where a client finds the server that answers now.
    pub fn entry(&self) -> &Path {
        self.entry.path()
    }

    /// A session of this role, wherever the server is now.
    ///
    /// # Errors
    /// Where none answers.
    pub async fn connect(&self, role: &str) -> Result<Client, tokio_postgres::Error> {
        let socket = self.entry.path().display().to_string().replace('/', "%2F");
        connect(format!("postgres://{role}@{socket}:5432/postgres")).await
    }

    /// A session of the superuser.
    pub async fn admin(&self) -> Client {
        self.connect("postgres").await.unwrap()
    }

    fn lead_to_the_primary(&self) {
        let (link, new) = (self.entry.path().join(".s.PGSQL.5432"), self.entry.path().join("new"));
        std::os::unix::fs::symlink(self.servers.lock().unwrap().0.socket_file(), &new).unwrap();
        std::fs::rename(new, link).unwrap();
    }

    /// The server gets a standby, which has caught up when this returns, and hears of nothing that comes later.
    pub async fn standby_of_this_moment(&self) {
        let (primary, standby) = self.servers.lock().unwrap().clone();
        let standby = match standby {
            Some(standby) => standby,
            None => primary.standby().await,
        };
        standby.catch_up(&primary).await;
        standby.stop_following().await;
        self.servers.lock().unwrap().1 = Some(standby);
    }

    /// The server crashes, and its standby answers in its place.
    pub async fn fail_over(&self) {
        let (primary, standby) = self.servers.lock().unwrap().clone();
        let standby = standby.expect("a standby");
        primary.crash();
        standby.promote().await;
        *self.servers.lock().unwrap() = (standby, None);
        self.lead_to_the_primary();
    }
}
