//! What does the catalog say of these tables? Two queries for any number of tables, without a lock above ACCESS SHARE on the catalog.
//!
//! The tree is read from `pg_inherits`: `pg_partition_tree()` locks every member and leaves out one whose detach is pending.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connect::Session;
use super::error::Fault;
use crate::plan::partition::GUARD_PREFIX;
use crate::plan::snapshot::{KeyColumn, Oid, Parent, Partition, Strategy, TableName, Tree};

/// A table to observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub table: TableName,
    /// Whether to ask for each partition if its file holds blocks; only a plain integer step needs that.
    pub blocks: bool,
}

const PARENTS: &str = "
WITH RECURSIVE tree AS (
    SELECT c.oid, c.oid AS root, NULL::pg_catalog.oid AS parent
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS w(schema, name)
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
  UNION ALL
    SELECT i.inhrelid, t.root, i.inhparent
    FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relkind = 'p'
)
SELECT t.oid, t.root, t.parent, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, p.partstrat::pg_catalog.text,
    o.rolname::pg_catalog.text,
    pg_catalog.pg_has_role(c.relowner, $3),
    pg_catalog.has_schema_privilege(c.relowner, c.relnamespace, 'CREATE'),
    p.partnatts::pg_catalog.int4,
    k.attname::pg_catalog.text, pg_catalog.format_type(k.atttypid, NULL), l.collname::pg_catalog.text, k.attnotnull,
    pg_catalog.pg_get_partkeydef(CASE WHEN p.partnatts > 1 THEN c.oid END)
FROM tree t
JOIN pg_catalog.pg_class c ON c.oid = t.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid
LEFT JOIN pg_catalog.pg_attribute k ON k.attrelid = c.oid AND k.attnum = p.partattrs[0] AND k.attnum > 0
LEFT JOIN pg_catalog.pg_collation l ON l.oid = p.partcollation[0]";

const PARTITIONS: &str = "
SELECT i.inhparent, c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
    coalesce(pg_catalog.pg_get_expr(c.relpartbound, c.oid), ''), c.relkind::pg_catalog.text, i.inhdetachpending,
    c.relpages::pg_catalog.int8, c.reltuples::pg_catalog.int8
FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhparent = ANY($1::pg_catalog.oid[])";

const BLOCKS: &str = "
SELECT o.oid, coalesce(pg_catalog.pg_relation_size(o.oid), 0),
    ARRAY(SELECT conname::pg_catalog.text FROM pg_catalog.pg_constraint
          WHERE conrelid = o.oid AND contype = 'c' AND pg_catalog.starts_with(conname::pg_catalog.text, $2))
FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS o(oid)";

/// The trees of these tables, in the order of the requests; `None` for a table that does not exist. Must run between
/// [`Session::begin_reading`] and [`Session::end_reading`].
///
/// # Errors
/// What the server or the connection said.
pub async fn observe(session: &Session, version_num: i32, requests: &[Request]) -> Result<Vec<Option<Tree>>, Fault> {
    let schemas: Vec<&str> = requests.iter().map(|request| request.table.schema.as_str()).collect();
    let names: Vec<&str> = requests.iter().map(|request| request.table.name.as_str()).collect();
    // From 16 on, membership alone does not allow SET ROLE (release notes 16, GRANT … WITH SET).
    let may_act = if version_num >= 160_000 { "SET" } else { "MEMBER" };
    let rows =
        session.query(PARENTS, &[(&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY), (&may_act, Type::TEXT)]).await?;
    let mut roots: HashMap<TableName, Oid> = HashMap::new();
    let mut parents: HashMap<Oid, Vec<Parent>> = HashMap::new();
    for row in &rows {
        let (root, parent) = (row.get::<_, Oid>(1), parent(row));
        if parent.oid == root {
            roots.insert(parent.table.clone(), root);
        }
        parents.entry(root).or_default().push(parent);
    }
    let mut partitions = partitions(session, &parents).await?;
    let mut trees: HashMap<Oid, Tree> = HashMap::new();
    for (root, mut members) in parents {
        for member in &mut members {
            member.partitions = partitions.remove(&member.oid).unwrap_or_default();
        }
        if let Some(table) = members.iter().find(|parent| parent.oid == root).map(|parent| parent.table.clone()) {
            trees.insert(root, Tree { table, oid: root, parents: members });
        }
    }
    let mut found: Vec<Option<Tree>> =
        requests.iter().map(|request| roots.get(&request.table).and_then(|root| trees.get(root)).cloned()).collect();
    blocks(session, requests, &mut found).await?;
    Ok(found)
}

