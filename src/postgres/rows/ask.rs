//! What does only a query on the table itself tell? Whether the condition is one, how much may go, how old the oldest row is.

use tokio_postgres::types::Type;

use super::super::connect::Session;
use super::super::error::{Fault, FaultKind};
use super::question;
use crate::plan::removal::ArchiveRows;
use crate::plan::rows::{Answers, Names, ROWS_COUNTED, Table};
use crate::sql::quote::{ident, table};
use crate::sql::rows;

/// Words before a parenthesis that SQL itself knows as functions and that change nothing.
const BUILT_IN: [&str; 14] = [
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "extract",
    "exists",
    "position",
    "substring",
    "trim",
    "overlay",
    "normalize",
    "interval",
    "numeric",
    "decimal",
];

/// Types that are written with a modifier, as in `x::varchar(10)`.
const TYPES: [&str; 8] = ["varchar", "char", "character", "timestamp", "timestamptz", "time", "timetz", "bit"];

/// Asks as the table's owner. What the server says against the condition is an answer; the transaction goes on after it. Must run
/// between [`Session::begin_reading`] and [`Session::end_reading`].
///
/// # Errors
/// What the server or the connection said.
pub async fn ask(session: &Session, task: &ArchiveRows, names: &Names) -> Result<Answers, Fault> {
    let mut answers = Answers { functions: functions(session, names).await?, ..Answers::default() };
    if !answers.functions.is_empty() {
        return Ok(answers);
    }
    let client = session.client();
    client.batch_execute(&format!("SAVEPOINT asked; SET LOCAL ROLE {}; {}", ident(&task.role), rows::PLANNING)).await?;
    let explained = client.query_one(&rows::explain(task), &[]).await.map_err(Fault::from);
    match explained {
        Ok(row) => answers.estimated = estimate(&row.get(0)),
        Err(fault) if fault.kind == FaultKind::Statement && task.condition.is_some() => {
            client.batch_execute("ROLLBACK TO SAVEPOINT asked").await?;
            answers.condition_error = Some(fault.message);
            return Ok(answers);
        }
        Err(fault) => return Err(fault),
    }
    let counted = client.query_one(&rows::count(task, ROWS_COUNTED), &[]).await.map_err(Fault::from);
    match counted {
        Ok(row) => answers.expired = Some(row.get(0)),
        // A condition that only some rows make fail, such as a division by zero, fails here; a count that takes too long is left out.
        Err(fault) if fault.kind == FaultKind::Statement => {
            client.batch_execute("ROLLBACK TO SAVEPOINT asked").await?;
            if fault.sqlstate.as_deref() != Some("57014") {
                answers.condition_error = Some(fault.message);
            }
            return Ok(answers);
        }
        Err(fault) => return Err(fault),
    }
    let oldest = client.query_opt(&rows::oldest(task), &[]).await?;
    answers.oldest = oldest.and_then(|row| row.get(0));
    client.batch_execute("ROLLBACK TO SAVEPOINT asked").await?;
    Ok(answers)
}

/// Counts the rows of a table as its owner, up to `limit`.
///
/// # Errors
/// What the server or the connection said.
pub async fn count_rows(session: &Session, found: &Table, limit: i64) -> Result<i64, Fault> {
    let query =
        format!("SELECT pg_catalog.count(*) FROM (SELECT 1 FROM {} LIMIT {limit}) AS counted", table(&found.relation.table));
    session.begin_reading().await?;
    session.client().batch_execute(&format!("SET LOCAL ROLE {}", ident(&found.owner))).await?;
    let counted = session.client().query_one(&query, &[]).await;
    session.end_reading().await?;
    Ok(counted?.get(0))
}

/// Of the functions that a condition calls, those that it must not.
async fn functions(session: &Session, names: &Names) -> Result<Vec<String>, Fault> {
    let is_known = |name: &&String| BUILT_IN.contains(&name.as_str()) || TYPES.contains(&name.as_str());
    let called: Vec<&str> = names.functions.iter().filter(|name| !is_known(name)).map(String::as_str).collect();
    if called.is_empty() {
        return Ok(vec![]);
    }
    let refused = session.query(question::FUNCTIONS, &[(&called, Type::TEXT_ARRAY)]).await?;
    Ok(refused.iter().map(|row| row.get(0)).collect())
}

/// The rows that the planner expects at the top of its plan.
fn estimate(plan: &serde_json::Value) -> Option<i64> {
    let rows = plan.get(0)?.get("Plan")?.get("Plan Rows")?;
    rows.as_i64().or_else(|| rows.as_f64().map(|rows| rows as i64))
}
