//! What is an archive table like, and what does it lack? Created like its source, followed by it, and never in the way of a row.

use super::super::action::Blocked;
use super::super::removal::{ArchiveColumn, CreateArchiveTable, ExtendArchiveTable};
use super::facts::{Column, Index, Table, Tables};
use super::{Preparation, sql_name};
use crate::api::{Reason, TableName};

/// When a row was archived.
pub const ARCHIVED_AT: &str = "archived_at";

/// An archive table up to this size is rewritten under its lock if a type of its source becomes wider.
const REWRITE: i64 = 256 << 20;

/// The archive table's name.
pub(super) fn name(table: &TableName, given: Option<&TableName>, field: &str) -> Result<TableName, Blocked> {
    let name =
        given.cloned().unwrap_or_else(|| TableName { schema: table.schema.clone(), name: format!("{}_archive", table.name) });
    if name.name.len() > 63 {
        let message = format!("{name} is longer than the 63 bytes of a PostgreSQL name: give {field}");
        return Err(Blocked::new(Reason::InvalidSpec, message));
    }
    if name == *table {
        return Err(Blocked::new(Reason::InvalidSpec, format!("{field} is the table itself: name another one")));
    }
    Ok(name)
}

/// What must be done before rows of `source` can move to `name`; nothing if that is so already. `index` is a column that an index is
/// to lead with.
pub(super) fn prepare(
    source: &Table,
    name: &TableName,
    index: Option<&str>,
    owner: &str,
    tables: &Tables,
) -> Result<Option<Preparation>, Blocked> {
    if source.column(ARCHIVED_AT).is_some() {
        let message = format!(
            "{} has a column {ARCHIVED_AT} of its own, which is the column that says when a row came to the archive; rename it, or set the action to Delete",
            source.relation.table
        );
        return Err(Blocked::new(Reason::Unsupported, message));
    }
    match tables.get(name) {
        None if tables.creatable.get(&name.schema) == Some(&true) => {
            Ok(Some(Preparation::Create(create(source, name, index, owner))))
        }
        None => Err(cannot_create(source, name, owner, tables)),
        Some(archive) => extend(source, archive),
    }
}

fn cannot_create(source: &Table, name: &TableName, owner: &str, tables: &Tables) -> Blocked {
    if !tables.creatable.contains_key(&name.schema) {
        let message = format!("schema {} does not exist: create it for the archive of {}", name.schema, source.relation.table);
        return Blocked::new(Reason::TableNotFound, message);
    }
    let message = format!(
        "role {owner} cannot create {name}; run: GRANT CREATE, USAGE ON SCHEMA {} TO {}",
        sql_name(&name.schema),
        sql_name(owner)
    );
    Blocked::new(Reason::MissingPrivilege, message)
}

fn create(source: &Table, name: &TableName, index: Option<&str>, owner: &str) -> CreateArchiveTable {
    let usable: Vec<&Index> = source.indexes.iter().filter(|index| index.is_valid).collect();
    let mut indexes: Vec<String> = usable.iter().map(|index| index.definition.clone()).collect();
    indexes.sort();
    indexes.dedup();
    let leads =
        |column: &str| usable.iter().any(|index| index.serves && index.columns.first().is_some_and(|first| first == column));
    indexes.extend(index.filter(|column| !leads(column)).map(|column| format!("USING btree ({})", sql_name(column))));
    indexes.push(format!("USING btree ({ARCHIVED_AT})"));
    CreateArchiveTable {
        source: source.relation.clone(),
        archive: name.clone(),
        role: owner.to_owned(),
        nullable: source.columns.iter().filter(|column| column.not_null).map(|column| column.name.clone()).collect(),
        indexes,
        properties: source.properties.clone(),
    }
}

fn extend(source: &Table, archive: &Table) -> Result<Option<Preparation>, Blocked> {
    let name = &archive.relation.table;
    if !matches!(archive.kind, 'r' | 'p') || archive.has_rules {
        let message = format!("{name} is not a table that rows can be archived to: name another one in archiveTable");
        return Err(Blocked::new(Reason::Unsupported, message));
    }
    let mut extension = ExtendArchiveTable {
        source: source.relation.clone(),
        archive: archive.relation.clone(),
        role: archive.owner.clone(),
        add: vec![],
        widen: vec![],
        nullable: vec![],
    };
    for column in &source.columns {
        match archive.column(&column.name) {
            None => extension.add.push(as_archived(column)),
            Some(there) => compare(source, archive, (column, there), &mut extension)?,
        }
    }
    if archive.column(ARCHIVED_AT).is_none() {
        let type_name = "timestamp with time zone".into();
        extension.add.push(ArchiveColumn { name: ARCHIVED_AT.into(), type_name, collation: None });
    }
    let is_needless = extension.add.is_empty() && extension.widen.is_empty() && extension.nullable.is_empty();
    if !is_needless && !archive.may_act_as_owner {
        let message =
            format!("{name} must be altered to follow {}, and only its owner {} may", source.relation.table, archive.owner);
        return Err(Blocked::new(Reason::MissingPrivilege, message));
    }
    let own = |column: &&Column| source.column(&column.name).is_none() && column.name != ARCHIVED_AT;
    if let Some(odd) = archive.columns.iter().filter(own).find(|column| column.not_null && !column.has_default) {
        let message = format!(
            "{name}.{} is NOT NULL without a default, and {} has no such column; run: ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL",
            odd.name,
            source.relation.table,
            qualified(name),
            sql_name(&odd.name)
        );
        return Err(Blocked::new(Reason::Unsupported, message));
    }
    Ok((!is_needless).then_some(Preparation::Extend(extension)))
}

