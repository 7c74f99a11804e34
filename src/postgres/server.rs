//! Which server is this, and who are we there?

use super::connect::Session;
use super::error::{Fault, FaultKind};
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
    let rows = session.query(QUERY, &[]).await?;
    let row = rows.first().ok_or_else(|| Fault::new(FaultKind::Statement, "the server does not know its own role"))?;
    let version: String = row.get(1);
    Ok(Server {
        version_num: row.get(0),
        version: version.split(' ').next().unwrap_or_default().to_owned(),
        database: row.get(2),
        role: row.get(3),
        superuser: row.get(4),
        in_recovery: row.get(5),
        read_only: row.get(6),
        system_identifier: None,
    })
}

/// The name of a session that begins so, if the role may see one: of itself, or of a role that it is a member of.
///
/// # Errors
/// What the server or the connection said.
pub async fn session_named(session: &Session, prefix: &str) -> Result<Option<String>, Fault> {
    let query =
        "SELECT application_name FROM pg_catalog.pg_stat_activity WHERE pg_catalog.starts_with(application_name, $1) LIMIT 1";
    let rows = session.query(query, &[(&prefix, tokio_postgres::types::Type::TEXT)]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// The system identifier, where the role may read it (PostgreSQL, System Information Functions: pg_control_system).
pub async fn system_identifier(session: &Session) -> Option<String> {
    try_system_identifier(session).await.ok()
}

/// The same, for a transaction that an error would end.
///
/// # Errors
/// What the server said.
pub async fn try_system_identifier(session: &Session) -> Result<String, Fault> {
    let query = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()";
    Ok(session.client().query_one(query, &[]).await?.get(0))
}
