//! How does a pass have long work done? It asks here for a task's Job, again and again, until there is a report.
//!
//! What a pass does with an action that is a task:
//!
//! ```text
//! match jobs.run(&owner, database, &action).await {
//!     Progress::Running { message, .. } => …say so with Reason::JobRunning; the next pass is woken from here
//!     Progress::Done(report)        => …record it in the status
//!     Progress::Refused(blocked)    => …say so; later passes try again by themselves
//! }
//! ```
//!
//! and once its status is written, `jobs.keep_only(&owner, database, wanted)` removes the Jobs whose reports stand there, and those of former
//! wishes: a policy that was corrected need not wait for a Job that cannot start. `jobs.stop(&owner)` removes all, for an owner that is
//! suspended.
//!
//! A Job is found again by the task itself, so that a task must stay the same, to the letter, from the pass that begins it to the one that
//! records its report: a moment in it is that of the run, not of the pass.
//!
//! Nothing is remembered that a restart could lose: the Job itself says all. Whatever happens to a Job of ours wakes its owner, and whoever
//! waits for the database that it leaves.

mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::sync::Mutex as AsyncMutex;

use crate::api::postgres_database::{Limits, PostgresDatabaseSpec};
use crate::api::{PostgresDatabase, Reason};
use crate::clock::Clock;
use crate::cluster::jobs::{self, Image, Owner, State, manifest};
use crate::cluster::objects;
use crate::plan::action::{Action, Blocked, ObjectId};
use crate::plan::task::{self, Task};
use crate::target;

/// How Jobs are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where their Pods come from; `None` where the operator was not told its own image, so that no Job can be made.
    pub image: Option<Image>,
    /// Most Jobs at work on one PostgresDatabase.
    pub per_database: u16,
    /// How often a Job is looked at whose Pod is not at work yet: Pods are not watched, and may have something to say.
    pub look: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { image: None, per_database: 1, look: Duration::from_secs(15) }
    }
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It is under way, or waits for its turn.
    Running {
        /// What it does, or waits for.
        message: String,
        /// How many tries in a row have failed before this one.
        failures: u32,
    },
    /// It is done: the report, as the Job wrote it.
    Done(Value),
    /// It has failed or cannot begin.
    Refused(Blocked),
}

/// The Jobs of all objects.
#[derive(Clone)]
pub struct Jobs {
    client: Client,
    options: Options,
    clock: Clock,
    desks: Arc<Mutex<HashMap<Place, Arc<Desk>>>>,
    /// Names of the Jobs that were asked for, or that the watch has told of, by the UIDs of their owners. A name too many does no harm.
    known: Arc<Mutex<HashMap<String, HashSet<String>>>>,
    /// Who has been told that a task is under way, and whether its Pod is at work.
    expecting: Arc<Mutex<HashMap<ObjectId, bool>>>,
    /// How many times in a row Jobs had failed when they were last looked at, by whose they are and by name.
    failures: Arc<Mutex<HashMap<ObjectId, HashMap<String, u32>>>>,
}

/// A namespace and the label of a PostgresDatabase in it.
type Place = (String, String);

/// Where the Jobs of one database are given out.
#[derive(Default)]
struct Desk {
    /// Whoever holds it counts Jobs and makes one, so that two passes do not both see a free place.
    turn: AsyncMutex<()>,
    /// Who has been sent away.
    waiting: Mutex<HashSet<ObjectId>>,
}

