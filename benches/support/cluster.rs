//! What stands between a benchmark and the operator? The objects on a real API server, a watch on them, and the operator's process.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::ApiResource;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use pgreeve::api::{PartitionPolicy, PostgresDatabase};
use serde_json::json;

use super::tables;
use crate::servers::apiserver::ApiServer;

/// Requests of the benchmark that are under way at a time, when it creates objects.
const AT_A_TIME: usize = 32;

/// Namespace of everything here.
pub const NAMESPACE: &str = "default";

/// Creates these objects as fast as the API server takes them.
pub async fn create_policies(client: &Client, range: std::ops::Range<usize>, ahead: i32) {
    let api: Api<PartitionPolicy> = Api::namespaced(client.clone(), NAMESPACE);
    futures::stream::iter(range)
        .for_each_concurrent(AT_A_TIME, async |number| {
            api.create(&PostParams::default(), &tables::policy(number, ahead)).await.unwrap();
        })
        .await;
}

/// Deletes every policy and every event, and waits until they are gone.
pub async fn delete_policies(client: &Client) {
    let api: Api<PartitionPolicy> = Api::namespaced(client.clone(), NAMESPACE);
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(client.clone(), NAMESPACE);
    loop {
        drop(events.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap());
        drop(api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap());
        if api.list(&ListParams::default().limit(1)).await.unwrap().items.is_empty() {
            return;
        }
    }
}

/// The PostgresDatabase that the policies name, and its Secret.
pub async fn create_database(client: &Client, uri: &str) {
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "database"}, "stringData": {"uri": uri}})).unwrap();
    Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &secret).await.unwrap();
    let database: PostgresDatabase = serde_json::from_value(json!({
        "apiVersion": "pgreeve.dev/v1alpha1", "kind": "PostgresDatabase", "metadata": {"name": "database"},
        "spec": {"connection": {"secretRef": {"name": "database"}, "tls": {"mode": "Disable"}}},
    }))
    .unwrap();
    Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &database).await.unwrap();
}

/// The least that anybody does who writes a status for each of `count` new objects: reads of the objects and patches of a status
/// of the usual size, nothing else.
pub async fn patch_statuses(client: &Client, count: usize) {
    let api: Api<PartitionPolicy> = Api::namespaced(client.clone(), NAMESPACE);
    let condition = |name: &str| {
        json!({"type": name, "status": "True", "reason": "UpToDate", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "a message of the usual length about a table and its partitions"})
    };
    let conditions = ["Ready", "Planned", "Reconciling"].map(condition);
    let status = json!({"observedGeneration": 1, "conditions": conditions});
    futures::stream::iter(0..count)
        .for_each_concurrent(AT_A_TIME, async |number| {
            let name = tables::policy(number, 0).name_any();
            let found = api.get(&name).await.unwrap();
            let patch = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": "PartitionPolicy",
                "metadata": {"name": found.name_any()}, "status": status});
            api.patch_status(&name, &PatchParams::apply("benchmark").force(), &Patch::Apply(&patch)).await.unwrap();
        })
        .await;
}

/// What a watch has seen of each policy.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<HashMap<String, Sight>>>);

/// The newest state of one policy, and when it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// `status.observedGeneration`.
    pub generation: i64,
    /// Whether Ready is True for the object's present generation.
    pub ready: bool,
    /// When.
    pub at: Instant,
}

