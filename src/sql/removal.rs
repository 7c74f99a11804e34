//! How does data leave? Statements and locks of what takes it away.
//!
//! A plain DETACH is one transaction under locks that last for one round trip; CONCURRENTLY is taken only where another table refers
//! to this one. A mark in the table's comment says what it was; a drop asks for it, and for the OID, under its lock.

use super::export::{CLOSED, close, is_closed_by};
use super::partition::is_free;
use super::quote::{ident, literal, table};
use super::range::KeyRange;
use super::script::{Check, Lock, LockMode, NOW, Script, Step, Transaction, is_still};
use crate::api::TableName;
use crate::plan::action::Relation;
use crate::plan::removal::{
    DetachPartition, DropForeignKey, DropTable, ExportPartition, ExportProof, FinalizeDetach, MoveToArchive, MoveToSchema,
    ReopenPartition,
};
use crate::plan::retention::{MARK, Mark};
use crate::plan::snapshot::Oid;

/// Name of the CHECK that makes a partition's arrival in the archive table short.
const ARRIVAL: &str = "pgreeve_arrival";

/// What an export does in the database, as a person would type it; the Job chooses the identifier.
pub fn export(export: &ExportPartition) -> Script {
    let mut script = close(export, "IDENTIFIER");
    script.steps.push(Step::Transaction(Transaction {
        role: export.role.clone(),
        statements: vec![format!("COPY {} TO STDOUT", table(&export.partition.table))],
        ..Transaction::default()
    }));
    script
}

/// See [`crate::plan::Action::DetachPartition`].
pub fn detach(detach: &DetachPartition) -> Script {
    let (parent, partition) = (&detach.parent, &detach.partition);
    let mut checks = vec![is_partition(parent, partition, &detach.bound)];
    checks.extend(proven(partition, &detach.export));
    let mark = Mark {
        retired_at: NOW.to_owned(),
        policy: detach.policy.clone(),
        parent: parent.table.clone(),
        oid: partition.oid,
        bound: detach.bound.clone(),
        then: detach.then,
    };
    let comment = mark.comment(detach.comment.as_deref());
    let comment = format!("COMMENT ON TABLE {} IS {}", table(&partition.table), literal(&comment));
    let detach_text = format!("ALTER TABLE {} DETACH PARTITION {}", table(&parent.table), table(&partition.table));
    if detach.concurrently {
        let mark = Transaction {
            role: detach.role.clone(),
            locks: vec![lock(partition, LockMode::ShareUpdateExclusive)],
            checks,
            statements: vec![comment],
            as_login: vec![],
        };
        return Script {
            steps: vec![Step::Transaction(mark), patient(parent, &detach.role, format!("{detach_text} CONCURRENTLY"))],
            undo: None,
        };
    }
    let referencing = detach.referencing.iter().map(|other| {
        let (schema, name) = other.split_once('.').unwrap_or(("", other));
        let table = TableName { schema: schema.to_owned(), name: name.to_owned() };
        Lock { table, mode: LockMode::AccessExclusive, first: false }
    });
    let mut locks = vec![lock(parent, LockMode::AccessExclusive), lock(partition, LockMode::AccessExclusive)];
    locks.extend(referencing);
    let transaction =
        Transaction { role: detach.role.clone(), locks, checks, statements: vec![detach_text, comment], as_login: vec![] };
    Script { steps: vec![Step::Transaction(transaction)], undo: None }
}

/// See [`crate::plan::Action::FinalizeDetach`].
pub fn finalize(finalize: &FinalizeDetach) -> Script {
    let (parent, partition) = (&finalize.parent.table, &finalize.partition.table);
    let text = format!("ALTER TABLE {} DETACH PARTITION {} FINALIZE", table(parent), table(partition));
    Script { steps: vec![patient(&finalize.parent, &finalize.role, text)], undo: None }
}

