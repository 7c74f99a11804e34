//! May rows be removed from this table at all? What it must be, what it must have, and what our role must be allowed.

use super::super::action::Blocked;
use super::super::snapshot::Server;
use super::facts::{Table, Tables};
use super::references::References;
use super::sql_name;
use crate::api::{Reason, TableName};

pub(super) fn is_plain(table: &Table, server: &Server) -> Result<(), Blocked> {
    let name = &table.relation.table;
    let refuse = |message: String| Err(Blocked::new(Reason::Unsupported, message));
    match table.kind {
        'p' => return refuse(format!("{name} is partitioned: give partitions instead of rows")),
        'f' => return refuse(format!("{name} is a foreign table: make the policy on the server that holds its rows")),
        'r' => {}
        _ => return refuse(format!("{name} is not a table")),
    }
    if table.is_inherited {
        return refuse(format!("{name} is a partition or takes part in inheritance: make the policy for a table of its own"));
    }
    if table.has_rules {
        return refuse(format!(
            "{name} has rewrite rules, which may turn a DELETE into something else: drop the rules, or use triggers"
        ));
    }
    if table.hides_rows {
        let message = format!(
            "row security is forced on {name} and may hide rows from its owner {}; run: ALTER TABLE {}.{} NO FORCE ROW LEVEL SECURITY",
            table.owner,
            sql_name(&name.schema),
            sql_name(&name.name)
        );
        return refuse(message);
    }
    if table.lacks_identity {
        return refuse(format!(
            "{name} is published without a replica identity, so that nothing can be deleted from it: set one"
        ));
    }
    if !table.may_act_as_owner {
        let message = format!(
            "role {} may not act as the owner of {name}; run: GRANT {} TO {}",
            server.role,
            sql_name(&table.owner),
            sql_name(&server.role)
        );
        return Err(Blocked::new(Reason::MissingPrivilege, message));
    }
    Ok(())
}

pub(super) fn identity(table: &Table) -> Result<Vec<String>, Blocked> {
    table.keys.first().cloned().ok_or_else(|| {
        let message = format!(
            "{} has neither a primary key nor a unique index over NOT NULL columns, so that its rows cannot be told apart: add one",
            table.relation.table
        );
        Blocked::new(Reason::Unsupported, message)
    })
}

pub(super) fn is_indexed(table: &Table, column: &str) -> Result<(), Blocked> {
    if table.finds_by(&[column.to_owned()]) {
        return Ok(());
    }
    let name = &table.relation.table;
    let message = format!(
        "no index of {name} leads with {column}, so that every batch would scan the table; run: CREATE INDEX CONCURRENTLY ON {}.{} ({})",
        sql_name(&name.schema),
        sql_name(&name.name),
        sql_name(column)
    );
    Err(Blocked::new(Reason::IndexMissing, message))
}

/// Everything is done as the owner of the policy's table; what it may not do is said with the GRANT.
pub(super) fn privileges(table: &Table, references: &References, archive: Option<&TableName>, tables: &Tables) -> Vec<Blocked> {
    let both = ["SELECT", "DELETE"].as_slice();
    let mut wanted = vec![(&table.relation.table, both)];
    wanted.extend(references.keepers.iter().map(|keeper| (&keeper.table.table, &["SELECT"][..])));
    wanted.extend(archive.map(|archive| (archive, &["INSERT"][..])));
    for dependent in &references.dependents {
        wanted.push((&dependent.reference.table.table, both));
        wanted.extend(dependent.archive.as_ref().map(|archive| (archive, &["INSERT"][..])));
    }
    let mut blocked: Vec<Blocked> = Vec::new();
    for (name, needed) in wanted {
        let Some(found) = tables.get(name) else { continue };
        let lacking: Vec<&str> = needed.iter().copied().filter(|need| found.lacks.iter().any(|lacks| lacks == need)).collect();
        let mut grants = Vec::new();
        if found.lacks.iter().any(|lacks| lacks == "USAGE") {
            grants.push(format!("GRANT USAGE ON SCHEMA {} TO {}", sql_name(&name.schema), sql_name(&table.owner)));
        }
        if !lacking.is_empty() {
            let on = format!("{}.{}", sql_name(&name.schema), sql_name(&name.name));
            grants.push(format!("GRANT {} ON {on} TO {}", lacking.join(", "), sql_name(&table.owner)));
        }
        if !grants.is_empty() {
            let message = format!(
                "role {}, the owner of {}, lacks rights on {name}; run: {}",
                table.owner,
                table.relation.table,
                grants.join("; ")
            );
            blocked.push(Blocked::new(Reason::MissingPrivilege, message));
        }
    }
    blocked
}
