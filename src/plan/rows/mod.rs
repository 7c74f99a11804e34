//! Which rows of a plain table go, and what must be so before? The planner of a RetentionPolicy's `rows`.
//!
//! Flow: a [`Request`] says which tables to look at; from their facts a draft of the removal is made ([`question`]), about which the
//! server is asked what only a query tells; then [`plan`] decides. A Job that carries the removal out asks [`moves`] whether the tables are
//! still as they were planned for.
//!
//! Guarantees: no row goes that something refers to and that was not named as a dependent; no foreign key's CASCADE, SET NULL or SET
//! DEFAULT has anything to do; no row goes whose value of the column does not tell its age; a hold keeps its rows and whatever they need.

mod archive;
mod condition;
mod cutoff;
mod facts;
mod fitness;
mod moves;
mod references;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub use archive::ARCHIVED_AT;
pub use condition::{Names, read as read_condition};
pub use facts::{Answers, Column, Facts, ForeignKey, Index, ROWS_COUNTED, Request, Table, Tables};
pub use moves::{Movement, moves};

use super::action::{Blocked, Note};
use super::finding;
use super::removal::{ArchiveRows, CreateArchiveTable, ExtendArchiveTable, HeldRange, Pace};
use super::snapshot::Server;
use crate::api::retention_hold::HoldRange;
use crate::api::row_retention::{Batch, RowAction, RowRetention};
use crate::api::{Reason, RetentionPolicySpec, TableName};

/// A RetentionHold that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// Its table.
    pub table: TableName,
    /// Its stretch.
    pub range: HoldRange,
}

/// What is done to an archive table before rows move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// It is created.
    Create(CreateArchiveTable),
    /// It gets what its source has got.
    Extend(ExtendArchiveTable),
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Archive tables first.
    pub prepare: Vec<Preparation>,
    /// Then the rows, if any may go.
    pub remove: Option<ArchiveRows>,
    /// Why nothing goes, if so.
    pub blocked: Vec<Blocked>,
    /// What a reader should know.
    pub notes: Vec<Note>,
    /// What would have gone and is held, a line each.
    pub held: Vec<String>,
}

/// A removal whose tables have been looked at.
struct Draft<'a> {
    table: &'a Table,
    task: ArchiveRows,
}

/// The tables to look at; none for a policy of partitions.
pub fn request(spec: &RetentionPolicySpec) -> Request {
    let Some(rows) = &spec.rows else { return Request::default() };
    let mut tables = BTreeSet::from([spec.table.clone()]);
    if rows.action == RowAction::Archive {
        tables.extend(archive::name(&spec.table, rows.archive_table.as_ref(), ""));
    }
    for dependent in &rows.dependents {
        let name = references::name(dependent, &spec.table);
        if dependent.action == RowAction::Archive {
            tables.extend(archive::name(&name, dependent.archive_table.as_ref(), ""));
        }
        tables.insert(name);
    }
    Request { table: Some(spec.table.clone()), tables }
}

/// What to ask the server about the removal; nothing where it is refused for other reasons.
pub fn question(
    spec: &RetentionPolicySpec,
    server: &Server,
    tables: &Tables,
    held: &[Held],
    now: Timestamp,
) -> Option<(ArchiveRows, Names)> {
    let rows = spec.rows.as_ref()?;
    let Draft { table, task } = draft(spec, rows, server, tables, held, now).ok()?;
    if condition_refused(table, rows, &Answers::default()).is_some() {
        return None;
    }
    let names = rows.condition.as_deref().map(condition::read).transpose().ok()?;
    Some((task, names.unwrap_or_default()))
}

/// What is to be done for a policy with `rows` at `now`.
pub fn plan(spec: &RetentionPolicySpec, facts: &Facts<'_>, held: &[Held], now: Timestamp) -> Steps {
    let Some(rows) = &spec.rows else { return Steps::default() };
    let Draft { table, task } = match draft(spec, rows, facts.server, facts.tables, held, now) {
        Ok(draft) => draft,
        Err(blocked) => return Steps { blocked, ..Steps::default() },
    };
    let mut steps = Steps { held: held_lines(spec, &task, held), notes: notes(table, &task, facts.tables), ..Steps::default() };
    steps.blocked.extend(condition_refused(table, rows, facts.answers));
    match preparations(table, &task, facts.tables) {
        Ok(prepare) => steps.prepare = prepare,
        Err(blocked) => steps.blocked.extend(blocked),
    }
    let is_wholly_held = task.held.iter().any(|range| range.from.is_none() && range.to.is_none());
    if !steps.blocked.is_empty() {
        steps.prepare.clear();
    } else if !is_wholly_held && facts.answers.expired != Some(0) {
        steps.remove = Some(task);
    }
    steps
}

