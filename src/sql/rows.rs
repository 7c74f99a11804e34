//! How do rows leave a plain table? The statements of one batch, and those that say where a batch ends.
//!
//! A batch is one REPEATABLE READ transaction. Its INSERT … SELECT and its DELETE see one snapshot, so they meet the same rows; a row that
//! somebody changed meanwhile makes the DELETE fail (40001) and the batch is done again. That is faster than DELETE … RETURNING, and
//! it holds for foreign keys too: a referring row that came meanwhile is no reason for a CASCADE, but for a failure (`ri_triggers.c`,
//! `detectNewRows`).

mod archive;

pub use archive::{create, extend};

use super::quote::{ident, literal, table};
use super::script::{Script, Step, Transaction};
use crate::api::TableName;
use crate::api::partition_policy::Encoding;
use crate::plan::removal::{ArchiveRows, DependentRows, Reference};
use crate::plan::rows::Movement;

/// Which rows of the table a batch takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// From one value of the column to below another; from the beginning where there is no first one.
    Range {
        /// The first value.
        from: Option<String>,
        /// The first value that is not taken.
        to: String,
    },
    /// With this value.
    Value(String),
    /// At these places (`ctid`), if they are still rows of the range.
    Places {
        /// The places, such as `(0,1)`.
        places: Vec<String>,
        /// The selection that they were found in.
        of: Box<Selection>,
    },
}

/// Where a search for the next batch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// At the oldest row.
    Start,
    /// At this value.
    At(String),
    /// Behind this value.
    After(String),
}

/// One step of a batch: rows of one table are copied, or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The text.
    pub text: String,
    /// Which movement it belongs to.
    pub movement: usize,
    /// Whether it deletes; otherwise it copies.
    pub deletes: bool,
}

/// Begins a batch: the settings, the role, and the locks that keep the tables as they are looked at next. Nothing here takes the
/// transaction's snapshot, so what is looked at under the locks is the present.
///
/// Only nested loops over indexes are planned for: whatever the statistics say, no batch scans a table.
pub fn begin(task: &ArchiveRows, lock_timeout_ms: u64, statement_timeout_ms: u64) -> String {
    let mut tables: Vec<&TableName> = task.dependents.iter().map(|dependent| &dependent.reference.table.table).collect();
    tables.push(&task.table.table);
    tables.sort();
    tables.dedup();
    let only: Vec<String> = tables.into_iter().map(|name| format!("ONLY {}", table(name))).collect();
    format!(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
         SET LOCAL search_path = ''; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL standard_conforming_strings = on; \
         SET LOCAL lock_timeout = {lock_timeout_ms}; SET LOCAL statement_timeout = {statement_timeout_ms}; \
         SET LOCAL idle_in_transaction_session_timeout = 30000; SET LOCAL row_security = off; {PLANNING}; \
         SET LOCAL ROLE {}; LOCK TABLE {} IN ROW EXCLUSIVE MODE",
        ident(&task.role),
        only.join(", "),
    )
}

/// See [`begin`].
pub const PLANNING: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off";

/// What a batch relies on, as one text that changes when any of it does. `$1` are the OIDs of the tables.
pub const SHAPE: &str = "
SELECT pg_catalog.concat_ws('|',
    (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', c.oid, c.relnamespace, c.relname, c.relkind, c.relhasrules, c.relrowsecurity, c.relforcerowsecurity, c.relowner), ',' ORDER BY c.oid)
     FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::pg_catalog.oid[])),
    (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated), ',' ORDER BY a.attrelid, a.attnum)
     FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0),
    (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', k.oid, k.confdeltype), ',' ORDER BY k.oid)
     FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ($1::pg_catalog.oid[])))";

/// Rows that this session's transactions have deleted from or updated in these tables, since the server last took note of it. Its difference
/// over a batch shows what foreign keys did by themselves.
pub const TOUCHED: &str = "
SELECT coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_deleted(o) + pg_catalog.pg_stat_get_xact_tuples_updated(o)), 0)::pg_catalog.int8
FROM pg_catalog.unnest($1::pg_catalog.oid[]) o";

