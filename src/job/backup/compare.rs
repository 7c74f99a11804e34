//! Is a restored database what was backed up? Every table is counted and compared with the manifest, and what must be true is asked.

use super::verdict;
use crate::api::backup::Assertion;
use crate::api::{Reason, TableName};
use crate::plan::action::Blocked;
use crate::plan::backup::Manifest;
use crate::plan::backup::manifest::TableRows;
use crate::postgres::{Fault, Session};
use crate::sql::quote;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Rows that are as many as were dumped.
    pub rows: i64,
    /// Assertions that hold.
    pub assertions: i32,
}

/// Compares a restored database with its manifest.
///
/// # Errors
/// [`Reason::VerificationFailed`] with what differs.
pub async fn compare(
    session: &Session,
    manifest: &Manifest,
    counts: bool,
    assertions: &[Assertion],
) -> Result<Compared, Blocked> {
    // What row security hides is neither missing nor, to an assertion, not there: whoever asks for it is refused.
    let opened = session.client().batch_execute("SET row_security = off").await;
    opened.map_err(|error| crate::pass::blocked("a session without row security", &error.into()))?;
    let mut compared = Compared::default();
    if counts {
        compared.rows = rows(session, &manifest.tables).await?;
    }
    definitions(session, manifest).await?;
    if manifest.holds_extensions() {
        extensions(session, manifest).await?;
    }
    if manifest.holds_large_objects() {
        large_objects(session, manifest).await?;
    }
    valid(session).await?;
    compared.assertions = ask(session, assertions).await?;
    Ok(compared)
}

/// Asks what must be true, and answers how many assertions hold.
///
/// # Errors
/// [`Reason::VerificationFailed`] with the first one that does not.
pub async fn ask(session: &Session, assertions: &[Assertion]) -> Result<i32, Blocked> {
    for assertion in assertions {
        holds(session, assertion).await?;
    }
    Ok(i32::try_from(assertions.len()).unwrap_or(i32::MAX))
}

/// What to do where our role is refused.
const MAY_SEE: &str = "Grant it to the role, or where row security hides rows let the role have BYPASSRLS, or name the Secret of one that may in adminSecretRef of the PostgresDatabase";

fn failed(message: String) -> Blocked {
    Blocked::new(Reason::VerificationFailed, message)
}

/// Whether our role sees every row of what is to be counted. Asked as soon as there are tables, and so by a rehearsal too: a dump has row security
/// in its last part, after the rows.
///
/// # Errors
/// [`Reason::MissingPrivilege`] with the first table of which it does not.
pub async fn visible(session: &Session, manifest: &Manifest) -> Result<(), Blocked> {
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        manifest.tables.iter().map(|table| (table.table.schema.as_str(), table.table.name.as_str())).unzip();
    let query = "SELECT c.oid::pg_catalog.regclass::pg_catalog.text, current_user::pg_catalog.text \
        FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS wanted (schema, name) \
        JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema \
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name \
        WHERE pg_catalog.row_security_active(c.oid) ORDER BY 1 LIMIT 1";
    let found = session.client().query_opt(query, &[&schemas, &names]).await;
    let found = found.map_err(|error| crate::pass::blocked("looking at the row security of restored tables", &error.into()))?;
    let Some(row) = found else { return Ok(()) };
    let (table, role): (String, String) = (row.get(0), row.get(1));
    let message = format!(
        "row security hides rows of {table} from role {role}, so that those that were restored cannot be counted: run ALTER ROLE {role} BYPASSRLS, \
         or name the Secret of a role that has it in adminSecretRef of the PostgresDatabase"
    );
    Err(Blocked::new(Reason::MissingPrivilege, message))
}

/// What the server refuses differs; where it cannot answer, nothing is known.
fn refused(what: &str, error: tokio_postgres::Error) -> Result<String, Blocked> {
    let fault = Fault::from(error);
    match fault.sqlstate.as_deref() {
        // It says nothing of what was restored that our role may not see it.
        Some("42501") => Err(crate::pass::blocked(what, &fault.advise(MAY_SEE))),
        Some(state) if verdict::speaks(state) => Ok(format!("{what}: {}", fault.message)),
        _ => Err(crate::pass::blocked(what, &fault)),
    }
}

async fn rows(session: &Session, tables: &[TableRows]) -> Result<i64, Blocked> {
    let mut differ = Vec::new();
    let mut total = 0;
    for TableRows { table, rows } in tables {
        let query = format!("SELECT pg_catalog.count(*) FROM ONLY {}", quote::table(table));
        match session.client().query_one(&query, &[]).await {
            Ok(row) if row.get::<_, i64>(0) == *rows => total += rows,
            Ok(row) => differ.push(format!("{table} has {} rows and {rows} were dumped", row.get::<_, i64>(0))),
            Err(error) => differ.push(refused(&format!("{table} cannot be counted"), error)?),
        }
    }
    let more = differ.len().saturating_sub(3);
    match differ.len() {
        0 => Ok(total),
        1..=3 => Err(failed(differ.join("; "))),
        _ => Err(failed(format!("{}; and {more} more tables differ", differ[..3].join("; ")))),
    }
}

