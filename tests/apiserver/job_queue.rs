//! Do Jobs of one database wait for each other, and does whoever is concerned hear of them at once?

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::{Client, ResourceExt as _};
use pgreeve::clock::Clock;
use pgreeve::cluster::jobs::Owner;
use pgreeve::controller::jobs::{Jobs, Options, Progress};
use pgreeve::controller::{self, Telltales};
use pgreeve::plan::action::{Action, ObjectId};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::jobs::{image, owner, task};
use crate::support::eventually;
use crate::support::kubelet::{Kubelet, container};
use crate::world::{PATIENCE, World};

const NOW: &str = "2026-11-21T08:00:00Z";

/// What an operator has of Jobs, with this client.
pub fn jobs(client: &Client, per_database: u16) -> Jobs {
    let now = NOW.parse().unwrap();
    Jobs::new(client.clone(), Options { image: Some(image()), per_database, ..Options::default() }, Clock::from_fn(move || now))
}

/// Who was woken.
#[derive(Clone, Default)]
pub struct Woken(Arc<Mutex<HashSet<String>>>);

impl Woken {
    /// By these Jobs, from now on, until the test ends.
    pub fn by(jobs: &Jobs, namespace: &str) -> Self {
        let woken = Self::default();
        let (jobs, namespace, heard) = (jobs.clone(), namespace.to_owned(), woken.clone());
        tokio::spawn(async move {
            jobs.watch(Some(namespace), move |ObjectId { name, .. }| {
                heard.0.lock().unwrap().insert(name);
            })
            .await;
        });
        woken
    }

    /// Waits until this one has been, and forgets it.
    pub async fn has(&self, name: &str) {
        let was = async || self.0.lock().unwrap().remove(name).then_some(());
        eventually(&format!("{name} is woken"), PATIENCE, was).await;
    }
}

fn message(progress: Progress) -> String {
    match progress {
        Progress::Running { message, .. } => message,
        Progress::Done(report) => format!("done {report}"),
        Progress::Refused(blocked) => format!("{}: {}", blocked.reason, blocked.message),
    }
}

/// Asks for the export that this owner wants, and returns what is said of it.
pub async fn run(jobs: &Jobs, owner: &Owner) -> String {
    message(jobs.run(owner, "db", &task(&owner.namespace, &owner.name).action).await)
}

