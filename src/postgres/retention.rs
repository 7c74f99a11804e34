//! What does the catalog say of data that may leave? Sizes, marks, closed partitions, and who refers to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::catalog::{self, Request};
use super::connect::Session;
use super::error::{Fault, FaultKind};
use crate::plan::action::Relation;
use crate::plan::removal::Reference;
use crate::plan::retention::{Archive, Catalog, Detail, Incoming, MARK, Mark, Retired};
use crate::plan::snapshot::{Oid, TableName, Tree};
use crate::sql::export::{CLOSED, export_of};
use crate::sql::quote::{ident, table};

/// Sizes are those of files, and take no lock that anybody would feel.
const DETAILS: &str = "
SELECT c.oid, pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text, coalesce(pg_catalog.pg_total_relation_size(c.oid), 0),
    greatest(c.reltuples, 0)::pg_catalog.int8, pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_class c WHERE c.oid = ANY($1::pg_catalog.oid[])";

const MARKED: &str = "
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text,
    pg_catalog.pg_has_role(c.relowner, $2), d.description, coalesce(pg_catalog.pg_total_relation_size(c.oid), 0)
FROM pg_catalog.pg_description d
JOIN pg_catalog.pg_class c ON c.oid = d.objoid AND c.relkind = 'r' AND NOT c.relispartition
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 AND pg_catalog.starts_with(d.description, $1)";

const CLOSINGS: &str = "
SELECT k.conrelid, pg_catalog.obj_description(k.oid, 'pg_constraint') FROM pg_catalog.pg_constraint k
WHERE k.conrelid = ANY($1::pg_catalog.oid[]) AND k.contype = 'c' AND k.conname = $2::pg_catalog.text";

const OUTGOING: &str = "
SELECT k.conrelid, k.conname::pg_catalog.text, n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.confrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY($1::pg_catalog.oid[])
ORDER BY 1, 2";

/// Of a key that refers to a partitioned table the catalog holds a copy for each partition; only the first of them is the user's.
const INCOMING: &str = "
SELECT k.conrelid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, k.conname::pg_catalog.text,
    ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u(attnum, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY u.place),
    k.confrelid, fn.nspname::pg_catalog.text, f.relname::pg_catalog.text,
    ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY u(attnum, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum ORDER BY u.place),
    (SELECT coalesce(sum(greatest(p.relpages, 0)), 0) FROM pg_catalog.pg_class p
     WHERE p.oid = k.conrelid OR p.oid IN (SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = k.conrelid))::pg_catalog.int8,
    pg_catalog.pg_get_userbyid(f.relowner)::pg_catalog.text, pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY($1::pg_catalog.oid[])
ORDER BY 2, 3, 4";

const INDEXES: &str = "
SELECT x.indrelid, i.relname::pg_catalog.text, x.indisunique, pg_catalog.pg_get_indexdef(x.indexrelid)
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
WHERE x.indisvalid AND x.indrelid = ANY($1::pg_catalog.oid[])";

const ARCHIVE_KEYS: &str = "
SELECT k.conname::pg_catalog.text FROM pg_catalog.pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = $1::pg_catalog.oid OR k.confrelid = $1::pg_catalog.oid)";

/// Longest that one look for rows that refer to a partition may take. Where it takes longer, the detach itself finds them.
const REFERENCES_TIMEOUT: &str = "5s";

/// What the catalog says beyond the tree. `archive` is the table that partitions move to, if they do. Must run between
/// [`Session::begin_reading`] and [`Session::end_reading`].
///
/// # Errors
/// What the server or the connection said.
pub async fn observe(session: &Session, version_num: i32, tree: &Tree, archive: Option<&TableName>) -> Result<Catalog, Fault> {
    let partitions: Vec<Oid> = tree.parents.iter().flat_map(|parent| &parent.partitions).map(|partition| partition.oid).collect();
    let parents: Vec<Oid> = tree.parents.iter().map(|parent| parent.oid).collect();
    let relations: Vec<Oid> = parents.iter().chain(&partitions).copied().collect();
    let (details, marked, incoming) = futures::try_join!(
        async { session.query(DETAILS, &[(&partitions, Type::OID_ARRAY)]).await },
        marked(session, version_num, tree),
        async { session.query(INCOMING, &[(&relations, Type::OID_ARRAY)]).await },
    )?;
    let mut catalog = Catalog {
        details: details.iter().map(|row| (row.get(0), detail(row))).collect(),
        retired: marked,
        incoming: incoming.iter().map(incoming_key).collect(),
        ..Catalog::default()
    };
    let closable: Vec<Oid> = partitions.iter().copied().chain(catalog.retired.iter().map(|retired| retired.table.oid)).collect();
    for row in session.query(CLOSINGS, &[(&closable, Type::OID_ARRAY), (&CLOSED, Type::TEXT)]).await? {
        let comment: Option<String> = row.get(1);
        // A constraint of that name whose comment names no export closes as well, and proves nothing.
        let export = comment.as_deref().and_then(export_of).unwrap_or_default().to_owned();
        catalog.closed.insert(row.get(0), export);
    }
    if let Some(archive) = archive {
        catalog.archive = observe_archive(session, version_num, archive).await?;
        for (oid, _, definition) in indexes(session, &partitions).await? {
            catalog.details.entry(oid).or_default().indexes.insert(definition);
        }
    }
    Ok(catalog)
}

fn detail(row: &Row) -> Detail {
    Detail { owner: row.get(1), bytes: row.get(2), rows: row.get(3), comment: row.get(4), indexes: BTreeSet::new() }
}

