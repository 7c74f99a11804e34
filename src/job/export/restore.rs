//! How do exported rows get back into a table? In one transaction that commits only if what arrived is what was exported.

use std::sync::Arc;

use bytes::Bytes;
use futures::SinkExt as _;
use serde::Serialize;
use tokio::sync::mpsc;

use super::checksum::{Checksum, Content};
use super::column::Column;
use super::manifest::Manifest;
use super::read::{self, Piece};
use super::rows;
use super::table::{self, Table};
use super::write::form;
use super::{csv, text};
use crate::api::retention_policy::ExportFormat;
use crate::api::{Reason, TableName};
use crate::pass;
use crate::plan::action::Blocked;
use crate::postgres::{Fault, Session};
use crate::sql::export as sql;
use crate::storage::Store;

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The table.
    pub table: TableName,
    /// Rows.
    pub rows: i64,
    /// Their checksum, which is the export's.
    pub checksum: Checksum,
}

/// Loads an export into a table, which is created first if asked for. Rows that the table has already stay as they are.
///
/// # Errors
/// Why it was not restored; then nothing has changed.
pub async fn restore(
    store: &Store,
    key: &str,
    session: &Arc<Session>,
    table: &TableName,
    create: bool,
) -> Result<Restored, Blocked> {
    let url = store.url(key);
    let content = store.get(key).await?.ok_or_else(|| crate::storage::mismatch(&url, "there is no manifest"))?;
    let manifest = Manifest::read(&url, &content)?;
    let directory = key.rsplit_once('/').map_or("", |(directory, _)| directory);
    let data = if directory.is_empty() { manifest.data.name.clone() } else { format!("{directory}/{}", manifest.data.name) };
    let restore = Restore { store, data, manifest: &manifest, session, table };
    let restored = restore.in_transaction(create).await;
    if restored.is_err() && !session.is_closed() {
        drop(session.end_reading().await);
    }
    restored
}

/// What all steps need.
struct Restore<'a> {
    store: &'a Store,
    data: String,
    manifest: &'a Manifest,
    session: &'a Arc<Session>,
    table: &'a TableName,
}

