//! How is a script carried out so that the application does not notice?
//!
//! Flow of a transaction: one round trip takes the database's advisory lock, the role, the table locks, and checks under them
//! that the world is as planned; a second one does the work and commits, so that strong locks last for one round trip.
//!
//! Each try waits 50 ms at most for its locks: whoever queues behind it waits no longer. Between tries there is a pause, longer
//! each time, with jitter, until the budget is spent; then the action is put off and the sessions in the way are named. A session
//! whose transaction has been open for a while is not queued behind at all.

use std::time::{Duration, Instant};

use tokio_postgres::SimpleQueryMessage;

use super::connect::Session;
use super::error::{Fault, FaultKind};
use super::lock;
use crate::plan::outcome::{ActionResult, Blocker};
use crate::sql::script::{Script, Step, Transaction};
use crate::sql::{Lock, LockMode, quote};

/// The key of the advisory lock that every change to a database takes first ("pgre"). Two operators, or an operator and a command
/// line, never change one database at the same time.
pub const ADVISORY_KEY: i64 = 0x7067_7265;

/// Longest that one try may wait for a lock.
const TRY: Duration = Duration::from_millis(50);

/// A holder whose transaction is at least this old is not worth queueing behind.
const HOPELESS_SECONDS: i64 = 1;

/// A transaction that is still open after this long is not worth waiting behind.
const LASTING: Duration = Duration::from_secs(1);

/// How long a server may keep silent beyond the time that it has for a step. A live server ends an overlong statement by itself; what
/// keeps silent is a proxy, or a machine that stands still.
const GRACE: Duration = Duration::from_secs(5);

/// What a script may use.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How long to keep trying for locks.
    pub locks: Duration,
    /// Longest that one statement may run.
    pub statement: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { locks: Duration::from_secs(2), statement: Duration::from_secs(600) }
    }
}

/// Why a step did not take place.
enum Stop {
    OtherOperator,
    Stale(String),
    Deferred(Vec<Blocker>),
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

/// Carries out a script. After a failed step its undo is carried out, as far as the connection allows; what that leaves behind the
/// next plan finds.
pub async fn carry_out(session: &Session, script: &Script, budget: Budget) -> ActionResult {
    let mut tries = 0;
    for (number, step) in script.steps.iter().enumerate() {
        let stop = match perform(session, step, budget).await {
            Ok(used) => {
                tries = tries.max(used);
                continue;
            }
            Err(stop) => stop,
        };
        if let (Some(undo), true) = (&script.undo, number > 0 && !session.is_closed()) {
            // Its own failure changes nothing about the answer, and the next plan begins with what is left over.
            drop(laddered(session, undo, budget).await);
        }
        return result(stop);
    }
    ActionResult::Done { tries }
}

fn result(stop: Stop) -> ActionResult {
    match stop {
        Stop::OtherOperator => ActionResult::OtherOperator,
        Stop::Stale(message) => ActionResult::Stale { message },
        Stop::Deferred(blockers) => ActionResult::Deferred { blockers },
        Stop::Fault(fault) => ActionResult::Failed { sqlstate: fault.sqlstate, message: fault.message },
    }
}

/// An answer that does not come ends the connection: nobody knows what became of the step, and the next plan finds out.
async fn perform(session: &Session, step: &Step, budget: Budget) -> Result<u32, Stop> {
    let most = budget.locks + budget.statement + GRACE;
    let performed = async {
        match step {
            Step::Transaction(transaction) => laddered(session, transaction, budget).await,
            Step::Alone { role, statement, .. } => alone(session, role, statement, budget.statement).await.map(|()| 1),
            Step::Patient { role, statement, locks } => patient(session, role, statement, locks).await.map(|()| 1),
        }
    };
    if let Ok(performed) = tokio::time::timeout(most, performed).await {
        return performed;
    }
    session.hang_up();
    Err(Stop::Fault(Fault::new(FaultKind::ConnectionLost, format!("the server did not answer within {} s", most.as_secs()))))
}

/// Tries a transaction until its locks are free or the budget is spent.
async fn laddered(session: &Session, transaction: &Transaction, budget: Budget) -> Result<u32, Stop> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(20);
    for tries in 1.. {
        let hopeless = if may_be_felt(&transaction.locks) { blockers(session, &transaction.locks).await? } else { vec![] };
        let is_hopeless = hopeless.iter().any(|blocker| blocker.seconds >= HOPELESS_SECONDS);
        if !is_hopeless {
            match attempt(session, transaction, budget).await {
                Ok(()) => return Ok(tries),
                Err(Stop::Fault(fault)) if fault.kind == FaultKind::Lock => {}
                Err(stop) => return Err(stop),
            }
        }
        if begun.elapsed() + pause >= budget.locks {
            return Err(Stop::Deferred(if hopeless.is_empty() {
                blockers(session, &transaction.locks).await?
            } else {
                hopeless
            }));
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
    Err(Stop::Deferred(vec![]))
}

/// Whether readers or writers would queue behind us while we wait. Behind SHARE UPDATE EXCLUSIVE none of them does, so there it costs
/// nobody anything to try first and to look for holders afterwards.
fn may_be_felt(locks: &[Lock]) -> bool {
    locks.iter().any(|lock| lock.mode > LockMode::ShareUpdateExclusive)
}

async fn blockers(session: &Session, locks: &[Lock]) -> Result<Vec<Blocker>, Stop> {
    if locks.is_empty() { Ok(vec![]) } else { Ok(lock::holders(session, locks).await?) }
}

async fn attempt(session: &Session, transaction: &Transaction, budget: Budget) -> Result<(), Stop> {
    let outcome = in_transaction(session, transaction, budget).await;
    if outcome.is_err() && !session.is_closed() {
        session.client().batch_execute("ROLLBACK").await.map_err(Fault::from)?;
    }
    outcome
}

async fn in_transaction(session: &Session, transaction: &Transaction, budget: Budget) -> Result<(), Stop> {
    let answers = open(session, transaction, budget).await?;
    let (advisory, checks) = answers.split_first().unwrap_or((&false, &[]));
    if !advisory {
        return Err(Stop::OtherOperator);
    }
    if let Some((check, _)) = transaction.checks.iter().zip(checks).find(|(_, holds)| !**holds) {
        return Err(Stop::Stale(check.otherwise.clone()));
    }
    let mut work = transaction.statements.clone();
    work.extend(transaction.closing());
    work.push("COMMIT".into());
    session.client().batch_execute(&work.join(";\n")).await.map_err(Fault::from)?;
    Ok(())
}

/// Begins, takes the locks, and answers the checks: first whether the advisory lock was free, then each check.
async fn open(session: &Session, transaction: &Transaction, budget: Budget) -> Result<Vec<bool>, Fault> {
    let mut batch = vec!["BEGIN".to_owned()];
    batch.extend(settings("SET LOCAL", TRY, budget.statement));
    batch.push(format!("SELECT pg_catalog.pg_try_advisory_xact_lock({ADVISORY_KEY})"));
    batch.extend(transaction.opening());
    batch.extend(transaction.checks.iter().map(|check| check.query.clone()));
    let messages = session.client().simple_query(&batch.join(";\n")).await?;
    let answers = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0) == Some("t")),
        _ => None,
    });
    Ok(answers.collect())
}

