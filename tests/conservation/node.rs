//! Who runs the Jobs? A node whose containers are processes of this machine, and die by SIGKILL when it is told so.
//!
//! A container that was killed, or that failed for now, is followed by another, as after a node that was lost.

use std::collections::HashMap;
use std::fs::read_dir;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use pgreeve::cluster::jobs::manifest::EXIT_FOR_GOOD;
use pgreeve::plan::Action;
use pgreeve::plan::task::Task;
use tokio_postgres::Client;

use crate::support::kubelet::{Container, Kubelet};
use crate::world::World;

/// Longest that a container is waited for before it dies wherever it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// In which of its transactions a Job is: closing a partition, or moving rows. What the operator changes looks otherwise.
const TRANSACTIONS: &str = "select count(*) from pg_stat_activity where usename = 'reeve' and backend_xid is not null
    and (query ~ 'ADD CONSTRAINT \"pgreeve_closed|OR \\(NOT EXISTS' or query ~ '\"stories')";

/// Where Jobs were when they died.
#[derive(Debug, Default)]
pub struct Deaths {
    pub all: usize,
    /// In a transaction that changes something.
    pub in_a_transaction: usize,
    /// Its object was whole, and no manifest named it.
    pub before_the_manifest: usize,
    /// The manifest was there, and nobody had been told.
    pub before_the_report: usize,
}

/// What lies in the bucket for one export's partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sight {
    objects: usize,
    manifests: usize,
}

/// At which moment a Job dies.
#[derive(Clone, Copy)]
enum Moment {
    After(Duration),
    Transaction,
    Object,
    Manifest,
}

/// A node.
pub struct Node {
    world: Arc<World>,
    kubelet: Kubelet,
    admin: Client,
    random: fastrand::Rng,
    /// How often a Job is still to die, by UID.
    doomed: HashMap<String, u32>,
    pub deaths: Deaths,
    /// Jobs that ended well.
    pub done: usize,
}

impl Node {
    pub async fn new(world: &Arc<World>, seed: u64) -> Self {
        Self {
            kubelet: Kubelet::of(&world.kube, &world.namespace),
            admin: world.admin().await,
            world: Arc::clone(world),
            random: fastrand::Rng::with_seed(seed),
            doomed: HashMap::new(),
            deaths: Deaths::default(),
            done: 0,
        }
    }

    /// Looks for Jobs, and runs one container of each. With `kill`, most of them die.
    pub async fn look(&mut self, kill: bool) {
        let jobs = self.kubelet.jobs.list(&Default::default()).await.unwrap().items;
        for job in jobs.iter().filter(|job| !has_ended(job)) {
            let random = &mut self.random;
            let doomed = self.doomed.entry(job.uid().unwrap()).or_insert_with(|| random.u32(3..8));
            if kill && *doomed > 0 {
                *doomed -= 1;
                self.kill_one(job).await;
            } else {
                self.run_one(job).await;
            }
        }
        if jobs.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn start(&self, job: &Job) -> Container {
        self.kubelet.start_pod(job, Path::new(env!("CARGO_BIN_EXE_pgreeve")), self.world.entry()).await
    }

    /// Runs a container to its end, and reports it.
    async fn run_one(&mut self, job: &Job) {
        let (code, message) = self.start(job).await.end().await;
        // Its former Pods went with a former Job of that name, which in a cluster the garbage collector takes care of.
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        for pod in self.kubelet.pods.list(&Default::default()).await.unwrap() {
            drop(self.kubelet.pods.delete(&pod.name_any(), &now).await);
        }
        let still_wanted =
            self.kubelet.jobs.get_opt(&job.name_any()).await.unwrap().is_some_and(|found| found.uid() == job.uid());
        match code {
            _ if !still_wanted => {}
            0 => {
                self.done += 1;
                self.kubelet.succeed(job, &message).await;
            }
            EXIT_FOR_GOOD => self.kubelet.fail(job, &message, "PodFailurePolicy").await,
            _ => {
                println!("a Job is tried again: {message:.300}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Starts a container and kills it.
    async fn kill_one(&mut self, job: &Job) {
        let partition = partition_of(job);
        let before = self.sight(partition.as_deref());
        let moment = self.moment(partition.is_some());
        let mut container = self.start(job).await;
        let begun = Instant::now();
        let mut changes = false;
        loop {
            let is_the_moment = match moment {
                Moment::After(time) => begun.elapsed() >= time,
                Moment::Transaction => {
                    changes = self.count(TRANSACTIONS).await > 0;
                    changes
                }
                Moment::Object => self.sight(partition.as_deref()).objects > before.objects,
                Moment::Manifest => self.sight(partition.as_deref()).manifests > before.manifests,
            };
            // One that ends by itself was too fast: its end is not reported, so it is begun again.
            if is_the_moment || container.process.try_wait().unwrap().is_some() || begun.elapsed() > PATIENCE {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if container.process.try_wait().unwrap().is_some() {
            return;
        }
        container.process.kill().await.unwrap();
        let now = self.sight(partition.as_deref());
        self.deaths.all += 1;
        self.deaths.in_a_transaction += usize::from(changes);
        if now.manifests > before.manifests {
            self.deaths.before_the_report += 1;
        } else if now.objects > before.objects {
            self.deaths.before_the_manifest += 1;
        }
    }

    fn moment(&mut self, is_export: bool) -> Moment {
        let after = Moment::After(Duration::from_millis(self.random.u64(0..150)));
        match self.random.u32(0..10) {
            0 => after,
            // Its object comes into being in one request; uploads in parts meet their deaths in the tests of backups.
            3..=7 if is_export => Moment::Object,
            8 | 9 if is_export => Moment::Manifest,
            _ => Moment::Transaction,
        }
    }

    async fn count(&self, query: &str) -> i64 {
        self.admin.query_one(query, &[]).await.unwrap().get(0)
    }

    fn sight(&self, partition: Option<&str>) -> Sight {
        let Some(partition) = partition else { return Sight::default() };
        let objects = self.world.objects();
        let files = below(&objects.join("public.events").join(partition), 2);
        let manifests = files.iter().filter(|file| file.ends_with("manifest.json")).count();
        Sight { objects: files.len() - manifests, manifests }
    }
}

fn has_ended(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| status.conditions.as_ref().is_some_and(|conditions| !conditions.is_empty()))
}

/// The directory of the partition that a Job exports, if it does.
fn partition_of(job: &Job) -> Option<String> {
    let container = &job.spec.as_ref()?.template.spec.as_ref()?.containers[0];
    let task = container.env.iter().flatten().find(|variable| variable.name == "PGREEVE_TASK")?;
    let task: Task = serde_json::from_str(&task.value.as_deref()?.replace("$$", "$")).unwrap();
    match task.action {
        Action::ExportPartition(export) => Some(format!("{}-{}", export.partition.table.name, export.partition.oid)),
        _ => None,
    }
}

/// What lies so many directories below this one, as far as it is there.
fn below(directory: &Path, depth: usize) -> Vec<PathBuf> {
    let entries = read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    if depth == 1 { entries.collect() } else { entries.flat_map(|entry| below(&entry, depth - 1)).collect() }
}
