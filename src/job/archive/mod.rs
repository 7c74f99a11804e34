//! How do the rows of a plain table leave? In batches along the age column, each a transaction, until none is left or something says stop.
//!
//! Flow: the tables are looked at again ([`plan::rows::moves`](crate::plan::rows::moves)); then a batch is found ([`next`]), moved
//! ([`batch`]) and followed by a pause ([`throttle`]), again and again. Rows that the application holds are passed over and tried again
//! at the end. Run twice, also at the same time, it ends in the same state: every batch is atomic and finds its rows by itself.

mod batch;
mod next;
mod sweep;
mod throttle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Access;
use crate::api::Reason;
use crate::api::row_retention::VacuumAfter;
use crate::pass;
use crate::plan::action::Blocked;
use crate::plan::removal::ArchiveRows;
use crate::plan::rows::{Movement, Request, moves};
use crate::postgres::{Fault, Session, rows};
use crate::sql;
use crate::sql::quote::{ident, table};

/// What a run came to. Whatever is counted here is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// Rows of the table that were archived or deleted.
    pub rows: i64,
    /// Rows of its dependents that were archived or deleted.
    pub dependents: i64,
    /// Rows per second, those of dependents and all pauses included.
    pub per_second: i64,
    /// What the rows are older than.
    pub before: String,
    /// Why it went slower than it could, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_by: Option<String>,
    /// Rows that were passed over because the application held or changed them; the next run finds them.
    pub busy: i64,
    /// Rows that are left and may go, at most [`LEFT_COUNTED`] of them counted.
    pub left: i64,
    /// Whether the run ended before its end: asked to, at its limit of rows, or throttled for too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_early: Option<String>,
    /// What to run by hand because of the dead rows that are left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// Rows that are left are counted up to this number.
pub const LEFT_COUNTED: i64 = 100_000;

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows of the table.
    pub rows: i64,
    /// Rows of its dependents.
    pub dependents: i64,
    /// The value of the column up to which it has come.
    pub at: Option<String>,
    /// What it waits for, if it does.
    pub waits_for: Option<String>,
}

/// Is told how far a run is.
pub type Listener = Arc<dyn Fn(&Progress) + Send + Sync>;

/// Who watches a run, and may end it.
#[derive(Clone, Default)]
pub struct Watch {
    /// Ends the run after the batch that is under way.
    pub stop: CancellationToken,
    /// Is told after every batch.
    pub progress: Option<Listener>,
}

/// One run.
struct Run<'a> {
    task: &'a ArchiveRows,
    session: &'a Session,
    movements: Vec<Movement>,
    /// OIDs of the tables whose rows go, and of those that refer to them.
    concerned: Concerned,
    /// See [`sql::rows::SHAPE`].
    shape: String,
    watch: &'a Watch,
    begun: Instant,
    moved: Moved,
    throttle: throttle::Throttle,
}

/// OIDs that the checks of a batch ask about.
struct Concerned {
    shape: Vec<u32>,
    referring: Vec<u32>,
}

/// Archives or deletes the rows. Whoever drops this ends it within a batch, which is rolled back.
///
/// # Errors
/// Why it ended; what had been committed stays, and the next run goes on from there.
pub async fn run(task: &ArchiveRows, access: &Access) -> Result<Moved, Blocked> {
    let target = access.target()?;
    let session = Session::open(target).await.map_err(|fault| pass::blocked(&target.to_string(), &fault))?;
    carry_out(task, &session, &Watch::default()).await
}

/// The same in a session of the caller's, for a caller who watches.
///
/// # Errors
/// See [`run`].
pub async fn carry_out(task: &ArchiveRows, session: &Session, watch: &Watch) -> Result<Moved, Blocked> {
    let failed = |fault: Fault| blocked(task, &fault);
    // One run for one table: a second one would only wait for the first one's rows. It is a courtesy; nothing depends on it.
    let key = i64::from(LOCK_CLASS) << 32 | i64::from(task.table.oid);
    let free = session.client().query_one("SELECT pg_catalog.pg_try_advisory_lock($1)", &[&key]).await;
    if !free.map_err(Fault::from).map_err(failed)?.get::<_, bool>(0) {
        let message = format!("another run removes rows of {}", task.table.table);
        return Err(Blocked::new(Reason::OtherOperator, message));
    }
    let ended = removing(task, session, watch).await;
    if !session.is_closed() {
        // A session that cannot even unlock is gone, and its lock with it.
        drop(session.client().query_one("SELECT pg_catalog.pg_advisory_unlock($1)", &[&key]).await);
    }
    ended
}

/// The upper half of the advisory lock's key ("pgrr").
const LOCK_CLASS: i32 = 0x7067_7272;

