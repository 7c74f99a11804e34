//! What does a test of restores stand on? A database with a backup of it, a namespace, a node, and an operator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt as _};
use pgreeve::api::BackupSettings;
use pgreeve::clock::Clock;
use pgreeve::job;
use pgreeve::job::backup::{self, BackedUp, Workshop};
use pgreeve::plan::backup::DumpDatabase;
use pgreeve::postgres::Target;
use pgreeve::postgres::connect::Tls;
use pgreeve::postgres::execute::Budget;
use pgreeve::storage::Credentials;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_postgres::Client as Postgres;

use crate::operator::Operator;
use crate::support::apiserver::apiserver;
use crate::support::kubefault::KubeFaults;
use crate::support::kubelet::Kubelet;
use crate::support::pgproxy::PgProxy;
use crate::support::postgres::{Database, Roles, blocking, connect, programs};
use crate::support::{Patience, eventually};

/// How long a test waits for a state.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The major whose programs every machine that runs these tests has.
pub const MAJOR: u32 = 15;

/// What is backed up.
pub const SHOP: &str = "create table users (id bigint primary key, name text not null);
    insert into users select n, 'user ' || n from generate_series(1, 2000) n;
    create table events (at date not null, body text) partition by range (at);
    create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01');
    insert into events select date '2026-01-01' + n % 30, repeat(md5(n::text), 3) from generate_series(1, 3000) n;
    create sequence tickets start 1000";

/// Who may connect to a database.
#[derive(Debug)]
pub struct Access {
    pub name: String,
    pub comment: Option<String>,
    /// Whether anybody may who is no superuser.
    pub is_open: bool,
    pub limit: i32,
    /// Grantee, privilege and whether it may be passed on.
    pub grants: Vec<String>,
}

/// What worlds are copied from.
struct Original {
    database: Database,
    roles: Roles,
    volume: PathBuf,
    backup: BackedUp,
}

impl Original {
    async fn make() -> Self {
        let (database, roles) = shop(MAJOR).await;
        // The server's directory is removed with it, whatever becomes of this process.
        let volume = database.server().socket.join("volume");
        std::fs::create_dir(&volume).unwrap();
        let backup = back_up(&database, &roles, &volume).await;
        database.superuser().await.batch_execute("delete from users where id > 5").await.unwrap();
        Self { database, roles, volume, backup }
    }
}

/// A database with rows in it, and its roles.
pub async fn shop(major: u32) -> (Database, Roles) {
    let database = Database::create(major).await;
    let roles = database.roles().await;
    let sql = format!("alter role {} createdb; set role {}; {SHOP}", roles.operator, roles.owner);
    database.superuser().await.batch_execute(&sql).await.unwrap();
    furnish(&database, &roles).await;
    (database, roles)
}

/// Gives a database what no dump carries, and no copy.
async fn furnish(database: &Database, roles: &Roles) {
    let sql = format!(
        "alter database {name} owner to {owner}; comment on database {name} is 'the shop';
         alter database {name} set work_mem = '7MB'; alter database {name} connection limit 50;
         grant connect, create on database {name} to {operator} with grant option",
        name = database.name,
        owner = roles.owner,
        operator = roles.operator
    );
    database.server().superuser("postgres").await.batch_execute(&sql).await.unwrap();
}

/// What a Job of this database is given.
pub fn given(database: &Database, roles: &Roles, volume: &Path) -> job::Access {
    let server = database.server();
    let target = Target {
        host: server.socket.display().to_string(),
        port: server.port,
        database: database.name.clone(),
        user: roles.operator.clone(),
        password: None,
        tls: Tls::Disable,
    };
    let storage = Credentials { volume: volume.to_owned(), ..Credentials::default() };
    let workshop = Workshop { programs: [16, 18].map(programs).to_vec(), ..Workshop::default() };
    job::Access { target: Some(target), budget: Budget::default(), storage, workshop }
}

