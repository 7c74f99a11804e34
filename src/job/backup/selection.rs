//! Which tables does a dump take, and may the role read all that it takes?

use std::collections::{BTreeMap, BTreeSet};

use crate::api::backup::{Content, What};
use crate::api::{Reason, TableName};
use crate::plan::action::Blocked;
use crate::plan::backup::manifest::Schema;
use crate::postgres::{Fault, Session};
use crate::sql::quote::{self, ident};

/// Statements in a message.
const LISTED: usize = 3;

/// Which tables a dump takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Tables whose rows are dumped.
    pub with_rows: Vec<TableName>,
    /// Tables that are dumped without their rows.
    pub without_rows: Vec<TableName>,
    /// Of those, the unlogged ones of a standby, which does not have their rows.
    pub unlogged: Vec<TableName>,
    /// Tables that have no rows of their own in the dump: partitioned ones, and all of a dump of definitions.
    pub definitions: Vec<TableName>,
    /// What the dump's arguments name: tables that are taken, with their partitions.
    pub taken: Vec<TableName>,
    /// Tables that are left out, with their partitions.
    pub left_out: Vec<TableName>,
    /// Every table that is dumped, by its OID.
    pub oids: Vec<u32>,
}

/// A table as the catalog has it.
#[derive(Clone, Debug)]
struct Found {
    oid: u32,
    name: TableName,
    /// Whether it has rows of its own.
    is_plain: bool,
    hides_rows: bool,
    /// Whether its rows are on another server.
    lacks_rows: bool,
    parents: Vec<u32>,
}

/// What the dump needs and the role may not read.
#[derive(Clone, Debug)]
struct Denied {
    name: TableName,
    is_sequence: bool,
    /// Whether its schema may be used.
    usable: bool,
    readable: bool,
}

/// Looks for the tables that `content` chooses. `owner` owns the database.
///
/// # Errors
/// What the server said, what is not there though `content` names it, or what the role may not read: the dump would fail in its middle.
pub async fn observe(session: &Session, content: &Content, owner: &str) -> Result<Selection, Blocked> {
    let refused = |fault: Fault| crate::pass::blocked("looking at the tables", &fault);
    let tables = tables(session).await.map_err(refused)?;
    let schemas = all_schemas(session).await.map_err(refused)?;
    let selection = select(&tables, &schemas, content)?;
    readable(session, &selection, &chosen_schemas(&schemas, content)).await?;
    visible(&tables, &selection, owner)?;
    Ok(selection)
}

/// The schemas of the chosen tables.
///
/// # Errors
/// What the server said.
pub async fn schemas(session: &Session, selection: &Selection) -> Result<Vec<Schema>, Fault> {
    let query = "SELECT DISTINCT n.nspname::pg_catalog.text, pg_catalog.pg_get_userbyid(n.nspowner)::pg_catalog.text \
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY($1::pg_catalog.oid[]) ORDER BY 1";
    let rows = session.client().query(query, &[&selection.oids]).await?;
    Ok(rows.iter().map(|row| Schema { name: row.get(0), owner: row.get(1) }).collect())
}

