//! Where is a scenario played? In a database and a namespace of its own, behind the proxy and above the layer.

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use kube::{Client, Config};
use pgreeve::clock::Clock;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::operator::{Operator, RESYNC, now};
use crate::scenario::Scenario;
use crate::support::apiserver::apiserver;
use crate::support::kubefault::KubeFaults;
use crate::support::node::{Node, Pods};
use crate::support::pgproxy::PgProxy;
use crate::support::postgres::{Database, Roles};
use crate::{end_state, law};

/// How long nothing may be written before all counts as quiet: several looks at each object.
const QUIET: Duration = RESYNC.saturating_mul(3);

/// How often is looked whether something has happened.
const OFTEN: Duration = Duration::from_millis(10);

/// Longest that a disturbed run may take to end as an undisturbed one.
const PATIENCE: Duration = Duration::from_secs(90);

/// One playing of one scenario.
pub struct World {
    scenario: Scenario,
    /// Runs its Jobs, if it has any. Ends before its database does.
    node: Option<Node>,
    _watching: JoinSet<()>,
    database: Database,
    /// One session for all that is asked of the database: each new one would fill its caches anew.
    superuser: tokio_postgres::Client,
    roles: Roles,
    /// Before PostgreSQL.
    pub proxy: PgProxy,
    /// Before Kubernetes.
    pub faults: KubeFaults,
    namespace: String,
    admin: Client,
    config: Config,
    policies: Vec<Value>,
}

impl World {
    /// Database, namespace and objects; no operator yet.
    pub async fn set_up(scenario: Scenario, pods: Pods) -> Self {
        let database = Database::create(scenario.major).await;
        let roles = database.roles().await;
        let superuser = database.superuser().await;
        let (admin, config) = (apiserver().admin().await, apiserver().admin_config().await);
        let namespace = apiserver().namespace(&admin).await;
        let proxy = PgProxy::start(database.server().socket_file()).await;
        let policies = match (scenario.policy)(&roles) {
            Value::Null => vec![],
            Value::Array(policies) => policies,
            one => vec![one],
        };
        let (node, watching) = (scenario.law.map(|_| Node::start(&admin, &namespace, pods)), JoinSet::new());
        let faults = KubeFaults::default();
        let mut world = Self {
            scenario,
            node,
            _watching: watching,
            database,
            superuser,
            roles,
            proxy,
            faults,
            namespace,
            admin,
            config,
            policies,
        };
        world.create_tables().await;
        world.create_objects().await;
        if let (Some(law), Some(node)) = (scenario.law, &world.node) {
            world._watching = law::watch(law, node, &world.proxy, &world.database).await;
        }
        world
    }

    async fn create_tables(&self) {
        let sql = self.scenario.tables.replace("DATABASE", &self.database.name).replace("NAMESPACE", &self.namespace);
        let sql = sql.replace("OWNER", &self.roles.owner).replace("OPERATOR", &self.roles.operator);
        self.superuser.batch_execute(&sql).await.unwrap();
    }