fn settings(set: &str, lock_timeout: Duration, statement_timeout: Duration) -> Vec<String> {
    vec![
        format!("{set} search_path = ''"),
        format!("{set} TimeZone = 'UTC'"),
        format!("{set} DateStyle = 'ISO, YMD'"),
        format!("{set} lock_timeout = {}", lock_timeout.as_millis()),
        format!("{set} statement_timeout = {}", statement_timeout.as_millis()),
    ]
}

/// One statement outside a transaction. The advisory lock is the session's and goes with it if the connection breaks.
async fn alone(session: &Session, role: &str, statement: &str, timeout: Duration) -> Result<(), Stop> {
    let query = format!("SELECT pg_catalog.pg_try_advisory_lock({ADVISORY_KEY})");
    let is_free: bool = session.client().query_one(&query, &[]).await.map_err(Fault::from)?.get(0);
    if !is_free {
        return Err(Stop::OtherOperator);
    }
    let mut before = settings("SET", Duration::ZERO, timeout);
    before.push(format!("SET ROLE {}", quote::ident(role)));
    let outcome = async {
        session.client().batch_execute(&before.join(";\n")).await?;
        session.client().batch_execute(statement).await
    }
    .await;
    let after = format!("RESET ALL; RESET ROLE; SELECT pg_catalog.pg_advisory_unlock({ADVISORY_KEY})");
    let released = session.client().batch_execute(&after).await;
    outcome.and(released).map_err(|error| Stop::Fault(Fault::from(error)))
}

/// A statement that waits for older transactions and must not be broken off: it has no timeout, and where one of those transactions
/// lasts, it does not begin. Since when a transaction is open other roles may not see, but that it is still the same one.
async fn patient(session: &Session, role: &str, statement: &str, locks: &[Lock]) -> Result<(), Stop> {
    let before = lock::transactions(session, locks).await?;
    if !before.is_empty() {
        tokio::time::sleep(LASTING).await;
        if !lock::transactions(session, locks).await?.is_disjoint(&before) {
            let of_any_user = |lock: &Lock| Lock { mode: LockMode::AccessExclusive, ..lock.clone() };
            let users: Vec<Lock> = locks.iter().map(of_any_user).collect();
            return Err(Stop::Deferred(blockers(session, &users).await?));
        }
    }
    alone(session, role, statement, Duration::ZERO).await
}