fn parent(row: &Row) -> Parent {
    let strategy = row.get::<_, Option<String>>(5).and_then(|strategy| match strategy.as_str() {
        "r" => Some(Strategy::Range),
        "l" => Some(Strategy::List),
        "h" => Some(Strategy::Hash),
        _ => None,
    });
    Parent {
        oid: row.get(0),
        table: TableName { schema: row.get(3), name: row.get(4) },
        parent: row.get(2),
        strategy,
        key: key(row),
        owner: row.get(6),
        may_act_as_owner: row.get(7),
        owner_may_create: row.get(8),
        partitions: vec![],
    }
}

/// The key's columns. Of several only the number matters to the planner; their names come from the key's definition.
fn key(row: &Row) -> Vec<KeyColumn> {
    let column = |name: String| KeyColumn {
        name,
        type_name: row.get::<_, Option<String>>(11).unwrap_or_default(),
        collation: row.get(12),
        not_null: row.get::<_, Option<bool>>(13).unwrap_or(false),
    };
    match (row.get::<_, Option<i32>>(9), row.get::<_, Option<String>>(10)) {
        (Some(1), Some(name)) => vec![column(name)],
        (Some(count), _) if count > 1 => {
            let definition: String = row.get::<_, Option<String>>(14).unwrap_or_default();
            let inside = definition.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
            inside.split(", ").map(|name| column(name.to_owned())).collect()
        }
        _ => vec![],
    }
}

async fn partitions(session: &Session, parents: &HashMap<Oid, Vec<Parent>>) -> Result<HashMap<Oid, Vec<Partition>>, Fault> {
    let oids: Vec<Oid> = parents.values().flatten().filter(|parent| parent.strategy.is_some()).map(|parent| parent.oid).collect();
    let mut found: HashMap<Oid, Vec<Partition>> = HashMap::new();
    if oids.is_empty() {
        return Ok(found);
    }
    for row in session.query(PARTITIONS, &[(&oids, Type::OID_ARRAY)]).await? {
        found.entry(row.get(0)).or_default().push(Partition {
            oid: row.get(1),
            table: TableName { schema: row.get(2), name: row.get(3) },
            bound: row.get(4),
            kind: row.get::<_, String>(5).chars().next().unwrap_or('r'),
            detach_pending: row.get(6),
            pages: row.get(7),
            tuples: row.get(8),
            has_blocks: None,
            bytes: None,
            leftover_guards: vec![],
        });
    }
    Ok(found)
}

/// Sizes and leftover guards, for default partitions, and for all partitions where a request wants them.
async fn blocks(session: &Session, requests: &[Request], trees: &mut [Option<Tree>]) -> Result<(), Fault> {
    let mut wanted: BTreeMap<Oid, ()> = BTreeMap::new();
    for (request, tree) in requests.iter().zip(trees.iter()) {
        let partitions = tree.iter().flat_map(|tree| &tree.parents).flat_map(|parent| &parent.partitions);
        wanted.extend(partitions.filter(|p| request.blocks || p.bound == "DEFAULT").map(|p| (p.oid, ())));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let oids: Vec<Oid> = wanted.into_keys().collect();
    let mut sizes: HashMap<Oid, (i64, Vec<String>)> = HashMap::new();
    for row in session.query(BLOCKS, &[(&oids, Type::OID_ARRAY), (&GUARD_PREFIX, Type::TEXT)]).await? {
        sizes.insert(row.get(0), (row.get(1), row.get(2)));
    }
    for partition in trees.iter_mut().flatten().flat_map(|tree| &mut tree.parents).flat_map(|parent| &mut parent.partitions) {
        if let Some((bytes, guards)) = sizes.get(&partition.oid) {
            partition.has_blocks = Some(*bytes > 0);
            partition.bytes = Some(*bytes);
            partition.leftover_guards.clone_from(guards);
        }
    }
    Ok(())
}