fn draft<'a>(
    spec: &RetentionPolicySpec,
    rows: &RowRetention,
    server: &Server,
    tables: &'a Tables,
    held: &[Held],
    now: Timestamp,
) -> Result<Draft<'a>, Vec<Blocked>> {
    let one = |blocked: Blocked| vec![blocked];
    let table = tables.get(&spec.table).ok_or_else(|| {
        let message = format!(
            "table {} does not exist in database {}: create it, or correct spec.table (names are case-sensitive)",
            spec.table, server.database
        );
        one(Blocked::new(Reason::TableNotFound, message))
    })?;
    fitness::is_plain(table, server).map_err(one)?;
    let column = table.column(&rows.column).ok_or_else(|| {
        one(Blocked::new(Reason::InvalidSpec, format!("rows.column: {} has no column {}", spec.table, rows.column)))
    })?;
    let key = cutoff::key(table, column, rows.encoding).map_err(one)?;
    let before = cutoff::before(spec, key, now).map_err(one)?;
    let identity = fitness::identity(table).map_err(one)?;
    fitness::is_indexed(table, &rows.column).map_err(one)?;
    let archive = match rows.action {
        RowAction::Archive => Some(archive::name(&spec.table, rows.archive_table.as_ref(), "rows.archiveTable").map_err(one)?),
        RowAction::Delete => None,
    };
    let held_tables: BTreeSet<TableName> =
        held.iter().map(|hold| hold.table.clone()).filter(|name| *name != spec.table).collect();
    let references = references::sort(table, &rows.dependents, &held_tables, tables)?;
    let mut refused = Vec::new();
    for dependent in &references.dependents {
        let found = tables.get(&dependent.reference.table.table);
        refused.extend(found.into_iter().filter_map(|dependent| fitness::is_plain(dependent, server).err()));
    }
    refused.extend(fitness::privileges(table, &references, archive.as_ref(), tables));
    if !refused.is_empty() {
        refused.dedup();
        return Err(refused);
    }
    let held: Vec<HeldRange> =
        held.iter().filter(|hold| hold.table == spec.table).map(|hold| cutoff::held(key, &hold.range)).collect();
    let task = ArchiveRows {
        table: table.relation.clone(),
        role: table.owner.clone(),
        column: rows.column.clone(),
        type_name: column.bare_type.clone(),
        encoding: rows.encoding,
        before,
        held,
        condition: rows.condition.clone(),
        key: identity,
        action: rows.action,
        archive,
        dependents: references.dependents,
        keepers: references.keepers,
        pace: pace(&rows.batch).map_err(one)?,
        max_rows: spec.guards.max_rows_per_run,
        vacuum: rows.vacuum,
        job: rows.job.clone(),
    };
    Ok(Draft { table, task })
}