/// Tables whose rows nobody counts are there at least.
async fn definitions(session: &Session, manifest: &Manifest) -> Result<(), Blocked> {
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        manifest.definitions.iter().map(|table| (table.schema.as_str(), table.name.as_str())).unzip();
    let query = "SELECT wanted.schema, wanted.name FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS wanted (schema, name) \
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = wanted.schema AND c.relname = wanted.name AND c.relkind IN ('r', 'p')) LIMIT 1";
    let lacking = session.client().query_opt(query, &[&schemas, &names]).await;
    match lacking.map_err(|error| crate::pass::blocked("looking at the restored tables", &error.into()))? {
        None => Ok(()),
        Some(row) => {
            let table = TableName { schema: row.get(0), name: row.get(1) };
            Err(failed(format!("the table {table} is missing in the restored database")))
        }
    }
}

async fn large_objects(session: &Session, manifest: &Manifest) -> Result<(), Blocked> {
    let found = session.client().query_one("SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata", &[]).await;
    let found: i64 = found.map_err(|error| crate::pass::blocked("counting the large objects", &error.into()))?.get(0);
    if found == manifest.large_objects {
        return Ok(());
    }
    Err(failed(format!("{found} large objects are there, and {} were dumped", manifest.large_objects)))
}

async fn extensions(session: &Session, manifest: &Manifest) -> Result<(), Blocked> {
    let query = "SELECT extname::pg_catalog.text FROM pg_catalog.pg_extension";
    let found = session.client().query(query, &[]).await;
    let found = found.map_err(|error| crate::pass::blocked("looking at the restored extensions", &error.into()))?;
    let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    match manifest.extensions.iter().find(|extension| !found.contains(&extension.name)) {
        None => Ok(()),
        Some(extension) => Err(failed(format!("the extension {} is missing in the restored database", extension.name))),
    }
}

async fn valid(session: &Session) -> Result<(), Blocked> {
    let query = "SELECT i.indexrelid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_index i \
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid AND c.relkind = 'i' LIMIT 1";
    let found = session.client().query_opt(query, &[]).await;
    match found.map_err(|error| crate::pass::blocked("looking at the restored indexes", &error.into()))? {
        None => Ok(()),
        Some(row) => Err(failed(format!("the index {} is not valid in the restored database", row.get::<_, String>(0)))),
    }
}

/// Asks in a transaction that changes nothing.
async fn holds(session: &Session, assertion: &Assertion) -> Result<(), Blocked> {
    let name = &assertion.name;
    let client = session.client();
    let refused = |error| refused(&format!("assertion \"{name}\" cannot be asked"), error).map_or_else(|blocked| blocked, failed);
    client.batch_execute("BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = '10min'").await.map_err(refused)?;
    let asked =
        client.query_one(&format!("SELECT (\n{}\n)::pg_catalog.int8", assertion.sql.trim().trim_end_matches(';')), &[]).await;
    client.batch_execute("ROLLBACK").await.map_err(refused)?;
    let found: Option<i64> = asked.map_err(refused)?.get(0);
    judge(assertion, found).map_err(|what| failed(format!("assertion \"{name}\" does not hold: {what}")))
}

fn judge(assertion: &Assertion, found: Option<i64>) -> Result<(), String> {
    let found = found.ok_or("its query answered NULL")?;
    let Assertion { at_least, at_most, equals, .. } = assertion;
    match (at_least, at_most, equals) {
        (Some(least), ..) if found < *least => Err(format!("{found} is less than {least}")),
        (_, Some(most), _) if found > *most => Err(format!("{found} is more than {most}")),
        (.., Some(exactly)) if found != *exactly => Err(format!("{found} is not {exactly}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_assertion_holds_within_its_bounds() {
        let assertion = |more: serde_json::Value| -> Assertion {
            let mut value = json!({"name": "users", "sql": "select 1"});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(value).unwrap()
        };
        assert_eq!(judge(&assertion(json!({"atLeast": 1})), Some(1)), Ok(()));
        assert_eq!(judge(&assertion(json!({"atLeast": 1})), Some(0)), Err("0 is less than 1".into()));
        assert_eq!(judge(&assertion(json!({"atMost": 1})), Some(2)), Err("2 is more than 1".into()));
        assert_eq!(judge(&assertion(json!({"equals": 3})), Some(2)), Err("2 is not 3".into()));
        assert!(judge(&assertion(json!({"equals": 3})), None).is_err());
    }
}