fn incoming_key(row: &Row) -> Incoming {
    let relation = |oid: usize, schema: usize, name: usize| Relation {
        oid: row.get(oid),
        table: TableName { schema: row.get(schema), name: row.get(name) },
    };
    let key = Reference {
        table: relation(0, 1, 2),
        constraint: row.get(3),
        columns: row.get(4),
        target: relation(5, 6, 7),
        target_columns: row.get(8),
    };
    Incoming { key, pages: row.get(9), referenced: BTreeSet::new() }
}

/// Tables whose mark names one of the tree's partitioned tables as their former parent.
async fn marked(session: &Session, version_num: i32, tree: &Tree) -> Result<Vec<Retired>, Fault> {
    let may_act = if version_num >= 160_000 { "SET" } else { "MEMBER" };
    let rows = session.query(MARKED, &[(&MARK, Type::TEXT), (&may_act, Type::TEXT)]).await?;
    let is_ours = |mark: &Mark| tree.parents.iter().any(|parent| parent.table == mark.parent);
    let mut retired: Vec<Retired> = rows
        .iter()
        .filter_map(|row| {
            let mark = Mark::read(row.get(5)).filter(is_ours)?;
            Some(Retired {
                table: Relation { oid: row.get(0), table: TableName { schema: row.get(1), name: row.get(2) } },
                owner: row.get(3),
                may_act_as_owner: row.get(4),
                mark,
                bytes: row.get(6),
                foreign_keys: vec![],
            })
        })
        .collect();
    retired.sort_by(|a, b| (&a.mark.retired_at, &a.table).cmp(&(&b.mark.retired_at, &b.table)));
    let oids: Vec<Oid> = retired.iter().map(|retired| retired.table.oid).collect();
    if !oids.is_empty() {
        let mut keys: HashMap<Oid, Vec<(String, TableName)>> = HashMap::new();
        for row in session.query(OUTGOING, &[(&oids, Type::OID_ARRAY)]).await? {
            keys.entry(row.get(0)).or_default().push((row.get(1), TableName { schema: row.get(2), name: row.get(3) }));
        }
        for retired in &mut retired {
            retired.foreign_keys = keys.remove(&retired.table.oid).unwrap_or_default();
        }
    }
    Ok(retired)
}

async fn observe_archive(session: &Session, version_num: i32, archive: &TableName) -> Result<Option<Archive>, Fault> {
    let request = Request { table: archive.clone(), blocks: false };
    let Some(tree) = catalog::observe(session, version_num, &[request]).await?.pop().flatten() else { return Ok(None) };
    let found = indexes(session, &[tree.oid]).await?;
    let indexes: BTreeMap<String, String> = found.into_iter().map(|(_, name, definition)| (name, definition)).collect();
    let keys = session.query(ARCHIVE_KEYS, &[(&tree.oid, Type::OID)]).await?;
    Ok(Some(Archive { indexes, foreign_keys: keys.iter().map(|row| row.get(0)).collect(), tree }))
}

/// Valid indexes: table, name, and what makes two of them alike.
async fn indexes(session: &Session, tables: &[Oid]) -> Result<Vec<(Oid, String, String)>, Fault> {
    let tables = tables.to_vec();
    let rows = session.query(INDEXES, &[(&tables, Type::OID_ARRAY)]).await?;
    let of = |row: &Row| {
        let (unique, definition): (bool, String) = (row.get(2), row.get(3));
        let rest = definition.find(" USING ").map_or("", |at| &definition[at + 1..]);
        (row.get(0), row.get(1), format!("{}{rest}", if unique { "UNIQUE " } else { "" }))
    };
    Ok(rows.iter().map(of).collect())
}

/// Finds out to which of these partitions a row of another table refers.
///
/// # Errors
/// What the server or the connection said; that it took too long is no error.
pub async fn references(session: &Session, tree: &Tree, candidates: &BTreeSet<Oid>, catalog: &mut Catalog) -> Result<(), Fault> {
    let all = tree.parents.iter().flat_map(|parent| parent.partitions.iter().map(move |partition| (parent, partition)));
    let wanted: Vec<_> = all.filter(|(_, partition)| candidates.contains(&partition.oid)).collect();
    for incoming in &mut catalog.incoming {
        for (parent, partition) in &wanted {
            let reaches = incoming.key.target.oid == partition.oid
                || incoming.key.target.oid == parent.oid
                || incoming.key.target.oid == tree.oid;
            if reaches && is_referenced(session, &incoming.key, &partition.table, &parent.owner).await? {
                incoming.referenced.insert(partition.oid);
            }
        }
    }
    Ok(())
}

async fn is_referenced(session: &Session, key: &Reference, partition: &TableName, owner: &str) -> Result<bool, Fault> {
    let on: Vec<String> = key
        .columns
        .iter()
        .zip(&key.target_columns)
        .map(|(own, target)| format!("r.{} = p.{}", ident(own), ident(target)))
        .collect();
    let query = format!(
        "SELECT EXISTS (SELECT 1 FROM {} r JOIN ONLY {} p ON {})",
        table(&key.table.table),
        table(partition),
        on.join(" AND ")
    );
    let client = session.client();
    // The comparison is by the types' own operators, which live in pg_catalog for every type that a key of ours has.
    client
        .batch_execute(&format!(
            "SAVEPOINT refers; SET LOCAL ROLE {}; SET LOCAL statement_timeout = '{REFERENCES_TIMEOUT}'",
            ident(owner)
        ))
        .await?;
    let found = client.query_one(&query, &[]).await.map(|row| row.get(0)).map_err(Fault::from);
    client.batch_execute("ROLLBACK TO SAVEPOINT refers; RELEASE SAVEPOINT refers").await?;
    match found {
        Ok(found) => Ok(found),
        Err(fault) if matches!(fault.kind, FaultKind::Statement | FaultKind::Privilege) => Ok(false),
        Err(fault) => Err(fault),
    }
}
