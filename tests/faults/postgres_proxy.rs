//! Does the proxy break connections as a network and a server would?

use std::time::Duration;

use tokio_postgres::Client;

use crate::support::eventually;
use crate::support::pgproxy::effect::{Kind, kind};
use crate::support::pgproxy::{Fault, PgProxy, StartupFault};
use crate::support::postgres::{Database, connect};

async fn setup() -> (Database, PgProxy, Client) {
    let database = Database::create(16).await;
    database.superuser().await.batch_execute("create table t (a int primary key)").await.unwrap();
    let proxy = PgProxy::start(database.server().socket_file()).await;
    let client = connect(proxy.url("postgres", &database.name)).await.unwrap();
    (database, proxy, client)
}

async fn rows(database: &Database) -> i64 {
    database.superuser().await.query_one("select count(*) from t", &[]).await.unwrap().get(0)
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("none", |code| code.code())
}

#[tokio::test]
async fn only_what_changes_something_is_numbered() {
    let (database, proxy, client) = setup().await;
    client.batch_execute("begin; set local lock_timeout = '1s'; lock table t; commit").await.unwrap();
    client.query("select * from t where a = $1", &[&1]).await.unwrap();
    client.execute("insert into t values ($1)", &[&1]).await.unwrap();
    client.batch_execute("begin").await.unwrap();
    client.batch_execute("alter table t add b int").await.unwrap();
    client.batch_execute("commit").await.unwrap();
    let sql: Vec<String> = proxy.effects().into_iter().map(|effect| effect.sql).collect();
    assert_eq!(sql, ["insert into t values ($1)", "alter table t add b int", "commit"]);
    assert_eq!(rows(&database).await, 1);
}

#[tokio::test]
async fn a_cut_before_an_effect_hides_it_from_the_server() {
    let (database, proxy, client) = setup().await;
    proxy.plan(2, Fault::CutBefore);
    client.execute("insert into t values (1)", &[]).await.unwrap();
    let error = client.execute("insert into t values (2)", &[]).await.unwrap_err();
    assert!(error.is_closed() || error.code().is_none(), "{error:?}");
    assert_eq!(rows(&database).await, 1);
    assert!(proxy.all_met());
}

#[tokio::test]
async fn a_cut_after_an_effect_hides_its_answer_from_the_client() {
    for prepared in [false, true] {
        let (database, proxy, client) = setup().await;
        proxy.plan(1, Fault::CutAfter);
        let result = if prepared {
            client.execute("insert into t values ($1)", &[&1]).await.map(drop)
        } else {
            client.batch_execute("insert into t values (1)").await
        };
        assert!(result.is_err() && proxy.all_met());
        assert_eq!(rows(&database).await, 1);
    }
}

#[tokio::test]
async fn a_lost_answer_to_commit_leaves_what_was_committed() {
    let (database, proxy, mut client) = setup().await;
    proxy.plan(2, Fault::CutAfter);
    let transaction = client.transaction().await.unwrap();
    transaction.execute("insert into t values (1)", &[]).await.unwrap();
    assert!(transaction.commit().await.is_err());
    assert_eq!(rows(&database).await, 1);
}

#[tokio::test]
async fn a_transaction_that_is_cut_is_rolled_back_by_the_server() {
    let (database, proxy, mut client) = setup().await;
    proxy.plan(2, Fault::CutBefore);
    let transaction = client.transaction().await.unwrap();
    transaction.execute("insert into t values (1)", &[]).await.unwrap();
    assert!(transaction.commit().await.is_err());
    let observer = database.superuser().await;
    eventually("the lock is gone", Duration::from_secs(5), async || {
        let locked = observer.batch_execute("begin; lock table t nowait").await;
        // Otherwise the first refusal would be the answer to all further tries.
        observer.batch_execute("rollback").await.unwrap();
        locked.ok()
    })
    .await;
    assert_eq!(rows(&database).await, 0);
}

