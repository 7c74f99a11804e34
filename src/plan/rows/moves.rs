//! Are the tables still as a removal was planned for, and which columns move? Asked by whoever carries it out, before each run.

use super::super::action::Blocked;
use super::super::removal::{ArchiveRows, Reference};
use super::archive;
use super::facts::{Table, Tables};
use crate::api::{Reason, TableName};

/// How the rows of one table go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The table that they leave.
    pub table: TableName,
    /// Where they move, with the columns that do; absent where they are deleted.
    pub archive: Option<(TableName, Vec<String>)>,
    /// Whether triggers of users take part, which may change anything.
    pub has_triggers: bool,
}

/// The movements of a removal: one for each of its dependents, in order, and last that of its own rows.
///
/// # Errors
/// [`Reason::Stale`] where the tables are no longer as the removal was planned for.
pub fn moves(task: &ArchiveRows, tables: &Tables) -> Result<Vec<Movement>, Blocked> {
    let stale = |message: String| Blocked::new(Reason::Stale, message);
    let own = tables.get(&task.table.table).filter(|table| table.relation == task.table);
    let own = own.ok_or_else(|| {
        stale(format!("{} is not the table that was planned for (OID {} is gone or renamed)", task.table.table, task.table.oid))
    })?;
    if !own.keys.contains(&task.key) {
        return Err(stale(format!("{} is no longer unique by {}", task.table.table, task.key.join(", "))));
    }
    if own.column(&task.column).is_none_or(|column| column.bare_type != task.type_name) {
        return Err(stale(format!("{}.{} is no longer a column of type {}", task.table.table, task.column, task.type_name)));
    }
    let mut movements = Vec::with_capacity(task.dependents.len() + 1);
    let mut members = vec![own];
    for dependent in &task.dependents {
        let name = &dependent.reference.table;
        let table = tables.get(&name.table).filter(|table| table.relation == *name);
        let table = table.ok_or_else(|| stale(format!("{} is not the table that was planned for", name.table)))?;
        movements.push(movement(table, dependent.archive.as_ref(), tables)?);
        members.push(table);
    }
    movements.push(movement(own, task.archive.as_ref(), tables)?);
    known_references(task, &members)?;
    Ok(movements)
}

fn movement(table: &Table, archive: Option<&TableName>, tables: &Tables) -> Result<Movement, Blocked> {
    let name = table.relation.table.clone();
    if table.hides_rows || table.has_rules || table.kind != 'r' || table.is_inherited {
        return Err(Blocked::new(
            Reason::Stale,
            format!("{name} is no longer a plain table without rules and forced row security"),
        ));
    }
    let has_triggers = !table.delete_triggers.is_empty();
    let Some(archive) = archive else { return Ok(Movement { table: name, archive: None, has_triggers }) };
    let missing = || Blocked::new(Reason::Stale, format!("the archive table {archive} does not exist (any more)"));
    let found = tables.get(archive).ok_or_else(missing)?;
    let columns = archive::moved_columns(table, found).map_err(|message| Blocked::new(Reason::Stale, message))?;
    let has_triggers = has_triggers || !found.insert_triggers.is_empty();
    Ok(Movement { table: name, archive: Some((archive.clone(), columns)), has_triggers })
}

/// A foreign key that the plan did not know could delete or change rows by itself.
fn known_references(task: &ArchiveRows, members: &[&Table]) -> Result<(), Blocked> {
    let known: Vec<&Reference> =
        task.keepers.iter().chain(task.dependents.iter().map(|dependent| &dependent.reference)).collect();
    let present = members.iter().flat_map(|table| &table.incoming).map(|key| &key.reference);
    let news = present.clone().find(|reference| !known.contains(reference));
    if let Some(reference) = news {
        let message = format!(
            "{} refers to {} by {}, which was not planned for",
            reference.table.table, reference.target.table, reference.constraint
        );
        return Err(Blocked::new(Reason::Stale, message));
    }
    match known.iter().find(|reference| !present.clone().any(|other| other == **reference)) {
        Some(gone) => {
            Err(Blocked::new(Reason::Stale, format!("foreign key {} of {} is gone", gone.constraint, gone.table.table)))
        }
        None => Ok(()),
    }
}