/// Schemas of users.
async fn all_schemas(session: &Session) -> Result<Vec<String>, Fault> {
    let query = "SELECT nspname::pg_catalog.text FROM pg_catalog.pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY 1";
    let rows = session.client().query(query, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Schemas of which the dump takes the sequences that belong to no table; none where rows are not dumped, since it is their values that
/// are read.
fn chosen_schemas(all: &[String], content: &Content) -> Option<Vec<String>> {
    match content {
        Content { what: What::SchemaOnly, .. } => None,
        Content { schemas, tables, .. } if schemas.is_empty() && tables.is_empty() => Some(all.to_vec()),
        Content { schemas, .. } => Some(schemas.clone()),
    }
}

/// Tables of users: neither the system's nor an extension's, whose own tables come with it.
async fn tables(session: &Session) -> Result<Vec<Found>, Fault> {
    let query = "SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind = 'r', pg_catalog.row_security_active(c.oid), \
        c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery(), \
        ARRAY(SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) \
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e') \
        ORDER BY 2, 3";
    let rows = session.client().query(query, &[]).await?;
    let found = |row: &tokio_postgres::Row| Found {
        oid: row.get(0),
        name: TableName { schema: row.get(1), name: row.get(2) },
        is_plain: row.get(3),
        // Row security is off in this session, so that a table that it concerns would be refused; this says which.
        hides_rows: row.get(4),
        lacks_rows: row.get(5),
        parents: row.get(6),
    };
    Ok(rows.iter().map(found).collect())
}

/// Row security that applies to us would make the dump fail in its middle.
fn visible(tables: &[Found], selection: &Selection, owner: &str) -> Result<(), Blocked> {
    let hidden = tables.iter().find(|found| found.hides_rows && selection.with_rows.contains(&found.name));
    match hidden {
        None => Ok(()),
        Some(found) => {
            let message = format!(
                "row security hides rows of {} from this role, so a dump would lack them; back up as its owner ({owner} owns the database), or run: ALTER ROLE … BYPASSRLS",
                found.name
            );
            Err(Blocked::new(Reason::MissingPrivilege, message))
        }
    }
}

/// `pg_dump` locks every table that it dumps, even without rows, and reads the values of sequences: whoever may not read them is refused after
/// an hour perhaps, and in words that name one of them.
async fn readable(session: &Session, selection: &Selection, sequences: &Option<Vec<String>>) -> Result<(), Blocked> {
    let query = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind = 'S', \
        pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_table_privilege(c.oid, 'SELECT'), current_user::pg_catalog.text \
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        LEFT JOIN LATERAL (SELECT d.refobjid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
        AND d.objid = c.oid AND d.refclassid = d.classid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') LIMIT 1) owning ON c.relkind = 'S' \
        WHERE (c.oid = ANY($1::pg_catalog.oid[]) OR ($2 AND c.relkind = 'S' AND c.relpersistence <> 't' AND (owning.refobjid = ANY($1::pg_catalog.oid[]) \
        OR (owning.refobjid IS NULL AND n.nspname = ANY($3::pg_catalog.text[]))) \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'))) \
        AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')) ORDER BY 1, 2";
    let schemas = sequences.clone().unwrap_or_default();
    let rows = session.client().query(query, &[&selection.oids, &sequences.is_some(), &schemas]).await;
    let rows = rows.map_err(|error| crate::pass::blocked("looking at the role's privileges", &error.into()))?;
    let Some(role) = rows.first().map(|row| row.get::<_, String>(5)) else { return Ok(()) };
    let denied = |row: &tokio_postgres::Row| Denied {
        name: TableName { schema: row.get(0), name: row.get(1) },
        is_sequence: row.get(2),
        usable: row.get(3),
        readable: row.get(4),
    };
    let denied: Vec<Denied> = rows.iter().map(denied).collect();
    let message = format!("role {role} may not read all that is to be dumped; run: {}", grants(&denied, &role));
    Err(Blocked::new(Reason::MissingPrivilege, message))
}

/// The statements that give what lacks.
fn grants(denied: &[Denied], role: &str) -> String {
    let mut statements = Vec::new();
    for Denied { name, is_sequence, usable, readable } in denied {
        let usage = format!("GRANT USAGE ON SCHEMA {} TO {}", ident(&name.schema), ident(role));
        if !usable && !statements.contains(&usage) {
            statements.push(usage);
        }
        if !readable {
            let kind = if *is_sequence { "SEQUENCE " } else { "" };
            statements.push(format!("GRANT SELECT ON {kind}{} TO {}", quote::table(name), ident(role)));
        }
    }
    let more = statements.len().saturating_sub(LISTED);
    statements.truncate(LISTED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}; or, for everything: GRANT pg_read_all_data TO {}", statements.join("; "), ident(role))
}

