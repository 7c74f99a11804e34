//! What does a plan need to know beyond the tree? Properties of siblings, names that are taken, rows in default partitions.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connect::Session;
use super::error::Fault;
use crate::plan::snapshot::{Details, Needs, Oid, Properties, ROWS_COUNTED, RowsWithin};
use crate::sql::quote::{grantee, ident, table};
use crate::sql::range::KeyRange;

const TABLES: &str = "
SELECT c.oid, o.rolname::pg_catalog.text, s.spcname::pg_catalog.text, c.relreplident::pg_catalog.text, c.relrowsecurity,
    c.relforcerowsecurity, coalesce(c.reloptions, '{}'), coalesce(t.reloptions, '{}'),
    pg_catalog.obj_description(c.oid, 'pg_class'), pg_catalog.pg_relation_size(c.oid)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
WHERE c.oid = ANY($1::pg_catalog.oid[])";

const GRANTS: &str = "
SELECT c.oid, CASE WHEN a.grantee = 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END, a.privilege_type
FROM pg_catalog.pg_class c, LATERAL pg_catalog.aclexplode(c.relacl) a
WHERE c.oid = ANY($1::pg_catalog.oid[]) AND a.grantee <> c.relowner";

const STATISTICS: &str = "
SELECT attrelid, attname::pg_catalog.text, attstattarget::pg_catalog.int4 FROM pg_catalog.pg_attribute
WHERE attrelid = ANY($1::pg_catalog.oid[]) AND attnum > 0 AND NOT attisdropped AND attstattarget >= 0";

const INDEXES: &str = "
SELECT x.indrelid, i.relname::pg_catalog.text, x.indisvalid, x.indisunique, pg_catalog.pg_get_indexdef(x.indexrelid)
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = ANY($1::pg_catalog.oid[]) AND NOT i.relispartition
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x'))";

const POLICIES: &str = "
SELECT polrelid, polname::pg_catalog.text, polpermissive, polcmd::pg_catalog.text,
    ARRAY(SELECT CASE WHEN r = 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(r)::pg_catalog.text END FROM pg_catalog.unnest(polroles) r),
    pg_catalog.pg_get_expr(polqual, polrelid), pg_catalog.pg_get_expr(polwithcheck, polrelid)
FROM pg_catalog.pg_policy WHERE polrelid = ANY($1::pg_catalog.oid[])";

const NAMES: &str = "
SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1::pg_catalog.text AND c.relname = ANY($2::pg_catalog.text[])";

const FOREIGN_KEYS: &str = "
SELECT k.own, n.nspname::pg_catalog.text || '.' || c.relname::pg_catalog.text
FROM (SELECT conrelid AS own, confrelid AS other FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conrelid = ANY($1::pg_catalog.oid[])
      UNION SELECT confrelid, conrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = ANY($1::pg_catalog.oid[])) k
JOIN pg_catalog.pg_class c ON c.oid = k.other AND NOT c.relispartition JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/// Answers what a plan needs to know. Must run between [`Session::begin_reading`] and [`Session::end_reading`].
///
/// # Errors
/// What the server or the connection said.
pub async fn observe(session: &Session, needs: &Needs) -> Result<Details, Fault> {
    // All at once: one round trip.
    let (properties, taken, foreign_keys) =
        futures::try_join!(properties(session, &needs.properties), taken(session, needs), foreign_keys(session, needs))?;
    let mut details = Details { properties, taken, foreign_keys, ..Details::default() };
    for question in &needs.default_rows {
        let rows = rows_within(session, question).await?;
        details.default_rows.insert(question.clone(), rows);
    }
    Ok(details)
}

/// Which of the names are taken, by schema.
async fn taken(session: &Session, needs: &Needs) -> Result<BTreeMap<String, BTreeSet<String>>, Fault> {
    let mut taken = BTreeMap::new();
    for (schema, names) in &needs.names {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rows = session.query(NAMES, &[(schema, Type::TEXT), (&names, Type::TEXT_ARRAY)]).await?;
        taken.insert(schema.clone(), rows.iter().map(|row| row.get(0)).collect());
    }
    Ok(taken)
}

/// Tables on the other side of foreign keys, by the table on this side.
async fn foreign_keys(session: &Session, needs: &Needs) -> Result<BTreeMap<Oid, BTreeSet<String>>, Fault> {
    let mut found: BTreeMap<Oid, BTreeSet<String>> = BTreeMap::new();
    if !needs.foreign_keys.is_empty() {
        let oids: Vec<Oid> = needs.foreign_keys.iter().copied().collect();
        for row in session.query(FOREIGN_KEYS, &[(&oids, Type::OID_ARRAY)]).await? {
            found.entry(row.get(0)).or_default().insert(row.get(1));
        }
    }
    Ok(found)
}