/// The statements of a batch, in order: dependents first, each copied and then deleted.
pub fn batch(task: &ArchiveRows, movements: &[Movement], selection: &Selection) -> Vec<Statement> {
    let mut statements = Vec::new();
    for (number, movement) in movements.iter().enumerate() {
        let condition = match task.dependents.get(number) {
            Some(dependent) => refers_to_going(task, &dependent.reference, selection),
            None => condition(task, selection),
        };
        let from = format!("FROM ONLY {} WHERE {condition}", table(&movement.table));
        if let Some((archive, columns)) = &movement.archive {
            let columns: Vec<String> = columns.iter().map(|column| ident(column)).collect();
            let columns = columns.join(", ");
            let text = match columns.is_empty() {
                true => format!("INSERT INTO {} SELECT * {from}", table(archive)),
                false => format!("INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} {from}", table(archive)),
            };
            statements.push(Statement { text, movement: number, deletes: false });
        }
        statements.push(Statement { text: format!("DELETE {from}"), movement: number, deletes: true });
    }
    statements
}

/// The first batch of a removal, as a person would type it, and before it is known which columns move.
pub fn script(task: &ArchiveRows) -> Script {
    let all = Selection::Range { from: None, to: task.before.clone() };
    let movement = |name: &TableName, archive: &Option<TableName>| Movement {
        table: name.clone(),
        archive: archive.clone().map(|archive| (archive, vec![])),
        has_triggers: false,
    };
    let mut movements: Vec<Movement> =
        task.dependents.iter().map(|dependent| movement(&dependent.reference.table.table, &dependent.archive)).collect();
    movements.push(movement(&task.table.table, &task.archive));
    let statements = batch(task, &movements, &all).into_iter().map(|statement| statement.text).collect();
    Script {
        steps: vec![Step::Transaction(Transaction { role: task.role.clone(), statements, ..Transaction::default() })],
        undo: None,
    }
}

/// Locks the rows of a selection that nobody else has locked, and gives their places.
pub fn lock_free_rows(task: &ArchiveRows, selection: &Selection) -> String {
    format!(
        "SELECT ctid::pg_catalog.text FROM ONLY {} WHERE {} FOR UPDATE SKIP LOCKED",
        table(&task.table.table),
        condition(task, selection)
    )
}

/// The places of the rows of a selection, at most `limit`.
pub fn places(task: &ArchiveRows, selection: &Selection, limit: i64) -> String {
    format!(
        "SELECT ctid::pg_catalog.text FROM ONLY {} WHERE {} LIMIT {limit}",
        table(&task.table.table),
        condition(task, selection)
    )
}

/// Where the next batch of about `rows` begins and ends. Four columns, NULL where there is none: the first value, the value behind `rows`
/// rows that may go, the last value that was looked at, and how many values were looked at.
///
/// The texts have a name of their own: a column of the output that is named like the table's would be what ORDER BY means (SELECT,
/// "ORDER BY Clause"), and the order of texts is neither that of numbers nor that of any index.
pub fn next(task: &ArchiveRows, from: &From, rows: i64, window: i64) -> String {
    let column = ident(&task.column);
    let name = table(&task.table.table);
    let range = scope(task, from);
    let filter = filter(task);
    if filter.is_empty() {
        return format!(
            "SELECT (SELECT {column}::pg_catalog.text AS pgreeve_age FROM ONLY {name} WHERE {range} ORDER BY {column} LIMIT 1), \
             (SELECT {column}::pg_catalog.text AS pgreeve_age FROM ONLY {name} WHERE {range} ORDER BY {column} OFFSET {rows} LIMIT 1), NULL::pg_catalog.text, 0::pg_catalog.int8"
        );
    }
    let filter = filter.join(" AND ");
    format!(
        "WITH seen AS MATERIALIZED (SELECT {column} AS pgreeve_age, ({filter}) IS TRUE AS pgreeve_hit FROM ONLY {name} WHERE {range} ORDER BY {column} LIMIT {window}) \
         SELECT (SELECT pgreeve_age::pg_catalog.text FROM seen LIMIT 1), (SELECT pgreeve_age::pg_catalog.text FROM seen WHERE pgreeve_hit OFFSET {rows} LIMIT 1), \
         (SELECT pgreeve_age::pg_catalog.text FROM seen OFFSET {} LIMIT 1), (SELECT pg_catalog.count(*) FROM seen)",
        window - 1
    )
}