/// Backs a database up into this directory.
pub async fn back_up(database: &Database, roles: &Roles, volume: &Path) -> BackedUp {
    let settings = json!({"destination": {"pvc": {"claimName": "backups"}}});
    let settings: BackupSettings = serde_json::from_value(settings).unwrap();
    let task = DumpDatabase {
        backup: "nightly".into(),
        schedule: None,
        made_for: None,
        exists: false,
        recipients: vec![],
        directory: "shop/nightly-1".into(),
        major: i32::try_from(database.server().major).unwrap(),
        settings,
    };
    backup::run(&task, &given(database, roles, volume)).await.unwrap()
}

/// One test's world.
pub struct World {
    pub client: Client,
    pub namespace: String,
    pub database: Database,
    pub roles: Roles,
    /// In place of every volume.
    pub volume: PathBuf,
    _volume: Option<TempDir>,
    pub kubelet: Kubelet,
    /// Between the operator and PostgreSQL.
    pub proxy: PgProxy,
    /// Between Jobs and PostgreSQL, where [`World::watch_jobs`] has led them.
    pub proxy_of_jobs: PgProxy,
    /// Between the operator and Kubernetes.
    pub faults: KubeFaults,
    node: JoinSet<()>,
    operator: Option<Operator>,
}

impl World {
    /// A database of a role that is no superuser, with rows in it.
    pub async fn new() -> Self {
        Self::on(MAJOR).await
    }

    /// The same on a server of this major, whose programs there must be: 15, 16 or 18.
    pub async fn on(major: u32) -> Self {
        let volume = tempfile::tempdir().unwrap();
        let (database, roles) = shop(major).await;
        let mut world = Self::around(database, roles, volume.path().to_owned()).await;
        world._volume = Some(volume);
        world
    }

    /// The same at once, with the backup of it that all such worlds share; five of the users are left. Roles and volume are those of all.
    pub async fn copy() -> (Self, BackedUp) {
        static ORIGINAL: OnceCell<Original> = OnceCell::const_new();
        let original = ORIGINAL.get_or_init(Original::make).await;
        let database = original.database.copy().await;
        furnish(&database, &original.roles).await;
        let world = Self::around(database, original.roles.clone(), original.volume.clone()).await;
        (world, original.backup.clone())
    }