impl Restore<'_> {
    async fn in_transaction(&self, create: bool) -> Result<Restored, Blocked> {
        let begin = format!("BEGIN; {}; SET LOCAL lock_timeout = '30s'", sql::PRINTING);
        self.session.client().batch_execute(&begin).await.map_err(|error| self.fault(&error.into()))?;
        if create {
            let columns: Vec<_> = self.manifest.columns.iter().map(definition).collect();
            // The extended protocol takes one statement and no more, whatever the manifest says.
            let created = self.session.client().execute(&sql::create(self.table, &columns), &[]).await;
            created.map_err(|error| self.fault(&error.into()))?;
        }
        let target = self.target().await?;
        self.fill(&target).await?;
        let found = self.content(&target).await?;
        let expected = Content { rows: self.manifest.rows, checksum: self.manifest.checksum };
        if found != expected {
            let message = format!(
                "{} would hold {} rows of checksum {} from {}, and {} of {} were exported; a trigger or a default may change rows. Nothing was restored.",
                self.table,
                found.rows,
                found.checksum,
                self.store.url(&self.data),
                expected.rows,
                expected.checksum
            );
            return Err(Blocked::new(Reason::ExportMismatch, message));
        }
        self.session.client().batch_execute("COMMIT").await.map_err(|error| self.fault(&error.into()))?;
        Ok(Restored { table: self.table.clone(), rows: found.rows, checksum: found.checksum })
    }

    fn fault(&self, fault: &Fault) -> Blocked {
        pass::blocked(&format!("restoring {}", self.table), fault)
    }

    /// The table's columns that the export has, in the export's order.
    async fn target(&self) -> Result<Table, Blocked> {
        let oid = self.session.client().query_opt(TABLE, &[&self.table.schema, &self.table.name]).await;
        let oid = oid.map_err(|error| self.fault(&error.into()))?;
        let missing =
            || Blocked::new(Reason::TableNotFound, format!("{} does not exist; create it, or let --create do so", self.table));
        let found = table::observe(self.session, oid.ok_or_else(missing)?.get(0)).await.map_err(|fault| self.fault(&fault))?;
        let mut target = Table { columns: vec![], selected: vec![], is_utf8: found.is_utf8 };
        for column in &self.manifest.columns {
            let at = found.columns.iter().position(|known| known.name == column.name);
            let known = at.map(|at| (&found.columns[at], &found.selected[at]));
            match known.filter(|(known, _)| known.type_name == column.type_name) {
                Some((known, selected)) => {
                    target.columns.push(known.clone());
                    target.selected.push(selected.clone());
                }
                None => {
                    let has =
                        known.map_or("has no such column".to_owned(), |(known, _)| format!("has it as {}", known.type_name));
                    let message =
                        format!("the export has a column {} of type {}, and {} {has}", column.name, column.type_name, self.table);
                    return Err(Blocked::new(Reason::Unsupported, message));
                }
            }
        }
        Ok(target)
    }

    async fn fill(&self, target: &Table) -> Result<(), Blocked> {
        let is_given: Arc<[bool]> = target.columns.iter().map(|column| column.generated.is_none()).collect();
        let names = target.columns.iter().filter(|column| column.generated.is_none()).map(|column| column.name.as_str());
        let format = self.manifest.data.format;
        let copy = sql::copy_in(self.table, &names.collect::<Vec<_>>(), format == ExportFormat::Csv);
        let sink = self.session.client().copy_in(&copy).await.map_err(|error| self.fault(&error.into()))?;
        let mut sink = std::pin::pin!(sink);
        let columns: Arc<[Column]> = self.manifest.columns.clone().into();
        let mut reading = read::open(self.store, &self.data, &self.manifest.data, &columns, Ok::<Piece, String>).await?;
        while let Some(piece) = reading.next().await? {
            let is_given = Arc::clone(&is_given);
            let lines = super::write::work(move || lines(piece, &is_given)).await;
            let lines = lines.map_err(|error| crate::storage::mismatch(&self.store.url(&self.data), &error))?;
            sink.send(lines).await.map_err(|error| self.fault(&error.into()))?;
        }
        sink.finish().await.map(drop).map_err(|error| self.fault(&error.into()))
    }

    /// What the rows come to that this transaction has put there, read as they were read when they were exported.
    async fn content(&self, target: &Table) -> Result<Content, Blocked> {
        let table = crate::sql::quote::table(self.table);
        let select = match self.manifest.data.format {
            ExportFormat::Parquet => target.select_binary(&table),
            ExportFormat::Csv => target.select_plain(&table),
        };
        let (into, mut batches) = mpsc::channel(1);
        let copy = rows::copy(Arc::clone(self.session), sql::ours(&select), form(self.manifest.data.format), into);
        let reading = tokio::spawn(copy);
        let mut content = Content::default();
        while let Some(batch) = batches.recv().await {
            batch.rows().for_each(|row| content.add(csv::without_break(row, self.manifest.data.format)));
        }
        let read = reading.await.map_err(|error| Blocked::new(Reason::ActionFailed, error.to_string()))?;
        read.map(|()| content).map_err(|fault| self.fault(&fault))
    }
}

const TABLE: &str = "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1::pg_catalog.text AND c.relname = $2::pg_catalog.text AND c.relkind IN ('r', 'p')";

/// A column as CREATE TABLE has it. A generated one is computed again, with the same result or not at all.
fn definition(column: &Column) -> String {
    let mut text = format!("{} {}", crate::sql::quote::ident(&column.name), column.type_name);
    if let Some(collation) = &column.collation {
        text.push_str(&format!(" COLLATE {collation}"));
    }
    if let Some(generated) = &column.generated {
        let kind = if generated.stored { "STORED" } else { "VIRTUAL" };
        text.push_str(&format!(" GENERATED ALWAYS AS ({}) {kind}", generated.expression));
    }
    if column.not_null {
        text.push_str(" NOT NULL");
    }
    text
}

/// Lines for COPY, without the values of generated columns.
fn lines(piece: Piece, is_given: &[bool]) -> Result<Bytes, String> {
    match piece {
        Piece::Columns(columns) => {
            let lines = std::cell::RefCell::new(Vec::new());
            let last = is_given.iter().rposition(|given| *given);
            columns.rows(
                |number, encoding, value| {
                    if is_given.get(number) == Some(&true) {
                        let mut lines = lines.borrow_mut();
                        text::put(&mut lines, encoding, value);
                        if Some(number) != last {
                            lines.push(b'\t');
                        }
                    }
                },
                || lines.borrow_mut().push(b'\n'),
            )?;
            Ok(Bytes::from(lines.into_inner()))
        }
        Piece::Records(batch) if is_given.iter().all(|given| *given) => Ok(Bytes::from(batch.bytes)),
        Piece::Records(batch) => {
            let mut lines = Vec::with_capacity(batch.bytes.len());
            for record in batch.rows() {
                let given = csv::fields(record).into_iter().zip(is_given).filter(|(_, given)| **given);
                lines.extend(given.map(|(field, _)| field).collect::<Vec<_>>().join(&b','));
                lines.push(b'\n');
            }
            Ok(Bytes::from(lines))
        }
    }
}