async fn removing(task: &ArchiveRows, session: &Session, watch: &Watch) -> Result<Moved, Blocked> {
    let failed = |fault: Fault| blocked(task, &fault);
    let (movements, concerned, shape) = look(task, session).await?;
    let mut run = Run {
        task,
        session,
        movements,
        concerned,
        shape,
        watch,
        begun: Instant::now(),
        moved: Moved { before: task.before.clone(), ..Moved::default() },
        throttle: throttle::Throttle::new(task.pace),
    };
    run.sweep_all().await?;
    run.finish().await.map_err(failed)?;
    Ok(run.moved)
}

/// Looks at the tables, and takes the shape that every batch must find them in, at one moment.
async fn look(task: &ArchiveRows, session: &Session) -> Result<(Vec<Movement>, Concerned, String), Blocked> {
    let failed = |fault: Fault| blocked(task, &fault);
    let dependents = task.dependents.iter();
    let sources = dependents.clone().map(|dependent| &dependent.reference.table).chain([&task.table]);
    let archives = dependents.filter_map(|dependent| dependent.archive.as_ref()).chain(&task.archive);
    let tables = sources.clone().map(|source| source.table.clone()).chain(archives.cloned()).collect();
    let request = Request { table: Some(task.table.table.clone()), tables };
    let mut shape: Vec<u32> = sources.map(|source| source.oid).collect();
    let mut referring: Vec<u32> = task.keepers.iter().map(|keeper| keeper.table.oid).collect();
    referring.extend(task.dependents.iter().map(|dependent| dependent.reference.table.oid));
    // The table itself may be among them, where it refers to itself.
    referring.extend((!referring.is_empty()).then_some(task.table.oid));
    for oids in [&mut shape, &mut referring] {
        oids.sort_unstable();
        oids.dedup();
    }
    let concerned = Concerned { shape, referring };
    session.begin_reading().await.map_err(failed)?;
    let looked = async {
        let server = crate::postgres::server::observe(session).await?;
        let tables = rows::observe(session, server.version_num, &request).await?;
        let shape = batch::shape(session, &concerned).await?;
        Ok::<_, Fault>((server, tables, shape))
    }
    .await;
    if !session.is_closed() {
        session.end_reading().await.map_err(failed)?;
    }
    let (server, tables, shape) = looked.map_err(failed)?;
    if let Some(unwritable) = pass::unwritable(&server) {
        return Err(unwritable);
    }
    Ok((moves(task, &tables)?, concerned, shape))
}

fn blocked(task: &ArchiveRows, fault: &Fault) -> Blocked {
    pass::blocked(&format!("removing rows of {}", task.table.table), fault)
}

impl Run<'_> {
    fn tell(&self, at: Option<&str>, waits_for: Option<&str>) {
        if let Some(progress) = &self.watch.progress {
            progress(&Progress {
                rows: self.moved.rows,
                dependents: self.moved.dependents,
                at: at.map(str::to_owned),
                waits_for: waits_for.map(str::to_owned),
            });
        }
    }

    /// What follows the last batch.
    async fn finish(&mut self) -> Result<(), Fault> {
        let moved = self.moved.rows + self.moved.dependents;
        let seconds = self.begun.elapsed().max(Duration::from_millis(1)).as_secs_f64();
        self.moved.per_second = (moved as f64 / seconds) as i64;
        self.moved.throttled_by = self.throttle.reason();
        self.moved.left = self.left().await?;
        if moved == 0 {
            return Ok(());
        }
        let mut tables: Vec<String> = self.movements.iter().map(|movement| table(&movement.table)).collect();
        tables.sort();
        tables.dedup();
        let statement = format!("VACUUM (ANALYZE) {}", tables.join(", "));
        match self.task.vacuum {
            VacuumAfter::Run => self.vacuum(&tables.join(", ")).await,
            VacuumAfter::Suggest => {
                self.moved.suggestion =
                    Some(format!("{moved} dead rows are left for autovacuum; to have their space at once, run: {statement}"));
                Ok(())
            }
        }
    }

    /// Without TRUNCATE, which would take ACCESS EXCLUSIVE, and without waiting for a vacuum that is under way.
    async fn vacuum(&self, tables: &str) -> Result<(), Fault> {
        let client = self.session.client();
        client.batch_execute(&format!("SET ROLE {}", ident(&self.task.role))).await?;
        let vacuumed = client.batch_execute(&format!("VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false) {tables}")).await;
        client.batch_execute("RESET ROLE").await?;
        vacuumed.map_err(Fault::from)
    }

    async fn left(&self) -> Result<i64, Fault> {
        let client = self.session.client();
        self.session.begin_reading().await?;
        client.batch_execute(&format!("{}; SET LOCAL ROLE {}", sql::rows::PLANNING, ident(&self.task.role))).await?;
        let left = client.query_one(&sql::rows::count(self.task, LEFT_COUNTED), &[]).await;
        self.session.end_reading().await?;
        Ok(left?.get(0))
    }
}
