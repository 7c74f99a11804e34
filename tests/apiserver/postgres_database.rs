//! Does a PostgresDatabase say on a real API server how its server is, and keep its policies going?

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::ancient::Ancient;
use crate::support::apiserver::apiserver;
use crate::support::eventually;
use crate::support::kubefault::{KubeFaults, WatchFault};
use crate::support::pgproxy::PgProxy;
use crate::support::pooler::Pooler;
use crate::support::postgres::{Database, Options, Server};
use crate::world::{PATIENCE, World, condition_of};

const NOW: &str = "2026-11-21T08:00:00Z";
const EVENTS: &str = "create table events (id bigint, at timestamptz not null) partition by range (at)";

/// A server that asks for passwords and has a certificate for `localhost`.
fn server() -> Arc<Server> {
    static SERVER: OnceLock<Arc<Server>> = OnceLock::new();
    Arc::clone(SERVER.get_or_init(|| Server::start(17, &Options { tcp: true, tls: true, ..Options::default() })))
}

/// A namespace with a database on that server and its CA, and nothing else.
async fn with_passwords() -> World {
    let world = World::bare(Database::on(server()).await).await;
    world.secret("ca", &json!({"ca.crt": server().ca})).await;
    world
}

/// Creates a Secret `db` and a PostgresDatabase `db` that lead to the server of [`with_passwords`], with the names of most Secrets.
async fn log_in(world: &World, password: &str) {
    let secret = json!({"host": "localhost", "port": server().port.to_string(), "dbname": world.database.name,
        "username": world.roles.operator, "password": password});
    world.secret("db", &secret).await;
    world.create("PostgresDatabase", "db", verified("db", json!({}))).await;
}

fn verified(secret: &str, more: Value) -> Value {
    let mut connection = json!({"secretRef": {"name": secret}, "tls": {"caSecretRef": {"name": "ca"}}});
    for (key, value) in more.as_object().unwrap() {
        connection[key] = value.clone();
    }
    json!({"connection": connection})
}

async fn events_policy(world: &World) {
    world.as_owner(EVENTS).await;
    let spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 month",
        "create": {"ahead": 1}});
    world.create("PartitionPolicy", "events", spec).await;
}

async fn drop_next_month(world: &World) {
    world.as_owner("drop table events_y2026m12").await;
}

async fn wait_for_next_month(world: &World) {
    let admin = world.database.superuser().await;
    eventually("the partition is back", PATIENCE, async || {
        let row = admin.query_one("select to_regclass('public.events_y2026m12') is not null", &[]).await.unwrap();
        row.get::<_, bool>(0).then_some(())
    })
    .await;
}

async fn set_secret(world: &World, name: &str, data: Value) {
    let api: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"stringData": data}))).await.unwrap();
}

fn message(object: &DynamicObject) -> String {
    condition_of(object, "Ready").unwrap()["message"].as_str().unwrap().to_owned()
}

fn assert_says(object: &DynamicObject, words: &[&str]) {
    let message = message(object);
    assert!(words.iter().all(|word| message.contains(word)), "{words:?} in {message}");
}

