//! `pgreeve operator`: what the flags of the operator say.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::exit::{Exit, Failure};
use crate::api::Span;
use crate::cluster::jobs::{Image, manifest};
use crate::controller::{Config, jobs};
use crate::leader::LeaseName;
use crate::operator::{self, Options};
use crate::telemetry;

/// Runs the controllers in a cluster, until they are told to end
#[derive(Args, Debug)]
pub struct Operator {
    /// Namespaces to work in, separated by commas; all of them without this
    #[arg(long, env = "PGREEVE_NAMESPACES", hide_env_values = true, value_delimiter = ',', value_name = "NAMES")]
    namespaces: Vec<String>,
    /// Address of /livez, /readyz and /metrics
    #[arg(long, env = "PGREEVE_LISTEN", hide_env_values = true, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Works only while it holds a Lease, so that several replicas can run
    #[arg(long, env = "PGREEVE_LEADER_ELECT", hide_env_values = true)]
    leader_elect: bool,
    /// Namespace of the Lease; the pod's own without this
    #[arg(long, env = "PGREEVE_LEASE_NAMESPACE", hide_env_values = true, value_name = "NAME")]
    lease_namespace: Option<String>,
    /// Name of the Lease
    #[arg(long, env = "PGREEVE_LEASE_NAME", hide_env_values = true, default_value = "pgreeve", value_name = "NAME")]
    lease_name: String,
    /// How often a settled object is looked at again
    #[arg(long, env = "PGREEVE_RESYNC", hide_env_values = true, default_value = "10m", value_name = "DURATION")]
    resync: Span,
    /// Most passes at a time, for each kind
    #[arg(long, env = "PGREEVE_CONCURRENCY", hide_env_values = true, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100), value_name = "NUMBER")]
    concurrency: u16,
    /// This operator's own image: its Jobs run it too, and without it none can be made
    #[arg(long, env = "PGREEVE_IMAGE", hide_env_values = true, value_name = "IMAGE")]
    image: Option<String>,
    /// When Pods of Jobs pull it; as Kubernetes has it without this
    #[arg(long, env = "PGREEVE_IMAGE_PULL_POLICY", hide_env_values = true, value_parser = ["Always", "IfNotPresent", "Never"], value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// Secrets with the registry's credentials, separated by commas; each must be in the namespace of the Job
    #[arg(long, env = "PGREEVE_IMAGE_PULL_SECRETS", hide_env_values = true, value_delimiter = ',', value_name = "NAMES")]
    image_pull_secrets: Vec<String>,
    /// Image with PostgreSQL's programs for backups and restores, where {major} stands for the server's major version
    #[arg(long, env = "PGREEVE_POSTGRES_IMAGE", hide_env_values = true, default_value = manifest::POSTGRES, value_name = "IMAGE")]
    postgres_image: String,
    /// Most Jobs at work on one database
    #[arg(long, env = "PGREEVE_JOBS_PER_DATABASE", hide_env_values = true, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100), value_name = "NUMBER")]
    jobs_per_database: u16,
    /// Form of the log
    #[arg(long, env = "PGREEVE_LOG_FORMAT", hide_env_values = true, value_enum, default_value_t, value_name = "FORM")]
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
        let namespaces = self.namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        let config = Config {
            namespaces,
            resync,
            concurrency: self.concurrency,
            identity: identity(),
            jobs: self.jobs(),
            ..Config::default()
        };
        let lease = self.leader_elect.then(|| LeaseName {
            namespace: self.lease_namespace.clone().unwrap_or_else(own_namespace),
            name: self.lease_name.clone(),
        });
        operator::run(Options { config, listen: self.listen, lease }).await.context("the operator cannot run")?;
        Ok(Exit::Ok)
    }

    fn jobs(&self) -> jobs::Options {
        let named = |name: &&String| !name.is_empty();
        let pull_secrets = self.image_pull_secrets.iter().filter(named).cloned().collect();
        let image = self.image.as_ref().filter(named).map(|name| Image {
            name: name.clone(),
            pull_policy: self.image_pull_policy.clone(),
            pull_secrets,
            postgres: self.postgres_image.clone(),
        });
        jobs::Options { image, per_database: self.jobs_per_database, ..jobs::Options::default() }
    }
}

/// Tells this process apart from its siblings: the pod's name, which is the host's name in a pod.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    host.unwrap_or_else(|| format!("pgreeve-{}", std::process::id()))
}

/// The namespace of the pod, where Kubernetes writes it (Kubernetes, "Accessing the Kubernetes API from a Pod").
fn own_namespace() -> String {
    let namespace = std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace");
    namespace.map_or_else(|_| "default".to_owned(), |name| name.trim().to_owned())
}