/// Counts the rows that may go, up to `limit`.
pub fn count(task: &ArchiveRows, limit: i64) -> String {
    format!(
        "SELECT pg_catalog.count(*) FROM (SELECT 1 FROM ONLY {} WHERE {} LIMIT {limit}) AS expired",
        table(&task.table.table),
        all(task)
    )
}

/// Lets the server parse, and estimate, what may go.
pub fn explain(task: &ArchiveRows) -> String {
    format!("EXPLAIN (FORMAT JSON) SELECT 1 FROM ONLY {} WHERE {}", table(&task.table.table), all(task))
}

/// The oldest value of the column.
pub fn oldest(task: &ArchiveRows) -> String {
    let column = ident(&task.column);
    format!(
        "SELECT {column}::pg_catalog.text AS pgreeve_age FROM ONLY {} WHERE {column} IS NOT NULL ORDER BY {column} LIMIT 1",
        table(&task.table.table)
    )
}

fn all(task: &ArchiveRows) -> String {
    let mut terms = vec![scope(task, &From::Start)];
    terms.extend(filter(task));
    terms.join(" AND ")
}

/// Rows from a value on that are old enough.
fn scope(task: &ArchiveRows, from: &From) -> String {
    let mut terms = match from {
        From::Start => not_infinite(task).into_iter().collect(),
        From::At(value) => vec![compare(task, ">=", value)],
        From::After(value) => vec![compare(task, ">", value)],
    };
    terms.push(compare(task, "<", &task.before));
    terms.join(" AND ")
}

/// `-infinity` is below every age and tells none: such a row stays.
fn not_infinite(task: &ArchiveRows) -> Option<String> {
    (task.type_name == "date" || task.type_name.starts_with("timestamp")).then(|| compare(task, ">", "-infinity"))
}

fn compare(task: &ArchiveRows, operator: &str, value: &str) -> String {
    format!("{} OPERATOR(pg_catalog.{operator}) {}::{}", ident(&task.column), literal(value), task.type_name)
}

fn condition(task: &ArchiveRows, selection: &Selection) -> String {
    let mut terms = match selection {
        Selection::Range { from, to } => {
            let first = from.as_ref().map(|from| compare(task, ">=", from)).or_else(|| not_infinite(task));
            first.into_iter().chain([compare(task, "<", to)]).collect()
        }
        Selection::Value(value) => vec![compare(task, "=", value), compare(task, "<", &task.before)],
        Selection::Places { places, of } => {
            let list: Vec<String> = places.iter().map(|place| format!("\"{place}\"")).collect();
            let places = literal(&format!("{{{}}}", list.join(",")));
            return format!("ctid OPERATOR(pg_catalog.=) ANY ({places}::pg_catalog.tid[]) AND {}", condition(task, of));
        }
    };
    terms.extend(filter(task));
    terms.join(" AND ")
}

