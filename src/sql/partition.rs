//! How is a partition created, attached and changed? Statements and locks, as measured on PostgreSQL 14 to 18.
//!
//! CREATE TABLE … (LIKE …) and ATTACH take SHARE UPDATE EXCLUSIVE on the parent, where CREATE … PARTITION OF takes ACCESS
//! EXCLUSIVE. EXCLUDING IDENTITY, because a copied identity column gets a sequence of its own up to 16 and an error from 17 on.
//! Foreign keys come with the ATTACH: adding them before would make it lock the referenced table in ACCESS EXCLUSIVE.

use super::quote::{grantee, ident, literal, table};
use super::range::{KeyRange, bound};
use super::script::{Check, Lock, LockMode, Script, Step, Transaction, is_still};
use crate::api::TableName;
use crate::plan::action::{Change, CreateDefault, CreatePartition, DefaultAtAttach, DropGuard, Relation, RepairPartition};

/// See [`crate::plan::Action::CreatePartition`].
pub fn create(create: &CreatePartition) -> Script {
    let bounds = format!("FOR VALUES FROM ({}) TO ({})", bound(&create.lower), bound(&create.upper));
    let mut attach = attach(&create.parent, &create.name, &create.role, &create.properties, &create.foreign_keys, &bounds);
    let Some(default) = &create.default else {
        return Script { steps: vec![Step::Transaction(attach)], undo: None };
    };
    attach.locks.push(Lock { table: default.relation.table.clone(), mode: LockMode::AccessExclusive, first: false });
    attach.checks.push(is_default_of(&default.relation, &create.parent));
    let Some(guard) = &default.guard else {
        return Script { steps: vec![Step::Transaction(attach)], undo: None };
    };
    let drop = drop_constraint(&default.relation, guard);
    attach.statements.push(drop.clone());
    let undo = Transaction {
        role: create.role.clone(),
        locks: vec![exclusive(&default.relation, true)],
        statements: vec![drop],
        ..Transaction::default()
    };
    let steps = vec![
        Step::Transaction(add_guard(create, default, guard)),
        Step::Transaction(validate_guard(create, default, guard)),
        Step::Transaction(attach),
    ];
    Script { steps, undo: Some(undo) }
}

/// Without validation yet: the lock lasts milliseconds, whatever the size.
fn add_guard(create: &CreatePartition, default: &DefaultAtAttach, guard: &str) -> Transaction {
    let range = KeyRange { column: &default.column, type_name: &default.type_name, lower: &create.lower, upper: &create.upper };
    let statement = format!(
        "ALTER TABLE ONLY {} ADD CONSTRAINT {} CHECK ({}) NOT VALID",
        table(&default.relation.table),
        ident(guard),
        range.outside()
    );
    Transaction {
        role: create.role.clone(),
        locks: vec![exclusive(&default.relation, true)],
        checks: vec![is_default_of(&default.relation, &create.parent)],
        statements: vec![statement],
        as_login: vec![],
    }
}

/// The scan, under a lock that neither readers nor writers feel.
fn validate_guard(create: &CreatePartition, default: &DefaultAtAttach, guard: &str) -> Transaction {
    let name = &default.relation.table;
    Transaction {
        role: create.role.clone(),
        locks: vec![Lock { table: name.clone(), mode: LockMode::ShareUpdateExclusive, first: true }],
        checks: vec![is_still(name, default.relation.oid)],
        statements: vec![format!("ALTER TABLE ONLY {} VALIDATE CONSTRAINT {}", table(name), ident(guard))],
        as_login: vec![],
    }
}

/// See [`crate::plan::Action::CreateDefault`].
pub fn create_default(create: &CreateDefault) -> Script {
    let attach = attach(&create.parent, &create.name, &create.role, &create.properties, &create.foreign_keys, "DEFAULT");
    Script { steps: vec![Step::Transaction(attach)], undo: None }
}

