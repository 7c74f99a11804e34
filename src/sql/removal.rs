//! How does data leave? Statements and locks of what takes it away.

use super::quote::{ident, literal, table};
use super::script::{Lock, LockMode, Script, Step, Transaction, is_still};
use crate::plan::removal::ExportPartition;

/// Name of the CHECK that closes a partition to writes.
pub const CLOSED: &str = "pgreeve_closed";

/// What the comment on that CHECK begins with; the identifier of the export follows.
pub const CLOSED_COMMENT: &str = "pgreeve export ";

/// Closes a partition to writes: no new row meets the CHECK, existing ones are not looked at, readers see no difference. The comment
/// names the export that closed it.
pub fn close(export: &ExportPartition, id: &str) -> Transaction {
    let name = &export.partition.table;
    Transaction {
        role: export.role.clone(),
        locks: vec![Lock { table: name.clone(), mode: LockMode::AccessExclusive, first: true }],
        checks: vec![is_still(name, export.partition.oid)],
        statements: vec![
            format!("ALTER TABLE ONLY {} ADD CONSTRAINT {} CHECK (false) NOT VALID", table(name), ident(CLOSED)),
            format!(
                "COMMENT ON CONSTRAINT {} ON {} IS {}",
                ident(CLOSED),
                table(name),
                literal(&format!("{CLOSED_COMMENT}{id}"))
            ),
        ],
        as_login: vec![],
    }
}

/// What an export does in the database, as a person would type it; the Job chooses the identifier.
pub fn export(export: &ExportPartition) -> Script {
    let copy = Transaction {
        role: export.role.clone(),
        statements: vec![format!("COPY {} TO STDOUT", table(&export.partition.table))],
        ..Transaction::default()
    };
    Script { steps: vec![Step::Transaction(close(export, "<identifier>")), Step::Transaction(copy)], undo: None }
}
