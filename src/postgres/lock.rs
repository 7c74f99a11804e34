//! Who holds what we want? The sessions in the way of a lock, for the status and for deciding not to queue at all.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::connect::Session;
use super::error::Fault;
use crate::plan::outcome::Blocker;
use crate::sql::Lock;

/// `state`, `application_name` and `xact_start` of other roles' sessions show only to members of pg_read_all_stats.
const HOLDERS: &str = "
SELECT DISTINCT ON (l.pid) l.pid, coalesce(a.state, 'state not visible'),
    coalesce(a.usename::pg_catalog.text, 'unknown') || coalesce('/' || nullif(a.application_name, ''), ''),
    coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.int8, 0),
    n.nspname::pg_catalog.text || '.' || c.relname::pg_catalog.text
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[])) AS w(schema, name, mode)
  ON w.schema = n.nspname AND w.name = c.relname AND w.mode = l.mode
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
ORDER BY l.pid, 4 DESC
LIMIT 5";

/// Everybody may see these columns, those of other roles' sessions too.
const TRANSACTIONS: &str = "
SELECT DISTINCT l.pid, l.virtualtransaction
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS w(schema, name)
  ON w.schema = n.nspname AND w.name = c.relname
WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";

/// The transactions that use one of these tables now, each by its process and its virtual identifier.
///
/// # Errors
/// What the server or the connection said.
pub async fn transactions(session: &Session, locks: &[Lock]) -> Result<BTreeSet<(i32, String)>, Fault> {
    let schemas: Vec<&str> = locks.iter().map(|lock| lock.table.schema.as_str()).collect();
    let names: Vec<&str> = locks.iter().map(|lock| lock.table.name.as_str()).collect();
    let rows = session.query(TRANSACTIONS, &[(&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Sessions that hold a lock which conflicts with one of these, at most five.
///
/// # Errors
/// What the server or the connection said.
pub async fn holders(session: &Session, locks: &[Lock]) -> Result<Vec<Blocker>, Fault> {
    let (mut schemas, mut names, mut modes) = (Vec::new(), Vec::new(), Vec::new());
    for lock in locks {
        for mode in lock.mode.conflicts() {
            schemas.push(lock.table.schema.as_str());
            names.push(lock.table.name.as_str());
            modes.push(*mode);
        }
    }
    let rows =
        session.query(HOLDERS, &[(&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY), (&modes, Type::TEXT_ARRAY)]).await?;
    Ok(rows
        .iter()
        .map(|row| Blocker { pid: row.get(0), state: row.get(1), who: row.get(2), seconds: row.get(3), table: row.get(4) })
        .collect())
}
