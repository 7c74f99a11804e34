//! How is a partition closed to writes before it is exported, and how is it known again?
//!
//! A CHECK that no row meets rejects every insert and update, whether it comes through the parent or not; readers see everything, and
//! deletes go on. Its comment holds the identifier of the export, which its manifest holds too.

use super::quote::{ident, literal, table};
use super::removal;
use super::script::{Check, Lock, LockMode, Script, Step, Transaction, is_still};
use crate::api::TableName;
use crate::plan::action::Relation;
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
    let planned = [is_still(&task.partition.table, task.partition.oid), is_bound(task)];
    let transaction = Transaction {
        role: task.role.clone(),
        locks: vec![Lock { table: task.partition.table.clone(), mode, first: true }],
        checks: planned.into_iter().chain(checks).collect(),
        statements,
        as_login: vec![],
    };
    Script { steps: vec![Step::Transaction(transaction)], undo: None }
}

/// The partition has the bounds, and the parent, that it was planned for; or it is detached, and its mark says that it had them.
pub fn is_bound(task: &ExportPartition) -> Check {
    let query = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) c.oid \
         WHERE c.oid OPERATOR(pg_catalog.=) {}::pg_catalog.oid AND i.inhparent OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
         AND pg_catalog.pg_get_expr(c.relpartbound, c.oid) OPERATOR(pg_catalog.=) {}) OR {}",
        task.partition.oid,
        task.parent.oid,
        literal(&task.bound),
        removal::bears_mark(task.partition.oid, Some(&task.bound)),
    );
    Check { query, otherwise: format!("{} no longer has the bounds {}", task.partition.table, task.bound) }
}

/// The partition is closed by the export of this identifier.
pub fn is_closed(task: &ExportPartition, export: &str) -> Check {
    is_closed_by(&task.partition, export)
}

/// This relation is closed by the export of this identifier.
pub fn is_closed_by(relation: &Relation, export: &str) -> Check {
    let query = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
         AND k.conname OPERATOR(pg_catalog.=) {} AND k.contype OPERATOR(pg_catalog.=) 'c' \
         AND pg_catalog.obj_description(k.oid, 'pg_constraint') OPERATOR(pg_catalog.=) {})",
        relation.oid,
        literal(CLOSED),
        literal(&comment(export)),
    );
    Check { query, otherwise: format!("{} is not closed by export {export}", relation.table) }
}

/// In which form a value is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// As the type's binary form.
    Native,
    /// As the text that its output function prints. A cast to text would not do: `char(n)` and `inet` lose something on the way.
    Printed,
}

/// A column to select, with what it takes to print it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Its name.
    pub name: String,
    /// In which form.
    pub source: Source,
    /// The output function of its base type, quoted.
    pub output: String,
    /// The base type, where it is a domain; polymorphic output functions do not take domains.
    pub base_type: Option<String>,
}

/// The query whose rows are exported in binary form.
pub fn select_binary(from: &str, columns: &[Selected]) -> String {
    let item = |column: &Selected| {
        let name = ident(&column.name);
        match (column.source, &column.base_type) {
            (Source::Native, _) => name,
            (Source::Printed, None) => format!("pg_catalog.textin({}({name}))", column.output),
            (Source::Printed, Some(base)) => format!("pg_catalog.textin({}({name}::{base}))", column.output),
        }
    };
    format!("SELECT {} FROM {from}", columns.iter().map(item).collect::<Vec<_>>().join(", "))
}

/// The query whose rows are exported as CSV.
pub fn select_plain(from: &str, columns: &[Selected]) -> String {
    format!("SELECT {} FROM {from}", columns.iter().map(|column| ident(&column.name)).collect::<Vec<_>>().join(", "))
}

/// Creates a table of these columns, each as it is defined.
pub fn create(name: &TableName, columns: &[String]) -> String {
    format!("CREATE TABLE {} ({})", table(name), columns.join(", "))
}

/// Takes rows in, with these columns, as text or as CSV.
pub fn copy_in(name: &TableName, columns: &[&str], is_csv: bool) -> String {
    let columns: Vec<String> = columns.iter().map(|column| ident(column)).collect();
    format!("COPY {} ({}) FROM STDIN (FORMAT {})", table(name), columns.join(", "), if is_csv { "csv" } else { "text" })
}

/// Of a query, the rows that its own transaction has put there.
pub fn ours(select: &str) -> String {
    format!("{select} WHERE xmin OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id()::pg_catalog.xid")
}

/// Settings under which PostgreSQL prints every value in one way, exactly, wherever it runs. `row_security` makes a query fail that
/// would otherwise leave rows out without a word.
pub const PRINTING: &str = "SELECT pg_catalog.set_config('search_path', '', true); SET LOCAL TimeZone = 'UTC'; \
    SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 1; \
    SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; SET LOCAL xmloption = 'content'; SET LOCAL row_security = off; \
    SET LOCAL standard_conforming_strings = on; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
    SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout'";

/// Begins the transaction in which a partition is read: one snapshot, which changes nothing.
pub fn begin_reading(role: &str) -> String {
    format!(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; {PRINTING}; SET LOCAL lock_timeout = '30s'; SET LOCAL ROLE {}",
        ident(role)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_asked_for_as_it_is_or_as_it_is_printed() {
        let column = |name: &str, source, base: Option<&str>| Selected {
            name: name.into(),
            source,
            output: "pg_catalog.enum_out".into(),
            base_type: base.map(Into::into),
        };
        let columns = [
            column("a\"b", Source::Native, None),
            column("c", Source::Printed, None),
            column("d", Source::Printed, Some("public.mood")),
        ];
        assert_eq!(
            select_binary("t", &columns),
            "SELECT \"a\"\"b\", pg_catalog.textin(pg_catalog.enum_out(\"c\")), pg_catalog.textin(pg_catalog.enum_out(\"d\"::public.mood)) FROM t"
        );
        assert_eq!(select_plain("t", &columns), "SELECT \"a\"\"b\", \"c\", \"d\" FROM t");
    }

    #[test]
    fn a_comment_names_its_export_and_nothing_else_does() {
        assert_eq!(export_of(&comment("0af9")), Some("0af9"));
        for other in ["", "pgreeve export ", "pgreeve export a b", "pgreeve export ../x", "something else"] {
            assert_eq!(export_of(other), None, "{other}");
        }
    }
}
