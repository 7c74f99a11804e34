//! How is a partition closed to writes before it is exported, and how is it known again?
//!
//! A CHECK that no row meets rejects every insert and update, whether it comes through the parent or not; readers see everything, and
//! deletes go on. Its comment holds the identifier of the export, which its manifest holds too.

use super::quote::{ident, literal, table};
use super::script::{Check, Lock, LockMode, Script, Step, Transaction, is_still};
use crate::plan::removal::ExportPartition;

/// Name of the constraint that closes a partition.
pub const CLOSED: &str = "pgreeve_closed";

/// What its comment begins with; the identifier of the export follows.
const PREFIX: &str = "pgreeve export ";

/// The comment of the constraint that an export of this identifier put there.
pub fn comment(export: &str) -> String {
    format!("{PREFIX}{export}")
}

/// The export that a comment names.
pub fn export_of(comment: &str) -> Option<&str> {
    comment.strip_prefix(PREFIX).filter(|export| !export.is_empty() && export.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Closes the partition: whoever writes waits for one round trip, and is refused from then on.
pub fn close(task: &ExportPartition, export: &str) -> Script {
    let name = table(&task.partition.table);
    let add = format!("ALTER TABLE ONLY {name} ADD CONSTRAINT {} CHECK (false) NOT VALID", ident(CLOSED));
    script(task, LockMode::AccessExclusive, vec![], vec![add, name_export(task, export)])
}

/// Gives the export of a closed partition another identifier, after which the drop refuses the former one.
pub fn rename(task: &ExportPartition, before: &str, export: &str) -> Script {
    script(task, LockMode::ShareUpdateExclusive, vec![is_closed(task, before)], vec![name_export(task, export)])
}

fn name_export(task: &ExportPartition, export: &str) -> String {
    format!("COMMENT ON CONSTRAINT {} ON {} IS {}", ident(CLOSED), table(&task.partition.table), literal(&comment(export)))
}

fn script(task: &ExportPartition, mode: LockMode, checks: Vec<Check>, statements: Vec<String>) -> Script {
    let planned =
        [is_still(&task.partition.table, task.partition.oid), is_still(&task.parent.table, task.parent.oid), is_bound(task)];
    let transaction = Transaction {
        role: task.role.clone(),
        locks: vec![Lock { table: task.partition.table.clone(), mode, first: true }],
        checks: planned.into_iter().chain(checks).collect(),
        statements,
        as_login: vec![],
    };
    Script { steps: vec![Step::Transaction(transaction)], undo: None }
}

/// The partition has the bounds, and the parent, that it was planned for.
pub fn is_bound(task: &ExportPartition) -> Check {
    let query = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) c.oid \
         WHERE c.oid OPERATOR(pg_catalog.=) {}::pg_catalog.oid AND i.inhparent OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
         AND pg_catalog.pg_get_expr(c.relpartbound, c.oid) OPERATOR(pg_catalog.=) {})",
        task.partition.oid,
        task.parent.oid,
        literal(&task.bound),
    );
    Check { query, otherwise: format!("{} no longer has the bounds {}", task.partition.table, task.bound) }
}

/// The partition is closed by the export of this identifier.
pub fn is_closed(task: &ExportPartition, export: &str) -> Check {
    let query = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
         AND k.conname OPERATOR(pg_catalog.=) {} AND k.contype OPERATOR(pg_catalog.=) 'c' \
         AND pg_catalog.obj_description(k.oid, 'pg_constraint') OPERATOR(pg_catalog.=) {})",
        task.partition.oid,
        literal(CLOSED),
        literal(&comment(export)),
    );
    Check { query, otherwise: format!("{} is not closed by export {export}", task.partition.table) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_names_its_export_and_nothing_else_does() {
        assert_eq!(export_of(&comment("0af9")), Some("0af9"));
        for other in ["", "pgreeve export ", "pgreeve export a b", "pgreeve export ../x", "something else"] {
            assert_eq!(export_of(other), None, "{other}");
        }
    }
}
