//! How does a pass get a session? Connections bounded for each database, one of them, at most, changing anything.
//!
//! A session is kept for a few seconds after a pass, so that a thousand policies of one database share one log-in. Credentials are
//! read from their Secret whenever a session is opened: a rotated password needs no restart. A log-in that was refused is not
//! repeated at once, whoever asks: a thousand policies with a wrong password are one wrong password.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::{Api, Client, ResourceExt as _};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::sessions::{Entry, Held, Lease};
use crate::api::postgres_database::SecretRef;
use crate::api::{PostgresDatabase, Reason};
use crate::cluster::objects;
use crate::pass::blocked;
use crate::plan::action::Blocked;
use crate::postgres::connect::{Session, Target};
use crate::postgres::error::FaultKind;
use crate::postgres::{Fault, pooler};
use crate::target;

/// How long an idle session, and the object that it was opened for, may be used again.
pub(super) const KEPT: Duration = Duration::from_secs(5);

/// Longest that a pass waits for one of the connections that its database may use.
const QUEUE: Duration = Duration::from_secs(60);

/// How long the server may take to end a session that was closed.
const LEAVING: Duration = Duration::from_millis(300);

/// The sessions of all databases.
#[derive(Clone)]
pub(crate) struct Databases {
    client: Client,
    /// How long a refused log-in is not repeated.
    respite: Duration,
    entries: Arc<Mutex<Entries>>,
}

/// By namespace and name.
type Entries = HashMap<(String, String), Arc<Entry>>;

impl Databases {
    /// `respite`: how long a refused log-in is not repeated.
    pub fn new(client: Client, respite: Duration) -> Self {
        Self { client, respite, entries: Arc::default() }
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
        let budget = target::budget(&database.spec.limits)?;
        let limit = database.spec.limits.connections;
        let Ok(slot) = tokio::time::timeout(QUEUE, entry.slot(limit)).await else {
            let message = format!(
                "PostgresDatabase {name}: its {limit} connections were in use for {} s; raise spec.limits.connections if that repeats",
                QUEUE.as_secs()
            );
            return Err(Blocked::new(Reason::DatabaseNotReady, message));
        };
        if let Some(refused) = entry.refusal(self.respite) {
            return Err(refused);
        }
        let slot = slot?;
        let held = match entry.idle_session() {
            Some(held) => held,
            None => self.open(&entry, &database, namespace, name).await.inspect_err(|refused| entry.refuse(refused.clone()))?,
        };
        Ok(Lease::new(entry, slot, budget, held))
    }

    async fn open(&self, entry: &Entry, database: &PostgresDatabase, namespace: &str, name: &str) -> Result<Held, Blocked> {
        let target = target::of(&self.client, database, namespace, name).await?;
        let what = format!("PostgresDatabase {name} ({target})");
        let fault = |fault| blocked(&what, &fault);
        let epoch = entry.lead_to(&target);
        let session = open_patiently(&target).await.map_err(fault)?;
        if entry.pools(&session, &target).await.map_err(fault)? {
            return Err(fault(pooler::fault()));
        }
        entry.accept();
        Ok(Held::new(session, epoch))
    }

    /// Whether the failure that a pass just met is news, which the PostgresDatabase's own pass should look into. Says so once.
    pub fn is_news(&self, namespace: &str, name: &str) -> bool {
        self.entry(namespace, name).is_news()
    }

    /// Takes note of what a PostgresDatabase says now: passes of its policies heed it from here on. Sessions that it led to
    /// stay in use, unless it leads elsewhere now, or with other credentials.
    ///
    /// # Errors
    /// What lacks in its Secrets.
    pub async fn renew(&self, database: &PostgresDatabase) -> Result<(), Blocked> {
        let (namespace, name) = (database.namespace().unwrap_or_default(), database.name_any());
        let entry = self.entry(&namespace, &name);
        entry.renew(database.clone()).await;
        if database.spec.suspend {
            return Ok(());
        }
        let target = target::of(&self.client, database, &namespace, &name).await?;
        entry.lead_to(&target);
        Ok(())
    }

    /// Where the admin of a PostgresDatabase logs in.
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
        target::of_admin(&self.client, database, namespace, name, admin).await
    }

    /// Forgets a database that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        lock(&self.entries).remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Closes sessions that nobody has used for a while, until `stop`; then all that are not in use.
    pub async fn sweep(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(KEPT)).await.is_some() {
            let entries: Vec<Arc<Entry>> = lock(&self.entries).values().cloned().collect();
            entries.iter().for_each(|entry| entry.sweep());
        }
        lock(&self.entries).clear();
    }

    fn entry(&self, namespace: &str, name: &str) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        entries.entry((namespace.to_owned(), name.to_owned())).or_default().clone()
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
        *known = Some((std::time::Instant::now(), database.clone()));
        Ok(database)
    }
}

/// A session that was just closed keeps its slot on the server until its process has ended there.
async fn open_patiently(target: &Target) -> Result<Session, Fault> {
    match Session::open(target).await {
        Err(fault) if fault.kind == FaultKind::TooManyConnections => {
            tokio::time::sleep(LEAVING).await;
            Session::open(target).await
        }
        opened => opened,
    }
}

/// The right to change a database, held by one pass at a time.
pub(crate) type Worker = OwnedMutexGuard<()>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