fn pace(batch: &Batch) -> Result<Pace, Blocked> {
    let milliseconds = |field: &str, span: crate::api::Span| {
        let length = span.to_std().map_err(|error| Blocked::new(Reason::InvalidSpec, format!("rows.batch.{field}: {error}")))?;
        Ok(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
    };
    Ok(Pace {
        rows: batch.rows,
        max_load: batch.max_load,
        pause_ms: milliseconds("pause", batch.pause)?,
        max_replication_lag_ms: milliseconds("maxReplicationLag", batch.max_replication_lag)?,
        max_dead_tuple_percent: batch.max_dead_tuple_percent,
    })
}

fn condition_refused(table: &Table, rows: &RowRetention, answers: &Answers) -> Option<Blocked> {
    let text = rows.condition.as_deref()?;
    let name = &table.relation.table;
    let refuse = |why: String| Some(Blocked::new(Reason::InvalidSpec, format!("rows.where of {name} ({text}) {why}")));
    let names = match condition::read(text) {
        Ok(names) => names,
        Err(why) => return refuse(why),
    };
    let odd = table.columns.iter().find(|column| column.is_foreign_type && names.words.contains(&column.name));
    if let Some(column) = odd {
        let type_name = &column.type_name;
        return refuse(format!(
            "uses {}, whose type {type_name} is not PostgreSQL's own: its operators would not be found, and others would be taken in their place",
            column.name
        ));
    }
    if !answers.functions.is_empty() {
        let names = answers.functions.join(", ");
        return refuse(format!("calls {names}: only functions of PostgreSQL's own that change nothing may be used"));
    }
    answers.condition_error.as_ref().and_then(|error| refuse(format!("is refused by the server: {error}")))
}

/// Every archive table, each once.
fn preparations(table: &Table, task: &ArchiveRows, tables: &Tables) -> Result<Vec<Preparation>, Vec<Blocked>> {
    let mut wanted: Vec<(&Table, &TableName, Option<&str>)> = Vec::new();
    wanted.extend(task.archive.as_ref().map(|archive| (table, archive, Some(task.column.as_str()))));
    for dependent in &task.dependents {
        let source = tables.get(&dependent.reference.table.table);
        wanted.extend(source.zip(dependent.archive.as_ref()).map(|(source, archive)| (source, archive, None)));
    }
    let mut blocked = Vec::new();
    let mut prepare: Vec<Preparation> = Vec::new();
    let mut seen: Vec<(&TableName, &TableName)> = Vec::new();
    for (source, archive, index) in wanted {
        let from = &source.relation.table;
        match seen.iter().find(|(_, known)| *known == archive) {
            Some((other, _)) if *other == from => continue,
            Some((other, _)) => {
                let message = format!("{other} and {from} have the same archive table {archive}: give each its own");
                blocked.push(Blocked::new(Reason::InvalidSpec, message));
                continue;
            }
            None => seen.push((from, archive)),
        }
        match archive::prepare(source, archive, index, &table.owner, tables) {
            Ok(step) => prepare.extend(step),
            Err(refused) => blocked.push(refused),
        }
    }
    if blocked.is_empty() { Ok(prepare) } else { Err(blocked) }
}

fn notes(table: &Table, task: &ArchiveRows, tables: &Tables) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut names: BTreeSet<&TableName> = BTreeSet::from([&table.relation.table]);
    names.extend(task.dependents.iter().map(|dependent| &dependent.reference.table.table));
    for found in names.iter().filter_map(|name| tables.get(name)).filter(|found| !found.delete_triggers.is_empty()) {
        notes.push(Note {
            id: finding::DELETE_TRIGGERS.id.into(),
            object: found.relation.table.to_string(),
            message: format!("the triggers {} fire for every row that goes", found.delete_triggers.join(", ")),
        });
    }
    let archives = task.archive.iter().chain(task.dependents.iter().filter_map(|dependent| dependent.archive.as_ref()));
    for archive in archives.collect::<BTreeSet<_>>().into_iter().filter_map(|name| tables.get(name)) {
        let unique: Vec<&str> = archive.indexes.iter().filter(|index| index.is_unique).map(|index| index.name.as_str()).collect();
        if !unique.is_empty() {
            notes.push(Note {
                id: finding::UNIQUE_ARCHIVE.id.into(),
                object: archive.relation.table.to_string(),
                message: format!("the unique index {} refuses a row whose key has been archived before", unique.join(", ")),
            });
        }
    }
    notes.sort();
    notes
}

fn held_lines(spec: &RetentionPolicySpec, task: &ArchiveRows, held: &[Held]) -> Vec<String> {
    let line = |hold: &Held| {
        let end = |end: &Option<String>, open: &str| end.clone().unwrap_or_else(|| open.to_owned());
        let (from, to) = (end(&hold.range.from, "the beginning"), end(&hold.range.to, "the end"));
        format!("{}: rows from {from} to {to} are held by RetentionHold {}", hold.table, hold.name)
    };
    let concerns = |hold: &&Held| hold.table == spec.table || task.keepers.iter().any(|keeper| keeper.table.table == hold.table);
    held.iter().filter(concerns).map(line).collect()
}

/// A name as a person types it in SQL: quoted where it must be.
fn sql_name(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
