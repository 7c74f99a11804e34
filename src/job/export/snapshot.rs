//! What is exported? One snapshot of a closed partition, with everything that its manifest says of it.

use std::sync::Arc;

use super::closing::{blocked, holds};
use super::manifest::{self, Data, Manifest, Source, VERSION};
use super::table::{self, Table};
use super::write::{Written, write};
use crate::api::retention_policy::ExportFormat;
use crate::clock::Clock;
use crate::plan::action::Blocked;
use crate::plan::removal::ExportPartition;
use crate::postgres::{Fault, Session, server};
use crate::sql::export::{begin_reading, is_bound, is_closed};
use crate::sql::quote;
use crate::sql::script::is_still;
use crate::storage::Store;

/// Writes the partition into an object of a new name, in one transaction that only reads. Answers the manifest that is to be.
///
/// # Errors
/// What the database or the store said; then there is no object.
pub async fn export(task: &ExportPartition, session: &Arc<Session>, store: &Store, export: &str) -> Result<Manifest, Blocked> {
    let exported = in_transaction(task, session, store, export).await;
    if exported.is_err() && !session.is_closed() {
        drop(session.end_reading().await);
    }
    let manifest = exported?;
    session.end_reading().await.map_err(|fault| blocked(task, &fault))?;
    Ok(manifest)
}

async fn in_transaction(
    task: &ExportPartition,
    session: &Arc<Session>,
    store: &Store,
    export: &str,
) -> Result<Manifest, Blocked> {
    let fault = |fault: Fault| blocked(task, &fault);
    let begin = begin_reading(&task.role);
    session.client().batch_execute(&begin).await.map_err(|error| fault(error.into()))?;
    // The first look at the catalog takes the snapshot; what is checked in it and what is read from it are of one moment.
    for check in [is_still(&task.partition.table, task.partition.oid), is_bound(task), is_closed(task, export)] {
        holds(session, task, &check).await?;
    }
    let table = table::observe(session, task.partition.oid).await.map_err(fault)?;
    let source = source(task, session).await.map_err(fault)?;
    let from = format!("ONLY {}", quote::table(&task.partition.table));
    let query = match task.format {
        ExportFormat::Parquet => table.select_binary(&from),
        ExportFormat::Csv => table.select_plain(&from),
    };
    let name = format!("{:016x}.{}", fastrand::u64(..), manifest::extension(task.format, task.compression));
    let key = format!("{}/{name}", manifest::directory(task, export));
    let written = write(task, session, &table, query.clone(), store, &key).await?;
    Ok(manifest_of(task, export, source, table, query, name, written))
}

fn manifest_of(
    task: &ExportPartition,
    export: &str,
    source: Source,
    table: Table,
    query: String,
    name: String,
    written: Written,
) -> Manifest {
    Manifest {
        version: VERSION,
        writer: concat!("pgreeve ", env!("CARGO_PKG_VERSION")).into(),
        export: export.into(),
        written_at: Clock::system().now(),
        source,
        columns: table.columns,
        query,
        utf8: table.is_utf8,
        rows: written.content.rows,
        checksum: written.content.checksum,
        data: Data { name, format: task.format, compression: task.compression, bytes: written.bytes, sha256: written.sha256 },
    }
}

async fn source(task: &ExportPartition, session: &Session) -> Result<Source, Fault> {
    let query = "SELECT pg_catalog.current_database()::pg_catalog.text, pg_catalog.current_setting('server_version'), \
        CASE WHEN NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.has_function_privilege('pg_catalog.pg_current_wal_insert_lsn()', 'EXECUTE') \
          THEN pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text END, \
        pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')";
    let row = session.client().query_one(query, &[]).await?;
    let version: String = row.get(1);
    // A refused question would end the transaction.
    let system_identifier = if row.get(3) { server::system_identifier(session).await } else { None };
    Ok(Source {
        database: row.get(0),
        system_identifier,
        server_version: version.split(' ').next().unwrap_or_default().to_owned(),
        lsn: row.get(2),
        table: task.parent.table.clone(),
        partition: task.partition.table.clone(),
        oid: task.partition.oid,
        bound: task.bound.clone(),
    })
}