fn compare(
    source: &Table,
    archive: &Table,
    (column, there): (&Column, &Column),
    extension: &mut ExtendArchiveTable,
) -> Result<(), Blocked> {
    if there.not_null && !column.not_null {
        extension.nullable.push(column.name.clone());
    }
    let (from, to) = (&there.type_name, &column.type_name);
    if from == to || widening(to, from).is_some() {
        return Ok(());
    }
    let fits = match widening(from, to) {
        Some(Widening::Free) => true,
        Some(Widening::Rewrites) => archive.bytes <= REWRITE,
        None => false,
    };
    if fits {
        extension.widen.push(as_archived(column));
        return Ok(());
    }
    let name = &archive.relation.table;
    let message = format!(
        "{}.{} is {to} and {name}.{} is {from}; run in a quiet hour: ALTER TABLE {} ALTER COLUMN {} TYPE {to}",
        source.relation.table,
        column.name,
        column.name,
        qualified(name),
        sql_name(&column.name)
    );
    Err(Blocked::new(Reason::Unsupported, message))
}

fn as_archived(column: &Column) -> ArchiveColumn {
    ArchiveColumn { name: column.name.clone(), type_name: column.type_name.clone(), collation: column.collation.clone() }
}

fn qualified(name: &TableName) -> String {
    format!("{}.{}", sql_name(&name.schema), sql_name(&name.name))
}

/// The columns of a row that moves, in order: all that the archive does not compute by itself.
///
/// # Errors
/// The first column that has no place in the archive.
pub fn moved_columns(source: &Table, archive: &Table) -> Result<Vec<String>, String> {
    let mut columns = Vec::with_capacity(source.columns.len());
    for column in &source.columns {
        let lacks = || format!("{} has no column {} of type {}", archive.relation.table, column.name, column.type_name);
        let there = archive.column(&column.name).ok_or_else(lacks)?;
        if there.type_name != column.type_name && widening(&column.type_name, &there.type_name).is_none() {
            return Err(lacks());
        }
        match (there.is_generated, column.is_generated) {
            (false, _) => columns.push(column.name.clone()),
            (true, true) => {}
            (true, false) => return Err(lacks()),
        }
    }
    Ok(columns)
}

/// What changing a type to a wider one takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Widening {
    /// Nothing but the catalog.
    Free,
    /// The whole table.
    Rewrites,
}

/// Whether every value of `from` is one of `to`, the same in print (PostgreSQL, ALTER TABLE, Notes; `pg_cast`).
fn widening(from: &str, to: &str) -> Option<Widening> {
    let (from_name, from_size) = modifier(from);
    let (to_name, to_size) = modifier(to);
    let grows = |least: i64| to_size.first().is_none_or(|to| from_size.first().is_some_and(|from| to - from >= least));
    match (from_name.as_str(), to_name.as_str()) {
        ("smallint", "integer" | "bigint") | ("integer", "bigint") => Some(Widening::Rewrites),
        ("real", "double precision") => None,
        ("smallint" | "integer" | "bigint", "numeric") if to_size.is_empty() => Some(Widening::Rewrites),
        ("character varying", "text") => Some(Widening::Free),
        ("character varying", "character varying") if grows(0) => Some(Widening::Free),
        ("numeric", "numeric") if to_size.is_empty() => Some(Widening::Free),
        ("numeric", "numeric") if grows(0) && from_size.get(1) == to_size.get(1) => Some(Widening::Free),
        (from, to) if from == to && from.starts_with("time") && grows(0) => Some(Widening::Free),
        _ => None,
    }
}

/// A type's name without its modifier, and the numbers of the modifier.
fn modifier(type_name: &str) -> (String, Vec<i64>) {
    let Some((before, rest)) = type_name.split_once('(') else { return (type_name.to_owned(), vec![]) };
    let Some((numbers, after)) = rest.split_once(')') else { return (type_name.to_owned(), vec![]) };
    (format!("{before}{after}"), numbers.split(',').filter_map(|number| number.trim().parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("integer", "bigint", Some(Widening::Rewrites))]
    #[case("bigint", "integer", None)]
    #[case("character varying(10)", "character varying(20)", Some(Widening::Free))]
    #[case("character varying(20)", "character varying(10)", None)]
    #[case("character varying", "character varying(10)", None)]
    #[case("character varying(10)", "character varying", Some(Widening::Free))]
    #[case("character varying(10)", "text", Some(Widening::Free))]
    #[case("text", "character varying", None)]
    #[case("numeric(10,2)", "numeric(12,2)", Some(Widening::Free))]
    #[case("numeric(10,2)", "numeric(12,3)", None)]
    #[case("numeric(10,2)", "numeric", Some(Widening::Free))]
    #[case("timestamp(3) with time zone", "timestamp with time zone", Some(Widening::Free))]
    #[case("timestamp with time zone", "timestamp(3) with time zone", None)]
    #[case("timestamp without time zone", "timestamp with time zone", None)]
    #[case("real", "double precision", None)]
    fn only_what_holds_every_value_is_wider(#[case] from: &str, #[case] to: &str, #[case] expected: Option<Widening>) {
        assert_eq!(widening(from, to), expected);
    }
}
