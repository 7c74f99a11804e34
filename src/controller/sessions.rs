//! Which sessions of one database are there? Slots, idle sessions, and what is known of the way to it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};

use super::databases::{KEPT, Worker, lock};
use crate::api::{PostgresDatabase, Reason};
use crate::plan::action::Blocked;
use crate::postgres::connect::{Session, Target};
use crate::postgres::execute::Budget;
use crate::postgres::{Fault, pooler};

/// How long a session is used before another takes its place: one that is always busy would never meet a new password, or the new
/// primary behind the same name.
const AGE: Duration = Duration::from_secs(60);

/// What is known and open of one database.
#[derive(Default)]
pub(super) struct Entry {
    slots: Mutex<Slots>,
    worker: Arc<AsyncMutex<()>>,
    sessions: Mutex<Sessions>,
    /// The object, and when it was read.
    pub known: AsyncMutex<Option<(Instant, PostgresDatabase)>>,
    pooling: AsyncMutex<Option<(Target, bool)>>,
}

struct Slots {
    limit: i32,
    free: Arc<Semaphore>,
}

#[derive(Default)]
struct Sessions {
    idle: Vec<Idle>,
    /// Where they lead.
    target: Option<Target>,
    /// Counts the changes of the target: a session of an older one is not used again.
    epoch: u64,
    /// The last log-in was refused, at this time.
    refused: Option<(Instant, Blocked)>,
    /// A refusal has been made known.
    told: bool,
}

struct Idle {
    held: Held,
    since: Instant,
}

/// An open session, with its age.
pub(super) struct Held {
    session: Session,
    opened: Instant,
    epoch: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Self { limit: 0, free: Arc::new(Semaphore::new(0)) }
    }
}

impl Entry {
    /// Waits for one of `limit` slots. A changed limit begins a new count; sessions of the old one end with their passes.
    pub async fn slot(&self, limit: i32) -> Result<OwnedSemaphorePermit, Blocked> {
        let free = {
            let mut slots = lock(&self.slots);
            if slots.limit != limit {
                let count = usize::try_from(limit).unwrap_or(1).max(1);
                *slots = Slots { limit, free: Arc::new(Semaphore::new(count)) };
                lock(&self.sessions).idle.clear();
            }
            slots.free.clone()
        };
        free.acquire_owned().await.map_err(|_| Blocked::new(Reason::ConnectionLost, "the operator is stopping"))
    }

    /// A session that another pass has left.
    pub fn idle_session(&self) -> Option<Held> {
        let mut sessions = lock(&self.sessions);
        let epoch = sessions.epoch;
        while let Some(Idle { held, since }) = sessions.idle.pop() {
            if since.elapsed() < KEPT && held.is_usable(epoch) {
                return Some(held);
            }
        }
        None
    }

    /// Closes what nobody has used for a while.
    pub fn sweep(&self) {
        let mut sessions = lock(&self.sessions);
        let epoch = sessions.epoch;
        sessions.idle.retain(|idle| idle.since.elapsed() < KEPT && idle.held.is_usable(epoch));
    }

    /// Takes note of where sessions lead from now on. Returns the epoch of those that do.
    pub fn lead_to(&self, target: &Target) -> u64 {
        let mut sessions = lock(&self.sessions);
        if sessions.target.as_ref() != Some(target) {
            sessions.target = Some(target.clone());
            sessions.epoch += 1;
            sessions.idle.clear();
        }
        sessions.epoch
    }

    /// Takes note of the object as it is now, and gives refused log-ins another try.
    pub async fn renew(&self, database: PostgresDatabase) {
        if database.spec.suspend {
            lock(&self.sessions).idle.clear();
        }
        *self.known.lock().await = Some((Instant::now(), database));
        *self.pooling.lock().await = None;
        lock(&self.sessions).refused = None;
    }

    /// Why the last log-in was refused, if that was less than `respite` ago.
    pub fn refusal(&self, respite: Duration) -> Option<Blocked> {
        let sessions = lock(&self.sessions);
        sessions.refused.as_ref().filter(|(at, _)| at.elapsed() < respite).map(|(_, refused)| refused.clone())
    }

    /// Takes note of a refused log-in.
    pub fn refuse(&self, refused: Blocked) {
        lock(&self.sessions).refused = Some((Instant::now(), refused));
    }

    /// Takes note of a log-in that succeeded.
    pub fn accept(&self) {
        let mut sessions = lock(&self.sessions);
        sessions.refused = None;
        sessions.told = false;
    }

    /// Whether this is the first to ask since the last log-in that succeeded.
    pub fn is_news(&self) -> bool {
        !std::mem::replace(&mut lock(&self.sessions).told, true)
    }

    /// Whether a pooler that loses session state is in between. Found out once for each target and pass of the PostgresDatabase.
    pub async fn pools(&self, session: &Session, target: &Target) -> Result<bool, Fault> {
        let mut known = self.pooling.lock().await;
        if let Some((_, pools)) = known.as_ref().filter(|(of, _)| of == target) {
            return Ok(*pools);
        }
        let pools = pooler::pools_transactions(session, target).await?;
        *known = Some((target.clone(), pools));
        Ok(pools)
    }
}

impl Held {
    /// A session that was just opened, for this epoch's target.
    pub fn new(session: Session, epoch: u64) -> Self {
        Self { session, opened: Instant::now(), epoch }
    }

    fn is_usable(&self, epoch: u64) -> bool {
        self.epoch == epoch && self.opened.elapsed() < AGE && !self.session.is_closed()
    }
}

/// The right to one connection to a database, and, while nobody has taken it out, the connection.
///
/// Whoever works with the session takes it out, and puts it back only when it is as it was: a pass that fails, panics or is cancelled
/// in the middle closes its session with whatever it had begun.
pub(crate) struct Lease {
    held: Option<Held>,
    opened: Instant,
    epoch: u64,
    /// What scripts may use of this database.
    pub budget: Budget,
    entry: Arc<Entry>,
    _slot: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn new(entry: Arc<Entry>, slot: OwnedSemaphorePermit, budget: Budget, held: Held) -> Self {
        Self { opened: held.opened, epoch: held.epoch, held: Some(held), budget, entry, _slot: slot }
    }

    /// Takes the session out.
    ///
    /// # Errors
    /// [`Reason::ConnectionLost`] where it is not there any more.
    pub fn take(&mut self) -> Result<Session, Blocked> {
        let held = self.held.take().ok_or_else(|| Blocked::new(Reason::ConnectionLost, "the session is gone"))?;
        Ok(held.session)
    }

    /// Puts it back, outside any transaction.
    pub fn put(&mut self, session: Session) {
        self.held = Some(Held { session, opened: self.opened, epoch: self.epoch });
    }

    /// Waits until nobody else changes this database.
    pub async fn worker(&self) -> Worker {
        self.entry.worker.clone().lock_owned().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut sessions = lock(&self.entry.sessions);
        if held.is_usable(sessions.epoch) {
            sessions.idle.push(Idle { held, since: Instant::now() });
        }
    }
}
