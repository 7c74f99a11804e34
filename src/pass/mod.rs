//! How does one pass go? Observe, plan, execute, report: the engine that the controller, the command line and the tests share.
//!
//! A kind takes part by implementing [`Policy`]; nothing else of a pass is written twice.

mod fault;
mod partition_policy;
mod retention_policy;
mod rows;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

pub use fault::{blocked, reason};
pub use partition_policy::Found;
pub use retention_policy::{Leaving, Retention};
pub use rows::RowsFound;

use crate::api::{PolicySettings, Reason};
use crate::plan::action::{Action, Blocked, ObjectId, Plan};
use crate::plan::outcome::{ActionResult, Outcome};
use crate::plan::snapshot::{Oid, Server};
use crate::postgres::error::FaultKind;
use crate::postgres::execute::{self, Budget};
use crate::postgres::{Fault, Session, server};
use crate::sql;

/// A kind whose passes work on a database.
pub trait Policy: Sync + Sized {
    /// What is observed for one object.
    type Facts: Send + Sync;

    /// The object's name in plans.
    fn id(&self) -> ObjectId;

    /// The settings that every policy has.
    fn settings(&self) -> &PolicySettings;

    /// Observes for all of these objects at once, in a transaction that can only read.
    fn observe(
        objects: &[&Self],
        session: &Session,
        server: &Server,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Self::Facts>, Fault>> + Send;

    /// What is to be done.
    fn plan(&self, server: &Server, facts: &Self::Facts, now: Timestamp) -> Plan;

    /// Whether a person has approved this plan otherwise than by the annotation, as by approving the run that it belongs to.
    fn is_approved(&self, _plan: &Plan) -> bool {
        false
    }

    /// What to say when nothing is to be done.
    fn settled(&self, facts: &Self::Facts, now: Timestamp) -> String;
}

/// What a look at the database found.
#[derive(Clone, Debug)]
pub struct Look<F> {
    /// The session.
    pub server: Server,
    /// The facts of each object.
    pub facts: Vec<F>,
    /// The plan of each object.
    pub plans: Vec<Plan>,
}

/// Longest that a look may take: a server that accepts and then hangs holds up nobody for longer.
const LOOK: Duration = Duration::from_secs(120);

/// Observes and plans for all of these objects. Reads only, in a READ ONLY transaction. On a server whose version is not supported
/// there are no facts and no plans. After an error, the session may still be in that transaction.
///
/// # Errors
/// What the server or the connection said.
pub async fn look<P: Policy>(objects: &[&P], session: &Session, now: Timestamp) -> Result<Look<P::Facts>, Fault> {
    let observed = tokio::time::timeout(LOOK, observe_in_transaction(objects, session, now)).await;
    let hung = |_| Fault::new(FaultKind::ConnectionLost, format!("the server did not answer within {} s", LOOK.as_secs()));
    let (server, facts) = observed.map_err(hung)??;
    let plans = objects.iter().zip(&facts).map(|(object, facts)| object.plan(&server, facts, now)).collect();
    Ok(Look { server, facts, plans })
}

async fn observe_in_transaction<P: Policy>(
    objects: &[&P],
    session: &Session,
    now: Timestamp,
) -> Result<(Server, Vec<P::Facts>), Fault> {
    // Asked together, answered in order: one round trip.
    let (begun, server) = futures::join!(session.begin_reading(), server::observe(session));
    begun?;
    let observed = observe(objects, session, server, now).await;
    let ended = if session.is_closed() { Ok(()) } else { session.end_reading().await };
    let observed = observed?;
    ended?;
    Ok(observed)
}

async fn observe<P: Policy>(
    objects: &[&P],
    session: &Session,
    server: Result<Server, Fault>,
    now: Timestamp,
) -> Result<(Server, Vec<P::Facts>), Fault> {
    let server = server?;
    if unsupported(&server) {
        return Ok((server, vec![]));
    }
    let facts = P::observe(objects, session, &server, now).await?;
    Ok((server, facts))
}

/// The catalog of such a server lacks columns that are asked for.
fn unsupported(server: &Server) -> bool {
    server.major() < 14
}

/// Why nothing may be changed on this server, if so.
pub fn unwritable(server: &Server) -> Option<Blocked> {
    if unsupported(server) {
        let message = format!("the server runs PostgreSQL {}; versions 14 to 18 are supported", server.version);
        return Some(Blocked::new(Reason::VersionUnsupported, message));
    }
    if server.in_recovery {
        let message = format!(
            "database {} is on a standby or in recovery: it is read, never written; connect to the primary",
            server.database
        );
        return Some(Blocked::new(Reason::InRecovery, message));
    }
    if server.read_only {
        let message = format!(
            "sessions of role {} on database {} are read-only (default_transaction_read_only); connect to the primary or change the setting",
            server.role, server.database
        );
        return Some(Blocked::new(Reason::ReadOnly, message));
    }
    None
}

/// Carries out what moves data or runs long.
pub trait Tasks: Sync {
    /// Begins a task, or looks how far it is.
    fn run(&self, action: &Action) -> impl Future<Output = ActionResult> + Send;
}

/// For plans that hold no task.
#[derive(Clone, Copy, Debug)]
pub struct NoTasks;

impl Tasks for NoTasks {
    async fn run(&self, action: &Action) -> ActionResult {
        ActionResult::Failed { sqlstate: None, message: format!("{action} needs a Job, and none can be started here") }
    }
}

/// Carries out a plan, action by action. What was put off keeps those waiting that lock the same tables or belong to the same
/// partition, and no others; after a stale action, a lost connection or another operator nothing more is tried.
pub async fn execute(session: &Session, plan: &Plan, budget: Budget, tasks: &impl Tasks, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    let mut busy: BTreeSet<String> = BTreeSet::new();
    let mut unfinished: BTreeSet<Oid> = BTreeSet::new();
    for action in &plan.actions {
        let script = sql::script(action).at(now);
        let tables: Vec<String> = script.locks().into_iter().map(|(_, table)| table).collect();
        let follows = action.leaves().is_some_and(|oid| unfinished.contains(&oid));
        if action.waits() || follows || tables.iter().any(|table| busy.contains(table)) {
            continue;
        }
        let result = if action.is_task() { tasks.run(action).await } else { execute::carry_out(session, &script, budget).await };
        let is_last = session.is_closed() || matches!(result, ActionResult::Stale { .. } | ActionResult::OtherOperator);
        if matches!(result, ActionResult::Deferred { .. }) {
            busy.extend(tables);
        }
        if !matches!(result, ActionResult::Done { .. }) {
            unfinished.extend(action.leaves());
        }
        tracing::info!(object = %plan.object, action = %action, result = result.name(), "action");
        outcome.results.push((action.clone(), result));
        if is_last {
            break;
        }
    }
    outcome
}
