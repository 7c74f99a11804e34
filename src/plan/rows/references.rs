//! What refers to rows that go? Dependents in the order in which they go first, and keepers, whose rows keep what they refer to.

use std::collections::{BTreeMap, BTreeSet};

use super::super::action::Blocked;
use super::super::removal::{DependentRows, Reference};
use super::facts::{ForeignKey, Table, Tables};
use super::{archive, sql_name};
use crate::api::row_retention::{Dependent, RowAction};
use crate::api::{Reason, TableName};

/// What refers to rows that go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    pub dependents: Vec<DependentRows>,
    pub keepers: Vec<Reference>,
}

/// The name of a dependent.
pub(super) fn name(dependent: &Dependent, table: &TableName) -> TableName {
    TableName { schema: dependent.schema.clone().unwrap_or_else(|| table.schema.clone()), name: dependent.table.clone() }
}

/// Sorts the foreign keys that refer to the table and to its dependents. A dependent that is held keeps what it refers to.
pub(super) fn sort(
    table: &Table,
    declared: &[Dependent],
    held: &BTreeSet<TableName>,
    tables: &Tables,
) -> Result<References, Vec<Blocked>> {
    let own = &table.relation.table;
    let named: BTreeMap<TableName, &Dependent> = declared.iter().map(|dependent| (name(dependent, own), dependent)).collect();
    let mut blocked = Vec::new();
    let mut members: BTreeMap<&TableName, &Table> = BTreeMap::from([(own, table)]);
    for name in named.keys() {
        match tables.get(name) {
            None => blocked.push(Blocked::new(Reason::TableNotFound, format!("rows.dependents: table {name} does not exist"))),
            Some(_) if name == own => {
                blocked.push(Blocked::new(
                    Reason::InvalidSpec,
                    format!("rows.dependents names {name}, the table itself: leave it out"),
                ));
            }
            Some(_) if held.contains(name) => {}
            Some(found) => {
                members.insert(name, found);
            }
        }
    }
    let (mut edges, mut keepers) = (Vec::new(), Vec::new());
    for member in members.values() {
        for key in &member.incoming {
            blocked.extend(flaw(key, tables));
            let is_member = members.contains_key(&key.reference.table.table);
            if is_member && key.reference.table != key.reference.target {
                edges.push(key.reference.clone());
            } else {
                keepers.push(key.reference.clone());
            }
        }
    }
    // What refers to a held dependent only has nothing to do while the hold lasts.
    let waits = |name: &TableName| {
        let targets = held.iter().filter(|held| named.contains_key(held)).filter_map(|held| tables.get(held));
        targets.flat_map(|target| &target.incoming).any(|key| key.reference.table.table == *name)
    };
    let order = order(own, &members, &edges, waits).unwrap_or_else(|refused| {
        blocked.push(refused);
        vec![]
    });
    let mut dependents = Vec::new();
    for name in order {
        let Some(dependent) = named.get(&name) else { continue };
        match archive_of(dependent, &name) {
            Ok(archive) => dependents.extend(edges.iter().filter(|edge| edge.table.table == name).map(|edge| DependentRows {
                reference: edge.clone(),
                action: dependent.action,
                archive: archive.clone(),
            })),
            Err(refused) => blocked.push(refused),
        }
    }
    keepers.sort();
    if blocked.is_empty() { Ok(References { dependents, keepers }) } else { Err(blocked) }
}

fn archive_of(dependent: &Dependent, name: &TableName) -> Result<Option<TableName>, Blocked> {
    match dependent.action {
        RowAction::Archive => archive::name(name, dependent.archive_table.as_ref(), "rows.dependents.archiveTable").map(Some),
        RowAction::Delete => Ok(None),
    }
}

/// Why rows must not be removed while this foreign key refers to them, if so.
fn flaw(key: &ForeignKey, tables: &Tables) -> Option<Blocked> {
    let reference = &key.reference;
    if !key.compares_plainly {
        let message = format!(
            "foreign key {} of {} compares by operators of an extension, so that pgreeve cannot tell which rows refer to which; remove these rows by hand",
            reference.constraint, reference.table.table
        );
        return Some(Blocked::new(Reason::Unsupported, message));
    }
    let is_indexed = tables.get(&reference.table.table).is_some_and(|table| table.finds_by(&reference.columns));
    if is_indexed {
        return None;
    }
    let columns: Vec<String> = reference.columns.iter().map(|column| sql_name(column)).collect();
    let message = format!(
        "{} refers to {} by {} ({}), and no index leads with {}: every deleted row would scan it; run: CREATE INDEX CONCURRENTLY ON {}.{} ({})",
        reference.table.table,
        reference.target.table,
        reference.constraint,
        key.action(),
        if columns.len() == 1 { "that column" } else { "those columns" },
        sql_name(&reference.table.table.schema),
        sql_name(&reference.table.table.name),
        columns.join(", ")
    );
    Some(Blocked::new(Reason::IndexMissing, message))
}

/// The dependents, each before the tables that it refers to.
fn order(
    own: &TableName,
    members: &BTreeMap<&TableName, &Table>,
    edges: &[Reference],
    waits: impl Fn(&TableName) -> bool,
) -> Result<Vec<TableName>, Blocked> {
    let mut left: BTreeSet<&TableName> = members.keys().copied().collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let is_referred_to = |name: &TableName| edges.iter().any(|e| e.target.table == *name && left.contains(&e.table.table));
        let Some(next) = left.iter().copied().find(|name| !is_referred_to(name)) else {
            let names: Vec<String> = left.iter().map(ToString::to_string).collect();
            let message = format!(
                "{} refer to each other in a circle, so that neither can go first: leave one of them out of rows.dependents",
                names.join(" and ")
            );
            return Err(Blocked::new(Reason::Unsupported, message));
        };
        left.remove(next);
        if next == own {
            continue;
        }
        let refers = edges.iter().any(|edge| edge.table.table == *next);
        if !refers && waits(next) {
            continue;
        }
        if !refers {
            let message =
                format!("rows.dependents names {next}, which refers neither to {own} nor to another dependent: leave it out");
            return Err(Blocked::new(Reason::InvalidSpec, message));
        }
        order.push(next.clone());
    }
    Ok(order)
}
