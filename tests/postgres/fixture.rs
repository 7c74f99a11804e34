//! Are the test servers what the tests believe they are?

use tokio_postgres::NoTls;

use crate::support::postgres::{Database, MAJORS, Options, Server, server};

#[tokio::test]
async fn every_supported_major_runs_and_names_its_version() {
    for major in MAJORS {
        let row = server(major).superuser("postgres").await.query_one("show server_version_num", &[]).await.unwrap();
        let version: u32 = row.get::<_, String>(0).parse().unwrap();
        assert_eq!(version / 10_000, major);
    }
}

#[tokio::test]
async fn the_operator_becomes_the_owner_and_neither_is_a_superuser() {
    let database = Database::create(16).await;
    let roles = database.roles().await;
    let client = database.connect(&roles.operator).await;
    client.batch_execute(&format!("set role {}; create table made_by_the_owner ()", roles.owner)).await.unwrap();
    let sql = "select tableowner::text, (select bool_or(rolsuper) from pg_roles where rolname like $1) from pg_tables where tablename = 'made_by_the_owner'";
    let row = client.query_one(sql, &[&format!("{}%", database.name)]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, bool>(1)), (roles.owner.as_str(), false));
}

#[tokio::test]
async fn a_database_is_gone_with_its_test() {
    let database = Database::create(17).await;
    let (server, name) = (database.server(), database.name.clone());
    database.roles().await;
    drop(database);
    let sql = "select (select count(*) from pg_database where datname = $1) + (select count(*) from pg_roles where rolname like $1 || '%')";
    let row = server.superuser("postgres").await.query_one(sql, &[&name]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn over_tcp_the_password_counts() {
    let server = Server::start(18, &Options { tcp: true, ..Options::default() });
    let database = Database::on(std::sync::Arc::clone(&server)).await;
    let operator = database.roles().await.operator;
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(server.port).user(&operator).dbname(&database.name).password(Database::password(&operator));
    assert!(config.connect(NoTls).await.is_ok());
    let refused = config.password("another").connect(NoTls).await.err().unwrap();
    assert_eq!(refused.code().unwrap().code(), "28P01");
}

#[tokio::test]
async fn a_standby_is_in_recovery_and_cannot_be_written() {
    let server = Server::start(16, &Options { standby: true, ..Options::default() });
    let error = server.superuser("postgres").await.batch_execute("create table t ()").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "25006");
}

#[test]
fn a_dropped_server_leaves_nothing_behind() {
    let server = Server::start(14, &Options { tls: true, tcp: true, ..Options::default() });
    let (directory, pid) = (server.socket.clone(), server.pid().unwrap());
    assert!(server.ca.as_ref().unwrap().starts_with("-----BEGIN CERTIFICATE"));
    drop(server);
    assert!(!directory.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
