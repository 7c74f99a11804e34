//! How far behind are those who must follow? Standbys, replication slots, and vacuum.

use tokio_postgres::types::Type;

use super::super::connect::Session;
use super::super::error::Fault;
use crate::plan::snapshot::Oid;

/// How far behind everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The largest replay lag of a standby, in milliseconds, or how long one has not answered for which WAL is waiting; 0 where
    /// there is none, or our role may not see it (pg_monitor may). One that is not connected is not behind: its slot says what it lacks.
    pub lag_ms: i64,
    /// Slots whose WAL may be removed at the next checkpoint.
    pub endangered_slots: i64,
    /// Dead rows of the table, in percent of all its rows, by PostgreSQL's statistics.
    pub dead_percent: i64,
}

/// `replay_lag` is of the last answer, and says nothing of a standby that gives none. A live one answers every few milliseconds
/// under load, and every 10 s otherwise (wal_receiver_status_interval).
///
/// Few dead rows are no burden, whatever share they are.
const BACKLOG: &str = "
SELECT coalesce((SELECT pg_catalog.max(1000 * pg_catalog.date_part('epoch', greatest(r.replay_lag,
              CASE WHEN r.replay_lsn < pg_catalog.pg_current_wal_lsn() THEN pg_catalog.clock_timestamp() - r.reply_time END)))
              FROM pg_catalog.pg_stat_replication r), 0)::pg_catalog.int8,
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots s WHERE s.wal_status = 'unreserved'),
    coalesce((SELECT CASE WHEN t.n_dead_tup > 10000 THEN 100 * t.n_dead_tup / (t.n_live_tup + t.n_dead_tup) END
              FROM pg_catalog.pg_stat_all_tables t WHERE t.relid = $1::pg_catalog.oid), 0)::pg_catalog.int8";

/// Asks.
///
/// # Errors
/// What the server or the connection said.
pub async fn backlog(session: &Session, table: Oid) -> Result<Backlog, Fault> {
    let rows = session.query(BACKLOG, &[(&table, Type::OID)]).await?;
    let number = |column: usize| rows.first().map_or(0, |row| row.get(column));
    Ok(Backlog { lag_ms: number(0), endangered_slots: number(1), dead_percent: number(2) })
}