#[tokio::test]
async fn the_secrets_of_other_operators_work_unchanged() {
    let mut world = with_passwords().await;
    let (port, dbname, user) = (server().port, world.database.name.clone(), world.roles.operator.clone());
    let password = Database::password(&user);
    let uri = format!("postgresql://{user}:{}@localhost:{port}/{dbname}", password.replace(' ', "%20"));
    let port = port.to_string();
    let nothing = json!({});
    for (name, secret, connection) in [
        (
            "cloudnative-pg",
            json!({"username": user, "user": user, "password": password, "dbname": dbname, "host": "localhost", "port": port, "uri": uri,
                "fqdn-uri": uri, "jdbc-uri": "jdbc:postgresql://x", "pgpass": "x"}),
            nothing.clone(),
        ),
        (
            "crunchy",
            json!({"user": user, "password": password, "dbname": dbname, "host": "localhost", "port": port, "uri": uri,
                "jdbc-uri": "jdbc:postgresql://x", "verifier": "SCRAM-SHA-256$x"}),
            nothing.clone(),
        ),
        (
            "zalando",
            json!({"username": user, "password": password}),
            json!({"host": "localhost", "port": server().port, "database": dbname}),
        ),
        ("uri", json!({"uri": uri}), nothing.clone()),
        (
            "renamed",
            json!({"HOST": "localhost", "PORT": port, "NAME": dbname, "WHO": user, "PASS": password, "password": "another"}),
            json!({"keys": {"host": "HOST", "port": "PORT", "dbname": "NAME", "username": "WHO", "password": "PASS"}}),
        ),
    ] {
        world.secret(name, &secret).await;
        world.create("PostgresDatabase", name, verified(name, connection)).await;
    }
    world.start().await;
    let admin = world.database.superuser().await;
    let identifier = admin.query_one("select system_identifier::text from pg_control_system()", &[]).await.unwrap();
    for name in ["cloudnative-pg", "crunchy", "zalando", "uri", "renamed"] {
        let object = world.wait("PostgresDatabase", name, "Ready", "True", "Connected").await;
        let status = &object.data["status"];
        assert!(status["serverVersion"].as_str().unwrap().starts_with("17."), "{status}");
        assert_eq!((&status["database"], &status["role"]), (&json!(dbname), &json!(user)));
        assert_eq!(
            (&status["isSuperuser"], &status["inRecovery"], &status["policies"]),
            (&json!(false), &json!(false), &json!(0))
        );
        assert_eq!(status["systemIdentifier"], identifier.get::<_, &str>(0));
        for type_ in ["Reconciling", "Stalled", "Drifted"] {
            assert_eq!(condition_of(&object, type_).unwrap()["status"], "False");
        }
    }
    let printed = apiserver().kubectl_output(&["get", "pgdb", "-n", &world.namespace, "-o", "wide"]);
    let header: Vec<&str> = printed.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["NAME", "READY", "VERSION", "DATABASE", "ROLE", "POLICIES", "STATUS", "AGE"]);
    let line = printed.lines().find(|line| line.starts_with("crunchy")).unwrap();
    assert!(["True", "17.", &dbname, &user, "PostgreSQL 17."].iter().all(|word| line.contains(word)), "{line}");
}

#[tokio::test]
async fn a_password_is_rotated_without_a_restart() {
    let mut world = with_passwords().await;
    log_in(&world, &Database::password(&world.roles.operator)).await;
    events_policy(&world).await;
    world.start().await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    let admin = world.database.superuser().await;
    let rotate = async |password: &str| {
        let user = &world.roles.operator;
        let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{user}'");
        admin.batch_execute(&format!("alter role {user} password '{password}'; {end}")).await.unwrap();
    };
    // Both at once, as an operator of a cluster does it.
    set_secret(&world, "db", json!({"password": "second"})).await;
    rotate("second").await;
    drop_next_month(&world).await;
    wait_for_next_month(&world).await;
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;

    // The Secret comes late.
    rotate("third").await;
    let refused = world.wait("PostgresDatabase", "db", "Stalled", "True", "AuthenticationFailed").await;
    assert_says(&refused, &["28P01", "Correct the Secret"]);
    let waiting = world.wait("PartitionPolicy", "events", "Ready", "False", "DatabaseNotReady").await;
    assert_says(&waiting, &["AuthenticationFailed of PostgresDatabase db"]);
    drop_next_month(&world).await;
    set_secret(&world, "db", json!({"password": "third"})).await;
    wait_for_next_month(&world).await;
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
}

#[tokio::test]
async fn a_missing_membership_is_named_as_the_grant_that_ends_it() {
    let mut world = World::new(16).await;
    events_policy(&world).await;
    let admin = world.database.superuser().await;
    let (owner, operator) = (world.roles.owner.clone(), world.roles.operator.clone());
    admin.batch_execute(&format!("revoke {owner} from {operator}")).await.unwrap();
    world.start().await;
    for (kind, name) in [("PostgresDatabase", "db"), ("PartitionPolicy", "events")] {
        let lacking = world.wait(kind, name, "Stalled", "True", "MissingPrivilege").await;
        assert_says(&lacking, &["GRANT", &owner, &operator]);
    }
    let object = world.wait("PostgresDatabase", "db", "Ready", "False", "MissingPrivilege").await;
    let message = message(&object);
    let grant = &message[message.find("GRANT").unwrap()..];
    let end = grant.find([';', ',', '.']).or_else(|| grant.find(" so that")).unwrap_or(grant.len());
    admin.batch_execute(&grant[..end]).await.unwrap_or_else(|error| panic!("{grant:?}: {error}"));
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
}