    async fn around(database: Database, roles: Roles, volume: PathBuf) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = apiserver().admin().await;
        let namespace = apiserver().namespace(&client).await;
        let server = database.server();
        let proxy = PgProxy::start(server.socket_file()).await;
        let proxy_of_jobs = PgProxy::start(server.socket_file()).await;
        let kubelet = Kubelet::of(&client, &namespace).reaching(server.socket.display().to_string(), server.port);
        let world = Self {
            client,
            namespace,
            database,
            roles,
            volume,
            _volume: None,
            kubelet,
            proxy,
            proxy_of_jobs,
            faults: KubeFaults::default(),
            node: JoinSet::new(),
            operator: None,
        };
        world.connection().await;
        world
    }

    /// The Secret and the PostgresDatabase `db`.
    async fn connection(&self) {
        let secret = json!({"metadata": {"name": "db"}, "stringData": {
            "host": "127.0.0.1", "port": self.proxy.port.to_string(), "dbname": self.database.name,
            "username": self.roles.operator, "password": Database::password(&self.roles.operator)}});
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
        let spec = json!({"connection": {"secretRef": {"name": "db"}, "tls": {"mode": "Disable"}}});
        self.create("PostgresDatabase", "db", spec).await;
    }

    /// Backs the database up as it is now.
    pub async fn back_up(&self) -> BackedUp {
        back_up(&self.database, &self.roles, &self.volume).await
    }

    /// Objects of one of our kinds.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk(pgreeve::api::GROUP, pgreeve::api::VERSION, kind);
        let plural = format!("{}s", kind.to_lowercase());
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk_with_plural(&gvk, &plural))
    }

    /// Creates an object of one of our kinds.
    pub async fn create(&self, kind: &str, name: &str, spec: Value) {
        let object = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.api(kind).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// Creates a Restore of the backup at this URL, with these fields beside.
    pub async fn restore(&self, name: &str, backup: &BackedUp, more: Value) {
        let mut spec = json!({"databaseRef": {"name": "db"}, "source": {
            "url": backup.url, "destination": {"pvc": {"claimName": "backups"}}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.create("Restore", name, spec).await;
    }

    /// Merges this into a Restore.
    pub async fn patch(&self, name: &str, patch: Value) {
        self.api("Restore").patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// The status of a Restore.
    pub async fn status(&self, name: &str) -> Value {
        self.api("Restore").get(name).await.unwrap().data["status"].clone()
    }

    /// From now on Jobs reach PostgreSQL through their proxy, and one that fails is seen to have failed: it is not tried again at once.
    pub fn watch_jobs(&mut self) {
        let kubelet = Kubelet::of(&self.client, &self.namespace);
        self.kubelet = kubelet.reaching("127.0.0.1".into(), self.proxy_of_jobs.port).ending_now();
    }

    /// Runs Jobs from now on.
    pub fn start_node(&mut self) {
        let (kubelet, volume) = (self.kubelet.clone(), self.volume.clone());
        self.node.spawn(async move { kubelet.serve(Path::new(env!("CARGO_BIN_EXE_pgreeve")), &volume).await });
    }

    /// Runs no Jobs from now on.
    pub async fn stop_node(&mut self) {
        self.node.shutdown().await;
    }

    /// Whether Jobs are run.
    pub fn has_node(&mut self) -> bool {
        self.node.try_join_next().is_none() && !self.node.is_empty()
    }

    /// Starts an operator that works in this namespace, quickly.
    pub async fn start(&mut self) {
        let config = apiserver().admin_config().await;
        self.operator = Some(Operator::start(&self.namespace, &config, &self.faults, Clock::system()));
    }

    /// Starts one that looks again only where it has a reason to.
    pub async fn start_calm(&mut self) {
        let config = apiserver().admin_config().await;
        self.operator = Some(Operator::start_calm(&self.namespace, &config, &self.faults, Clock::system()));
    }

    /// Ends the operator as SIGKILL would.
    pub fn kill(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.kill();
        }
    }

    /// Stops the operator and waits until it has.
    pub async fn stop(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.stop().await;
        }
    }

    /// Waits until a condition of a Restore has this status and reason, and returns its status.
    pub async fn wait(&self, name: &str, condition: &str, status: &str, reason: &str) -> Value {
        self.wait_for("Restore", name, condition, status, Some(reason)).await
    }

    /// The same of another kind, for any reason where none is given.
    pub async fn wait_for(&self, kind: &str, name: &str, condition: &str, status: &str, reason: Option<&str>) -> Value {
        let what = format!("{kind} {name}: {condition}={status} ({reason:?})");
        let api = self.api(kind);
        let mut patience = Patience::of(PATIENCE);
        loop {
            let object = api.get(name).await.unwrap();
            let found = object.data["status"].clone();
            let is_current = found["observedGeneration"] == json!(object.metadata.generation);
            let matches = |found: &Value| {
                found["type"] == condition && found["status"] == status && reason.is_none_or(|reason| found["reason"] == reason)
            };
            if is_current && found["conditions"].as_array().is_some_and(|conditions| conditions.iter().any(matches)) {
                return found;
            }
            assert!(!patience.is_over(), "{what}: not so after {PATIENCE:?}: {found:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A session of the superuser in this database.
    pub async fn superuser(&self, database: &str) -> Postgres {
        self.database.server().superuser(database).await
    }

    /// One number from this database.
    pub async fn one(&self, database: &str, query: &str) -> i64 {
        self.superuser(database).await.query_one(query, &[]).await.unwrap().get(0)
    }

    /// The same, where the database can be connected to.
    pub async fn try_one(&self, database: &str, query: &str) -> Option<i64> {
        let client = connect(self.database.server().url("postgres", database)).await.ok()?;
        client.query_one(query, &[]).await.ok().map(|row| row.get(0))
    }

    /// What was sent to PostgreSQL and written to Kubernetes, for a person who reads a failure.
    pub fn log(&self) -> String {
        let sql =
            self.proxy.effects().into_iter().map(|effect| format!("  sql {} {:?}: {}", effect.number, effect.fault, effect.sql));
        let writes = self.faults.writes().into_iter();
        let writes =
            writes.map(|write| format!("  write {} {:?}: {} {:.200}", write.number, write.fault, write.what, write.body));
        sql.chain(writes).collect::<Vec<_>>().join("\n")
    }

    /// The databases whose names begin as ours does, with their comments and whether they accept connections.
    pub async fn databases(&self) -> Vec<(String, Option<String>, bool)> {
        let query = "select datname::text, shobj_description(oid, 'pg_database'), datallowconn from pg_database
            where datname = $1 or starts_with(datname, $1 || '__') order by 1";
        let found = self.superuser("postgres").await.query(query, &[&self.database.name]).await.unwrap();
        found.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    }

    /// The same, with who may connect.
    pub async fn access(&self) -> Vec<Access> {
        let query = "select datname::text, shobj_description(oid, 'pg_database'), datallowconn, datconnlimit,
            array(select format('%s %s %s', grantee::regrole, privilege_type, is_grantable)
                from aclexplode(coalesce(datacl, acldefault('d', datdba))) order by 1)
            from pg_database where datname = $1 or starts_with(datname, $1 || '__') order by 1";
        let found = self.superuser("postgres").await.query(query, &[&self.database.name]).await.unwrap();
        let access = |row: &tokio_postgres::Row| {
            let limit: i32 = row.get(3);
            let is_open = row.get::<_, bool>(2) && limit != 0;
            Access { name: row.get(0), comment: row.get(1), is_open, limit, grants: row.get(4) }
        };
        found.iter().map(access).collect()
    }

    /// A Deployment of three and a CronJob, in this namespace.
    pub async fn workloads(&self) {
        let pod = json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}]}});
        let deployment = json!({"metadata": {"name": "api"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "shop"}}, "template": pod}});
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        deployments.create(&PostParams::default(), &serde_json::from_value(deployment).unwrap()).await.unwrap();
        let mut job = json!({"template": pod});
        job["template"]["spec"]["restartPolicy"] = json!("Never");
        let cron = json!({"metadata": {"name": "report"}, "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}}});
        let crons: Api<CronJob> = Api::namespaced(self.client.clone(), &self.namespace);
        crons.create(&PostParams::default(), &serde_json::from_value(cron).unwrap()).await.unwrap();
    }

    /// What [`World::workloads`] are like now: replicas, whether suspended, and what of a restore is left on them.
    pub async fn workloads_now(&self) -> Value {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let crons: Api<CronJob> = Api::namespaced(self.client.clone(), &self.namespace);
        let (api, report) = (deployments.get("api").await.unwrap(), crons.get("report").await.unwrap());
        let traces = |meta: &ObjectMeta| {
            let names = meta.annotations.iter().chain(meta.labels.iter()).flatten().map(|(name, _)| name.clone());
            names.filter(|name| name.starts_with("pgreeve.dev/")).collect::<Vec<_>>()
        };
        let left = [traces(&api.metadata), traces(&report.metadata)].concat();
        json!({"replicas": api.spec.replicas, "suspended": report.spec.suspend,
            "traces": left})
    }

    /// Waits until no Job is left.
    pub async fn no_job_is_left(&self) {
        let none = async || self.kubelet.jobs.list(&Default::default()).await.unwrap().items.is_empty().then_some(());
        eventually("no Job is left", PATIENCE, none).await;
    }

    /// The UID of a Restore.
    pub async fn uid(&self, name: &str) -> String {
        self.api("Restore").get(name).await.unwrap().uid().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        let (name, server) = (self.database.name.clone(), self.database.server());
        let drop_all = async move {
            let client = server.superuser("postgres").await;
            let query = "select datname::text from pg_database where starts_with(datname, $1 || '__')";
            for row in client.query(query, &[&name]).await.unwrap() {
                let sql = format!("drop database \"{}\" with (force)", row.get::<_, &str>(0));
                client.batch_execute(&sql).await.unwrap();
            }
        };
        blocking(drop_all);
    }
}
