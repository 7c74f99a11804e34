//! What of a role's or a database's own settings would break off a restore that takes hours, and how is it kept from that?

use crate::plan::action::Blocked;
use crate::postgres::{Fault, Session, Target};

/// What would end a session or a statement, or keep it from writing. A server knows those of its version.
const IMPATIENT: [&str; 6] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
    "default_transaction_read_only",
];

/// A session in which nothing of that holds.
///
/// # Errors
/// What the server said.
pub async fn session(target: &Target) -> Result<Session, Blocked> {
    let refused = |fault: Fault| crate::pass::blocked(&target.to_string(), &fault);
    let session = Session::open(target).await.map_err(refused)?;
    hold(&session).await?;
    Ok(session)
}

/// The same for one that is open.
///
/// # Errors
/// What the server said.
pub async fn hold(session: &Session) -> Result<(), Blocked> {
    let query = "SELECT pg_catalog.set_config(name, CASE vartype WHEN 'bool' THEN 'off' ELSE '0' END, false)
        FROM pg_catalog.pg_settings WHERE name = ANY ($1)";
    let held = session.client().query(query, &[&IMPATIENT.as_slice()]).await;
    held.map(drop).map_err(|error| crate::pass::blocked("a session without limits", &error.into()))
}

/// What PostgreSQL's own programs are told for it in `PGOPTIONS`; nothing where no setting would disturb them, since not every pooler lets that
/// pass.
///
/// # Errors
/// What the server said.
pub async fn of_programs(target: &Target) -> Result<Option<String>, Blocked> {
    let refused = |fault: Fault| crate::pass::blocked(&target.to_string(), &fault);
    let session = Session::open(target).await.map_err(refused)?;
    let query = "SELECT pg_catalog.string_agg('-c ' || name || '=' || CASE vartype WHEN 'bool' THEN 'off' ELSE '0' END, ' ' ORDER BY name)
        FROM pg_catalog.pg_settings WHERE name = ANY ($1) AND setting NOT IN ('0', 'off')";
    let found = session.client().query_one(query, &[&IMPATIENT.as_slice()]).await;
    found.map(|row| row.get(0)).map_err(|error| refused(error.into()))
}
