//! What does the catalog say of tables whose rows are to go, and what does the server say of the removal? Reads only.

mod ask;
mod backlog;
mod question;

pub use ask::{ask, count_rows};
pub use backlog::{Backlog, backlog};

use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connect::Session;
use super::details;
use super::error::Fault;
use crate::plan::action::{Change, Relation};
use crate::plan::removal::Reference;
use crate::plan::rows::{Column, ForeignKey, Index, Request, Table, Tables};
use crate::plan::snapshot::{Needs, Oid, Properties, TableName};

/// Looks at the requested tables and at those that refer to them. Must run between [`Session::begin_reading`] and
/// [`Session::end_reading`].
///
/// # Errors
/// What the server or the connection said.
pub async fn observe(session: &Session, version_num: i32, request: &Request) -> Result<Tables, Fault> {
    let Some(own) = &request.table else { return Ok(Tables::default()) };
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        request.tables.iter().map(|name| (name.schema.as_str(), name.name.as_str())).unzip();
    let found = session.query(question::OIDS, &[(&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)]).await?;
    let mut oids: Vec<Oid> = found.iter().map(|row| row.get(0)).collect();
    let keys = session.query(question::INCOMING, &[(&oids, Type::OID_ARRAY)]).await?;
    oids.extend(keys.iter().map(|row| row.get::<_, Oid>(1)));
    oids.sort_unstable();
    oids.dedup();
    // From 16 on, membership alone does not allow SET ROLE (release notes 16, GRANT … WITH SET).
    let may_act = if version_num >= 160_000 { "SET" } else { "MEMBER" };
    let own: [&str; 2] = [&own.schema, &own.name];
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
        [(&oids, Type::OID_ARRAY), (&may_act, Type::TEXT), (&own[0], Type::TEXT), (&own[1], Type::TEXT)];
    let rows = session.query(question::TABLES, &parameters).await?;
    let mut tables: BTreeMap<Oid, Table> = rows.iter().map(|row| (row.get(0), table(row))).collect();
    let fills: [(&'static str, Fill); 4] = [
        (question::COLUMNS, add_column),
        (question::KEYS, add_key),
        (question::INDEXES, add_index),
        (question::TRIGGERS, add_trigger),
    ];
    for (text, fill) in fills {
        for row in session.query(text, &[(&oids, Type::OID_ARRAY)]).await? {
            if let Some(table) = tables.get_mut(&row.get(0)) {
                fill(table, &row);
            }
        }
    }
    for row in &keys {
        add_incoming(&mut tables, row);
    }
    add_properties(session, &mut tables).await?;
    let creatable =
        session.query(question::SCHEMAS, &[(&schemas, Type::TEXT_ARRAY), (&own[0], Type::TEXT), (&own[1], Type::TEXT)]).await?;
    Ok(Tables {
        by_name: tables.into_values().map(|table| (table.relation.table.clone(), table)).collect(),
        creatable: creatable.iter().map(|row| (row.get(0), row.get::<_, Option<bool>>(1).unwrap_or(false))).collect(),
    })
}

/// Adds one row of a query to its table.
type Fill = fn(&mut Table, &Row);

fn table(row: &Row) -> Table {
    let lacks = [(9, "SELECT"), (10, "INSERT"), (11, "DELETE"), (12, "USAGE")];
    let lacks = lacks.iter().filter(|(column, _)| !row.get::<_, Option<bool>>(*column).unwrap_or(true));
    Table {
        relation: Relation { oid: row.get(0), table: TableName { schema: row.get(1), name: row.get(2) } },
        kind: row.get::<_, String>(3).chars().next().unwrap_or('?'),
        is_inherited: row.get(4),
        has_rules: row.get(5),
        owner: row.get(6),
        may_act_as_owner: row.get(7),
        hides_rows: row.get(8),
        lacks: lacks.map(|(_, privilege)| (*privilege).to_owned()).collect(),
        lacks_identity: row.get(13),
        bytes: row.get::<_, Option<i64>>(14).unwrap_or(0),
        tuples: row.get(15),
        columns: vec![],
        keys: vec![],
        indexes: vec![],
        incoming: vec![],
        delete_triggers: vec![],
        insert_triggers: vec![],
        properties: vec![],
    }
}

fn add_column(table: &mut Table, row: &Row) {
    table.columns.push(Column {
        name: row.get(1),
        type_name: row.get(2),
        bare_type: row.get(3),
        is_foreign_type: row.get(4),
        collation: row.get(5),
        sorts_as: row.get(6),
        not_null: row.get(7),
        has_default: row.get(8),
        is_generated: row.get(9),
    });
}

fn add_key(table: &mut Table, row: &Row) {
    table.keys.push(row.get(1));
}

fn add_index(table: &mut Table, row: &Row) {
    let definition: String = row.get(6);
    // `CREATE INDEX name ON schema.table USING …`: what follows the table is the same for another table.
    let rest = definition.find(" USING ").map_or("", |at| &definition[at + 1..]);
    let columns: Vec<Option<String>> = row.get(2);
    table.indexes.push(Index {
        name: row.get(1),
        columns: columns.into_iter().map(Option::unwrap_or_default).collect(),
        serves: row.get(3),
        is_unique: row.get(4),
        is_valid: row.get(5),
        definition: rest.to_owned(),
    });
}

fn add_trigger(table: &mut Table, row: &Row) {
    if row.get(2) {
        table.delete_triggers.push(row.get(1));
    }
    if row.get(3) {
        table.insert_triggers.push(row.get(1));
    }
}

fn add_incoming(tables: &mut BTreeMap<Oid, Table>, row: &Row) {
    let (target, from): (Oid, Oid) = (row.get(0), row.get(1));
    let relation = |oid: Oid| tables.get(&oid).map(|table| table.relation.clone());
    let (Some(target_relation), Some(table)) = (relation(target), relation(from)) else { return };
    let reference =
        Reference { table, constraint: row.get(2), columns: row.get(3), target: target_relation, target_columns: row.get(4) };
    let on_delete = row.get::<_, String>(5).chars().next().unwrap_or('a');
    if let Some(found) = tables.get_mut(&target) {
        found.incoming.push(ForeignKey { reference, on_delete, compares_plainly: row.get(6) });
    }
}

/// Who may do what with a table, for one that is made like it. Storage parameters and the rest stay its own.
async fn add_properties(session: &Session, tables: &mut BTreeMap<Oid, Table>) -> Result<(), Fault> {
    let needs = Needs { properties: tables.keys().copied().collect(), ..Needs::default() };
    for (oid, found) in details::observe(session, &needs).await?.properties {
        if let Some(table) = tables.get_mut(&oid) {
            table.properties = changes(&found);
        }
    }
    Ok(())
}

fn changes(properties: &Properties) -> Vec<Change> {
    let mut changes: Vec<Change> = properties
        .grants
        .iter()
        .map(|(role, privileges)| Change::Grant { role: role.clone(), privileges: privileges.iter().cloned().collect() })
        .collect();
    let policies = properties.policies.iter();
    changes.extend(policies.map(|(name, definition)| Change::Policy { name: name.clone(), definition: definition.clone() }));
    if properties.row_security {
        changes.push(Change::RowSecurity { enabled: true, forced: false });
    }
    changes
}
