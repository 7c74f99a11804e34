//! Does a RetentionPolicy deal well with its Job: hear of its end, stop it, and let it go? Nothing but what happens to the Job wakes the policy
//! here: it is looked at again after hours only.

use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use pgreeve::clock::Clock;
use pgreeve::controller::Config;
use pgreeve::controller::jobs::Options;
use serde_json::{Value, json};

use crate::job_work::program;
use crate::jobs::image;
use crate::support::apiserver::apiserver;
use crate::support::eventually;
use crate::support::kubefault::{KubeFaults, WriteFault};
use crate::support::kubelet::{Kubelet, container};
use crate::world::{PATIENCE, World};

const VISITS: &str = "create table visits (at timestamptz not null, text text) partition by range (at);
    create table visits_2024 partition of visits for values from ('2024-01-01Z') to ('2025-01-01Z');
    create table visits_2025 partition of visits for values from ('2025-01-01Z') to ('2026-01-01Z');
    insert into visits select timestamptz '2024-06-01Z' + n * interval '1 s', 'row ' || n from generate_series(1, 300) as n";

/// An operator with a policy whose oldest partition is to be exported and dropped, a node, and a volume.
struct Stage {
    world: World,
    kubelet: Kubelet,
    volume: tempfile::TempDir,
    /// Before the operator's requests.
    faults: KubeFaults,
}

impl Stage {
    async fn new() -> Self {
        let mut world = World::new(15).await;
        world.as_owner(VISITS).await;
        let spec = json!({
            "databaseRef": {"name": "db"}, "table": {"name": "visits"}, "keep": {"count": 1}, "schedule": "0 3 1 1 *",
            "guards": {"approveAbovePercent": 100}, "partitions": {"action": "Drop", "grace": "0s"},
            "export": {"destination": {"pvc": {"claimName": "exports"}}},
        });
        world.create("RetentionPolicy", "visits", spec).await;
        let hours = Duration::from_secs(10_000);
        let options = Options { image: Some(image()), look: hours, ..Options::default() };
        // The present moment, as that of a Job's report is.
        let config = Config {
            jobs: options,
            clock: Clock::system(),
            resync: hours,
            backoff_min: Duration::from_millis(50),
            ..world.config("2026-11-21T08:00:00Z")
        };
        let faults = KubeFaults::default();
        world.start_with(faults.client(&apiserver().admin_config().await), config).await;
        world.wait("RetentionPolicy", "visits", "Ready", "True", "UpToDate").await;
        world.patch("RetentionPolicy", "visits", json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": "now"}}})).await;
        let kubelet = Kubelet::of(&world.client, &world.namespace);
        Self { world, kubelet, volume: tempfile::tempdir().unwrap(), faults }
    }

    async fn exists(&self, partition: &str) -> bool {
        let sql = format!("select to_regclass('{partition}') is not null");
        self.world.database.superuser().await.query_one(&sql, &[]).await.unwrap().get(0)
    }

    async fn status(&self) -> Value {
        self.world.api("RetentionPolicy").get("visits").await.unwrap().data["status"].clone()
    }

    async fn no_job_is_left(&self) {
        let none = async || self.kubelet.jobs.list(&Default::default()).await.unwrap().items.is_empty().then_some(());
        eventually("no Job is left", PATIENCE, none).await;
    }
}

#[tokio::test]
async fn the_end_of_a_job_wakes_its_policy_at_once_and_the_partition_goes() {
    let stage = Stage::new().await;
    let job = stage.kubelet.first_job().await;
    assert!(stage.exists("visits_2024").await);
    assert_eq!(stage.kubelet.run(&job, program(), stage.volume.path()).await, 0);
    let ended = Instant::now();
    eventually("the partition is gone", PATIENCE, async || (!stage.exists("visits_2024").await).then_some(())).await;
    assert!(ended.elapsed() < Duration::from_secs(10), "it took {:?}", ended.elapsed());
    let exported = &stage.status().await["exports"][0];
    assert_eq!((&exported["rows"], &exported["partition"]), (&json!(300), &json!("public.visits_2024")), "{exported}");
    assert!(std::fs::read_dir(stage.volume.path()).unwrap().count() > 0, "the volume holds it");
    stage.no_job_is_left().await;
}

#[tokio::test]
async fn a_suspended_policy_stops_its_job_and_begins_it_anew_when_it_goes_on() {
    let stage = Stage::new().await;
    let job = stage.kubelet.first_job().await;
    stage.kubelet.pod(&job, "p", container("Running", json!({"running": {"startedAt": "2026-11-21T08:00:00Z"}}))).await;
    stage.kubelet.at_work(&job, 1).await;
    stage.world.patch("RetentionPolicy", "visits", json!({"spec": {"suspend": true}})).await;
    stage.no_job_is_left().await;
    stage.world.wait("RetentionPolicy", "visits", "Ready", "True", "Suspended").await;
    assert!(stage.exists("visits_2024").await);
    stage.world.patch("RetentionPolicy", "visits", json!({"spec": {"suspend": false}})).await;
    let again = stage.kubelet.first_job().await;
    assert_ne!(again.uid(), job.uid());
    assert_eq!(stage.kubelet.run(&again, program(), stage.volume.path()).await, 0);
    eventually("the partition is gone", PATIENCE, async || (!stage.exists("visits_2024").await).then_some(())).await;
}

#[tokio::test]
async fn a_report_that_could_not_be_written_down_is_read_again_and_no_second_job_is_made() {
    let stage = Stage::new().await;
    let job = stage.kubelet.first_job().await;
    let before = stage.faults.count();
    // Among them the status with the report.
    (1..=6).for_each(|number| stage.faults.plan(before + number, WriteFault::Refused(500, None)));
    assert_eq!(stage.kubelet.run(&job, program(), stage.volume.path()).await, 0);
    eventually("the partition is gone", PATIENCE, async || (!stage.exists("visits_2024").await).then_some(())).await;
    assert_eq!(stage.status().await["exports"][0]["partition"], json!("public.visits_2024"), "it went after it was written down");
    stage.no_job_is_left().await;
    assert!(stage.faults.all_met());
    let made = stage.faults.writes().into_iter().filter(|write| write.what.starts_with("POST") && write.what.ends_with("/jobs"));
    assert_eq!(made.count(), 1);
}