/// Which tables the dump takes, by the rules of `pg_dump`, except that a table comes and goes with its partitions.
fn select(tables: &[Found], schemas: &[String], content: &Content) -> Result<Selection, Blocked> {
    if let Some(schema) = content.schemas.iter().find(|schema| !schemas.contains(schema)) {
        let message = format!(
            "content.schemas names {schema}, and there is no such schema (names are case-sensitive): correct the name, or create the schema"
        );
        return Err(Blocked::new(Reason::InvalidSpec, message));
    }
    let by_name: BTreeMap<&TableName, &Found> = tables.iter().map(|found| (&found.name, found)).collect();
    let family = |field: &str, names: &[TableName]| -> Result<BTreeSet<u32>, Blocked> {
        let mut family = BTreeSet::new();
        for name in names {
            let found = by_name.get(name).ok_or_else(|| {
                let message = format!("content.{field} names {name}, and there is no such table (names are case-sensitive)");
                Blocked::new(Reason::TableNotFound, message)
            })?;
            family.insert(found.oid);
        }
        loop {
            let before = family.len();
            let children = tables.iter().filter(|found| found.parents.iter().any(|parent| family.contains(parent)));
            let children: Vec<u32> = children.map(|found| found.oid).collect();
            family.extend(children);
            if family.len() == before {
                return Ok(family);
            }
        }
    };
    let taken = family("tables", &content.tables)?;
    let left_out = family("excludeTables", &content.exclude_tables)?;
    let bare = family("excludeRows", &content.exclude_rows)?;
    let names =
        |oids: &BTreeSet<u32>| tables.iter().filter(|found| oids.contains(&found.oid)).map(|found| found.name.clone()).collect();
    let mut selection = Selection { taken: names(&taken), left_out: names(&left_out), ..Selection::default() };
    for found in tables {
        let chosen = (content.schemas.is_empty() && content.tables.is_empty())
            || content.schemas.contains(&found.name.schema)
            || taken.contains(&found.oid);
        if !chosen || left_out.contains(&found.oid) {
            continue;
        }
        selection.oids.push(found.oid);
        let list = if !found.is_plain || content.what == What::SchemaOnly {
            &mut selection.definitions
        } else if bare.contains(&found.oid) {
            &mut selection.without_rows
        } else if found.lacks_rows {
            selection.unlogged.push(found.name.clone());
            &mut selection.without_rows
        } else {
            &mut selection.with_rows
        };
        list.push(found.name.clone());
    }
    Ok(selection)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(text: &str) -> TableName {
        let (schema, name) = text.split_once('.').unwrap();
        TableName { schema: schema.into(), name: name.into() }
    }

    fn tables() -> Vec<Found> {
        let found = |oid: u32, text: &str, is_plain: bool, parents: &[u32]| Found {
            oid,
            name: name(text),
            is_plain,
            hides_rows: false,
            lacks_rows: false,
            parents: parents.to_vec(),
        };
        vec![
            found(1, "public.events", false, &[]),
            found(2, "public.events_1", true, &[1]),
            found(3, "public.events_2", false, &[1]),
            found(4, "public.events_2_a", true, &[3]),
            found(5, "public.users", true, &[]),
            found(6, "audit.log", true, &[]),
        ]
    }

    fn select(content: serde_json::Value) -> Result<Selection, Blocked> {
        let schemas = ["public", "audit"].map(str::to_owned);
        super::select(&tables(), &schemas, &serde_json::from_value(content).unwrap())
    }

    #[test]
    fn a_table_comes_and_goes_with_its_partitions() {
        let selection = select(json!({"tables": [{"name": "events"}]})).unwrap();
        assert_eq!(selection.with_rows, [name("public.events_1"), name("public.events_2_a")]);
        assert_eq!(selection.taken.len(), 4);
        assert_eq!(selection.definitions, [name("public.events"), name("public.events_2")]);
        let selection = select(json!({"excludeTables": [{"name": "events"}]})).unwrap();
        assert_eq!(selection.with_rows, [name("public.users"), name("audit.log")]);
        let selection = select(json!({"excludeRows": [{"name": "events"}], "schemas": ["public"]})).unwrap();
        assert_eq!((selection.with_rows, selection.without_rows.len()), (vec![name("public.users")], 2));
    }

    #[test]
    fn what_is_not_there_is_no_empty_backup() {
        let blocked = select(json!({"tables": [{"name": "user"}]})).unwrap_err();
        assert!(blocked.message.contains("content.tables names public.user"), "{}", blocked.message);
        let blocked = select(json!({"schemas": ["audit", "Audit"]})).unwrap_err();
        assert!(blocked.message.contains("content.schemas names Audit"), "{}", blocked.message);
    }

    #[test]
    fn a_dump_of_definitions_has_no_rows_to_count() {
        let selection = select(json!({"what": "SchemaOnly"})).unwrap();
        assert_eq!((selection.with_rows.len(), selection.definitions.len()), (0, 6));
    }

    #[test]
    fn what_lacks_is_a_statement_each_until_it_is_too_much() {
        let denied = |table: &str, is_sequence: bool, usable: bool, readable: bool| Denied {
            name: name(table),
            is_sequence,
            usable,
            readable,
        };
        let lacking = [
            denied("audit.log", false, false, false),
            denied("audit.Log", false, false, true),
            denied("public.ids", true, true, false),
            denied("public.users", false, true, false),
        ];
        let said = grants(&lacking, "backup");
        assert!(
            said.starts_with("GRANT USAGE ON SCHEMA \"audit\" TO \"backup\"; GRANT SELECT ON \"audit\".\"log\" TO"),
            "{said}"
        );
        assert!(said.contains("GRANT SELECT ON SEQUENCE \"public\".\"ids\" TO \"backup\" and 1 more"), "{said}");
        assert!(said.ends_with("or, for everything: GRANT pg_read_all_data TO \"backup\""), "{said}");
    }
}
