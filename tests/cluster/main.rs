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

#[tokio::test]
#[ignore = "needs a cluster: tests/cluster/run.sh brings it up"]
async fn a_job_archives_rows_and_its_report_comes_back_through_its_pod() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let client = Client::try_default().await.unwrap();
    let policies: Api<PartitionPolicy> = Api::namespaced(client.clone(), "demo");
    let owner = Owner::of(&policies.get("chat-history").await.unwrap()).unwrap();
    let options = Options { image: Some(image(&client).await), per_database: 1 };
    let jobs = Jobs::new(client.clone(), options, Clock::system());
    let action = archival();
    let report = outcome(&jobs, &owner, &action).await.unwrap();
    assert_eq!((&report["report"], &report["rows"], &report["left"]), (&json!("rowsMoved"), &json!(1000), &json!(0)), "{report}");
    assert_eq!(outcome(&jobs, &owner, &action).await.unwrap(), report, "it is read as often as one asks");
    jobs.forget(&owner, "chat", &action).await.unwrap();
    let again = outcome(&jobs, &owner, &action).await.unwrap();
    assert_eq!(again["rows"], json!(0), "a Job that runs again finds it done: {again}");
    jobs.forget(&owner, "chat", &action).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "demo");
    let begun = Instant::now();
    let ours = ListParams::default().labels("app.kubernetes.io/component=job");
    while let Some(pod) = pods.list(&ours).await.unwrap().items.first() {
        assert!(begun.elapsed() < PATIENCE, "{} is left behind", pod.name_any());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
