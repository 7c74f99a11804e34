//! What is backed up? One snapshot that the dump shares, and in it what a dump does not say: how the database was made, and how many rows
//! every table has.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::api::backup::{Content, What};
use crate::api::{Reason, TableName};
use crate::plan::action::Blocked;
use crate::plan::backup::manifest::{Database, Extension, Grant, Properties, Setting, Snapshot, TableRows};
use crate::postgres::{Fault, Session, server};
use crate::sql::quote;

/// Opens the transaction whose snapshot everything shares. It may stay open for hours, so nothing of the server's or the role's own
/// settings ends it; rows that row security would hide are an error.
const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL search_path = ''; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL standard_conforming_strings = on; \
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '60s'; SET LOCAL row_security = off";

/// The same for what only newer servers know.
const BEGIN_17: &str = "SET LOCAL transaction_timeout = 0";

/// What was found in the snapshot.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name, for `pg_dump --snapshot`.
    pub name: String,
    /// When it was taken, and where in the log.
    pub snapshot: Snapshot,
    /// The database.
    pub database: Database,
    /// Its extensions.
    pub extensions: Vec<Extension>,
    /// Roles that own something in it, or were granted something.
    pub roles: Vec<String>,
    /// Large objects.
    pub large_objects: i64,
    /// The tables that are dumped with their rows, and those that are dumped without.
    pub selection: Selection,
}

/// Which tables a dump takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Tables whose rows are dumped.
    pub with_rows: Vec<TableName>,
    /// Tables that are dumped without their rows.
    pub without_rows: Vec<TableName>,
    /// What the dump's arguments name: tables that are taken, with their partitions.
    pub taken: Vec<TableName>,
    /// Tables that are left out, with their partitions.
    pub left_out: Vec<TableName>,
}

/// A table as the catalog has it.
#[derive(Clone, Debug)]
struct Found {
    oid: u32,
    name: TableName,
    /// Whether it has rows of its own.
    is_plain: bool,
    hides_rows: bool,
    parents: Vec<u32>,
}

/// Takes the snapshot and looks.
///
/// # Errors
/// What the server said, or what would make the dump less than it seems.
pub async fn observe(session: &Session, content: &Content) -> Result<Facts, Blocked> {
    let refused = |fault: Fault| crate::pass::blocked("looking at the database", &fault);
    let client = session.client();
    let version_num = server::observe(session).await.map_err(refused)?.version_num;
    let begin = if version_num >= 170_000 { format!("{BEGIN}; {BEGIN_17}") } else { BEGIN.into() };
    client.batch_execute(&begin).await.map_err(|error| refused(error.into()))?;
    let row = client
        .query_one("SELECT pg_catalog.pg_export_snapshot(), pg_catalog.transaction_timestamp(), \
            CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END::pg_catalog.text", &[])
        .await
        .map_err(|error| refused(error.into()))?;
    let at: Timestamp = row.get(1);
    let database = database(session).await.map_err(refused)?;
    let tables = tables(session).await.map_err(refused)?;
    let selection = select(&tables, content)?;
    visible(&tables, &selection, &database.properties.owner)?;
    let extensions = extensions(session).await.map_err(refused)?;
    let roles = roles(session).await.map_err(refused)?;
    let large_objects = client.query_one("SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata", &[]).await;
    let large_objects = large_objects.map_err(|error| refused(error.into()))?.get(0);
    Ok(Facts {
        name: row.get(0),
        snapshot: Snapshot { at, lsn: row.get(2) },
        database,
        extensions,
        roles,
        large_objects,
        selection,
    })
}

/// What `content` leaves out although somebody may expect it: `pg_dump` says nothing of it.
pub fn omitted(facts: &Facts, content: &Content) -> Vec<String> {
    let mut omitted = Vec::new();
    let chooses = !content.schemas.is_empty() || !content.tables.is_empty();
    if chooses && facts.large_objects > 0 {
        omitted.push(format!("{} large objects: a choice of schemas or tables leaves them out", facts.large_objects));
    }
    let ours = facts.extensions.iter().filter(|extension| extension.name != "plpgsql").map(|extension| extension.name.as_str());
    let ours: Vec<&str> = ours.collect();
    if chooses && !ours.is_empty() {
        omitted.push(format!("the extensions {}: a choice of schemas or tables leaves them out", ours.join(", ")));
    }
    omitted
}

/// Counts the rows of every table that is dumped with its rows, in the snapshot.
///
/// # Errors
/// What the server said.
pub async fn count(session: &Session, selection: &Selection) -> Result<Vec<TableRows>, Blocked> {
    let mut counted: Vec<TableRows> =
        selection.without_rows.iter().map(|table| TableRows { table: table.clone(), rows: 0 }).collect();
    for table in &selection.with_rows {
        let query = format!("SELECT pg_catalog.count(*) FROM ONLY {}", quote::table(table));
        let row = session.client().query_one(&query, &[]).await;
        let row = row.map_err(|error| crate::pass::blocked(&format!("counting the rows of {table}"), &error.into()))?;
        counted.push(TableRows { table: table.clone(), rows: row.get(0) });
    }
    counted.sort();
    Ok(counted)
}

/// Bytes that the rows of the chosen tables take on the server's disk: about what a dump of them reads.
///
/// # Errors
/// What the server said.
pub async fn bytes(session: &Session, selection: &Selection) -> Result<i64, Blocked> {
    let names: Vec<String> = selection.with_rows.iter().map(|table| quote::table(table).to_string()).collect();
    let query = "SELECT coalesce(sum(pg_catalog.pg_table_size(name::pg_catalog.regclass)), 0)::pg_catalog.int8 FROM pg_catalog.unnest($1::pg_catalog.text[]) AS name";
    let row = session.client().query_one(query, &[&names]).await;
    Ok(row.map_err(|error| crate::pass::blocked("the sizes of tables", &error.into()))?.get(0))
}