#[tokio::test]
async fn a_superuser_works_and_is_told_that_less_is_enough() {
    let mut world = World::new(16).await;
    set_secret(&world, "db", json!({"username": "postgres"})).await;
    events_policy(&world).await;
    world.start().await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    let object = world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    assert_says(&object, &["as postgres", "a superuser, which pgreeve does not need"]);
    assert_eq!(object.data["status"]["isSuperuser"], true);
}

#[tokio::test]
async fn extensions_are_created_by_whoever_may() {
    let mut world = World::new(16).await;
    let extensions = |names: &[&str]| {
        let extensions: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"extensions": extensions}})
    };
    world.patch("PostgresDatabase", "db", extensions(&["pg_stat_statements"])).await;
    world.start().await;
    let refused = world.wait("PostgresDatabase", "db", "Stalled", "True", "MissingPrivilege").await;
    assert_says(&refused, &["pg_stat_statements", "spec.adminSecretRef", "42501"]);
    world.secret("admin", &json!({"username": "postgres", "password": "any"})).await;
    world.patch("PostgresDatabase", "db", json!({"spec": {"adminSecretRef": {"name": "admin"}}})).await;
    let object = world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    assert_eq!(object.data["status"]["role"], json!(world.roles.operator), "the admin is for extensions alone");
    let admin = world.database.superuser().await;
    let installed = admin.query("select extname::text from pg_extension where extname = 'pg_stat_statements'", &[]).await;
    assert_eq!(installed.unwrap().len(), 1);
    world.told("db", "create extension pg_stat_statements").await;
    world.patch("PostgresDatabase", "db", extensions(&["pg_stat_statements", "no_such_thing"])).await;
    let missing = world.wait("PostgresDatabase", "db", "Stalled", "True", "InvalidSpec").await;
    assert_says(&missing, &["no_such_thing", "not available on the server"]);
}

#[tokio::test]
async fn policies_hear_at_once_of_a_database_that_is_suspended_deleted_or_made_anew() {
    let mut world = World::new(16).await;
    events_policy(&world).await;
    // As slow as a real one: nothing here happens because it was due.
    let config = world.config(NOW);
    world.start_with(world.client.clone(), config).await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    let requested = json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": "noon"}}, "spec": {"suspend": true}});
    world.patch("PostgresDatabase", "db", requested).await;
    let suspended = world.wait("PostgresDatabase", "db", "Ready", "True", "Suspended").await;
    assert_eq!(suspended.data["status"]["lastHandledReconcileAt"], "noon");
    let waiting = world.wait("PartitionPolicy", "events", "Ready", "False", "DatabaseNotReady").await;
    assert_says(&waiting, &["suspended", "spec.suspend"]);
    drop_next_month(&world).await;
    world.patch("PostgresDatabase", "db", json!({"spec": {"suspend": false}})).await;
    wait_for_next_month(&world).await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;

    let spec = world.api("PostgresDatabase").get("db").await.unwrap().data["spec"].clone();
    world.api("PostgresDatabase").delete("db", &Default::default()).await.unwrap();
    let lost = world.wait("PartitionPolicy", "events", "Stalled", "True", "DatabaseNotFound").await;
    assert_says(&lost, &["no PostgresDatabase db", "create it"]);
    drop_next_month(&world).await;
    world.create("PostgresDatabase", "db", spec).await;
    wait_for_next_month(&world).await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
}

