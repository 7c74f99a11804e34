//! Who runs the Jobs of a test, and do they keep the laws? A node of one namespace, which sees every Job come, end and go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt as _;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use pgreeve::clock::Clock;
use tokio::task::JoinSet;

use super::kubelet::Kubelet;

/// How the containers of Jobs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// One after the other.
    One,
    /// Two of each Job at a time.
    Two,
}

/// A node, until it is dropped.
pub struct Node {
    seen: Arc<Mutex<Seen>>,
    /// In place of every volume.
    pub volume: tempfile::TempDir,
    _at_work: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// Jobs that there are, by UID: whose each is, and whether it has ended.
    present: BTreeMap<String, (String, bool)>,
    begun: BTreeSet<String>,
    /// Containers that run.
    running: usize,
    broken: Vec<String>,
}

impl Node {
    /// Takes part in this namespace. One that begins late meets the Jobs that are there.
    pub fn start(client: &Client, namespace: &str, pods: Pods) -> Self {
        // What fails for good is tried again a minute later, which has long been.
        let ended = Clock::system().now() - SignedDuration::from_hours(2);
        Self::of(Kubelet::of(client, namespace).ending_at(ended), pods, program())
    }

    /// The same, where a Job that fails stays for a minute as it is.
    pub fn start_patiently(client: &Client, namespace: &str) -> Self {
        Self::of(Kubelet::of(client, namespace).ending_now(), Pods::One, program())
    }

    /// One whose containers run this program.
    pub fn of(kubelet: Kubelet, pods: Pods, program: PathBuf) -> Self {
        let volume = tempfile::tempdir().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let mut at_work = JoinSet::new();
        let containers = Containers { kubelet, pods, program, volume: volume.path().to_owned() };
        at_work.spawn(serve(containers, Arc::clone(&seen)));
        Self { seen, volume, _at_work: at_work }
    }

    /// Whether some Job has been run and none is left.
    pub fn has_done_all(&self) -> bool {
        let seen = lock(&self.seen);
        !seen.begun.is_empty() && seen.present.is_empty() && seen.running == 0
    }

    /// Takes down that a law was broken.
    pub fn breaks(seen: &Breaches, what: String) {
        lock(&seen.0).broken.push(what);
    }

    /// Where breaches are taken down.
    pub fn breaches(&self) -> Breaches {
        Breaches(Arc::clone(&self.seen))
    }

    /// What was broken, and the Jobs that are left over.
    pub fn broken(&self) -> Vec<String> {
        let seen = lock(&self.seen);
        let left = seen.present.values().map(|(owner, _)| format!("a Job of {owner} is left over"));
        seen.broken.iter().cloned().chain(left).collect()
    }
}

/// A list of broken laws.
#[derive(Clone)]
pub struct Breaches(Arc<Mutex<Seen>>);

/// The product's program.
pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_pgreeve").into()
}

/// How they are run.
#[derive(Clone)]
struct Containers {
    kubelet: Kubelet,
    pods: Pods,
    program: PathBuf,
    volume: PathBuf,
}

async fn serve(containers: Containers, seen: Arc<Mutex<Seen>>) {
    let events = watcher(containers.kubelet.jobs.clone(), watcher::Config::default()).default_backoff();
    tokio::pin!(events);
    let mut at_work = JoinSet::new();
    loop {
        tokio::select! {
            Some(event) = events.next() => {
                // The watch begins anew by itself.
                let Ok(event) = event else { continue };
                for job in lock(&seen).hear(event) {
                    at_work.spawn(run(containers.clone(), job, Arc::clone(&seen)));
                }
            }
            Some(ended) = at_work.join_next() => ended.unwrap(),
        }
    }
}

async fn run(containers: Containers, job: Job, seen: Arc<Mutex<Seen>>) {
    lock(&seen).running += 1;
    let Containers { kubelet, pods, program, volume } = containers;
    match pods {
        Pods::One => kubelet.run(&job, &program, &volume).await,
        Pods::Two => kubelet.run_twice(&job, &program, &volume).await,
    };
    lock(&seen).running -= 1;
}

impl Seen {
    /// The Jobs that are to be run because of this.
    fn hear(&mut self, event: Event<Job>) -> Vec<Job> {
        match event {
            Event::Apply(job) | Event::InitApply(job) => self.see(job).into_iter().collect(),
            Event::Delete(job) => {
                self.present.remove(&job.uid().unwrap());
                vec![]
            }
            Event::Init => {
                self.present.clear();
                vec![]
            }
            Event::InitDone => vec![],
        }
    }

    fn see(&mut self, job: Job) -> Option<Job> {
        let (uid, owner) = (job.uid().unwrap(), job.owner_references()[0].name.clone());
        let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let has_ended = conditions.iter().any(|condition| ["Complete", "Failed"].contains(&condition.type_.as_str()));
        self.present.insert(uid.clone(), (owner.clone(), has_ended));
        let at_work = self.present.values().filter(|(whose, has_ended)| *whose == owner && !has_ended).count();
        if at_work > 1 {
            self.broken.push(format!("{at_work} Jobs of {owner} at a time"));
        }
        self.begun.insert(uid).then_some(job)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap()
}
