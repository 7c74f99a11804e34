//! Does each way in which a server cannot be used get its own reason and remedy?

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pgreeve::api::Reason;
use pgreeve::pass;
use pgreeve::plan::action::Blocked;
use pgreeve::postgres::connect::{Password, Session, Target, Tls};
use pgreeve::postgres::pooler;
use tokio::net::TcpListener;

use crate::bench::{open, policy};
use crate::support::ancient::Ancient;
use crate::support::eventually;
use crate::support::pgproxy::{PgProxy, StartupFault};
use crate::support::postgres::{Database, Options, Server};

/// A server that asks for passwords, which these tests share.
fn server() -> Arc<Server> {
    static SERVER: OnceLock<Arc<Server>> = OnceLock::new();
    Arc::clone(SERVER.get_or_init(|| Server::start(16, &Options { tcp: true, ..Options::default() })))
}

fn target(host: &str, port: u16, database: &str, user: &str) -> Target {
    let password = Some(Password::new(Database::password(user)));
    Target { host: host.into(), port, database: database.into(), user: user.into(), password, tls: Tls::Disable }
}

/// What refuses a log-in, as a status says it.
async fn refusal(target: &Target) -> Blocked {
    refusal_within(target, Duration::from_secs(20)).await
}

/// The same, of a server that may have nothing to say.
async fn refusal_within(target: &Target, limit: Duration) -> Blocked {
    let fault = Session::open_within(target, limit).await.expect_err("the log-in is refused");
    pass::blocked("PostgresDatabase db", &fault)
}

/// The refusal has this reason, and says each of these things.
fn assert_says(refusal: &Blocked, reason: Reason, words: &[&str]) {
    assert_eq!(refusal.reason, reason, "{refusal:?}");
    assert!(words.iter().all(|word| refusal.message.contains(word)), "{words:?} in {refusal:?}");
}

/// What a look at the server finds that forbids to change anything.
async fn unwritable(session: &Session) -> Blocked {
    let policy = policy("t", "at", "1 month", serde_json::json!({}));
    let looked = pass::look(&[&policy], session, "2026-11-21T08:00:00Z".parse().unwrap()).await.unwrap();
    pass::unwritable(&looked.server).expect("nothing may be changed here")
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = unused.local_addr().unwrap().port();
    // It listens and never answers; later nobody listens at all.
    let silent = refusal_within(&target("127.0.0.1", port, "d", "u"), Duration::from_secs(2)).await;
    assert_says(&silent, Reason::Unreachable, &["did not answer", "network policies"]);
    drop(unused);
    assert_says(&refusal(&target("127.0.0.1", port, "d", "u")).await, Reason::Unreachable, &["refused", "network policies"]);
    assert_says(&refusal(&target("::1", port, "d", "u")).await, Reason::Unreachable, &["network policies"]);
    let unknown = refusal(&target("nowhere.invalid", port, "d", "u")).await;
    assert_says(&unknown, Reason::Unreachable, &["failed to lookup", "<name>.<namespace>"]);
    assert_says(&refusal(&target("/nowhere", port, "d", "u")).await, Reason::Unreachable, &["No such file"]);
}