#[tokio::test]
async fn a_database_that_goes_away_is_noticed_by_its_policies_and_comes_back_by_itself() {
    let mut world = World::new(16).await;
    let proxy = PgProxy::start(world.database.server().socket_file()).await;
    set_secret(&world, "db", json!({"host": "127.0.0.1", "port": proxy.port.to_string()})).await;
    events_policy(&world).await;
    let config = pgreeve::controller::Config { backoff_min: Duration::from_millis(100), ..world.config(NOW) };
    world.start_with(world.client.clone(), config).await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    proxy.plan_startup(crate::support::pgproxy::StartupFault::Refused("57P03"), 6);
    let admin = world.database.superuser().await;
    let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}'", world.roles.operator);
    admin.batch_execute(&end).await.unwrap();
    // A pass of the policy alone; the database's own would be due in ten minutes.
    let request = json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": "now"}}});
    world.patch("PartitionPolicy", "events", request).await;
    let database = world.wait("PostgresDatabase", "db", "Reconciling", "True", "Starting").await;
    assert_eq!(database.data["status"]["role"], json!(world.roles.operator), "what was seen last is kept");
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
}

#[tokio::test]
async fn a_settled_database_is_left_alone() {
    let mut world = World::new(16).await;
    let proxy = PgProxy::start(world.database.server().socket_file()).await;
    set_secret(&world, "db", json!({"host": "127.0.0.1", "port": proxy.port.to_string()})).await;
    world.secret("nowhere", &json!({"host": "127.0.0.1", "port": "1", "dbname": "d", "username": "u"})).await;
    let stalled = json!({"connection": {"secretRef": {"name": "missing"}}});
    let failing = json!({"connection": {"secretRef": {"name": "nowhere"}, "tls": {"mode": "Disable"}}});
    world.create("PostgresDatabase", "stalled", stalled).await;
    world.create("PostgresDatabase", "failing", failing).await;
    events_policy(&world).await;
    let faults = KubeFaults::default();
    world.start_as(faults.client(&apiserver().admin_config().await), NOW).await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    world.wait("PostgresDatabase", "stalled", "Stalled", "True", "SecretNotFound").await;
    world.wait("PostgresDatabase", "failing", "Reconciling", "True", "Unreachable").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = (faults.count(), proxy.count());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((faults.count(), proxy.count()), before, "{:?}", faults.writes().last());
}

#[tokio::test]
async fn what_was_measured_of_one_goes_with_it_though_the_watch_does_not_tell() {
    let mut world = World::new(16).await;
    world.create("PostgresDatabase", "stalled", json!({"connection": {"secretRef": {"name": "missing"}}})).await;
    let (faults, config) = (KubeFaults::default(), world.config(NOW));
    world.start_with(faults.client(&apiserver().admin_config().await), config).await;
    world.wait("PostgresDatabase", "stalled", "Stalled", "True", "SecretNotFound").await;
    let series = format!(
        "pgreeve_policy_ready{{kind=\"PostgresDatabase\",namespace=\"{}\",name=\"stalled\",reason=\"SecretNotFound\"}}",
        world.namespace
    );
    assert_eq!(world.metric(&series), Some(0));
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    tokio::time::sleep(Duration::from_millis(700)).await; // until the watch has told what the operator itself has written
    faults.plan_watch(WatchFault::Expired, 1);
    world.api("PostgresDatabase").delete("stalled", &Default::default()).await.unwrap();
    eventually("nothing is measured of it", PATIENCE, async || world.metric(&series).is_none().then_some(())).await;
    assert!(faults.all_met());
}

