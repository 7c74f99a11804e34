//! What is a database like, beyond what its dump says? How it was made, who may use it, by which settings, and where it lies.

use serde_json::Value;

use super::facts::spared;
use crate::plan::backup::manifest::{Database, Grant, Label, Properties, Setting};
use crate::plan::restore::names::Witness;
use crate::postgres::{Fault, Session, server};

const QUERY: &str = "SELECT d.oid, d.datname::pg_catalog.text, pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text, \
    pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text, pg_catalog.to_jsonb(d), \
    pg_catalog.shobj_description(d.oid, 'pg_database'), pg_catalog.pg_database_size(d.oid), \
    pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'), \
    (SELECT t.spcname::pg_catalog.text FROM pg_catalog.pg_tablespace t WHERE t.oid = d.dattablespace AND t.spcname <> 'pg_default') \
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

/// Looks at the database of the session.
///
/// # Errors
/// What the server said.
pub async fn observe(session: &Session) -> Result<Database, Fault> {
    let row = session.client().query_one(QUERY, &[]).await?;
    let properties = properties(session, &row).await?;
    let system_identifier = if row.get(7) { spared(session, server::try_system_identifier(session)).await? } else { None };
    let server = server::observe(session).await?;
    let (tablespaces, subscriptions) = elsewhere(session).await?;
    Ok(Database {
        name: row.get(1),
        oid: row.get(0),
        system_identifier,
        server_version: server.version,
        version_num: server.version_num,
        bytes: row.get(6),
        properties,
        tablespaces,
        subscriptions,
    })
}

async fn properties(session: &Session, row: &tokio_postgres::Row) -> Result<Properties, Fault> {
    let columns: Value = row.get(4);
    let text = |name: &str| columns[name].as_str().map(str::to_owned);
    let grants = grants(session).await?;
    Ok(Properties {
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
        // A database that a Restore has replaced is dumped before it is dropped.
        comment: Witness::beneath(row.get(5)),
        grants: (!columns["datacl"].is_null()).then_some(grants),
        settings: settings(session).await?,
        tablespace: row.get(8),
        labels: labels(session).await?,
    })
}

async fn grants(session: &Session) -> Result<Vec<Grant>, Fault> {
    let query = "SELECT CASE a.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END, a.privilege_type, a.is_grantable \
        FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a WHERE d.datname = pg_catalog.current_database() ORDER BY 1, 2";
    let rows = session.client().query(query, &[]).await?;
    Ok(rows.iter().map(|row| Grant { grantee: row.get(0), privilege: row.get(1), grantable: row.get(2) }).collect())
}

/// Those for all roles, and those of a role in this database.
async fn settings(session: &Session) -> Result<Vec<Setting>, Fault> {
    let query = "SELECT coalesce(r.rolname::pg_catalog.text, ''), s FROM pg_catalog.pg_db_role_setting x \
        JOIN pg_catalog.pg_database d ON d.oid = x.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = x.setrole, \
        pg_catalog.unnest(x.setconfig) s WHERE d.datname = pg_catalog.current_database() ORDER BY 1, 2";
    let rows = session.client().query(query, &[]).await?;
    let setting = |row: &tokio_postgres::Row| {
        let (name, value) = row.get::<_, &str>(1).split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))?;
        Some(Setting { role: row.get(0), name, value })
    };
    Ok(rows.iter().filter_map(setting).collect())
}

async fn labels(session: &Session) -> Result<Vec<Label>, Fault> {
    let query = "SELECT l.provider, l.label FROM pg_catalog.pg_shseclabel l JOIN pg_catalog.pg_database d ON d.oid = l.objoid \
        WHERE l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND d.datname = pg_catalog.current_database() ORDER BY 1";
    let rows = session.client().query(query, &[]).await?;
    Ok(rows.iter().map(|row| Label { provider: row.get(0), label: row.get(1) }).collect())
}

/// What of the database depends on another place: tablespaces of the server, and subscriptions to other servers.
async fn elsewhere(session: &Session) -> Result<(Vec<String>, Vec<String>), Fault> {
    let query = "SELECT ARRAY(SELECT t.spcname::pg_catalog.text FROM pg_catalog.pg_tablespace t WHERE t.spcname !~ '^pg_' \
            AND (t.oid = d.dattablespace OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.reltablespace = t.oid)) ORDER BY 1), \
        ARRAY(SELECT s.subname::pg_catalog.text FROM pg_catalog.pg_subscription s WHERE s.subdbid = d.oid ORDER BY 1) \
        FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
    let row = session.client().query_one(query, &[]).await?;
    Ok((row.get(0), row.get(1)))
}
