//! Is a pooler told from a server, and one that loses session state from one that does not?

use pgreeve::api::Reason;
use pgreeve::pass;
use pgreeve::postgres::connect::{Password, Session, Target, Tls};
use pgreeve::postgres::pooler::pools_transactions;

use crate::support::pgproxy::PgProxy;
use crate::support::pooler::Pooler;
use crate::support::postgres::Database;

async fn setup() -> (Database, String) {
    let database = Database::create(16).await;
    let operator = database.roles().await.operator;
    (database, operator)
}

fn target(port: u16, database: &Database, user: &str) -> Target {
    Target {
        host: "127.0.0.1".into(),
        port,
        database: database.name.clone(),
        user: user.into(),
        password: Some(Password::new("secret")),
        tls: Tls::Disable,
    }
}

#[tokio::test]
async fn without_a_pooler_no_second_connection_is_made() {
    let (database, operator) = setup().await;
    let proxy = PgProxy::start(database.server().socket_file()).await;
    let target = target(proxy.port, &database, &operator);
    let session = Session::open(&target).await.unwrap();
    assert_eq!(pools_transactions(&session, &target).await, Ok(false));
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_pool_of_transactions_is_told_from_one_of_sessions_whatever_its_size() {
    let (database, operator) = setup().await;
    for (mode, size, pools) in [("transaction", 5, true), ("transaction", 1, true), ("session", 5, false), ("session", 1, false)]
    {
        let pooler = Pooler::start(database.server(), mode, size, &operator, "secret").await;
        let target = target(pooler.port, &database, &operator);
        let session = Session::open(&target).await.unwrap();
        assert_eq!(pools_transactions(&session, &target).await, Ok(pools), "{mode} {size}");
        assert!(session.client().batch_execute("select 1").await.is_ok(), "the session is still of use");
    }
}

#[tokio::test]
async fn what_a_pooler_refuses_is_refused_for_the_same_reasons() {
    let (database, operator) = setup().await;
    let pooler = Pooler::start(database.server(), "session", 2, &operator, "secret").await;
    let right = target(pooler.port, &database, &operator);
    let refused = async |target: &Target| match Session::open(target).await {
        Ok(session) => session.begin_reading().await.unwrap_err(),
        Err(fault) => fault,
    };
    let wrong = Target { password: Some(Password::new("hunter2")), ..right.clone() };
    assert_eq!(pass::blocked("x", &refused(&wrong).await).reason, Reason::AuthenticationFailed);
    let nobody = Target { user: "nobody_here".into(), ..right.clone() };
    assert_eq!(pass::blocked("x", &refused(&nobody).await).reason, Reason::AuthenticationFailed);
    let elsewhere = Target { database: "no_such".into(), ..right.clone() };
    assert_eq!(pass::blocked("x", &refused(&elsewhere).await).reason, Reason::DatabaseMissing);
}

#[tokio::test]
async fn a_prepared_statement_that_somebody_else_removed_betrays_the_pool() {
    let (database, operator) = setup().await;
    let pooler = Pooler::start(database.server(), "transaction", 1, &operator, "secret").await;
    let target = target(pooler.port, &database, &operator);
    let (first, second) = (Session::open(&target).await.unwrap(), Session::open(&target).await.unwrap());
    let prepared = first.client().prepare("select 1").await.unwrap();
    second.client().batch_execute("deallocate all").await.unwrap();
    let fault = first.client().query(&prepared, &[]).await.unwrap_err();
    let blocked = pass::blocked("x", &fault.into());
    assert_eq!(blocked.reason, Reason::TransactionPooling, "{blocked:?}");
}
