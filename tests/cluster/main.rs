//! Does a Job of ours run on a real cluster, from the operator's image, and does its report come back? `tests/cluster/run.sh` prepares what
//! it needs and runs it; by itself it has no cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use pgreeve::api::PartitionPolicy;
use pgreeve::clock::Clock;
use pgreeve::cluster::jobs::{Image, Owner};
use pgreeve::controller::jobs::{Jobs, Options, Progress};
use pgreeve::plan::Action;
use serde_json::{Value, json};

/// Longest that a Pod may take to be placed, started and done.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `run.sh` says in the environment.
fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("no {name}: run tests/cluster/run.sh"))
}

/// The image of the operator that runs there.
async fn image(client: &Client) -> Image {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "pgreeve-demo");
    let pod = deployments.get("pgreeve-demo").await.unwrap().spec.template.spec.unwrap();
    let env = pod.containers[0].env.clone().unwrap();
    let name = env.into_iter().find(|variable| variable.name == "PGREEVE_IMAGE").unwrap().value.unwrap();
    Image { name, ..Image::default() }
}

/// Old rows of the table that `run.sh` has made go to the archive that it has made.
fn archival() -> Action {
    serde_json::from_value(json!({
        "action": "archiveRows",
        "table": {"oid": given("PGREEVE_TABLE").parse::<u32>().unwrap(), "schema": "public", "name": "sessions"},
        "role": given("PGREEVE_ROLE"),
        "column": "at", "typeName": "timestamp with time zone", "encoding": "Native", "before": "2026-01-01 00:00:00+00",
        "key": ["id"],
        "rowAction": "Archive", "archive": {"schema": "public", "name": "sessions_archive"},
        "pace": {"rows": 100, "maxLoad": 100, "pauseMs": 0, "maxReplicationLagMs": 60000, "maxDeadTuplePercent": 100},
        "maxRows": 1_000_000, "vacuum": "Suggest",
        "job": {"memory": "128Mi", "cpu": "50m", "activeDeadline": "5m"},
    }))
    .unwrap()
}

/// An export of the partition that `run.sh` has made, to the volume that it has made.
fn export() -> Action {
    let relation = |name: &str, oid: &str| json!({"oid": given(oid).parse::<u32>().unwrap(), "schema": "public", "name": name});
    serde_json::from_value(json!({
        "action": "exportPartition",
        "parent": relation("visits", "PGREEVE_PARENT"),
        "partition": relation("visits_2025", "PGREEVE_PARTITION"),
        "bound": "FOR VALUES FROM ('2025-01-01 00:00:00+00') TO ('2026-01-01 00:00:00+00')",
        "role": given("PGREEVE_ROLE"),
        "destination": {"pvc": {"claimName": "exports", "path": "demo"}},
        "format": "Parquet", "compression": "Zstd",
        "job": {"memory": "128Mi", "cpu": "50m", "activeDeadline": "5m"},
    }))
    .unwrap()
}

async fn outcome(jobs: &Jobs, owner: &Owner, action: &Action) -> Result<Value, String> {
    let begun = Instant::now();
    loop {
        let message = match jobs.run(owner, "chat", action).await {
            Progress::Done(report) => return Ok(report),
            Progress::Refused(blocked) => return Err(format!("{}: {}", blocked.reason, blocked.message)),
            Progress::Running { message, .. } => message,
        };
        assert!(begun.elapsed() < PATIENCE, "{message}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What Jobs are made with: the owner is one of the demo's policies.
async fn stage() -> (Client, Owner, Jobs) {
    // Another test of this program may have been faster.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = Client::try_default().await.unwrap();
    let policies: Api<PartitionPolicy> = Api::namespaced(client.clone(), "demo");
    let owner = Owner::of(&policies.get("chat-history").await.unwrap()).unwrap();
    let options = Options { image: Some(image(&client).await), ..Options::default() };
    let jobs = Jobs::new(client.clone(), options, Clock::system());
    (client, owner, jobs)
}

#[tokio::test]
#[ignore = "needs a cluster: tests/cluster/run.sh brings it up"]
async fn a_job_archives_rows_and_its_report_comes_back_through_its_pod() {
    let (_, owner, jobs) = stage().await;
    let action = archival();
    let report = outcome(&jobs, &owner, &action).await.unwrap();
    assert_eq!((&report["report"], &report["rows"], &report["left"]), (&json!("rowsMoved"), &json!(1000), &json!(0)), "{report}");
    assert_eq!(outcome(&jobs, &owner, &action).await.unwrap(), report, "it is read as often as one asks");
    jobs.forget(&owner, "chat", &action).await.unwrap();
    let again = outcome(&jobs, &owner, &action).await.unwrap();
    assert_eq!(again["rows"], json!(0), "a Job that runs again finds it done: {again}");
    jobs.forget(&owner, "chat", &action).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: tests/cluster/run.sh brings it up"]
async fn a_job_exports_a_partition_to_a_volume_and_leaves_no_pod_behind() {
    let (client, owner, jobs) = stage().await;
    let action = export();
    let report = outcome(&jobs, &owner, &action).await.unwrap();
    assert_eq!((&report["report"], &report["rows"]), (&json!("exported"), &json!(1000)), "{report}");
    jobs.forget(&owner, "chat", &action).await.unwrap();
    let again = outcome(&jobs, &owner, &action).await.unwrap();
    for same in ["id", "url", "rows", "checksum"] {
        assert_eq!(again[same], report[same], "a Job that runs again finds the same export: {again}");
    }
    jobs.forget(&owner, "chat", &action).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "demo");
    let begun = Instant::now();
    let job = ListParams::default().labels("app.kubernetes.io/component=job");
    let is_ours = |pod: &Pod| pod.name_any().contains("-export-");
    while let Some(pod) = pods.list(&job).await.unwrap().items.into_iter().find(is_ours) {
        assert!(begun.elapsed() < PATIENCE, "{} is left behind", pod.name_any());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