#[tokio::test]
async fn each_trouble_has_its_own_reason_and_class() {
    let mut world = with_passwords().await;
    let ancient = Ancient::start().await;
    let standby = Server::start(15, &Options { standby: true, ..Options::default() });
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (user, dbname) = (world.roles.operator.clone(), world.database.name.clone());
    let admin = world.database.superuser().await;
    let reader = format!("{dbname}_reader");
    admin.batch_execute(&format!("create role {reader} login")).await.unwrap();
    admin.batch_execute(&format!("alter role {reader} set default_transaction_read_only = on")).await.unwrap();
    admin.batch_execute(&format!("alter role {user} connection limit 0")).await.unwrap();
    let socket = server().socket.display().to_string();
    let main = |user: &str| json!({"host": socket, "port": server().port.to_string(), "dbname": dbname, "username": user});
    let on =
        |host: &str, port: u16| json!({"host": host, "port": port.to_string(), "dbname": "postgres", "username": "postgres"});
    let cases = [
        ("refused", on("127.0.0.1", refusing), "Reconciling", "Unreachable"),
        ("unknown", on("nowhere.invalid", 5432), "Reconciling", "Unreachable"),
        ("full", main(&user), "Reconciling", "TooManyConnections"),
        ("read-only", main(&reader), "Reconciling", "ReadOnly"),
        ("standby", on(&standby.socket.display().to_string(), standby.port), "Reconciling", "InRecovery"),
        ("ancient", on("127.0.0.1", ancient.port), "Stalled", "VersionUnsupported"),
        (
            "no-database",
            json!({"host": socket, "port": server().port.to_string(), "dbname": "none", "username": "postgres"}),
            "Stalled",
            "DatabaseMissing",
        ),
        ("no-password", on("127.0.0.1", server().port), "Stalled", "AuthenticationFailed"),
        ("no-host", json!({"username": "u", "password": "p"}), "Stalled", "SecretInvalid"),
    ];
    for (name, secret, ..) in &cases {
        world.secret(name, secret).await;
        let spec = json!({"connection": {"secretRef": {"name": name}, "tls": {"mode": "Disable"}}});
        world.create("PostgresDatabase", name, spec).await;
    }
    // Said by nobody, TLS is verified: against the system's CAs, which do not know this one.
    world.secret("unverified", &on("localhost", server().port)).await;
    world.create("PostgresDatabase", "unverified", json!({"connection": {"secretRef": {"name": "unverified"}}})).await;
    world.start().await;
    for (name, _, condition, reason) in &cases {
        let object = world.wait("PostgresDatabase", name, condition, "True", reason).await;
        let other = if *condition == "Stalled" { "Reconciling" } else { "Stalled" };
        assert_eq!(condition_of(&object, other).unwrap()["status"], "False", "{name}");
        assert_eq!(condition_of(&object, "Ready").unwrap()["status"], "False", "{name}");
    }
    let standby = world.wait("PostgresDatabase", "standby", "Ready", "False", "InRecovery").await;
    assert_eq!(standby.data["status"]["inRecovery"], true);
    let unverified = world.wait("PostgresDatabase", "unverified", "Stalled", "True", "TlsFailed").await;
    assert_says(&unverified, &["not come from a CA that is trusted", "caSecretRef"]);
    world.stop().await;
    admin.batch_execute(&format!("drop role {reader}")).await.unwrap();
}

#[tokio::test]
async fn a_pool_of_transactions_is_refused_and_one_of_sessions_is_accepted() {
    let mut world = World::new(16).await;
    let operator = world.roles.operator.clone();
    let transactions = Pooler::start(world.database.server(), "transaction", 3, &operator, "secret").await;
    let sessions = Pooler::start(world.database.server(), "session", 3, &operator, "secret").await;
    let through = |port: u16| json!({"host": "127.0.0.1", "port": port.to_string(), "password": "secret"});
    set_secret(&world, "db", through(transactions.port)).await;
    events_policy(&world).await;
    world.start().await;
    let refused = world.wait("PostgresDatabase", "db", "Stalled", "True", "TransactionPooling").await;
    assert_says(&refused, &["pooler", "Connect to PostgreSQL itself", "session mode"]);
    let waiting = world.wait("PartitionPolicy", "events", "Ready", "False", "DatabaseNotReady").await;
    assert_says(&waiting, &["TransactionPooling"]);
    let admin = world.database.superuser().await;
    assert_eq!(admin.query("select from pg_inherits", &[]).await.unwrap().len(), 0, "nothing was changed through it");
    set_secret(&world, "db", through(sessions.port)).await;
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
}

#[tokio::test]
async fn a_database_counts_a_policy_that_comes_and_one_that_goes() {
    let mut world = World::new(16).await;
    let config = world.config(NOW);
    world.start_with(world.client.clone(), config).await;
    world.wait("PostgresDatabase", "db", "Ready", "True", "Connected").await;
    let count = async |expected: i64| {
        eventually(&format!("{expected} policies"), PATIENCE, async || {
            let database = world.api("PostgresDatabase").get("db").await.unwrap();
            (database.data["status"]["policies"] == expected).then_some(())
        })
        .await;
    };
    count(0).await;
    events_policy(&world).await;
    count(1).await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    world.api("PartitionPolicy").delete("events", &Default::default()).await.unwrap();
    count(0).await;
}
