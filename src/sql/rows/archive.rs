//! How is an archive table created, and how does it follow its source?

use super::super::partition::{is_free, statements};
use super::super::quote::{ident, table};
use super::super::script::{Lock, LockMode, Script, Step, Transaction, is_still};
use crate::plan::action::Change;
use crate::plan::removal::{ArchiveColumn, CreateArchiveTable, ExtendArchiveTable};
use crate::plan::rows::ARCHIVED_AT;

/// See [`CreateArchiveTable`]. Its source is only read, under ACCESS SHARE.
pub fn create(create: &CreateArchiveTable) -> Script {
    let name = &create.archive;
    let like = "INCLUDING COMMENTS INCLUDING COMPRESSION INCLUDING STATISTICS INCLUDING STORAGE";
    let mut statements_ = vec![format!(
        "CREATE TABLE {} (LIKE {} {like}, {ARCHIVED_AT} timestamp with time zone NOT NULL DEFAULT pg_catalog.now())",
        table(name),
        table(&create.source.table)
    )];
    if !create.nullable.is_empty() {
        let drops: Vec<String> = create.nullable.iter().map(|column| drop_not_null(column)).collect();
        statements_.push(format!("ALTER TABLE {} {}", table(name), drops.join(", ")));
    }
    statements_.extend(create.indexes.iter().map(|definition| format!("CREATE INDEX ON {} {definition}", table(name))));
    let mut transaction = Transaction {
        role: create.role.clone(),
        locks: vec![],
        checks: vec![is_still(&create.source.table, create.source.oid), is_free(name)],
        statements: statements_,
        as_login: vec![],
    };
    for change in &create.properties {
        match change {
            Change::Owner { .. } => transaction.as_login.extend(statements(name, change)),
            _ => transaction.statements.extend(statements(name, change)),
        }
    }
    Script { steps: vec![Step::Transaction(transaction)], undo: None }
}

/// See [`ExtendArchiveTable`]. New columns have no default: rows that were archived before never had them.
pub fn extend(extend: &ExtendArchiveTable) -> Script {
    let mut changes: Vec<String> = extend.add.iter().map(add).collect();
    changes.extend(extend.widen.iter().map(|column| format!("ALTER COLUMN {} TYPE {}", ident(&column.name), typed(column))));
    changes.extend(extend.nullable.iter().map(|column| drop_not_null(column)));
    let name = &extend.archive.table;
    let transaction = Transaction {
        role: extend.role.clone(),
        locks: vec![Lock { table: name.clone(), mode: LockMode::AccessExclusive, first: true }],
        checks: vec![is_still(name, extend.archive.oid), is_still(&extend.source.table, extend.source.oid)],
        statements: vec![format!("ALTER TABLE {} {}", table(name), changes.join(", "))],
        as_login: vec![],
    };
    Script { steps: vec![Step::Transaction(transaction)], undo: None }
}

fn add(column: &ArchiveColumn) -> String {
    let default = if column.name == ARCHIVED_AT { " DEFAULT pg_catalog.now()" } else { "" };
    format!("ADD COLUMN {} {}{default}", ident(&column.name), typed(column))
}

fn typed(column: &ArchiveColumn) -> String {
    let collation = column.collation.as_ref().map(|collation| format!(" COLLATE {collation}")).unwrap_or_default();
    format!("{}{collation}", column.type_name)
}

fn drop_not_null(column: &str) -> String {
    format!("ALTER COLUMN {} DROP NOT NULL", ident(column))
}
