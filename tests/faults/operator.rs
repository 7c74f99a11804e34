//! How is the operator started, killed and stopped within a test? In a runtime of its own, which dies with all its tasks and sockets.

use std::time::Duration;

use jiff::Timestamp;
use kube::Config as KubeConfig;
use pgreeve::clock::Clock;
use pgreeve::cluster::jobs::Image;
use pgreeve::controller::jobs::Options;
use pgreeve::controller::{Config, run};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::support::kubefault::KubeFaults;

/// How often a settled object is looked at again.
pub const RESYNC: Duration = Duration::from_millis(500);

/// A running operator.
pub struct Operator {
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<anyhow::Result<()>>,
}

/// The moment at which all scenarios play that have no Jobs.
pub fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

impl Operator {
    /// Starts it for one namespace; its client lives in its runtime, below the faults.
    pub fn start(namespace: &str, kube: &KubeConfig, faults: &KubeFaults, clock: Clock) -> Self {
        let pace = Config {
            resync: RESYNC,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(200),
            ..Config::default()
        };
        Self::at(pace, namespace, kube, faults, clock)
    }

    /// The same, looking again only where it has a reason to.
    #[allow(dead_code, reason = "not every binary that includes this needs it")]
    pub fn start_calm(namespace: &str, kube: &KubeConfig, faults: &KubeFaults, clock: Clock) -> Self {
        let pace = Config { backoff_min: Duration::from_secs(300), ..Config::default() };
        Self::at(pace, namespace, kube, faults, clock)
    }

    fn at(pace: Config, namespace: &str, kube: &KubeConfig, faults: &KubeFaults, clock: Clock) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (kube, faults) = (kube.clone(), faults.clone());
        let image = Image { name: "registry.example/pgreeve:1".into(), ..Image::default() };
        let config = Config {
            namespaces: vec![namespace.to_owned()],
            jobs: Options { image: Some(image), ..Options::default() },
            clock,
            ..pace
        };
        runtime.spawn(async move {
            let client = faults.client(&kube);
            let shutdown = async move { drop(stopped.await) };
            let _ = end.send(run(client, config, shutdown).await);
        });
        Self { runtime: Some(runtime), stop: Some(stop), ended }
    }

    /// Ends it as SIGKILL would: nothing more is sent, every connection closes.
    pub fn kill(mut self) {
        self.end();
    }

    /// Ends it as SIGTERM does.
    ///
    /// # Panics
    /// Where that takes longer than a Pod is given, or fails.
    pub async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(20), &mut self.ended).await.expect("the operator stops").unwrap().unwrap();
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.end();
    }
}
