//! How does a pass get a session? Connections bounded for each database, one of them, at most, changing anything.
//!
//! A session is kept for a few seconds after a pass, so that a thousand policies of one database share one log-in. Credentials are
//! read from their Secret whenever a session is opened: a rotated password needs no restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::{Api, Client};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::api::postgres_database::{Connection, SecretRef, TlsMode};
use crate::api::span::Span;
use crate::api::{PostgresDatabase, Reason};
use crate::cluster::{objects, secrets};
use crate::pass::blocked;
use crate::plan::action::Blocked;
use crate::plan::connection::{Endpoint, endpoint};
use crate::postgres::connect::{Password, Session, Target, Tls};
use crate::postgres::execute::Budget;

/// How long an idle session, and the object that it was opened for, may be used again.
const KEPT: Duration = Duration::from_secs(5);

/// The sessions of all databases.
#[derive(Clone)]
pub(crate) struct Databases {
    client: Client,
    entries: Arc<Mutex<Entries>>,
}

/// By namespace and name.
type Entries = HashMap<(String, String), Arc<Entry>>;

struct Entry {
    slots: Mutex<(i32, Arc<Semaphore>)>,
    worker: Arc<AsyncMutex<()>>,
    idle: Mutex<Vec<Idle>>,
    known: AsyncMutex<Option<(Instant, PostgresDatabase)>>,
}

struct Idle {
    session: Session,
    since: Instant,
}

/// A session in use.
pub(crate) struct Lease {
    session: Option<Session>,
    /// What scripts may use of this database.
    pub budget: Budget,
    entry: Arc<Entry>,
    _slot: OwnedSemaphorePermit,
}

impl Lease {
    /// The session.
    pub fn session(&self) -> Result<&Session, Blocked> {
        self.session.as_ref().ok_or_else(|| Blocked::new(Reason::ConnectionLost, "the session is gone"))
    }

    /// Waits until nobody else changes this database.
    pub async fn worker(&self) -> OwnedMutexGuard<()> {
        self.entry.worker.clone().lock_owned().await
    }

    /// Gives up the session, after a fault: it may be in any state.
    pub fn discard(&mut self) {
        self.session = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(session) = self.session.take().filter(|session| !session.is_closed()) {
            lock(&self.entry.idle).push(Idle { session, since: Instant::now() });
        }
    }
}

impl Databases {
    pub fn new(client: Client) -> Self {
        Self { client, entries: Arc::default() }
    }

    /// A session on the PostgresDatabase `name`.
    ///
    /// # Errors
    /// Why there is none: the object, its Secret, or the server.
    pub async fn acquire(&self, namespace: &str, name: &str) -> Result<Lease, Blocked> {
        let entry = self.entry(namespace, name);
        let database = self.known(&entry, namespace, name).await?;
        if database.spec.suspend {
            return Err(Blocked::new(
                Reason::DatabaseNotReady,
                format!("PostgresDatabase {name} is suspended; set its spec.suspend to false"),
            ));
        }
        let slot = entry.slot(database.spec.limits.connections).await?;
        let budget = budget(&database)?;
        let session = match entry.idle_session() {
            Some(session) => session,
            None => self.open(&database, namespace, name).await?,
        };
        Ok(Lease { session: Some(session), budget, entry, _slot: slot })
    }

    async fn open(&self, database: &PostgresDatabase, namespace: &str, name: &str) -> Result<Session, Blocked> {
        let target = self.target(database, namespace, name).await?;
        Session::open(&target).await.map_err(|fault| blocked(&format!("PostgresDatabase {name} ({target})"), &fault))
    }

    /// Where a PostgresDatabase leads, with its present credentials.
    ///
    /// # Errors
    /// What lacks in its Secrets.
    pub async fn target(&self, database: &PostgresDatabase, namespace: &str, name: &str) -> Result<Target, Blocked> {
        self.target_of(&database.spec.connection, namespace, name).await
    }

    /// The same, logging in with the credentials of another Secret.
    ///
    /// # Errors
    /// What lacks in its Secrets.
    pub async fn admin_target(
        &self,
        database: &PostgresDatabase,
        namespace: &str,
        name: &str,
        admin: &SecretRef,
    ) -> Result<Target, Blocked> {
        let ours = self.target(database, namespace, name).await?;
        let connection = Connection { secret_ref: admin.clone(), ..database.spec.connection.clone() };
        // Where the admin's Secret says nothing of the server, it is the same server and database.
        let connection =
            Connection { host: Some(ours.host), port: Some(ours.port.into()), database: Some(ours.database), ..connection };
        self.target_of(&connection, namespace, name).await
    }