#[tokio::test]
async fn a_server_that_starts_stops_or_hangs_up_is_waited_for() {
    let database = Database::create(16).await;
    let proxy = PgProxy::start(database.server().socket_file()).await;
    let target = target("127.0.0.1", proxy.port, &database.name, "postgres");
    for (fault, reason) in [
        (StartupFault::Refused("57P03"), Reason::Starting),
        (StartupFault::Refused("57P01"), Reason::Starting),
        (StartupFault::Refused("53300"), Reason::TooManyConnections),
        (StartupFault::Refused("08006"), Reason::Unreachable),
        (StartupFault::Closed, Reason::Unreachable),
        (StartupFault::Silent, Reason::Unreachable),
    ] {
        proxy.plan_startup(fault, 1);
        assert_says(&refusal(&target).await, reason, &[reason.remedy()]);
    }
    assert!(Session::open(&target).await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_name_are_named() {
    let database = Database::on(server()).await;
    let user = database.roles().await.operator;
    let right = target("127.0.0.1", server().port, &database.name, &user);
    let session = Session::open(&right).await.unwrap();
    let row = session.client().query_one("select application_name from pg_stat_activity where pid = pg_backend_pid()", &[]);
    assert_eq!(row.await.unwrap().get::<_, &str>(0), "pgreeve");

    let wrong = Target { password: Some(Password::new("hunter2")), ..right.clone() };
    let refused = refusal(&wrong).await;
    assert_says(&refused, Reason::AuthenticationFailed, &["28P01", &user, "Correct the Secret"]);
    assert!(!refused.message.contains("hunter2"));
    let none = Target { password: None, ..right.clone() };
    assert_says(&refusal(&none).await, Reason::AuthenticationFailed, &["password missing", "Correct the Secret"]);
    let elsewhere = Target { database: "no_such".into(), ..right.clone() };
    assert_says(&refusal(&elsewhere).await, Reason::DatabaseMissing, &["no_such", "3D000", "Create the database"]);

    let admin = database.superuser().await;
    admin.batch_execute(&format!("revoke connect on database {} from public", database.name)).await.unwrap();
    let grant = format!("GRANT CONNECT ON DATABASE \"{}\" TO \"{user}\"", database.name);
    assert_says(&refusal(&right).await, Reason::MissingPrivilege, &["42501", &grant]);
    admin.batch_execute(&format!("alter role {user} nologin")).await.unwrap();
    assert_says(&refusal(&right).await, Reason::AuthenticationFailed, &["28000", "not permitted to log in"]);
}

#[tokio::test]
async fn a_server_without_a_line_for_us_is_told_from_a_wrong_password() {
    let server = Server::start(15, &Options { tcp: true, ..Options::default() });
    let database = Database::on(Arc::clone(&server)).await;
    std::fs::write(server.socket.join("data/pg_hba.conf"), "local all all trust\n").unwrap();
    server.superuser("postgres").await.batch_execute("select pg_reload_conf()").await.unwrap();
    let target = target("127.0.0.1", server.port, &database.name, "postgres");
    let refused = eventually("the file is read again", Duration::from_secs(5), async || {
        let refused = refusal(&target).await;
        refused.message.contains("28000").then_some(refused)
    })
    .await;
    assert_says(&refused, Reason::AuthenticationFailed, &["no pg_hba.conf entry for host", "pg_hba.conf"]);
}

#[tokio::test]
async fn a_role_at_its_limit_is_told_so_and_needs_no_second_connection() {
    let database = Database::on(server()).await;
    let user = database.roles().await.operator;
    let admin = database.superuser().await;
    admin.batch_execute(&format!("alter role {user} connection limit 1")).await.unwrap();
    let target = target("127.0.0.1", server().port, &database.name, &user);
    let session = Session::open(&target).await.unwrap();
    let refused = refusal(&target).await;
    assert_says(&refused, Reason::TooManyConnections, &["53300", &user, "CONNECTION LIMIT", "spec.limits.connections"]);
    assert_eq!(pooler::pools_transactions(&session, &target).await, Ok(false));
}

#[tokio::test]
async fn a_session_that_may_only_read_is_not_written_to() {
    let database = Database::create(16).await;
    let operator = database.roles().await.operator;
    let admin = database.superuser().await;
    admin.batch_execute(&format!("alter role {operator} set default_transaction_read_only = on")).await.unwrap();
    let refused = unwritable(&open(&database, &operator).await).await;
    assert_says(&refused, Reason::ReadOnly, &[&operator, &database.name, "default_transaction_read_only", "primary"]);
}

#[tokio::test]
async fn a_standby_is_read_and_not_written_to() {
    let server = Server::start(18, &Options { standby: true, ..Options::default() });
    let target = target(&server.socket.display().to_string(), server.port, "postgres", "postgres");
    let session = Session::open(&target).await.unwrap();
    assert_says(&unwritable(&session).await, Reason::InRecovery, &["postgres", "standby", "primary"]);
}

#[tokio::test]
async fn a_server_that_is_too_old_is_told_so_and_asked_nothing_else() {
    let ancient = Ancient::start().await;
    let target = target("127.0.0.1", ancient.port, "old", "app");
    let session = Session::open(&target).await.unwrap();
    assert_eq!(pooler::pools_transactions(&session, &target).await, Ok(false));
    assert_says(&unwritable(&session).await, Reason::VersionUnsupported, &["PostgreSQL 13.22", "14 to 18"]);
}

#[tokio::test]
async fn names_may_be_anything_that_postgres_allows() {
    let server = server();
    let admin = server.superuser("postgres").await;
    let (role, database) = ("Röle \"x\" '; --", "Dätabase \"y\" %@:/?#");
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    admin.batch_execute(&format!("create role {} login password 'p@ss:w/ö rd%'", quoted(role))).await.unwrap();
    admin.batch_execute(&format!("create database {}", quoted(database))).await.unwrap();
    let encode = |text: &str| percent_encode(text);
    let uri = format!("postgresql://{}:{}@127.0.0.1:{}/{}", encode(role), encode("p@ss:w/ö rd%"), server.port, encode(database));
    let endpoint = pgreeve::plan::connection::parse_uri(&uri).unwrap();
    let password = endpoint.password.map(Password::new);
    let target = Target { password, ..target(&endpoint.host, endpoint.port, &endpoint.database, &endpoint.user) };
    let session = Session::open(&target).await.unwrap();
    let seen = pgreeve::postgres::server::observe(&session).await.unwrap();
    assert_eq!((seen.role.as_str(), seen.database.as_str()), (role, database));
    drop(session);
    admin.batch_execute(&format!("drop database {} with (force)", quoted(database))).await.unwrap();
    admin.batch_execute(&format!("drop role {}", quoted(role))).await.unwrap();
}

fn percent_encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_session_that_is_dropped_in_the_middle_of_a_query_leaves_no_lock() {
    let database = Database::create(16).await;
    let operator = database.roles().await.operator;
    let admin = database.superuser().await;
    admin.batch_execute(&format!("create table t (); alter table t owner to {operator}")).await.unwrap();
    let session = open(&database, &operator).await;
    session.client().batch_execute("begin; lock table t").await.unwrap();
    {
        let query = session.client().batch_execute("select pg_sleep(0.5)");
        assert!(tokio::time::timeout(Duration::from_millis(100), query).await.is_err());
    }
    drop(session);
    eventually("the lock is free", Duration::from_secs(5), async || {
        admin.batch_execute("rollback; begin; lock table t nowait; commit").await.ok()
    })
    .await;
}