#[tokio::test]
async fn a_refused_effect_fails_its_transaction_on_both_sides() {
    for sqlstate in ["55P03", "40P01", "40001", "53100", "53200", "25006", "42501"] {
        let (database, proxy, client) = setup().await;
        proxy.plan(2, Fault::Refused(sqlstate));
        proxy.plan(3, Fault::Refused(sqlstate));
        client.batch_execute("begin").await.unwrap();
        client.execute("insert into t values ($1)", &[&1]).await.unwrap();
        assert_eq!(code(&client.execute("insert into t values ($1)", &[&2]).await.unwrap_err()), sqlstate);
        assert_eq!(code(&client.batch_execute("select 1").await.unwrap_err()), "25P02");
        client.batch_execute("rollback").await.unwrap();
        assert_eq!(code(&client.batch_execute("insert into t values (3)").await.unwrap_err()), sqlstate);
        client.execute("insert into t values ($1)", &[&4]).await.unwrap();
        assert_eq!(rows(&database).await, 1);
    }
}

#[tokio::test]
async fn a_shutdown_ends_the_session() {
    let (database, proxy, client) = setup().await;
    proxy.plan(1, Fault::Refused("57P01"));
    assert_eq!(code(&client.batch_execute("insert into t values (1)").await.unwrap_err()), "57P01");
    eventually("the client notices", Duration::from_secs(5), async || client.is_closed().then_some(())).await;
    assert_eq!(rows(&database).await, 0);
}

#[tokio::test]
async fn new_connections_are_closed_refused_or_left_waiting() {
    let (database, proxy, _client) = setup().await;
    let url = proxy.url("postgres", &database.name);
    for sqlstate in ["57P03", "53300", "28P01"] {
        proxy.plan_startup(StartupFault::Refused(sqlstate), 1);
        assert_eq!(code(&connect(url.clone()).await.err().unwrap()), sqlstate);
    }
    proxy.plan_startup(StartupFault::Closed, 1);
    assert_eq!(code(&connect(url.clone()).await.err().unwrap()), "none");
    proxy.plan_startup(StartupFault::Silent, 1);
    assert!(tokio::time::timeout(Duration::from_millis(200), connect(url.clone())).await.is_err());
    assert!(connect(url).await.is_ok());
}

#[tokio::test]
async fn a_delayed_effect_happens_later() {
    let (database, proxy, client) = setup().await;
    proxy.plan(1, Fault::Delayed(Duration::from_millis(100)));
    let began = std::time::Instant::now();
    client.execute("insert into t values (1)", &[]).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(rows(&database).await, 1);
}

#[test]
fn reading_is_no_effect_and_changing_is() {
    for sql in [
        "select 1",
        "SELECT * FROM t FOR NO KEY UPDATE",
        "set local lock_timeout = 5",
        "begin; lock table t; rollback",
        "",
        "select 'delete from t; commit'",
        "with a as (select \"insert\" from t) select * from a -- update",
        "show search_path",
        "select pg_catalog.set_config('search_path', '', false)",
        "copy t to stdout",
        "select $x$ insert $x$, $1",
    ] {
        assert_eq!(kind(sql), Kind::Pass, "{sql}");
    }
    for sql in [
        "create table t ()",
        "begin; alter table t add a int; commit",
        "select nextval('s')",
        "DO $$ begin end $$",
        "grant a to b",
        "with gone as (delete from t returning 1) select * from gone",
        "select pg_terminate_backend(1)",
        "explain analyze delete from t",
        "select 1 into t",
        "comment on table t is 'x'",
    ] {
        assert_eq!(kind(sql), Kind::Effect, "{sql}");
    }
    assert_eq!(kind("select 1; COMMIT"), Kind::Commit);
}

#[tokio::test]
async fn a_swallowed_effect_is_never_answered() {
    let (database, proxy, client) = setup().await;
    proxy.plan(1, Fault::Swallowed);
    let answer = tokio::time::timeout(Duration::from_secs(2), client.execute("insert into t values (1)", &[])).await;
    assert!(answer.is_err() && !client.is_closed() && proxy.all_met());
    assert_eq!(rows(&database).await, 0);
}
