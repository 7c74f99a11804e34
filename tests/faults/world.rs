//! Where is a scenario played? In a database and a namespace of its own, behind the proxy and above the layer.

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::end_state;
use crate::operator::{Operator, RESYNC};
use crate::scenario::Scenario;
use crate::support::apiserver::apiserver;
use crate::support::kubefault::KubeFaults;
use crate::support::pgproxy::PgProxy;
use crate::support::postgres::{Database, Roles};

/// How long nothing may be written before all counts as quiet: several looks at each object.
const QUIET: Duration = RESYNC.saturating_mul(3);

/// Longest that a disturbed run may take to end as an undisturbed one.
const PATIENCE: Duration = Duration::from_secs(30);

/// One playing of one scenario.
pub struct World {
    scenario: Scenario,
    database: Database,
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
    pub async fn set_up(scenario: Scenario) -> Self {
        let database = Database::create(scenario.major).await;
        let roles = database.roles().await;
        let (admin, config) = (apiserver().admin().await, apiserver().admin_config().await);
        let namespace = apiserver().namespace(&admin).await;
        let proxy = PgProxy::start(database.server().socket_file()).await;
        let policies = match (scenario.policy)(&roles) {
            Value::Null => vec![],
            Value::Array(policies) => policies,
            one => vec![one],
        };
        let world = Self { scenario, database, roles, proxy, faults: KubeFaults::default(), namespace, admin, config, policies };
        world.create_tables().await;
        world.create_objects().await;
        world
    }

    async fn create_tables(&self) {
        let sql = self.scenario.tables.replace("DATABASE", &self.database.name).replace("NAMESPACE", &self.namespace);
        let sql = sql.replace("OWNER", &self.roles.owner).replace("OPERATOR", &self.roles.operator);
        self.database.superuser().await.batch_execute(&sql).await.unwrap();
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
        Operator::start(&self.namespace, &self.config, &self.faults)
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

    /// Waits until every planned fault has been met.
    ///
    /// # Errors
    /// Where that does not happen: then this playing proves nothing.
    pub async fn all_met(&self) -> Result<(), String> {
        self.soon("was not met", || self.proxy.all_met() && self.faults.all_met()).await
    }

    /// Waits until the effect that is held back has begun.
    ///
    /// # Errors
    /// Where that does not happen.
    pub async fn all_begun(&self) -> Result<(), String> {
        self.soon("did not begin", || self.proxy.all_begun()).await
    }

    async fn soon(&self, otherwise: &str, is_so: impl Fn() -> bool) -> Result<(), String> {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        while !is_so() {
            if tokio::time::Instant::now() > give_up {
                return Err(format!("the fault {otherwise}\n{}", self.log()));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Waits until all is as in `expected` (or, without it, until every object is Ready) and nothing is written any more.
    ///
    /// # Errors
    /// What differs, and what was written.
    pub async fn settle(&self, expected: Option<&Value>) -> Result<Value, String> {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        loop {
            let written = self.written();
            tokio::time::sleep(QUIET).await;
            let quiet = self.written() == written;
            let state = end_state::of(&self.database, &self.namespace, &self.objects().await).await;
            let reached = expected.map_or_else(|| end_state::is_ready(&state), |expected| *expected == state);
            if quiet && reached && self.written() == written {
                return Ok(state);
            }
            if tokio::time::Instant::now() > give_up {
                let difference =
                    expected.map_or_else(|| format!("{state:#}"), |expected| end_state::difference(expected, &state));
                return Err(format!("after {PATIENCE:?}, quiet: {quiet}\n{difference}\n{}", self.log()));
            }
        }
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
    pub fn secret_was_kept(&self) -> Result<(), String> {
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
