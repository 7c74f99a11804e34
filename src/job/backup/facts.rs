//! What is backed up? One snapshot that the dump shares, and in it what a dump does not say: how the database was made, and how many rows
//! every table has.

use jiff::Timestamp;

use super::database;
use super::selection::{self, Selection};
use crate::api::backup::Content;
use crate::plan::action::Blocked;
use crate::plan::backup::manifest::{Database, Extension, Schema, Snapshot, TableRows};
use crate::postgres::{Fault, Session, server};
use crate::sql::quote;

/// Opens the transaction whose snapshot everything shares. It may stay open for hours, so nothing of the server's or the role's own
/// settings ends it; rows that row security would hide are an error.
const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL search_path = ''; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL standard_conforming_strings = on; \
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '60s'; SET LOCAL row_security = off";

/// The same for what only newer servers know.
const BEGIN_17: &str = "SET LOCAL transaction_timeout = 0";

/// What was found in the snapshot.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name, for `pg_dump --snapshot`.
    pub name: String,
    /// When it was taken, and where in the log.
    pub snapshot: Snapshot,
    /// The database.
    pub database: Database,
    /// Its extensions.
    pub extensions: Vec<Extension>,
    /// Roles that own something in it, or were granted something.
    pub roles: Vec<String>,
    /// Large objects.
    pub large_objects: i64,
    /// The tables that are dumped with their rows, and those that are dumped without.
    pub selection: Selection,
    /// Of chosen tables, the schemas that they lie in.
    pub schemas: Vec<Schema>,
}

/// Takes the snapshot and looks.
///
/// # Errors
/// What the server said, or what would make the dump less than it seems.
pub async fn observe(session: &Session, content: &Content) -> Result<Facts, Blocked> {
    let refused = |fault: Fault| crate::pass::blocked("looking at the database", &fault);
    let client = session.client();
    let version_num = server::observe(session).await.map_err(refused)?.version_num;
    let begin = if version_num >= 170_000 { format!("{BEGIN}; {BEGIN_17}") } else { BEGIN.into() };
    client.batch_execute(&begin).await.map_err(|error| refused(error.into()))?;
    let row = client
        .query_one("SELECT pg_catalog.pg_export_snapshot(), pg_catalog.transaction_timestamp()", &[])
        .await
        .map_err(|error| refused(error.into()))?;
    let at: Timestamp = row.get(1);
    let lsn = spared(session, lsn(session)).await.map_err(refused)?.flatten();
    let database = database::observe(session).await.map_err(refused)?;
    let selection = selection::observe(session, content, &database.properties.owner).await?;
    let schemas =
        if content.tables.is_empty() { vec![] } else { selection::schemas(session, &selection).await.map_err(refused)? };
    let extensions = extensions(session).await.map_err(refused)?;
    let roles = roles(session).await.map_err(refused)?;
    let large_objects = client.query_one("SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata", &[]).await;
    let large_objects = large_objects.map_err(|error| refused(error.into()))?.get(0);
    Ok(Facts { name: row.get(0), snapshot: Snapshot { at, lsn }, database, extensions, roles, large_objects, selection, schemas })
}

/// Asks what not every server answers, as Aurora, whose log is not PostgreSQL's, without losing the snapshot to the error.
pub(super) async fn spared<T>(session: &Session, asked: impl Future<Output = Result<T, Fault>>) -> Result<Option<T>, Fault> {
    session.client().batch_execute("SAVEPOINT asked").await?;
    let (ended, answer) = match asked.await {
        Ok(answer) => ("RELEASE SAVEPOINT asked", Some(answer)),
        Err(fault) if fault.sqlstate.is_some() => ("ROLLBACK TO SAVEPOINT asked", None),
        Err(fault) => return Err(fault),
    };
    session.client().batch_execute(ended).await?;
    Ok(answer)
}

/// How far the log had got.
async fn lsn(session: &Session) -> Result<Option<String>, Fault> {
    let query = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
        ELSE pg_catalog.pg_current_wal_insert_lsn() END::pg_catalog.text";
    Ok(session.client().query_one(query, &[]).await?.get(0))
}

