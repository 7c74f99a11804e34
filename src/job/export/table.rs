//! What is to be read? The columns of a table, and the facts that a manifest holds.

use tokio_postgres::Row;

use super::column::{Column, Encoding, Generated, encoding};
use crate::api::{Reason, TableName};
use crate::plan::action::Blocked;
use crate::postgres::{Fault, Session};
use crate::sql::export::{self as sql, Selected};

/// A table as it is read in one transaction.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its columns, dropped ones left out.
    pub columns: Vec<Column>,
    /// How they are asked for.
    pub selected: Vec<Selected>,
    /// Whether its texts are UTF-8; a database of encoding SQL_ASCII does not say what they are.
    pub is_utf8: bool,
}

const COLUMNS: &str = "SELECT a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
    CASE WHEN a.attcollation <> t.typcollation THEN (SELECT pg_catalog.format('%I.%I', n.nspname, l.collname) FROM pg_catalog.pg_collation l \
      JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace WHERE l.oid = a.attcollation) END, \
    a.attgenerated::pg_catalog.text, pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.attidentity::pg_catalog.text, b.oid, \
    (SELECT pg_catalog.format('%I.%I', n.nspname, p.proname) FROM pg_catalog.pg_proc p \
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = b.typoutput), \
    CASE WHEN b.oid <> t.oid THEN pg_catalog.format_type(b.oid, NULL) END, \
    pg_catalog.current_setting('server_encoding') <> 'SQL_ASCII' \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    CROSS JOIN LATERAL (WITH RECURSIVE chain (oid, base) AS (SELECT t.oid, t.typbasetype UNION ALL \
      SELECT u.oid, u.typbasetype FROM chain c JOIN pg_catalog.pg_type u ON u.oid = c.base) \
      SELECT y.oid, y.typoutput FROM chain c JOIN pg_catalog.pg_type y ON y.oid = c.oid WHERE c.base = 0) b \
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Reads the columns of a table within the transaction that reads its rows.
///
/// # Errors
/// What the server or the connection said.
pub async fn observe(session: &Session, oid: u32) -> Result<Table, Fault> {
    let rows = session.client().query(COLUMNS, &[&oid]).await?;
    let is_utf8 = rows.first().is_none_or(|row| row.get(10));
    let (columns, selected) = rows.iter().map(column).unzip();
    Ok(Table { columns, selected, is_utf8 })
}

fn column(row: &Row) -> (Column, Selected) {
    let (base, generated): (u32, String) = (row.get(7), row.get(4));
    let encoding: Encoding = encoding(base);
    let name: String = row.get(0);
    let expression: Option<String> = row.get(5);
    let column = Column {
        name: name.clone(),
        type_name: row.get(1),
        not_null: row.get(2),
        collation: row.get(3),
        generated: expression
            .filter(|_| !generated.is_empty())
            .map(|expression| Generated { expression, stored: generated == "s" }),
        identity: match row.get::<_, String>(6).as_str() {
            "a" => Some("ALWAYS".into()),
            "d" => Some("BY DEFAULT".into()),
            _ => None,
        },
        encoding,
    };
    (column, Selected { name, source: encoding.source(base), output: row.get(8), base_type: row.get(9) })
}

/// A partition that cannot be closed cannot be exported: another server's table checks nothing, and what is partitioned again is exported
/// by its own partitions.
///
/// # Errors
/// [`Reason::Unsupported`].
pub async fn is_plain(session: &Session, table: &TableName, oid: u32) -> Result<Result<(), Blocked>, Fault> {
    let kind = "SELECT c.relkind::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid = $1";
    let found = session.client().query_opt(kind, &[&oid]).await?;
    let refused = |what: &str| Err(Blocked::new(Reason::Unsupported, format!("{table} {what}")));
    Ok(match found.map(|row| row.get::<_, String>(0)).as_deref() {
        Some("f") => refused("is a foreign table: its writes cannot be stopped; detach it"),
        Some("p") => refused("is partitioned again: give its own partitions a policy with export"),
        _ => Ok(()),
    })
}

impl Table {
    /// The query of an export in binary form.
    pub fn select_binary(&self, from: &str) -> String {
        sql::select_binary(from, &self.selected)
    }

    /// The query of an export as CSV.
    pub fn select_plain(&self, from: &str) -> String {
        sql::select_plain(from, &self.selected)
    }
}
