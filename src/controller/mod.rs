//! How are declarations kept true? One generic driver for every kind; a kind is one thin file.

mod backoff;
mod backup;
mod backup_schedule;
mod databases;
mod driver;
pub mod jobs;
mod kind;
mod nudge;
mod partition_policy;
mod policy;
mod postgres_database;
mod restore;
mod retention_hold;
mod retention_policy;
mod sessions;
pub mod sweeper;
mod unread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::cluster::events::Events;
use crate::metrics::Metrics;
use crate::plan::action::ObjectId;
use databases::Databases;
use jobs::Jobs;
use nudge::Nudges;

/// How the controllers run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespaces to work in; empty for all.
    pub namespaces: Vec<String>,
    /// How often a settled object is looked at again.
    pub resync: Duration,
    /// First delay after a failure; it doubles with each further one.
    pub backoff_min: Duration,
    /// Longest delay after a failure.
    pub backoff_max: Duration,
    /// Most passes at a time, for each kind.
    pub concurrency: u16,
    /// How often workloads are looked for that a Restore has left down, the first time at the start.
    pub sweep: Duration,
    /// Tells several operators apart in events.
    pub identity: String,
    /// How Jobs are made.
    pub jobs: jobs::Options,
    /// What time it is.
    pub clock: Clock,
    /// What time it is where Jobs run, if that is another: how long one waits is told by the API server's moments.
    pub clock_of_jobs: Option<Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespaces: vec![],
            resync: Duration::from_secs(600),
            backoff_min: Duration::from_secs(2),
            backoff_max: Duration::from_secs(300),
            concurrency: 4,
            sweep: sweeper::EVERY,
            identity: "pgreeve".into(),
            jobs: jobs::Options::default(),
            clock: Clock::system(),
            clock_of_jobs: None,
        }
    }
}

/// What the controllers tell the outside.
#[derive(Clone, Debug, Default)]
pub struct Telltales {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Set once the controllers run.
    pub ready: Arc<AtomicBool>,
}

/// What every kind works with.
#[derive(Clone)]
pub(crate) struct Context {
    client: Client,
    config: Config,
    metrics: Arc<Metrics>,
    events: Events,
    databases: Databases,
    jobs: Jobs,
    nudges: Nudges,
    stop: CancellationToken,
}

/// Runs the controllers of all kinds until `shutdown` is done. Passes that have begun then end by themselves.
///
/// # Errors
/// None of the objects' own failures: those are in their statuses.
pub async fn run(client: Client, config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    run_with(client, config, Telltales::default(), shutdown).await
}

/// The same, telling the outside how it goes.
///
/// # Errors
/// See [`run`].
pub async fn run_with(
    client: Client,
    config: Config,
    telltales: Telltales,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let (nudges, wishes) = Nudges::new();
    let context = Context {
        events: Events::new(client.clone(), &config.identity),
        databases: Databases::new(client.clone(), config.backoff_min),
        jobs: Jobs::new(client.clone(), config.jobs.clone(), config.clock_of_jobs.as_ref().unwrap_or(&config.clock).clone()),
        client,
        config,
        metrics: telltales.metrics,
        nudges,
        stop: stop.clone(),
    };
    let namespaces = if context.config.namespaces.is_empty() {
        vec![None]
    } else {
        context.config.namespaces.iter().cloned().map(Some).collect()
    };
    let router = driver::Router::default();
    let mut controllers: Vec<BoxFuture<'static, ()>> = Vec::new();
    for namespace in namespaces {
        controllers.extend(of_namespace(&context, namespace.as_ref(), &router));
    }
    let sweeper = context.databases.clone().sweep(stop.clone());
    telltales.ready.store(true, Ordering::Relaxed);
    let guard = stop.clone().drop_guard();
    let all = async {
        tokio::join!(futures::future::join_all(controllers), sweeper, router.route(wishes, stop.clone()));
    };
    tokio::pin!(all, shutdown);
    tokio::select! {
        () = &mut all => {}
        () = &mut shutdown => {
            drop(guard);
            all.await;
        }
    }
    Ok(())
}

/// Everything that runs for a namespace, or for all of them.
fn of_namespace(context: &Context, namespace: Option<&String>, router: &driver::Router) -> Vec<BoxFuture<'static, ()>> {
    fn one<K: kind::Kind>(
        kind: K,
        context: &Context,
        namespace: Option<&String>,
        router: &driver::Router,
    ) -> BoxFuture<'static, ()> {
        Box::pin(driver::drive(Arc::new(kind), context.clone(), namespace.cloned(), router))
    }
    vec![
        Box::pin(watch_jobs(context, namespace.cloned())),
        Box::pin(sweeper::sweep(context, namespace.cloned())),
        one(postgres_database::Kind::new(context.clone()), context, namespace, router),
        one(partition_policy::kind(context.clone()), context, namespace, router),
        one(retention_policy::kind(context.clone()), context, namespace, router),
        one(retention_hold::Holds::new(context.clone()), context, namespace, router),
        one(backup_schedule::Schedules::new(context.clone()), context, namespace, router),
        one(backup::Backups::new(context.clone()), context, namespace, router),
        one(restore::Restores::new(context.clone()), context, namespace, router),
    ]
}

/// Whatever happens to a Job wakes whom it concerns.
fn watch_jobs(context: &Context, namespace: Option<String>) -> impl Future<Output = ()> + Send + 'static {
    let (jobs, nudges, stop) = (context.jobs.clone(), context.nudges.clone(), context.stop.clone());
    async move {
        let wake = move |ObjectId { kind, namespace, name }: ObjectId| nudges.now(kind, &namespace, &name);
        stop.run_until_cancelled(jobs.watch(namespace, wake)).await;
    }
}
