//! How is the operator put together? Controllers, leader election, HTTP and signals, started and stopped in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Config, Telltales};
use crate::leader::{self, LeaseName};
use crate::metrics::Metrics;
use crate::serve::{self, Answers};
use crate::signals;

/// What `pgreeve operator` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the controllers run.
    pub config: Config,
    /// Where /livez, /readyz and /metrics are served.
    pub listen: SocketAddr,
    /// The lease that says which operator works; without one this operator works always.
    pub lease: Option<LeaseName>,
}

/// Longest that passes which have begun may take after a signal to stop; the Pod's grace period is 30 s by default.
const GRACE: Duration = Duration::from_secs(25);

/// Runs the operator until SIGTERM or SIGINT. Passes that have begun then end by themselves, and the lease is given back.
///
/// # Errors
/// If the cluster cannot be reached at the start, the address cannot be bound, or the lease cannot be had.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let client = Client::try_default().await?;
    run_with(client, options, signals::stop()?).await
}

/// The same with a given client, until `stop`.
///
/// # Errors
/// See [`run`].
pub async fn run_with(client: Client, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let telltales = Telltales { metrics: Arc::new(Metrics::new()), ready: Arc::new(AtomicBool::new(false)) };
    let answers =
        Answers { metrics: telltales.metrics.clone(), clock: options.config.clock.clone(), ready: telltales.ready.clone() };
    let stopped = stop.clone();
    let server = tokio::spawn(serve::serve(options.listen, answers, async move { stopped.cancelled().await }));
    let work = work(client, options, telltales, stop.clone());
    let outcome = tokio::select! {
        outcome = work => outcome,
        served = server => served?.map_err(anyhow::Error::from),
        () = overdue(&stop) => Err(anyhow::anyhow!("passes did not end within {} s; what they had begun is rolled back or found by the next operator", GRACE.as_secs())),
    };
    stop.cancel();
    outcome
}

async fn work(client: Client, options: Options, telltales: Telltales, stop: CancellationToken) -> anyhow::Result<()> {
    let metrics = telltales.metrics.clone();
    let leads = |leads: bool| {
        metrics.leader.set(leads.into());
        if !leads {
            metrics.forget_all();
        }
    };
    let controllers =
        || controller::run_with(client.clone(), options.config.clone(), telltales.clone(), stop.clone().cancelled_owned());
    let Some(lease) = options.lease else {
        leads(true);
        return controllers().await;
    };
    // A second operator that waits for its turn is ready: a roll-out must not wait for the first one to end.
    telltales.ready.store(true, Ordering::Relaxed);
    leader::run(client.clone(), lease, &options.config.identity, leads, stop.cancelled(), controllers).await
}

async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}