/// A statement that must not be broken off: no timeout of any kind, but it does not begin while an old transaction would keep it.
fn patient(parent: &Relation, role: &str, statement: String) -> Step {
    let locks = vec![Lock { table: parent.table.clone(), mode: LockMode::ShareUpdateExclusive, first: false }];
    Step::Patient { role: role.to_owned(), statement, locks }
}

/// See [`crate::plan::Action::ReopenPartition`].
pub fn reopen(reopen: &ReopenPartition) -> Script {
    let name = &reopen.partition;
    one(Transaction {
        role: reopen.role.clone(),
        locks: vec![lock(name, LockMode::AccessExclusive)],
        checks: vec![is_still(&name.table, name.oid)],
        statements: vec![format!("ALTER TABLE ONLY {} DROP CONSTRAINT IF EXISTS {}", table(&name.table), ident(CLOSED))],
        as_login: vec![],
    })
}

/// See [`crate::plan::Action::MoveToArchive`].
pub fn move_to_archive(moved: &MoveToArchive) -> Script {
    let (parent, partition, archive) = (&moved.parent, &moved.partition, &moved.archive);
    let name = table(&partition.table);
    let range = KeyRange { column: &moved.column, type_name: &moved.type_name, lower: &moved.lower, upper: &moved.upper };
    let drop = format!("ALTER TABLE ONLY {name} DROP CONSTRAINT IF EXISTS {}", ident(ARRIVAL));
    let within = format!("{} IS NOT NULL AND {}", ident(&moved.column), range.within());
    let transaction =
        |locks, checks, statements| Transaction { role: moved.role.clone(), locks, checks, statements, as_login: vec![] };
    let is_there = is_partition(parent, partition, &moved.bound);
    let add = transaction(
        vec![lock(partition, LockMode::AccessExclusive)],
        vec![is_there.clone()],
        vec![drop.clone(), format!("ALTER TABLE ONLY {name} ADD CONSTRAINT {} CHECK ({within}) NOT VALID", ident(ARRIVAL))],
    );
    let validate = transaction(
        vec![lock(partition, LockMode::ShareUpdateExclusive)],
        vec![is_there.clone()],
        vec![format!("ALTER TABLE ONLY {name} VALIDATE CONSTRAINT {}", ident(ARRIVAL))],
    );
    let over = transaction(
        vec![
            lock(parent, LockMode::AccessExclusive),
            lock(partition, LockMode::AccessExclusive),
            lock(archive, LockMode::ShareUpdateExclusive),
        ],
        vec![is_there, is_still(&archive.table, archive.oid)],
        vec![
            format!("ALTER TABLE {} DETACH PARTITION {name}", table(&parent.table)),
            format!("ALTER TABLE {} ATTACH PARTITION {name} {}", table(&archive.table), moved.bound),
            drop.clone(),
        ],
    );
    let undo = transaction(vec![lock(partition, LockMode::AccessExclusive)], vec![], vec![drop]);
    Script { steps: [add, validate, over].map(Step::Transaction).into(), undo: Some(undo) }
}

/// See [`crate::plan::Action::MoveToSchema`].
pub fn move_to_schema(moved: &MoveToSchema) -> Script {
    let target = TableName { schema: moved.schema.clone(), name: moved.table.table.name.clone() };
    one(Transaction {
        role: moved.role.clone(),
        locks: vec![lock(&moved.table, LockMode::AccessExclusive)],
        checks: vec![is_still(&moved.table.table, moved.table.oid), is_retired(&moved.table, None), is_free(&target)],
        statements: vec![format!("ALTER TABLE {} SET SCHEMA {}", table(&moved.table.table), ident(&moved.schema))],
        as_login: vec![],
    })
}

/// See [`crate::plan::Action::DropForeignKey`].
pub fn drop_foreign_key(key: &DropForeignKey) -> Script {
    let target = Lock { table: key.target.clone(), mode: LockMode::AccessExclusive, first: false };
    one(Transaction {
        role: key.role.clone(),
        locks: vec![lock(&key.table, LockMode::AccessExclusive), target],
        checks: vec![is_still(&key.table.table, key.table.oid), is_retired(&key.table, None)],
        statements: vec![format!(
            "ALTER TABLE ONLY {} DROP CONSTRAINT IF EXISTS {}",
            table(&key.table.table),
            ident(&key.constraint)
        )],
        as_login: vec![],
    })
}

