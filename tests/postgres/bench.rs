//! A database, its roles, and the engine as the operator uses it: look, execute, look again.

use jiff::Timestamp;
use pgreeve::api::PartitionPolicy;
use pgreeve::pass::{self, Found, Look, NoTasks};
use pgreeve::plan::outcome::Outcome;
use pgreeve::plan::{Plan, connection};
use pgreeve::postgres::connect::{Session, Target, Tls};
use pgreeve::postgres::execute::Budget;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::postgres::{Database, Roles};

/// The moment at which all these tests take place.
pub const NOW: &str = "2026-11-21T08:00:00Z";

/// One test's world.
pub struct Bench {
    pub database: Database,
    pub roles: Roles,
    /// A superuser, to set up and to look.
    pub admin: Client,
    /// The session of the engine.
    pub session: Session,
    pub now: Timestamp,
}

impl Bench {
    /// A database of this major in which `setup` has run as the owner of the tables.
    pub async fn new(major: u32, setup: &str) -> Self {
        let database = Database::create(major).await;
        let roles = database.roles().await;
        let admin = database.superuser().await;
        let session = open(&database, &roles.operator).await;
        let bench = Self { database, roles, admin, session, now: NOW.parse().unwrap() };
        bench.as_owner(setup).await;
        bench
    }

    /// Runs this as the owner of the tables.
    pub async fn as_owner(&self, sql: &str) {
        let sql = format!("set role {}; {sql}; reset role", self.roles.owner);
        self.admin.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
    }

    /// One look: facts and plan.
    pub async fn look(&self, policy: &PartitionPolicy) -> Look<Found> {
        pass::look(&[policy], &self.session, self.now).await.unwrap()
    }

    /// The plan alone.
    pub async fn plan(&self, policy: &PartitionPolicy) -> Plan {
        self.look(policy).await.plans.remove(0)
    }

    /// Carries a plan out, with 300 ms for locks.
    pub async fn execute(&self, plan: &Plan) -> Outcome {
        let budget = Budget { locks: std::time::Duration::from_millis(300), ..Budget::default() };
        pass::execute(&self.session, plan, budget, &NoTasks, self.now).await
    }

    /// Plans, carries out, and makes sure that nothing is left to do.
    pub async fn settle(&self, policy: &PartitionPolicy) -> Plan {
        let plan = self.plan(policy).await;
        let outcome = self.execute(&plan).await;
        assert_eq!(outcome.first_problem(), None, "{plan:#?}");
        let left = self.plan(policy).await;
        assert_eq!(left.actions, vec![], "a plan that was carried out is not empty");
        plan
    }

    /// Name and bounds of the partitions of a table, in order of name.
    pub async fn partitions(&self, table: &str) -> Vec<String> {
        let query = "select c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = $1::text::regclass order by c.relname";
        self.admin.batch_execute("set timezone = 'UTC'").await.unwrap();
        self.admin.query(query, &[&table]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// The one value that a query gives, as text.
    pub async fn one(&self, query: &str) -> String {
        let row = self.admin.query_one(&format!("select ({query})::text"), &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }
}

/// A session as this role.
pub async fn open(database: &Database, role: &str) -> Session {
    let endpoint = connection::parse_uri(&database.url(role)).unwrap();
    let target = Target {
        host: endpoint.host,
        port: endpoint.port,
        database: endpoint.database,
        user: endpoint.user,
        password: None,
        tls: Tls::Disable,
    };
    Session::open(&target).await.unwrap()
}

/// A policy for `public.<table>` with these fields beyond the required ones.
pub fn policy(table: &str, column: &str, interval: &str, more: Value) -> PartitionPolicy {
    let mut spec = json!({
        "databaseRef": {"name": "db"},
        "table": {"name": table},
        "key": {"column": column},
        "interval": interval,
    });
    merge(&mut spec, more);
    serde_json::from_value(json!({
        "apiVersion": "pgreeve.dev/v1alpha1", "kind": "PartitionPolicy",
        "metadata": {"name": "p", "namespace": "n"}, "spec": spec,
    }))
    .unwrap()
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