/// What a row must meet beyond its age.
fn filter(task: &ArchiveRows) -> Vec<String> {
    let column = ident(&task.column);
    let mut terms = Vec::new();
    match task.encoding {
        // The version is the thirteenth hexadecimal digit.
        Encoding::Uuidv7 => terms.push(format!("pg_catalog.substr({column}::pg_catalog.text, 15, 1) OPERATOR(pg_catalog.=) '7'")),
        Encoding::Ulid => {
            terms.push(format!("{column}::pg_catalog.text OPERATOR(pg_catalog.~) '^[0-7][0-9A-HJKMNP-TV-Z]{{25}}$'"));
        }
        _ => {}
    }
    for held in &task.held {
        let mut ends: Vec<String> = held.from.iter().map(|from| compare(task, "<", from)).collect();
        ends.extend(held.to.iter().map(|to| compare(task, ">=", to)));
        terms.push(if ends.is_empty() { "false".into() } else { format!("({})", ends.join(" OR ")) });
    }
    terms.extend(task.condition.as_ref().map(|condition| format!("({condition})")));
    terms.extend(stays(task, &task.table.table, 0).map(|stays| format!("NOT ({stays})")));
    terms
}

/// Why a row of this table must stay: something that stays refers to it. `None` if nothing can.
fn stays(task: &ArchiveRows, name: &TableName, depth: usize) -> Option<String> {
    let keepers = task.keepers.iter().filter(|keeper| keeper.target.table == *name);
    let mut terms: Vec<String> = keepers.map(|keeper| exists(task, keeper, None, depth)).collect();
    let dependents = task.dependents.iter().map(|dependent: &DependentRows| &dependent.reference);
    for reference in dependents.filter(|reference| reference.target.table == *name) {
        if let Some(below) = stays(task, &reference.table.table, depth + 1) {
            terms.push(exists(task, reference, Some(below), depth));
        }
    }
    (!terms.is_empty()).then(|| terms.join(" OR "))
}

/// A referring row exists. Every level has an alias of its own, because a table may refer to itself.
fn exists(task: &ArchiveRows, reference: &Reference, and: Option<String>, depth: usize) -> String {
    let alias = format!("pgreeve_{}", depth + 1);
    let outer = if depth == 0 { table(&reference.target.table) } else { format!("pgreeve_{depth}") };
    let pairs = reference.columns.iter().zip(&reference.target_columns);
    let mut terms: Vec<String> =
        pairs.map(|(from, to)| format!("{alias}.{} OPERATOR(pg_catalog.=) {outer}.{}", ident(from), ident(to))).collect();
    if reference.table == reference.target {
        // A row that refers to itself does not keep itself, and one that goes with the same row keeps nothing.
        terms.push(format!("{alias}.ctid OPERATOR(pg_catalog.<>) {outer}.ctid"));
        let paths = task.dependents.iter().filter(|dependent| dependent.reference.table == reference.table);
        terms.extend(paths.take(1).map(|dependent| {
            let columns = |of: &str| -> Vec<String> {
                dependent.reference.columns.iter().map(|column| format!("{of}.{}", ident(column))).collect()
            };
            format!("({}) IS DISTINCT FROM ({})", row(&columns(&alias)), row(&columns(&outer)))
        }));
    }
    terms.extend(and.map(|and| format!("({and})")));
    // A partitioned table's rows are in its partitions: no ONLY.
    format!("EXISTS (SELECT 1 FROM {} AS {alias} WHERE {})", table(&reference.table.table), terms.join(" AND "))
}

fn row(columns: &[String]) -> String {
    format!("ROW({})", columns.join(", "))
}

/// Rows that refer to rows that go.
fn refers_to_going(task: &ArchiveRows, reference: &Reference, selection: &Selection) -> String {
    let columns: Vec<String> = reference.columns.iter().map(|column| ident(column)).collect();
    let targets: Vec<String> = reference.target_columns.iter().map(|column| ident(column)).collect();
    let target = &reference.target.table;
    let going = if *target == task.table.table {
        condition(task, selection)
    } else {
        let paths = task.dependents.iter().filter(|dependent| dependent.reference.table.table == *target);
        let terms: Vec<String> = paths.map(|dependent| refers_to_going(task, &dependent.reference, selection)).collect();
        format!("({})", terms.join(" OR "))
    };
    format!("({}) IN (SELECT {} FROM ONLY {} WHERE {going})", columns.join(", "), targets.join(", "), table(target))
}
