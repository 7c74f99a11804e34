//! A database with tables that grow old, and the engine as the operator uses it: look, prepare, remove.

use jiff::Timestamp;
use pgreeve::api::RetentionPolicySpec;
use pgreeve::job::archive::{self, Moved, Watch};
use pgreeve::pass::RowsFound;
use pgreeve::plan::action::Blocked;
use pgreeve::plan::outcome::ActionResult;
use pgreeve::plan::removal::ArchiveRows;
use pgreeve::plan::rows::{self, Held, Preparation, Steps};
use pgreeve::plan::{connection, rows::Facts};
use pgreeve::postgres::connect::{Session, Target, Tls};
use pgreeve::postgres::execute::{Budget, carry_out};
use pgreeve::postgres::server;
use pgreeve::sql;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::postgres::{Database, Roles};

/// The moment at which all these tests take place. Rows of 2025 are a year old then.
pub const NOW: &str = "2026-11-21T08:00:00Z";

/// One test's world.
pub struct World {
    pub database: Database,
    pub roles: Roles,
    /// A superuser, to set up and to look.
    pub admin: Client,
    pub now: Timestamp,
}

impl World {
    /// A database of this major in which `setup` has run as the owner of the tables.
    pub async fn new(major: u32, setup: &str) -> Self {
        Self::on(Database::create(major).await, setup).await
    }

    /// The same in this database.
    pub async fn on(database: Database, setup: &str) -> Self {
        let roles = database.roles().await;
        let admin = database.superuser().await;
        let world = Self { database, roles, admin, now: NOW.parse().unwrap() };
        world.as_owner(setup).await;
        world
    }

    /// Runs this as the owner of the tables.
    pub async fn as_owner(&self, sql: &str) {
        let sql = format!("set role {}; {sql}; reset role", self.roles.owner);
        self.admin.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
    }

    /// Where the engine connects, as a role that is no superuser.
    pub fn target(&self) -> Target {
        let endpoint = connection::parse_uri(&self.database.url(&self.roles.operator)).unwrap();
        Target {
            host: endpoint.host,
            port: endpoint.port,
            database: endpoint.database,
            user: endpoint.user,
            password: None,
            tls: Tls::Disable,
        }
    }

    pub async fn session(&self) -> Session {
        Session::open(&self.target()).await.unwrap()
    }

    /// What the policy would do.
    pub async fn steps(&self, spec: &RetentionPolicySpec) -> Steps {
        self.steps_with(spec, &[]).await
    }

    /// What it would do while these holds are in force.
    pub async fn steps_with(&self, spec: &RetentionPolicySpec, held: &[Held]) -> Steps {
        let session = self.session().await;
        session.begin_reading().await.unwrap();
        let server = server::observe(&session).await.unwrap();
        let found = RowsFound::observe(spec, &session, &server, held, self.now).await.unwrap();
        session.end_reading().await.unwrap();
        let facts: Facts<'_> = found.facts(&server);
        rows::plan(spec, &facts, held, self.now)
    }

    /// Creates or extends the archive tables.
    pub async fn prepare(&self, steps: &Steps) {
        assert_eq!(steps.blocked, []);
        let session = self.session().await;
        for preparation in &steps.prepare {
            let script = match preparation {
                Preparation::Create(create) => sql::rows::create(create),
                Preparation::Extend(extend) => sql::rows::extend(extend),
            };
            let result = carry_out(&session, &script, Budget::default()).await;
            assert!(matches!(result, ActionResult::Done { .. }), "{result:?} of {:#?}", script.text());
        }
    }

    /// The task of a policy whose archive tables are there.
    pub async fn task(&self, spec: &RetentionPolicySpec) -> ArchiveRows {
        let steps = self.steps(spec).await;
        self.prepare(&steps).await;
        steps.remove.expect("there are rows to remove")
    }

    /// Carries a task out.
    pub async fn run(&self, task: &ArchiveRows) -> Result<Moved, Blocked> {
        archive::carry_out(task, &self.session().await, &Watch::default()).await
    }

    /// Plans, prepares and carries out.
    pub async fn remove(&self, spec: &RetentionPolicySpec) -> Moved {
        let task = self.task(spec).await;
        self.run(&task).await.unwrap()
    }

    #[allow(dead_code)]
    /// The refusals of a policy, each with its reason.
    pub async fn refusals(&self, spec: &RetentionPolicySpec) -> Vec<String> {
        let steps = self.steps(spec).await;
        assert_eq!((&steps.remove, &steps.prepare), (&None, &vec![]));
        steps.blocked.iter().map(|blocked| format!("{}: {}", blocked.reason, blocked.message)).collect()
    }

    /// The one value that a query gives, as text.
    pub async fn one(&self, query: &str) -> String {
        let row = self.admin.query_one(&format!("select ({query})::text"), &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    pub async fn count(&self, table: &str) -> i64 {
        self.admin.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0)
    }
}

/// A policy for `public.<table>` that keeps 180 days by `created_at`, fast, with these fields of `rows` beyond it.
pub fn policy(table: &str, rows: Value) -> RetentionPolicySpec {
    let mut spec = json!({
        "databaseRef": {"name": "db"},
        "table": {"name": table},
        "keep": {"age": "180 days"},
        "rows": {"column": "created_at", "batch": {"rows": 1000, "maxLoad": 100, "pause": "0s", "maxDeadTuplePercent": 100}},
    });
    merge(&mut spec["rows"], rows);
    serde_json::from_value(spec).unwrap()
}

pub fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
