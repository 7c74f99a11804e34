//! How is a partition closed to writes, once, whatever run comes first?

use std::time::{Duration, Instant};

use super::super::Access;
use super::table;
use crate::api::Reason;
use crate::pass;
use crate::plan::action::Blocked;
use crate::plan::outcome::ActionResult;
use crate::plan::removal::ExportPartition;
use crate::postgres::execute::carry_out;
use crate::postgres::{Fault, Session};
use crate::sql::export as sql;
use crate::sql::script::{Check, Script, is_still};

/// Closes the partition, or finds that it is closed. Answers the session and the export's identifier.
///
/// # Errors
/// [`Reason::Stale`] if it is not the partition that was planned for, [`Reason::Deferred`] if its lock was not free.
pub async fn close(task: &ExportPartition, access: &Access) -> Result<(Session, String), Blocked> {
    let session = Session::open(access.target()?).await.map_err(|fault| blocked(task, &fault))?;
    if let Some(export) = closed_by(&session, task).await? {
        return Ok((session, export));
    }
    let export = new_id();
    match patiently(&session, &sql::close(task, &export), access).await {
        // Another run of the same task was faster; its export is ours too.
        ActionResult::Failed { sqlstate: Some(state), .. } if state == DUPLICATE_OBJECT => {
            let export = closed_by(&session, task).await?;
            let export = export.ok_or_else(|| stale(format!("{} was closed and opened meanwhile", task.partition.table)))?;
            Ok((session, export))
        }
        result => done(task, result).map(|()| (session, export)),
    }
}

/// Makes sure, after all has been read, that nobody opened the partition meanwhile.
///
/// # Errors
/// [`Reason::Stale`] if somebody did.
pub async fn is_still_closed(session: &Session, task: &ExportPartition, export: &str) -> Result<(), Blocked> {
    session.begin_reading().await.map_err(|fault| blocked(task, &fault))?;
    let answer = holds(session, task, &sql::is_closed(task, export)).await;
    session.end_reading().await.map_err(|fault| blocked(task, &fault))?;
    answer
}

/// Gives the export another identifier, because what lies under this one does not hold; the drop refuses the former one from then on.
///
/// # Errors
/// As for [`close`].
pub async fn rename(session: &Session, task: &ExportPartition, access: &Access, before: &str) -> Result<String, Blocked> {
    let export = new_id();
    carry_out_script(session, task, access, &sql::rename(task, before, &export)).await.map(|()| export)
}

async fn carry_out_script(session: &Session, task: &ExportPartition, access: &Access, script: &Script) -> Result<(), Blocked> {
    done(task, patiently(session, script, access).await)
}

/// The operator changes other tables of this database meanwhile, each in a few milliseconds: it is waited for as a lock is.
async fn patiently(session: &Session, script: &Script, access: &Access) -> ActionResult {
    let begun = Instant::now();
    loop {
        match carry_out(session, script, access.budget).await {
            ActionResult::OtherOperator if begun.elapsed() < access.budget.locks => tokio::time::sleep(AGAIN).await,
            result => return result,
        }
    }
}

/// How soon a change is tried again that another pgreeve kept from beginning.
const AGAIN: Duration = Duration::from_millis(50);

/// PostgreSQL, Appendix A: `duplicate_object`.
const DUPLICATE_OBJECT: &str = "42710";

fn new_id() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

/// The export that closed the partition, if one did, after a look at whether it is the partition that was planned for.
async fn closed_by(session: &Session, task: &ExportPartition) -> Result<Option<String>, Blocked> {
    session.begin_reading().await.map_err(|fault| blocked(task, &fault))?;
    for check in [is_still(&task.partition.table, task.partition.oid), sql::is_bound(task)] {
        holds(session, task, &check).await?;
    }
    table::is_plain(session, &task.partition.table, task.partition.oid).await.map_err(|fault| blocked(task, &fault))??;
    let found = session.client().query_opt(CLOSING, &[&task.partition.oid]).await;
    let found = found.map_err(|error| blocked(task, &error.into()))?;
    session.end_reading().await.map_err(|fault| blocked(task, &fault))?;
    let Some(row) = found else { return Ok(None) };
    let comment: Option<String> = row.get(0);
    match comment.as_deref().and_then(sql::export_of) {
        Some(export) => Ok(Some(export.to_owned())),
        None => {
            let message = format!(
                "{} has a constraint {} whose comment names no export; drop the constraint",
                task.partition.table,
                sql::CLOSED
            );
            Err(Blocked::new(Reason::Unsupported, message))
        }
    }
}

const CLOSING: &str = "SELECT pg_catalog.obj_description(k.oid, 'pg_constraint') FROM pg_catalog.pg_constraint k \
    WHERE k.conrelid = $1 AND k.conname = 'pgreeve_closed' AND k.contype = 'c'";

/// Whether a check holds.
///
/// # Errors
/// [`Reason::Stale`] where it does not.
pub async fn holds(session: &Session, task: &ExportPartition, check: &Check) -> Result<(), Blocked> {
    let answer = session.client().query_one(&check.query, &[]).await.map_err(|error| blocked(task, &error.into()))?;
    if answer.get(0) { Ok(()) } else { Err(stale(check.otherwise.clone())) }
}

fn done(task: &ExportPartition, result: ActionResult) -> Result<(), Blocked> {
    let table = &task.partition.table;
    match result {
        ActionResult::Done { .. } => Ok(()),
        ActionResult::Stale { message } => Err(stale(message)),
        ActionResult::OtherOperator => {
            Err(Blocked::new(Reason::OtherOperator, format!("{table} was not closed: another pgreeve works on this database")))
        }
        ActionResult::Deferred { blockers } => {
            let who: Vec<String> = blockers.iter().map(ToString::to_string).collect();
            let who = if who.is_empty() { "somebody held its lock".to_owned() } else { who.join("; ") };
            Err(Blocked::new(Reason::Deferred, format!("{table} was not closed to writes: {who}")))
        }
        ActionResult::Refused(blocked) => Err(blocked),
        ActionResult::Running { message } => Err(Blocked::new(Reason::JobRunning, message)),
        ActionResult::Failed { sqlstate: Some(code), message } => {
            Err(Blocked::new(Reason::ActionFailed, format!("closing {table} to writes failed: {message} (SQLSTATE {code})")))
        }
        ActionResult::Failed { sqlstate: None, message } => {
            Err(Blocked::new(Reason::ConnectionLost, format!("closing {table} to writes: {message}")))
        }
    }
}

fn stale(message: String) -> Blocked {
    Blocked::new(Reason::Stale, message)
}

/// A fault of the database during the export.
pub fn blocked(task: &ExportPartition, fault: &Fault) -> Blocked {
    pass::blocked(&format!("exporting {}", task.partition.table), fault)
}