/// See [`crate::plan::Action::DropGuard`].
pub fn drop_guard(guard: &DropGuard) -> Script {
    let transaction = Transaction {
        role: guard.role.clone(),
        locks: vec![exclusive(&guard.default, true)],
        checks: vec![is_still(&guard.default.table, guard.default.oid)],
        statements: vec![drop_constraint(&guard.default, &guard.constraint)],
        as_login: vec![],
    };
    Script { steps: vec![Step::Transaction(transaction)], undo: None }
}

/// See [`crate::plan::Action::RepairPartition`].
pub fn repair(repair: &RepairPartition) -> Script {
    let name = &repair.partition.table;
    let mut transaction = Transaction {
        role: repair.role.clone(),
        locks: vec![Lock { table: name.clone(), mode: LockMode::ShareUpdateExclusive, first: true }],
        checks: vec![is_still(name, repair.partition.oid)],
        ..Transaction::default()
    };
    let mut concurrently = Vec::new();
    for change in &repair.changes {
        match change {
            Change::Index { .. } | Change::IndexLike { .. } => {
                concurrently.extend(build_concurrently(name, &repair.role, change))
            }
            Change::Owner { .. } => transaction.as_login.extend(statements(name, change)),
            _ => transaction.statements.extend(statements(name, change)),
        }
        if needs_exclusive(change) {
            transaction.locks = vec![exclusive(&repair.partition, true)];
        }
    }
    let has_changes = !(transaction.statements.is_empty() && transaction.as_login.is_empty());
    let mut steps = concurrently;
    if has_changes {
        steps.push(Step::Transaction(transaction));
    }
    Script { steps, undo: None }
}

fn needs_exclusive(change: &Change) -> bool {
    matches!(
        change,
        Change::ReplicaIdentity { .. }
            | Change::RowSecurity { .. }
            | Change::Policy { .. }
            | Change::Owner { .. }
            | Change::Tablespace { .. }
    )
}

fn build_concurrently(name: &TableName, role: &str, change: &Change) -> Vec<Step> {
    let alone = |statement: String| Step::Alone {
        role: role.to_owned(),
        statement,
        locks: vec![Lock { table: name.clone(), mode: LockMode::ShareUpdateExclusive, first: false }],
    };
    let mut steps = Vec::new();
    if let Change::Index { name: index, replaces_invalid: true, .. } = change {
        steps.push(alone(format!("DROP INDEX CONCURRENTLY {}.{}", ident(&name.schema), ident(index))));
    }
    steps.extend(statements(name, change).into_iter().map(|text| alone(text.replacen("INDEX ", "INDEX CONCURRENTLY ", 1))));
    steps
}

fn attach(
    parent: &Relation,
    name: &str,
    role: &str,
    properties: &[Change],
    foreign_keys: &[String],
    bounds: &str,
) -> Transaction {
    let child = TableName { schema: parent.table.schema.clone(), name: name.to_owned() };
    let mut transaction = Transaction {
        role: role.to_owned(),
        locks: vec![Lock { table: parent.table.clone(), mode: LockMode::ShareUpdateExclusive, first: true }],
        checks: vec![is_still(&parent.table, parent.oid), is_free(&child)],
        statements: vec![create_like(&child, &parent.table, properties)],
        as_login: vec![],
    };
    // By name only for people: a `schema.table` of a foreign key is not taken apart again.
    let referencing = foreign_keys.iter().map(|other| {
        let (schema, name) = other.split_once('.').unwrap_or(("", other));
        Lock {
            table: TableName { schema: schema.to_owned(), name: name.to_owned() },
            mode: LockMode::ShareRowExclusive,
            first: false,
        }
    });
    transaction.locks.extend(referencing);
    for change in properties {
        match change {
            Change::Tablespace { .. } | Change::StorageParameter { .. } => {}
            Change::Owner { .. } => transaction.as_login.extend(statements(&child, change)),
            _ => transaction.statements.extend(statements(&child, change)),
        }
    }
    transaction.statements.push(format!("ALTER TABLE {} ATTACH PARTITION {} {bounds}", table(&parent.table), table(&child)));
    transaction
}

