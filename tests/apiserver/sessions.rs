//! Are connections few, named and short, and does no secret leave them?

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use kube::api::{Api, DynamicObject};
use pgreeve::controller::Config;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::eventually;
use crate::support::postgres::{Database, Options, Server};
use crate::world::{PATIENCE, World};

const NOW: &str = "2026-11-21T08:00:00Z";

/// All that this process logs from the first call on, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn of_this_process() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let log = LOG.get_or_init(|| {
            let log = Log::default();
            let builder = tracing_subscriber::fmt().with_env_filter("trace").with_ansi(false).with_writer(log.clone());
            builder.try_init().unwrap();
            log
        });
        log.clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn no_byte_of_a_password_gets_out() {
    const CANARY: &str = "Canary0f98d2";
    let server = Server::start(16, &Options { tcp: true, ..Options::default() });
    let mut world = World::bare(Database::on(Arc::clone(&server)).await).await;
    let user = world.roles.operator.clone();
    let admin = world.database.superuser().await;
    admin.batch_execute(&format!("alter role {user} password '{CANARY}'")).await.unwrap();
    // From here on: what was logged before is what this test itself said to the server.
    let log = Log::of_this_process();
    world.as_owner("create table events (at timestamptz not null) partition by range (at)").await;
    let (dbname, port) = (world.database.name.clone(), server.port.to_string());
    let uri = |rest: &str| json!({"uri": format!("postgresql://{user}:{CANARY}{rest}")});
    let whole = |password: &str, port: &str, dbname: &str| json!({"host": "127.0.0.1", "port": port, "dbname": dbname, "username": user, "password": password});
    for (name, secret, reason) in [
        ("right", whole(CANARY, &port, &dbname), "Connected"),
        ("uri", uri(&format!("@127.0.0.1:{port}/{dbname}")), "Connected"),
        ("wrong", whole(&format!("{CANARY}-old"), &port, &dbname), "AuthenticationFailed"),
        ("elsewhere", whole(CANARY, &port, "none"), "DatabaseMissing"),
        ("unreachable", whole(CANARY, "1", &dbname), "Unreachable"),
        ("port", whole(CANARY, CANARY, &dbname), "SecretInvalid"),
        ("broken", uri("@127.0.0.1:99999/d"), "SecretInvalid"),
        ("many", uri("@a,b/d"), "SecretInvalid"),
        ("nul", uri("%00@127.0.0.1/d"), "SecretInvalid"),
    ] {
        world.secret(name, &secret).await;
        let spec = json!({"connection": {"secretRef": {"name": name}, "tls": {"mode": "Disable"}},
            "adminSecretRef": {"name": name}, "extensions": if name == "right" { json!([{"name": "pg_trgm"}]) } else { json!([]) }});
        world.create("PostgresDatabase", name, spec).await;
        let policy =
            json!({"databaseRef": {"name": name}, "table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 month"});
        world.create("PartitionPolicy", name, policy).await;
        if name == "right" {
            world.start().await;
        }
        let (condition, status) = if reason == "Connected" { ("Ready", "True") } else { ("Ready", "False") };
        let reason = if name == "right" { "MissingPrivilege" } else { reason };
        let status = if name == "right" { "False" } else { status };
        world.wait("PostgresDatabase", name, condition, status, reason).await;
    }
    world.wait("PartitionPolicy", "right", "Ready", "True", "UpToDate").await;
    world.stop().await;
    let mut said = log.text();
    assert!(said.contains("PostgresDatabase") && said.contains("tokio_postgres"), "the log was captured");
    for kind in ["PostgresDatabase", "PartitionPolicy"] {
        said.push_str(&serde_json::to_string(&world.api(kind).list(&Default::default()).await.unwrap()).unwrap());
    }
    let events: Api<DynamicObject> = Api::namespaced_with(
        world.client.clone(),
        &world.namespace,
        &kube::discovery::ApiResource::erase::<k8s_openapi::api::events::v1::Event>(&()),
    );
    said.push_str(&serde_json::to_string(&events.list(&Default::default()).await.unwrap()).unwrap());
    let leak = said.find(CANARY).map(|at| said[at.saturating_sub(300)..].chars().take(400).collect::<String>());
    assert_eq!(leak, None);
}

#[tokio::test]
async fn fifty_policies_share_two_connections_and_one_worker_and_leave_none_behind() {
    let mut world = World::new(17).await;
    let user = world.roles.operator.clone();
    let admin = world.database.superuser().await;
    // The server itself refuses one more than was promised.
    admin.batch_execute(&format!("alter role {user} connection limit 2")).await.unwrap();
    world.patch("PostgresDatabase", "db", json!({"spec": {"limits": {"connections": 2}}})).await;
    for number in 0..50 {
        world.as_owner(&format!("create table t{number} (at timestamptz not null) partition by range (at)")).await;
        let policy = json!({"databaseRef": {"name": "db"}, "table": {"name": format!("t{number}")}, "key": {"column": "at"},
            "interval": "1 month", "create": {"ahead": 1}});
        world.create("PartitionPolicy", &format!("t{number}"), policy).await;
    }
    let config = Config { concurrency: 10, ..world.config(NOW) };
    world.start_with(world.client.clone(), config).await;
    let query = format!(
        "select (select count(*) from pg_stat_activity where usename = '{user}'),
            (select count(*) from pg_stat_activity where usename = '{user}' and application_name <> 'pgreeve'),
            (select count(*) from pg_locks l join pg_stat_activity a using (pid) where locktype = 'advisory' and granted and usename = '{user}')"
    );
    let look = async || {
        let row = admin.query_one(&query, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2))
    };
    let (mut most, mut workers) = (0, 0);
    eventually("all are ready", PATIENCE, async || {
        for _ in 0..20 {
            let (sessions, unnamed, changing) = look().await;
            assert!(sessions <= 2 && unnamed == 0 && changing <= 1, "{sessions} sessions, {unnamed} unnamed, {changing} change");
            (most, workers) = (sessions.max(most), changing.max(workers));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let policies = world.api("PartitionPolicy").list(&Default::default()).await.unwrap();
        let is_ready =
            |policy: &DynamicObject| crate::world::condition_of(policy, "Ready").is_some_and(|c| c["status"] == "True");
        policies.items.iter().all(is_ready).then_some(())
    })
    .await;
    assert_eq!((most, workers), (2, 1), "the limits were reached");
    for reason in ["TooManyConnections", "OtherOperator"] {
        assert!(!world.events("db").await.iter().any(|event| event.starts_with(reason)), "{reason}");
    }
    // Five seconds after the last use of each, which a pass that was put off may still be.
    eventually("idle sessions are closed", Duration::from_secs(60), async || (look().await.0 == 0).then_some(())).await;

    // A session that is open when the operator stops does not outlive it.
    let request = json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": "now"}}});
    world.patch("PartitionPolicy", "t0", request).await;
    eventually("a session is open", PATIENCE, async || (look().await.0 > 0).then_some(())).await;
    world.stop().await;
    eventually("no session is left", Duration::from_secs(10), async || (look().await.0 == 0).then_some(())).await;
}
