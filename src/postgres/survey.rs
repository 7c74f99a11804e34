//! What is there to adopt? Every partitioned table, and what pg_partman knows of it.

use serde_json::Value;
use tokio_postgres::error::SqlState;

use super::connect::Session;
use super::error::Fault;
use crate::plan::snapshot::TableName;
use crate::sql::quote::table;

const ROOTS: &str = "
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'p' AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1, 2";

/// pg_partman lives in whatever schema it was created in; its table is known by its columns, which 4.x and 5.x share.
const PARTMAN: &str = "
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = 'part_config' AND c.relkind = 'r'
  AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
       AND a.attname IN ('parent_table', 'control', 'partition_interval', 'premake')) = 4
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')";

/// Every partitioned table that is not itself a partition.
///
/// # Errors
/// What the server or the connection said.
pub async fn partitioned_tables(session: &Session) -> Result<Vec<TableName>, Fault> {
    let rows = session.client().query(ROOTS, &[]).await?;
    Ok(rows.iter().map(|row| TableName { schema: row.get(0), name: row.get(1) }).collect())
}

/// The time zone of sessions that do not set their own. To be asked outside [`Session::begin_reading`], which sets one.
///
/// # Errors
/// What the server or the connection said.
pub async fn time_zone(session: &Session) -> Result<String, Fault> {
    let query = "SELECT pg_catalog.current_setting('TimeZone')";
    Ok(session.client().query_one(query, &[]).await?.get(0))
}

/// What pg_partman is configured to do: the schema that it lives in, and its rows as JSON. Empty where it is not, or may not be read.
///
/// # Errors
/// What the server or the connection said.
pub async fn partman(session: &Session) -> Result<Vec<(String, Value)>, Fault> {
    let mut found = Vec::new();
    for row in session.client().query(PARTMAN, &[]).await? {
        let config = TableName { schema: row.get(0), name: row.get(1) };
        let query = format!("SELECT pg_catalog.to_jsonb(c) FROM {} c ORDER BY c.parent_table", table(&config));
        match session.client().query(&query, &[]).await {
            Ok(rows) => found.extend(rows.iter().map(|row| (config.schema.clone(), row.get(0)))),
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}