/// What `content` leaves out although somebody may expect it: `pg_dump` says nothing of it.
pub fn omitted(facts: &Facts, content: &Content) -> Vec<String> {
    let mut omitted = Vec::new();
    let chooses = !content.schemas.is_empty() || !content.tables.is_empty();
    if chooses && facts.large_objects > 0 {
        omitted.push(format!("{} large objects: a choice of schemas or tables leaves them out", facts.large_objects));
    }
    let ours = facts.extensions.iter().filter(|extension| extension.name != "plpgsql").map(|extension| extension.name.as_str());
    let ours: Vec<&str> = ours.collect();
    if chooses && !ours.is_empty() {
        omitted.push(format!("the extensions {}: a choice of schemas or tables leaves them out", ours.join(", ")));
    }
    let unlogged: Vec<String> = facts.selection.unlogged.iter().map(ToString::to_string).collect();
    if !unlogged.is_empty() {
        omitted.push(format!("the rows of the unlogged tables {}: a standby does not have them", unlogged.join(", ")));
    }
    omitted
}

/// Takes the locks that the dump takes too, before it does. A statement that waits for one of them, as `ALTER TABLE` in a migration, would stand
/// before a count that comes to its table later, and wait for the dump.
///
/// # Errors
/// What the server said: a table that somebody alters is waited for as long as `pg_dump` waits.
pub async fn lock(session: &Session, selection: &Selection) -> Result<(), Blocked> {
    for table in &selection.with_rows {
        let lock = format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", quote::table(table));
        let locked = session.client().batch_execute(&lock).await;
        locked.map_err(|error| crate::pass::blocked(&format!("waiting for {table}, which is being altered"), &error.into()))?;
    }
    Ok(())
}

/// Counts the rows of every table that is dumped with its rows, in the snapshot.
///
/// # Errors
/// What the server said.
pub async fn count(session: &Session, selection: &Selection) -> Result<Vec<TableRows>, Blocked> {
    let mut counted: Vec<TableRows> =
        selection.without_rows.iter().map(|table| TableRows { table: table.clone(), rows: 0 }).collect();
    for table in &selection.with_rows {
        let query = format!("SELECT pg_catalog.count(*) FROM ONLY {}", quote::table(table));
        let row = session.client().query_one(&query, &[]).await;
        let row = row.map_err(|error| crate::pass::blocked(&format!("counting the rows of {table}"), &error.into()))?;
        counted.push(TableRows { table: table.clone(), rows: row.get(0) });
    }
    counted.sort();
    Ok(counted)
}

/// Bytes that the rows of the chosen tables take on the server's disk: about what a dump of them reads.
///
/// # Errors
/// What the server said.
pub async fn bytes(session: &Session, selection: &Selection) -> Result<i64, Blocked> {
    let names: Vec<String> = selection.with_rows.iter().map(|table| quote::table(table).to_string()).collect();
    let query = "SELECT coalesce(sum(pg_catalog.pg_table_size(name::pg_catalog.regclass)), 0)::pg_catalog.int8 FROM pg_catalog.unnest($1::pg_catalog.text[]) AS name";
    let row = session.client().query_one(query, &[&names]).await;
    Ok(row.map_err(|error| crate::pass::blocked("the sizes of tables", &error.into()))?.get(0))
}

async fn extensions(session: &Session) -> Result<Vec<Extension>, Fault> {
    let query = "SELECT extname::pg_catalog.text, extversion FROM pg_catalog.pg_extension ORDER BY 1";
    let rows = session.client().query(query, &[]).await?;
    Ok(rows.iter().map(|row| Extension { name: row.get(0), version: row.get(1) }).collect())
}

/// Who owns something or was granted something here. Of the role that initdb made, nothing is noted (pg_shdepend), so it is always named.
async fn roles(session: &Session) -> Result<Vec<String>, Fault> {
    let query = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database() \
        WHERE r.rolname !~ '^pg_' AND (r.oid IN (10, d.datdba) OR EXISTS (SELECT FROM pg_catalog.pg_shdepend s \
        WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = r.oid \
        AND (s.dbid = d.oid OR (s.dbid = 0 AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND s.objid = d.oid)))) ORDER BY 1";
    let rows = session.client().query(query, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
