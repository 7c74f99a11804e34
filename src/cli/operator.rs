//! `pgreeve operator`: the controllers, with what stands around them: HTTP answers, the lease, signals.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use crate::api::Span;
use crate::controller::{self, Config, Telltales};
use crate::leader::{self, LeaseName};
use crate::serve::{self, Answers};
use crate::telemetry;

/// Runs the controllers in a cluster, until they are told to end
#[derive(Args, Debug)]
pub struct Operator {
    /// Namespaces to work in, separated by commas; all of them without this
    #[arg(long, env = "PGREEVE_NAMESPACES", value_delimiter = ',', value_name = "NAMES")]
    namespaces: Vec<String>,
    /// Address of /livez, /readyz and /metrics
    #[arg(long, env = "PGREEVE_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Works only while it holds a Lease, so that several replicas can run
    #[arg(long, env = "PGREEVE_LEADER_ELECT")]
    leader_elect: bool,
    /// Namespace of the Lease; the pod's own without this
    #[arg(long, env = "PGREEVE_LEASE_NAMESPACE", value_name = "NAME")]
    lease_namespace: Option<String>,
    /// Name of the Lease
    #[arg(long, env = "PGREEVE_LEASE_NAME", default_value = "pgreeve", value_name = "NAME")]
    lease_name: String,
    /// How often a settled object is looked at again
    #[arg(long, env = "PGREEVE_RESYNC", default_value = "10m", value_name = "DURATION")]
    resync: Span,
    /// Most passes at a time, for each kind
    #[arg(long, env = "PGREEVE_CONCURRENCY", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100), value_name = "NUMBER")]
    concurrency: u16,
    /// Form of the log
    #[arg(long, env = "PGREEVE_LOG_FORMAT", value_enum, default_value_t, value_name = "FORM")]
    log_format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Operator {
    /// The form of the log that was asked for.
    pub fn log_format(&self) -> telemetry::Format {
        match self.log_format {
            LogFormat::Text => telemetry::Format::Text,
            LogFormat::Json => telemetry::Format::Json,
        }
    }

    /// Runs until a signal.
    pub async fn run(self) -> Result<Exit, Failure> {
        let resync = self.resync.to_std().context("--resync")?;
        if resync < Duration::from_secs(1) {
            return Err(Failure::new(Exit::Usage, "--resync is at least 1s"));
        }
        let stop = CancellationToken::new();
        tokio::spawn(signalled(stop.clone()));
        let client =
            Client::try_default().await.context("no cluster: neither a kubeconfig nor a pod's service account leads to one")?;
        let telltales = Telltales::default();
        let answers = Answers { metrics: telltales.metrics.clone(), ready: telltales.ready.clone() };
        let serving = serve::serve(self.listen, answers, stop.clone().cancelled_owned());
        let working = self.work(client, resync, telltales, stop.clone());
        tokio::pin!(serving, working);
        tokio::select! {
            served = &mut serving => {
                stop.cancel();
                served.with_context(|| format!("{} cannot be listened on", self.listen))?;
                working.await?;
            }
            worked = &mut working => {
                stop.cancel();
                worked?;
                serving.await.context("serving")?;
            }
        }
        Ok(Exit::Ok)
    }

    async fn work(&self, client: Client, resync: Duration, telltales: Telltales, stop: CancellationToken) -> anyhow::Result<()> {
        let version = client.apiserver_version().await.context("the API server does not answer")?;
        tracing::info!(kubernetes = version.git_version, namespaces = ?self.namespaces, "starting");
        let namespaces: Vec<String> = self.namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        let config = Config { namespaces, resync, concurrency: self.concurrency, identity: identity(), ..Config::default() };
        if !self.leader_elect {
            telltales.metrics.leader.set(1);
            return controller::run_with(client, config, telltales, stop.cancelled_owned()).await;
        }
        // One that waits for the lease is as ready as can be: a roll-out waits for its readiness.
        telltales.ready.store(true, Ordering::Relaxed);
        let namespace = self.lease_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let lease = LeaseName { namespace, name: self.lease_name.clone() };
        let metrics = telltales.metrics.clone();
        let identity = config.identity.clone();
        let work = || controller::run_with(client.clone(), config.clone(), telltales.clone(), stop.clone().cancelled_owned());
        let is_leader = move |leads: bool| {
            metrics.leader.set(leads.into());
        };
        leader::run(client.clone(), lease, &identity, is_leader, stop.clone().cancelled_owned(), work).await
    }
}

/// Cancels when the process is asked to end.
async fn signalled(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("ending");
    stop.cancel();
}

/// Tells this process apart from its siblings: the pod's name, which is the host's name in a pod.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    host.unwrap_or_else(|| format!("pgreeve-{}", std::process::id()))
}