    async fn target_of(&self, connection: &Connection, namespace: &str, name: &str) -> Result<Target, Blocked> {
        let object = format!("PostgresDatabase {name}");
        let data = secrets::data(&self.client, &object, namespace, &connection.secret_ref.name).await?;
        let Endpoint { host, port, database, user, password } = endpoint(&object, connection, &data)?;
        let ca = match &connection.tls.ca_secret_ref {
            None => None,
            Some(reference) => {
                let mut data = secrets::data(&self.client, &object, namespace, &reference.name).await?;
                Some(data.remove(&reference.key).ok_or_else(|| {
                    let message = format!(
                        "{object}: Secret {} has no key {}; correct spec.connection.tls.caSecretRef",
                        reference.name, reference.key
                    );
                    Blocked::new(Reason::SecretInvalid, message)
                })?)
            }
        };
        let tls = match connection.tls.mode {
            TlsMode::VerifyFull => Tls::VerifyFull { ca },
            TlsMode::VerifyCa => Tls::VerifyCa { ca },
            TlsMode::Disable => Tls::Disable,
        };
        Ok(Target { host, port, database, user, password: password.map(Password::new), tls })
    }

    /// Forgets what is known of a database, so that the next session is opened anew.
    pub fn forget(&self, namespace: &str, name: &str) {
        lock(&self.entries).remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Closes sessions that nobody has used for a while, until `stop`.
    pub async fn sweep(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(KEPT)).await.is_some() {
            let entries: Vec<Arc<Entry>> = lock(&self.entries).values().cloned().collect();
            for entry in entries {
                lock(&entry.idle).retain(|idle| idle.since.elapsed() < KEPT && !idle.session.is_closed());
            }
        }
        lock(&self.entries).clear();
    }

    fn entry(&self, namespace: &str, name: &str) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        entries.entry((namespace.to_owned(), name.to_owned())).or_insert_with(|| Arc::new(Entry::new())).clone()
    }

    async fn known(&self, entry: &Entry, namespace: &str, name: &str) -> Result<PostgresDatabase, Blocked> {
        let mut known = entry.known.lock().await;
        if let Some((_, database)) = known.as_ref().filter(|(read, _)| read.elapsed() < KEPT) {
            return Ok(database.clone());
        }
        let api: Api<PostgresDatabase> = Api::namespaced(self.client.clone(), namespace);
        let database = match api.get_opt(name).await {
            Ok(Some(database)) => database,
            Ok(None) => {
                let message =
                    format!("no PostgresDatabase {name} in namespace {namespace}; create it, or correct spec.databaseRef.name");
                return Err(Blocked::new(Reason::DatabaseNotFound, message));
            }
            Err(error) => return Err(objects::unavailable(&format!("PostgresDatabase {name}"), &error)),
        };
        *known = Some((Instant::now(), database.clone()));
        Ok(database)
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            slots: Mutex::new((0, Arc::new(Semaphore::new(0)))),
            worker: Arc::default(),
            idle: Mutex::default(),
            known: AsyncMutex::default(),
        }
    }

    /// Waits for one of `limit` slots. A changed limit begins a new count; sessions of the old one end with their passes.
    async fn slot(&self, limit: i32) -> Result<OwnedSemaphorePermit, Blocked> {
        let semaphore = {
            let mut slots = lock(&self.slots);
            if slots.0 != limit {
                *slots = (limit, Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(1).max(1))));
            }
            slots.1.clone()
        };
        semaphore.acquire_owned().await.map_err(|_| Blocked::new(Reason::ConnectionLost, "the operator is stopping"))
    }

    fn idle_session(&self) -> Option<Session> {
        let mut idle = lock(&self.idle);
        while let Some(Idle { session, since }) = idle.pop() {
            if since.elapsed() < KEPT && !session.is_closed() {
                return Some(session);
            }
        }
        None
    }
}

/// What scripts may use of a database.
///
/// # Errors
/// [`Reason::InvalidSpec`] where a limit has no fixed length.
pub(crate) fn budget(database: &PostgresDatabase) -> Result<Budget, Blocked> {
    let limits = &database.spec.limits;
    let read = |field: &str, span: Span| {
        span.to_std().map_err(|error| Blocked::new(Reason::InvalidSpec, format!("spec.limits.{field}: {error}")))
    };
    Ok(Budget {
        locks: read("lockTimeout", limits.lock_timeout)?,
        statement: read("statementTimeout", limits.statement_timeout)?,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