/// See [`crate::plan::Action::DropTable`].
pub fn drop_table(drop: &DropTable) -> Script {
    let mut checks = vec![is_still(&drop.table.table, drop.table.oid), is_retired(&drop.table, Some(&drop.bound))];
    checks.extend(proven(&drop.table, &drop.export));
    one(Transaction {
        role: drop.role.clone(),
        locks: vec![lock(&drop.table, LockMode::AccessExclusive)],
        checks,
        statements: vec![format!("DROP TABLE {}", table(&drop.table.table))],
        as_login: vec![],
    })
}

fn one(transaction: Transaction) -> Script {
    Script { steps: vec![Step::Transaction(transaction)], undo: None }
}

fn lock(relation: &Relation, mode: LockMode) -> Lock {
    Lock { table: relation.table.clone(), mode, first: true }
}

/// The partition is closed by the very export that was verified.
fn proven(relation: &Relation, proof: &ExportProof) -> Option<Check> {
    match proof {
        ExportProof::NotAsked => None,
        ExportProof::Verified(export) => Some(is_closed_by(relation, export)),
        ExportProof::Awaited => {
            Some(Check { query: "SELECT false".into(), otherwise: format!("{} has not been exported", relation.table) })
        }
    }
}

/// The partition is one of this parent, with these bounds, and its detach is not pending.
fn is_partition(parent: &Relation, partition: &Relation, bound: &str) -> Check {
    let query = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE i.inhrelid OPERATOR(pg_catalog.=) {}::pg_catalog.oid AND i.inhparent OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
         AND NOT i.inhdetachpending AND c.relname OPERATOR(pg_catalog.=) {} AND n.nspname OPERATOR(pg_catalog.=) {} \
         AND pg_catalog.pg_get_expr(c.relpartbound, c.oid) OPERATOR(pg_catalog.=) {})",
        partition.oid,
        parent.oid,
        literal(&partition.table.name),
        literal(&partition.table.schema),
        literal(bound),
    );
    Check { query, otherwise: format!("{} is no longer the partition of {} that was planned for", partition.table, parent.table) }
}

/// The table is nobody's partition, and its mark says that it was detached by us, and with which bounds.
fn is_retired(relation: &Relation, bound: Option<&str>) -> Check {
    let query = format!("SELECT {}", bears_mark(relation.oid, bound));
    Check { query, otherwise: format!("{} is not the detached partition that was planned for", relation.table) }
}

/// A condition: this relation is nobody's partition and bears a mark with its own OID, and with these bounds.
pub(super) fn bears_mark(oid: Oid, bound: Option<&str>) -> String {
    let mark = format!(
        "pg_catalog.split_part(pg_catalog.substr(pg_catalog.obj_description({oid}::pg_catalog.oid, 'pg_class'), {}), pg_catalog.chr(10), 1)",
        MARK.len() + 1
    );
    let field = |name: &str, value: &str| {
        format!("({mark}::pg_catalog.json OPERATOR(pg_catalog.->>) '{name}') OPERATOR(pg_catalog.=) {}", literal(value))
    };
    let is_marked = format!(
        "coalesce(pg_catalog.starts_with(pg_catalog.obj_description({oid}::pg_catalog.oid, 'pg_class'), {}), false)",
        literal(&format!("{MARK}{{"))
    );
    let fields: Vec<String> =
        std::iter::once(field("oid", &oid.to_string())).chain(bound.map(|bound| field("bound", bound))).collect();
    // CASE, because AND does not keep PostgreSQL from reading the comment as JSON first.
    format!(
        "(NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits WHERE inhrelid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid) \
         AND CASE WHEN {is_marked} THEN coalesce({}, false) ELSE false END)",
        fields.join(" AND ")
    )
}