fn create_like(child: &TableName, parent: &TableName, properties: &[Change]) -> String {
    let mut text = format!("CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING IDENTITY)", table(child), table(parent));
    let parameters: Vec<String> = properties.iter().filter_map(parameter).collect();
    if !parameters.is_empty() {
        text.push_str(&format!(" WITH ({})", parameters.join(", ")));
    }
    for change in properties {
        if let Change::Tablespace { name } = change {
            text.push_str(&format!(" TABLESPACE {}", ident(name)));
        }
    }
    text
}

/// `name = 'value'`; a name such as `toast.autovacuum_enabled` is two words.
fn parameter(change: &Change) -> Option<String> {
    let Change::StorageParameter { name, value } = change else { return None };
    let name: Vec<String> = name.split('.').map(ident).collect();
    Some(format!("{} = {}", name.join("."), literal(value)))
}

pub(super) fn statements(name: &TableName, change: &Change) -> Vec<String> {
    let on = table(name);
    match change {
        Change::Tablespace { name } => vec![format!("ALTER TABLE {on} SET TABLESPACE {}", ident(name))],
        Change::StorageParameter { .. } => {
            parameter(change).map(|parameter| format!("ALTER TABLE {on} SET ({parameter})")).into_iter().collect()
        }
        Change::Statistics { column, target } => {
            vec![format!("ALTER TABLE ONLY {on} ALTER COLUMN {} SET STATISTICS {target}", ident(column))]
        }
        Change::Index { name, columns, method, unique, .. } => {
            let columns: Vec<String> = columns.iter().map(|column| ident(column)).collect();
            vec![format!("CREATE {}INDEX {} ON {on} USING {method} ({})", unique_word(*unique), ident(name), columns.join(", "))]
        }
        Change::IndexLike { name, definition, unique } => {
            vec![format!("CREATE {}INDEX {} ON {on} {definition}", unique_word(*unique), ident(name))]
        }
        Change::ReplicaIdentity { identity } => vec![format!("ALTER TABLE {on} REPLICA IDENTITY {identity}")],
        Change::RowSecurity { enabled, forced } => vec![
            format!("ALTER TABLE {on} {} ROW LEVEL SECURITY", if *enabled { "ENABLE" } else { "DISABLE" }),
            format!("ALTER TABLE {on} {} ROW LEVEL SECURITY", if *forced { "FORCE" } else { "NO FORCE" }),
        ],
        Change::Policy { name, definition } => vec![format!("CREATE POLICY {} ON {on} {definition}", ident(name))],
        Change::Grant { role, privileges } => vec![format!("GRANT {} ON TABLE {on} TO {}", privileges.join(", "), grantee(role))],
        Change::Comment { text } => vec![format!("COMMENT ON TABLE {on} IS {}", literal(text))],
        Change::Owner { role } => vec![format!("ALTER TABLE {on} OWNER TO {}", ident(role))],
    }
}

fn unique_word(unique: bool) -> &'static str {
    if unique { "UNIQUE " } else { "" }
}

fn drop_constraint(relation: &Relation, constraint: &str) -> String {
    format!("ALTER TABLE ONLY {} DROP CONSTRAINT IF EXISTS {}", table(&relation.table), ident(constraint))
}

fn exclusive(relation: &Relation, first: bool) -> Lock {
    Lock { table: relation.table.clone(), mode: LockMode::AccessExclusive, first }
}

fn is_default_of(default: &Relation, parent: &Relation) -> Check {
    let query = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_partitioned_table WHERE partrelid OPERATOR(pg_catalog.=) {}::pg_catalog.oid \
         AND partdefid OPERATOR(pg_catalog.=) {}::pg_catalog.oid)",
        parent.oid, default.oid
    );
    Check { query, otherwise: format!("{} is no longer the default partition of {}", default.table, parent.table) }
}

pub(super) fn is_free(name: &TableName) -> Check {
    let query = format!(
        "SELECT NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE c.relname OPERATOR(pg_catalog.=) {} AND n.nspname OPERATOR(pg_catalog.=) {})",
        literal(&name.name),
        literal(&name.schema)
    );
    Check { query, otherwise: format!("a relation {name} exists already") }
}