impl Jobs {
    /// No Job is made before it is asked for.
    pub fn new(client: Client, options: Options, clock: Clock) -> Self {
        let (desks, known, expecting, failures) = (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        Self { client, options, clock, desks, known, expecting, failures }
    }

    /// Has a task done by a Job, or says how far it is.
    pub async fn run(&self, owner: &Owner, database: &str, action: &Action) -> Progress {
        self.run_in(owner, database, None, action).await
    }

    /// The same, connecting to another database of the same server.
    pub async fn run_in(&self, owner: &Owner, database: &str, other: Option<&str>, action: &Action) -> Progress {
        let state = self.ensure(owner, database, other, action).await;
        self.progress(owner, database, action, state)
    }

    /// A task of the owner's that has a Job, of those that `is_meant` picks, and how far it is: without a question about anything but Jobs, and
    /// without another try of one that has failed. Of several, one that has not. `None` where there is none.
    ///
    /// # Errors
    /// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
    pub async fn found(&self, owner: &Owner, is_meant: impl Fn(&Action) -> bool) -> Result<Option<(Action, Progress)>, Blocked> {
        let mut found = None;
        for (job, task) in jobs::of_owner(&self.client, owner).await? {
            let is_gone = job.metadata.deletion_timestamp.is_some();
            if is_gone || !is_meant(&task.action) || job.name_any() != jobs::name(owner, &task.database, &task.action) {
                continue;
            }
            let state = jobs::look(&self.client, &job, self.clock.now()).await?;
            let has_failed = matches!(state, State::Failed { .. });
            self.learn(&owner.uid, job.name_any());
            let progress = self.progress(owner, &task.database, &task.action, Ok(state));
            found = Some((task.action, progress));
            if !has_failed {
                break;
            }
        }
        Ok(found)
    }

    /// What a look has come to, after it is noted who expects what.
    fn progress(&self, owner: &Owner, database: &str, action: &Action, state: Result<State, Blocked>) -> Progress {
        match &state {
            Ok(State::Running { started, .. }) => lock(&self.expecting).insert(id(owner), *started),
            _ => lock(&self.expecting).remove(&id(owner)),
        };
        self.count_failures(owner, database, action, &state);
        match state {
            Ok(State::Running { message, failures, .. }) => Progress::Running { message, failures },
            Ok(State::Succeeded { report }) => Progress::Done(report),
            Ok(State::Failed { reason, message, .. }) => Progress::Refused(Blocked::new(reason, message)),
            Err(blocked) => Progress::Refused(blocked),
        }
    }

    /// One that runs again has failed as often as before.
    fn count_failures(&self, owner: &Owner, database: &str, action: &Action, state: &Result<State, Blocked>) {
        let times = match state {
            Ok(State::Failed { times, .. }) => *times,
            Ok(State::Succeeded { .. }) => 0,
            Ok(State::Running { .. }) | Err(_) => return,
        };
        lock(&self.failures).entry(id(owner)).or_default().insert(jobs::name(owner, database, action), times);
    }

    /// How many times in a row a Job of the tasks that the owner still wants has failed, as far as this process has seen it.
    pub fn failures(&self, owner: &Owner, database: &str, wanted: &[Action]) -> u32 {
        let mut failures = lock(&self.failures);
        let Some(of_owner) = failures.get_mut(&id(owner)) else { return 0 };
        let wanted: HashSet<String> = wanted.iter().map(|action| jobs::name(owner, database, action)).collect();
        of_owner.retain(|name, times| *times > 0 && wanted.contains(name));
        let most = of_owner.values().max().copied().unwrap_or(0);
        if of_owner.is_empty() {
            failures.remove(&id(owner));
        }
        most
    }

    /// Forgets the failures of an object that is gone.
    pub fn forgive(&self, object: &ObjectId) {
        lock(&self.failures).remove(object);
    }

    /// Removes a task's Job, once its report is recorded or the task is no longer wanted. If it is asked for again, it runs again.
    ///
    /// # Errors
    /// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
    pub async fn forget(&self, owner: &Owner, database: &str, action: &Action) -> Result<(), Blocked> {
        jobs::forget(&self.client, owner, &jobs::name(owner, database, action)).await.map(drop)
    }

    /// Removes the owner's Jobs of other tasks than these, unless their Pods are at work: one that cannot start is not in the way of a
    /// corrected spec. Asks nothing of the API server where there are none.
    ///
    /// # Errors
    /// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
    pub async fn keep_only(&self, owner: &Owner, database: &str, wanted: &[Action]) -> Result<(), Blocked> {
        let known = self.known(owner);
        if known.is_empty() {
            return Ok(());
        }
        let wanted: HashSet<String> = wanted.iter().map(|action| jobs::name(owner, database, action)).collect();
        for name in known.difference(&wanted) {
            if jobs::forget_idle(&self.client, owner, name).await? {
                self.unlearn(&owner.uid, name);
            }
        }
        Ok(())
    }

    /// Removes all Jobs of the owner, those at work too: every task may be broken off, and what it has done stays done. Asks nothing of the API
    /// server where there are none.
    ///
    /// # Errors
    /// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
    pub async fn stop(&self, owner: &Owner) -> Result<(), Blocked> {
        for name in self.known(owner) {
            if jobs::forget(&self.client, owner, &name).await? {
                self.unlearn(&owner.uid, &name);
            }
        }
        Ok(())
    }

    /// Removes all Jobs of the owner but that of one task, those at work too.
    ///
    /// # Errors
    /// [`Reason::KubernetesUnavailable`] where the API server gives no answer or refuses.
    pub async fn stop_others(&self, owner: &Owner, database: &str, task: &Action) -> Result<(), Blocked> {
        let wanted = jobs::name(owner, database, task);
        for name in self.known(owner).iter().filter(|name| **name != wanted) {
            if jobs::forget(&self.client, owner, name).await? {
                self.unlearn(&owner.uid, name);
            }
        }
        Ok(())
    }

    fn known(&self, owner: &Owner) -> HashSet<String> {
        lock(&self.known).get(&owner.uid).cloned().unwrap_or_default()
    }

    async fn ensure(&self, owner: &Owner, database: &str, other: Option<&str>, action: &Action) -> Result<State, Blocked> {
        let job = self.job(owner, database, other, action).await?;
        // Before it is made: whoever is to remove it need not wait for the watch.
        self.learn(&owner.uid, job.name_any());
        let desk = self.desk(&owner.namespace, &manifest::label_value(database));
        let _turn = desk.turn.lock().await;
        let mut others = jobs::at_work(&self.client, &owner.namespace, database).await?;
        others.retain(|name| *name != job.name_any());
        // Somebody waits for a restore, perhaps without any database: it waits for nobody.
        let is_full = others.len() >= usize::from(self.options.per_database.max(1)) && owner.kind != "Restore";
        let busy = is_full.then(|| format!("{} at work on PostgresDatabase {database}", others.join(", ")));
        match busy {
            Some(_) => desk.waiting().insert(id(owner)),
            None => desk.waiting().remove(&id(owner)),
        };
        jobs::ensure(&self.client, &job, busy.as_deref(), self.clock.now()).await
    }

    /// The Job of a task, by the database as it is declared now where it needs one.
    async fn job(&self, owner: &Owner, database: &str, other: Option<&str>, action: &Action) -> Result<Job, Blocked> {
        let image = self.options.image.as_ref().ok_or_else(|| {
            let message = "no Job can be made: the operator does not know its own image; set PGREEVE_IMAGE (the chart does)";
            Blocked::new(Reason::JobFailed, message)
        })?;
        let mut task = Task {
            version: task::VERSION,
            object: id(owner),
            database: database.to_owned(),
            connection: None,
            limits: Limits::default(),
            action: action.clone(),
        };
        if task.needs_database() {
            let spec = self.declared(&owner.namespace, database).await?;
            let mut connection = spec.connection;
            if let Some(other) = other {
                connection.database = Some(other.to_owned());
            }
            if let Some(admin) = spec.admin_secret_ref.as_ref().filter(|_| task.wants_admin()) {
                connection = target::admin_connection(&self.client, &connection, &owner.namespace, database, admin).await?;
            }
            task.connection = Some(connection);
            task.limits = spec.limits;
        }
        jobs::build(owner, &task, image)
    }

    /// A database as it is declared now.
    async fn declared(&self, namespace: &str, database: &str) -> Result<PostgresDatabaseSpec, Blocked> {
        let what = format!("PostgresDatabase {database}");
        let found = objects::fetch::<PostgresDatabase>(&self.client, namespace, database).await;
        let found = found.map_err(|error| objects::unavailable(&what, &error))?;
        let absent = || Blocked::new(Reason::DatabaseNotFound, format!("{what} does not exist in namespace {namespace}"));
        let found = found.ok_or_else(absent)?.typed;
        found.map(|found| found.spec).map_err(|error| Blocked::new(Reason::InvalidSpec, format!("{what}: {error}")))
    }

    fn desk(&self, namespace: &str, database: &str) -> Arc<Desk> {
        let mut desks = lock(&self.desks);
        desks.entry((namespace.to_owned(), database.to_owned())).or_default().clone()
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, HashSet<ObjectId>> {
        lock(&self.waiting)
    }
}

fn id(owner: &Owner) -> ObjectId {
    ObjectId { kind: owner.kind.clone(), namespace: owner.namespace.clone(), name: owner.name.clone() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