#[tokio::test]
async fn the_second_job_of_a_database_waits_for_the_first_and_hears_of_its_end() {
    let world = World::new(15).await;
    let (kubelet, jobs) = (Kubelet::of(&world.client, &world.namespace), jobs(&world.client, 1));
    let (first, second) = (owner(&world.namespace, "first"), owner(&world.namespace, "the-second"));
    let woken = Woken::by(&jobs, &world.namespace);
    assert!(run(&jobs, &first).await.contains("is about to start"));
    woken.has("first").await;
    let waits = run(&jobs, &second).await;
    assert!(waits.contains("waits: first-export-") && waits.contains("at work on PostgresDatabase db"), "{waits}");
    kubelet.succeed(&kubelet.job().await, r#"{"rows":3}"#).await;
    woken.has("first").await;
    woken.has("the-second").await;
    assert_eq!(run(&jobs, &first).await, r#"done {"rows":3}"#);
    assert!(run(&jobs, &second).await.contains("is about to start"));
    jobs.forget(&first, "db", &task(&world.namespace, "first").action).await.unwrap();
    woken.has("the-second").await;
    assert_eq!(kubelet.job().await.labels()["pgreeve.dev/policy"], "the-second");
}

/// Somebody may be without a database until it is done.
#[tokio::test]
async fn a_restore_waits_for_no_other_job() {
    let world = World::new(15).await;
    let (first, jobs) = (owner(&world.namespace, "first"), jobs(&world.client, 1));
    assert!(run(&jobs, &first).await.contains("is about to start"));
    let restore = Owner { kind: "Restore".into(), ..owner(&world.namespace, "restore") };
    let said = run(&jobs, &restore).await;
    assert!(said.contains("is about to start"), "{said}");
    assert!(run(&jobs, &owner(&world.namespace, "third")).await.contains(" waits: "));
}

#[tokio::test]
async fn what_a_pod_waits_for_is_asked_again_though_no_watch_tells() {
    let world = World::new(15).await;
    let (kubelet, jobs) = (Kubelet::of(&world.client, &world.namespace), jobs(&world.client, 1));
    let (owner, woken) = (owner(&world.namespace, "events"), Woken::by(&jobs, &world.namespace));
    run(&jobs, &owner).await;
    woken.has("events").await;
    let state = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
    kubelet.pod(&kubelet.job().await, "p", container("Pending", state)).await;
    woken.has("events").await;
    assert!(run(&jobs, &owner).await.contains("ErrImagePull: no such image"));
}

#[tokio::test]
async fn as_many_jobs_of_a_database_begin_as_the_operator_was_told() {
    let world = World::new(15).await;
    let jobs = jobs(&world.client, 3);
    let owners: Vec<Owner> = ["a", "bb", "ccc", "dddd", "eeeee"].map(|name| owner(&world.namespace, name)).into();
    let all = futures::future::join_all(owners.iter().map(|owner| run(&jobs, owner))).await;
    assert_eq!(all.iter().filter(|message| message.contains("is about to start")).count(), 3, "{all:?}");
    assert_eq!(all.iter().filter(|message| message.contains(" waits: ")).count(), 2, "{all:?}");
}

#[tokio::test]
async fn a_job_that_nobody_wants_any_more_goes_unless_it_is_at_work() {
    let world = World::new(15).await;
    let (kubelet, jobs) = (Kubelet::of(&world.client, &world.namespace), jobs(&world.client, 1));
    let (owner, other) = (owner(&world.namespace, "events"), owner(&world.namespace, "other"));
    let woken = Woken::by(&jobs, &world.namespace);
    let former = task(&world.namespace, "events").action;
    jobs.run(&owner, "db", &former).await;
    woken.has("events").await;
    let job = kubelet.job().await;
    let corrected: Action = {
        let mut value = serde_json::to_value(&former).unwrap();
        value["job"]["cpu"] = json!("1");
        serde_json::from_value(value).unwrap()
    };
    jobs.keep_only(&owner, "db", &[former]).await.unwrap();
    jobs.keep_only(&other, "db", &[]).await.unwrap();
    kubelet.at_work(&job, 1).await;
    jobs.keep_only(&owner, "db", std::slice::from_ref(&corrected)).await.unwrap();
    assert_eq!(kubelet.job().await.uid(), job.uid(), "what is under way ends by itself");
    kubelet.at_work(&job, 0).await;
    assert!(message(jobs.run(&owner, "db", &corrected).await).contains(" waits: "));
    jobs.keep_only(&owner, "db", std::slice::from_ref(&corrected)).await.unwrap();
    assert!(message(jobs.run(&owner, "db", &corrected).await).contains("is about to start"));
    assert_ne!(kubelet.job().await.uid(), job.uid());
}

#[tokio::test]
async fn an_owner_that_is_suspended_ends_its_jobs_and_no_others() {
    let world = World::new(15).await;
    let (kubelet, jobs) = (Kubelet::of(&world.client, &world.namespace), jobs(&world.client, 2));
    let (first, second) = (owner(&world.namespace, "first"), owner(&world.namespace, "the-second"));
    let woken = Woken::by(&jobs, &world.namespace);
    run(&jobs, &first).await;
    kubelet.at_work(&kubelet.job().await, 1).await;
    run(&jobs, &second).await;
    woken.has("first").await;
    woken.has("the-second").await;
    jobs.stop(&first).await.unwrap();
    assert_eq!(kubelet.job().await.labels()["pgreeve.dev/policy"], "the-second");
}

#[tokio::test]
async fn what_lacks_for_a_job_is_said() {
    let world = World::new(15).await;
    let owner = owner(&world.namespace, "events");
    let without_image = Jobs::new(world.client.clone(), Options::default(), Clock::system());
    assert!(run(&without_image, &owner).await.contains("set PGREEVE_IMAGE"));
    let nowhere = jobs(&world.client, 1).run(&owner, "other", &task(&world.namespace, "events").action).await;
    assert!(message(nowhere).contains("DatabaseNotFound: PostgresDatabase other does not exist"));
}

#[tokio::test]
async fn a_pass_follows_whatever_happens_to_a_job_of_its_object_and_one_that_it_does_not_want_goes() {
    let world = World::new(15).await;
    world.as_owner("create table events (at timestamptz not null) partition by range (at)").await;
    let spec =
        json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 month"});
    world.create("PartitionPolicy", "events", spec).await;
    let (telltales, stop) = (Telltales::default(), CancellationToken::new());
    let passes = {
        let telltales = telltales.clone();
        move || {
            let text = telltales.metrics.text(NOW.parse().unwrap());
            let of_kind = text.lines().filter(|line| line.starts_with("pgreeve_reconciles_total{kind=\"PartitionPolicy\""));
            of_kind.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
        }
    };
    let operator = tokio::spawn({
        let (client, config, stop) = (world.client.clone(), world.config(NOW), stop.clone());
        async move { controller::run_with(client, config, telltales, stop.cancelled_owned()).await.unwrap() }
    });
    let object = world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    // The last passes of its own, such as the one after it was counted.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = passes();
    let owner = Owner { kind: "PartitionPolicy".into(), uid: object.uid().unwrap(), ..owner(&world.namespace, "events") };
    run(&jobs(&world.client, 1), &owner).await;
    eventually("a pass after the Job was made", PATIENCE, async || (passes() > before).then_some(())).await;
    let kubelet = Kubelet::of(&world.client, &world.namespace);
    // No plan of this policy wants it.
    let is_gone = async || kubelet.jobs.list(&Default::default()).await.unwrap().items.is_empty().then_some(());
    eventually("a Job that its object does not want goes", PATIENCE, is_gone).await;
    stop.cancel();
    operator.await.unwrap();
}