async fn database(session: &Session) -> Result<Database, Fault> {
    let client = session.client();
    let query = "SELECT d.oid, d.datname::pg_catalog.text, pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text, \
        pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text, pg_catalog.to_jsonb(d), \
        pg_catalog.shobj_description(d.oid, 'pg_database'), pg_catalog.pg_database_size(d.oid), \
        pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') \
        FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
    let row = client.query_one(query, &[]).await?;
    let columns: Value = row.get(4);
    let text = |name: &str| columns[name].as_str().map(str::to_owned);
    let grants = "SELECT CASE a.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END, a.privilege_type, a.is_grantable \
        FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a WHERE d.datname = pg_catalog.current_database() ORDER BY 1, 2";
    let grants = client.query(grants, &[]).await?;
    let grant = |row: &tokio_postgres::Row| Grant { grantee: row.get(0), privilege: row.get(1), grantable: row.get(2) };
    let settings = "SELECT coalesce(r.rolname::pg_catalog.text, ''), s FROM pg_catalog.pg_db_role_setting x \
        JOIN pg_catalog.pg_database d ON d.oid = x.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = x.setrole, \
        pg_catalog.unnest(x.setconfig) s WHERE d.datname = pg_catalog.current_database() ORDER BY 1, 2";
    let settings = client.query(settings, &[]).await?;
    let setting = |row: &tokio_postgres::Row| {
        let (name, value) = row.get::<_, &str>(1).split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))?;
        Some(Setting { role: row.get(0), name, value })
    };
    let properties = Properties {
        owner: row.get(2),
        encoding: row.get(3),
        collate: text("datcollate").unwrap_or_default(),
        ctype: text("datctype").unwrap_or_default(),
        provider: match text("datlocprovider").as_deref() {
            Some("i") => "icu".into(),
            Some("b") => "builtin".into(),
            _ => "libc".into(),
        },
        // Named so since 17, and before that for ICU only.
        locale: text("datlocale").or_else(|| text("daticulocale")),
        icu_rules: text("daticurules"),
        connection_limit: columns["datconnlimit"].as_i64().and_then(|limit| i32::try_from(limit).ok()).unwrap_or(-1),
        comment: row.get(5),
        grants: (!columns["datacl"].is_null()).then(|| grants.iter().map(grant).collect()),
        settings: settings.iter().filter_map(setting).collect(),
    };
    let system_identifier = if row.get(7) { server::system_identifier(session).await } else { None };
    let server = server::observe(session).await?;
    Ok(Database {
        name: row.get(1),
        oid: row.get(0),
        system_identifier,
        server_version: server.version,
        version_num: server.version_num,
        bytes: row.get(6),
        properties,
    })
}

/// Tables of users: neither the system's nor an extension's, whose own tables come with it.
async fn tables(session: &Session) -> Result<Vec<Found>, Fault> {
    let query = "SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind = 'r', pg_catalog.row_security_active(c.oid), \
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
        parents: row.get(5),
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

async fn extensions(session: &Session) -> Result<Vec<Extension>, Fault> {
    let query = "SELECT extname::pg_catalog.text, extversion FROM pg_catalog.pg_extension ORDER BY 1";
    let rows = session.client().query(query, &[]).await?;
    Ok(rows.iter().map(|row| Extension { name: row.get(0), version: row.get(1) }).collect())
}

/// Who owns something or was granted something here. Of the role that initdb made, nothing is noted (pg_shdepend), so it is always named.
async fn roles(session: &Session) -> Result<Vec<String>, Fault> {
    let query = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database() \
        WHERE r.rolname !~ '^pg_' AND (r.oid IN (10, d.datdba) OR EXISTS (SELECT FROM pg_catalog.pg_shdepend s \
        WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = r.oid \
        AND (s.dbid = d.oid OR (s.dbid = 0 AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND s.objid = d.oid)))) ORDER BY 1";
    let rows = session.client().query(query, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Which tables the dump takes, by the rules of `pg_dump`, except that a table comes and goes with its partitions.
fn select(tables: &[Found], content: &Content) -> Result<Selection, Blocked> {
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
        if !chosen || left_out.contains(&found.oid) || !found.is_plain || content.what == What::SchemaOnly {
            continue;
        }
        let list = if bare.contains(&found.oid) { &mut selection.without_rows } else { &mut selection.with_rows };
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

    fn select(content: Value) -> Result<Selection, Blocked> {
        super::select(&tables(), &serde_json::from_value(content).unwrap())
    }

    #[test]
    fn a_table_comes_and_goes_with_its_partitions() {
        let selection = select(json!({"tables": [{"name": "events"}]})).unwrap();
        assert_eq!(selection.with_rows, [name("public.events_1"), name("public.events_2_a")]);
        assert_eq!(selection.taken.len(), 4);
        let selection = select(json!({"excludeTables": [{"name": "events"}]})).unwrap();
        assert_eq!(selection.with_rows, [name("public.users"), name("audit.log")]);
        let selection = select(json!({"excludeRows": [{"name": "events"}], "schemas": ["public"]})).unwrap();
        assert_eq!((selection.with_rows, selection.without_rows.len()), (vec![name("public.users")], 2));
    }

    #[test]
    fn a_table_that_is_not_there_is_no_empty_backup() {
        let blocked = select(json!({"tables": [{"name": "user"}]})).unwrap_err();
        assert!(blocked.message.contains("content.tables names public.user"), "{}", blocked.message);
    }
}