/// Counts as the owner, because our own role may hold no SELECT. Back to the login role afterwards, in the same transaction.
async fn rows_within(session: &Session, question: &RowsWithin) -> Result<i64, Fault> {
    let range =
        KeyRange { column: &question.column, type_name: &question.type_name, lower: &question.lower, upper: &question.upper };
    let query = format!(
        "SELECT pg_catalog.count(*) FROM (SELECT 1 FROM ONLY {} WHERE {} LIMIT {ROWS_COUNTED}) AS within",
        table(&question.table),
        range.within(),
    );
    session.client().batch_execute(&format!("SET LOCAL ROLE {}", ident(&question.owner))).await?;
    let rows: i64 = session.client().query_one(&query, &[]).await?.get(0);
    session.client().batch_execute("RESET ROLE").await?;
    Ok(rows)
}

/// Adds one row of a query to the properties of its table.
type Fill = fn(&mut Properties, &Row);

async fn properties(session: &Session, wanted: &BTreeSet<Oid>) -> Result<BTreeMap<Oid, Properties>, Fault> {
    let oids: Vec<Oid> = wanted.iter().copied().collect();
    if oids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut found: BTreeMap<Oid, Properties> = BTreeMap::new();
    let ask = async |query| session.query(query, &[(&oids, Type::OID_ARRAY)]).await;
    let (tables, grants, statistics, indexes, policies) =
        futures::try_join!(ask(TABLES), ask(GRANTS), ask(STATISTICS), ask(INDEXES), ask(POLICIES))?;
    found.extend(tables.iter().map(|row| (row.get(0), of_table(row))));
    let fills: [(Vec<Row>, Fill); 4] =
        [(grants, add_grant), (statistics, add_statistics), (indexes, add_index), (policies, add_policy)];
    for (rows, fill) in fills {
        for row in rows {
            if let Some(properties) = found.get_mut(&row.get(0)) {
                fill(properties, &row);
            }
        }
    }
    Ok(found)
}

fn of_table(row: &Row) -> Properties {
    let mut properties = Properties {
        owner: row.get(1),
        tablespace: row.get(2),
        replica_identity: row.get::<_, String>(3).chars().next().unwrap_or('d'),
        row_security: row.get(4),
        row_security_forced: row.get(5),
        comment: row.get(8),
        bytes: row.get::<_, Option<i64>>(9).unwrap_or(0),
        ..Properties::default()
    };
    let own: Vec<String> = row.get(6);
    let toast: Vec<String> = row.get(7);
    let pairs = own
        .into_iter()
        .map(|option| (String::new(), option))
        .chain(toast.into_iter().map(|option| ("toast.".to_owned(), option)));
    for (prefix, option) in pairs {
        if let Some((name, value)) = option.split_once('=') {
            properties.storage_parameters.insert(format!("{prefix}{name}"), value.to_owned());
        }
    }
    properties
}

fn add_grant(properties: &mut Properties, row: &Row) {
    properties.grants.entry(row.get(1)).or_default().insert(row.get(2));
}

fn add_statistics(properties: &mut Properties, row: &Row) {
    properties.statistics.insert(row.get(1), row.get(2));
}

fn add_index(properties: &mut Properties, row: &Row) {
    let (name, valid, unique, definition): (String, bool, bool, String) = (row.get(1), row.get(2), row.get(3), row.get(4));
    if !valid {
        properties.invalid_indexes.insert(name);
        return;
    }
    // `CREATE INDEX name ON schema.table USING …`: what follows the table is the same for a sibling.
    let rest = definition.find(" USING ").map_or("", |at| &definition[at + 1..]);
    properties.indexes.insert(name, format!("{}{rest}", if unique { "UNIQUE " } else { "" }));
}

fn add_policy(properties: &mut Properties, row: &Row) {
    let command = match row.get::<_, String>(3).as_str() {
        "r" => "SELECT",
        "a" => "INSERT",
        "w" => "UPDATE",
        "d" => "DELETE",
        _ => "ALL",
    };
    let kind = if row.get(2) { "PERMISSIVE" } else { "RESTRICTIVE" };
    let roles: Vec<String> = row.get::<_, Vec<String>>(4).iter().map(|role| grantee(role)).collect();
    let mut definition = format!("AS {kind} FOR {command} TO {}", roles.join(", "));
    if let Some(using) = row.get::<_, Option<String>>(5) {
        definition.push_str(&format!(" USING ({using})"));
    }
    if let Some(check) = row.get::<_, Option<String>>(6) {
        definition.push_str(&format!(" WITH CHECK ({check})"));
    }
    properties.policies.insert(row.get(1), definition);
}

/// The extensions that the server offers, with the version where one is installed.
///
/// # Errors
/// What the server or the connection said.
pub async fn extensions(session: &Session) -> Result<BTreeMap<String, Option<String>>, Fault> {
    let query = "SELECT name::pg_catalog.text, installed_version FROM pg_catalog.pg_available_extensions";
    Ok(session.query(query, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}