impl Seen {
    /// Watches for as long as the runtime lives.
    pub fn watch(client: Client) -> Self {
        let seen = Self::default();
        let into = seen.clone();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("pgreeve.dev", "v1alpha1", "PartitionPolicy"));
        let api: Api<DynamicObject> =
            Api::namespaced_with(client, NAMESPACE, &ApiResource { plural: "partitionpolicies".into(), ..resource });
        tokio::spawn(async move {
            let stream = watcher(api, watcher::Config::default()).default_backoff();
            stream
                .for_each(async |event| match event {
                    Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => into.add(&object),
                    Ok(watcher::Event::Delete(object)) => drop(into.lock().remove(&object.name_any())),
                    _ => {}
                })
                .await;
        });
        seen
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        self.lock().values().filter(|sight| sight.ready).count()
    }

    /// When the last one became ready.
    pub fn last(&self) -> Option<Instant> {
        self.lock().values().map(|sight| sight.at).max()
    }

    /// Waits until `count` are ready.
    pub async fn all_ready(&self, count: usize) {
        while self.ready() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the status of a policy is about this generation, and says when that became known.
    pub async fn observed(&self, name: &str, generation: i64) -> Instant {
        loop {
            let sight = self.lock().get(name).copied();
            if let Some(sight) = sight.filter(|sight| sight.generation >= generation) {
                return sight.at;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn add(&self, object: &DynamicObject) {
        let status = &object.data["status"];
        let generation = status["observedGeneration"].as_i64().unwrap_or(0);
        let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let is_ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        let sight = Sight { generation, ready: is_ready && object.metadata.generation == Some(generation), at: Instant::now() };
        self.lock().insert(object.name_any(), sight);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Sight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operator in a process of its own.
pub struct Operator {
    child: Child,
    /// Port of its metrics on 127.0.0.1.
    pub port: u16,
}

impl Operator {
    /// Starts the program that cargo built with this benchmark.
    pub fn start(server: &ApiServer, resync: &str) -> Self {
        let port = crate::servers::process::free_port();
        let mut command = Command::new(std::env::var("PGREEVE_BENCH_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_pgreeve").into()));
        command.args(["operator", &format!("--listen=127.0.0.1:{port}"), &format!("--resync={resync}"), "--log=warn"]);
        let child = command.env("KUBECONFIG", server.kubeconfig()).stdin(Stdio::null()).spawn().unwrap();
        Self { child, port }
    }

    /// A line of `/proc/PID/status` in MiB, such as `VmHWM`, the most memory that it ever had.
    pub fn memory(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes / 1024.0
    }

    /// Seconds of processor that it has used.
    pub fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // Fields 14 and 15 of proc(5), in ticks of 10 ms.
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// Waits until it has used next to no processor for a while; says for how long it was busy.
    pub async fn quiet(&self) -> Duration {
        self.quiet_or(Duration::MAX).await
    }

    /// The same, for this long at most.
    pub async fn quiet_or(&self, most: Duration) -> Duration {
        let begun = Instant::now();
        let (mut used, mut since) = (self.processor(), begun);
        while since.elapsed() < Duration::from_secs(3) && begun.elapsed() < most {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.processor();
            if now - used > 0.02 {
                (used, since) = (now, Instant::now());
            }
        }
        since - begun
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // By its own id; it is this process's child.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Requests that changed something of ours, as the API server counts them: by verb and resource.
pub fn writes(server: &ApiServer) -> HashMap<String, u64> {
    let text = server.kubectl_output(&["get", "--raw", "/metrics"]);
    let mut found = HashMap::new();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label =
            |name: &str| line.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        let (verb, resource) = (label("verb"), label("resource"));
        let is_ours = ["partitionpolicies", "postgresdatabases", "events", "secrets"].contains(&resource);
        if is_ours && !["GET", "LIST", "WATCH"].contains(&verb) {
            let count: f64 = line.rsplit(' ').next().and_then(|text| text.parse().ok()).unwrap();
            *found.entry(format!("{verb} {resource}")).or_default() += count as u64;
        }
    }
    found
}

/// Passes that the operator has made.
pub async fn passes(port: u16) -> u64 {
    let text = scrape(port).await;
    let lines = text.lines().filter(|line| line.starts_with("pgreeve_reconciles_total{") && line.contains("PartitionPolicy"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// The text of `/metrics`.
pub async fn scrape(port: u16) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
