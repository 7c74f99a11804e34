//! Which server is this, and who are we there?

use super::connect::{Session, Target};
use super::error::Fault;
use crate::plan::snapshot::Server;

const QUERY: &str = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
    pg_catalog.current_setting('server_version'), pg_catalog.current_database()::pg_catalog.text, \
    current_user::pg_catalog.text, r.rolsuper, pg_catalog.pg_is_in_recovery(), \
    pg_catalog.current_setting('default_transaction_read_only') = 'on' \
    FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

/// What the server says of itself and of our role. Reads only.
///
/// # Errors
/// What the server or the connection said.
pub async fn observe(session: &Session) -> Result<Server, Fault> {
    let row = session.client().query_typed_one(QUERY, &[]).await?;
    let version: String = row.get(1);
    Ok(Server {
        version_num: row.get(0),
        version: version.split(' ').next().unwrap_or_default().to_owned(),
        database: row.get(2),
        role: row.get(3),
        superuser: row.get(4),
        in_recovery: row.get(5),
        read_only: row.get(6),
        transaction_pooling: false,
        system_identifier: None,
    })
}

/// The system identifier, where the role may read it (PostgreSQL, System Information Functions: pg_control_system).
pub async fn system_identifier(session: &Session) -> Option<String> {
    let query = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()";
    session.client().query_one(query, &[]).await.ok().map(|row| row.get(0))
}

/// Whether session state gets lost between two transactions of one connection, as behind a pooler in transaction mode.
///
/// A session is set up; then a second connection takes whichever server connection is free, and keeps it in an open
/// transaction. If the first one finds itself on another server process after that, it never had one of its own.
///
/// # Errors
/// What the server or the connection said.
pub async fn pools_transactions(session: &Session, target: &Target) -> Result<bool, Fault> {
    const PID: &str = "SELECT pg_catalog.pg_backend_pid()";
    let before: i32 = session.client().query_one(PID, &[]).await?.get(0);
    let other = Session::open(target).await?;
    other.client().batch_execute("BEGIN READ ONLY; SELECT 1").await?;
    let after = tokio::time::timeout(std::time::Duration::from_secs(2), session.client().query_one(PID, &[])).await;
    other.client().batch_execute("ROLLBACK").await?;
    // No answer in time: the only server connection was with the other session.
    let Ok(after) = after else { return Ok(true) };
    Ok(after?.get::<_, i32>(0) != before)
}