    async fn create_objects(&self) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {
            "host": "127.0.0.1", "port": self.proxy.port.to_string(), "dbname": self.database.name,
            "username": self.roles.operator, "password": Database::password(&self.roles.operator)}});
        let secrets = ApiResource::erase::<k8s_openapi::api::core::v1::Secret>(&());
        self.create(&secrets, secret).await;
        let mut spec = json!({"connection": {"secretRef": {"name": "login"}, "tls": {"mode": "Disable"}},
            "limits": {"statementTimeout": "3s"}});
        merge(&mut spec, &(self.scenario.database)());
        self.create(&databases(), json!({"metadata": {"name": "db"}, "spec": spec})).await;
        for (number, policy) in self.policies.iter().enumerate() {
            let (resource, policy) = kind_of(policy);
            let mut spec = json!({"databaseRef": {"name": "db"}});
            merge(&mut spec, &policy);
            // What has a schedule is asked for its run at once.
            let metadata = json!({"name": format!("policy-{number}"), "annotations": {"pgreeve.dev/requestedAt": "now"}});
            self.create(&resource, json!({"metadata": metadata, "spec": spec})).await;
        }
    }

    async fn create(&self, resource: &ApiResource, mut object: Value) {
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        self.api(resource).create(&PostParams::default(), &object).await.unwrap();
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.admin.clone(), &self.namespace, resource)
    }

    /// Starts an operator.
    pub fn operator(&self) -> Operator {
        let clock = if self.scenario.law.is_some() { Clock::system() } else { Clock::from_fn(now) };
        Operator::start(&self.namespace, &self.config, &self.faults, clock)
    }

    /// Changes the first policy as the scenario's user does.
    pub async fn edit(&self) {
        if let Some(edit) = self.scenario.edit {
            let patch = json!({"spec": edit()});
            self.api(&policies()).patch("policy-0", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
    }

    /// Everything that was written so far, of any kind.
    fn written(&self) -> usize {
        self.proxy.count() + self.faults.count()
    }

    /// Waits until every planned fault has been met. False where all has ended as `expected` before: this playing had no such effect.
    ///
    /// # Errors
    /// Where neither comes.
    pub async fn all_met(&self, expected: &Value) -> Result<bool, String> {
        self.soon(expected, "was not met", || self.proxy.all_met() && self.faults.all_met()).await
    }

    /// Waits until the effect that is held back has begun. False where all has ended as `expected` before.
    ///
    /// # Errors
    /// Where neither comes.
    pub async fn all_begun(&self, expected: &Value) -> Result<bool, String> {
        self.soon(expected, "did not begin", || self.proxy.all_begun()).await
    }

    async fn soon(&self, expected: &Value, otherwise: &str, is_so: impl Fn() -> bool) -> Result<bool, String> {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            self.quiet(|| is_so() || Instant::now() > give_up).await;
            if is_so() {
                return Ok(true);
            }
            if self.state().await == *expected && !is_so() {
                return Ok(false);
            }
        }
        Err(format!("the fault {otherwise}\n{}", self.log()))
    }

    /// Waits until nothing has been written for long enough, or until `or` is so. Answers what was written.
    async fn quiet(&self, or: impl Fn() -> bool) -> usize {
        let (mut written, mut since) = (self.written(), Instant::now());
        while since.elapsed() < QUIET && !or() {
            tokio::time::sleep(OFTEN).await;
            let now = self.written();
            if now != written {
                (written, since) = (now, Instant::now());
            }
        }
        written
    }

    async fn state(&self) -> Value {
        end_state::of(&self.superuser, &self.database.name, &self.namespace, &self.objects().await).await
    }

    /// Waits until all is as in `expected` (or, without it, until every object is Ready and every Job done) and nothing is written any more.
    ///
    /// # Errors
    /// What differs, and what was written.
    pub async fn settle(&self, expected: Option<&Value>) -> Result<Value, String> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let written = self.quiet(|| Instant::now() > give_up).await;
            let state = self.state().await;
            let reached = expected.map_or_else(|| end_state::is_ready(&state), |expected| *expected == state);
            let is_over = self.node.as_ref().is_none_or(Node::has_done_all);
            if reached && is_over && self.written() == written && Instant::now() < give_up {
                return Ok(state);
            }
            if Instant::now() > give_up {
                let difference =
                    expected.map_or_else(|| format!("{state:#}"), |expected| end_state::difference(expected, &state));
                return Err(format!("after {PATIENCE:?}, Jobs done: {is_over}\n{difference}\n{}", self.log()));
            }
        }
    }

    /// Whether the laws held: that of the scenario's Jobs, and that of its password.
    ///
    /// # Errors
    /// What broke them.
    pub fn laws_held(&self) -> Result<(), String> {
        if let (Some(law), Some(node)) = (self.scenario.law, &self.node) {
            law::holds_in_the_end(law, node).map_err(|broken| format!("{broken}\n{}", self.log()))?;
        }
        self.secret_was_kept()
    }

    /// Where the operator's role logs in, past the proxy.
    pub fn login(&self) -> (String, u16, String, String) {
        let server = self.database.server();
        (server.socket.display().to_string(), server.port, self.database.name.clone(), self.roles.operator.clone())
    }

    /// Every object of ours, as the API server has it.
    pub async fn objects(&self) -> Vec<Value> {
        let mut objects = Vec::new();
        for resource in [databases(), policies(), retentions(), holds()] {
            let found = self.api(&resource).list(&Default::default()).await.unwrap();
            objects.extend(found.items.into_iter().map(|object| serde_json::to_value(object).unwrap()));
        }
        objects
    }

    /// Whether the password stayed where it belongs: in no object, event or statement that was written.
    ///
    /// # Errors
    /// The write that holds it.
    fn secret_was_kept(&self) -> Result<(), String> {
        let password = Database::password(&self.roles.operator);
        let told = self.faults.writes().into_iter().map(|write| write.body);
        let told = told.chain(self.proxy.effects().into_iter().map(|effect| effect.sql)).find(|text| text.contains(&password));
        told.map_or(Ok(()), |text| Err(format!("the password was written: {text}")))
    }

    /// What was written, in order, for a person who reads a failure.
    pub fn log(&self) -> String {
        let sql = self.proxy.effects().into_iter().map(|effect| {
            format!(
                "  sql {} on connection {} {:?}: {}",
                effect.number,
                effect.connection,
                effect.fault,
                effect.sql.replace('\n', " ")
            )
        });
        let writes = self
            .faults
            .writes()
            .into_iter()
            .map(|write| format!("  write {} {:?}: {} {:.300}", write.number, write.fault, write.what, write.body));
        sql.chain(writes).collect::<Vec<_>>().join("\n")
    }
}

fn databases() -> ApiResource {
    ApiResource::erase::<pgreeve::api::PostgresDatabase>(&())
}

fn policies() -> ApiResource {
    ApiResource::erase::<pgreeve::api::PartitionPolicy>(&())
}

fn retentions() -> ApiResource {
    ApiResource::erase::<pgreeve::api::RetentionPolicy>(&())
}

fn holds() -> ApiResource {
    ApiResource::erase::<pgreeve::api::RetentionHold>(&())
}

/// The kind that a policy of a scenario names, a PartitionPolicy otherwise, and its spec.
fn kind_of(policy: &Value) -> (ApiResource, Value) {
    let mut policy = policy.clone();
    match policy.as_object_mut().and_then(|fields| fields.remove("kind")).as_ref().and_then(Value::as_str) {
        Some("RetentionPolicy") => (retentions(), policy),
        Some("RetentionHold") => (holds(), policy),
        _ => (policies(), policy),
    }
}

fn merge(target: &mut Value, with: &Value) {
    for (key, value) in with.as_object().unwrap() {
        target[key] = value.clone();
    }
}
