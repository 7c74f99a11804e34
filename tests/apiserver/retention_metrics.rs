//! What do the metrics say of data that is to leave: what is late, what is held, and how often its Job has failed?

use std::path::Path;
use std::time::Duration;

use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use pgreeve::controller::{self, Config, Telltales, jobs};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::jobs::image;
use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::world::{PATIENCE, World};

/// An operator whose metrics can be read.
struct Watched {
    telltales: Telltales,
    now: String,
    _stop: DropGuard,
}

impl Watched {
    fn start(world: &World, now: &str) -> Self {
        let (telltales, stop) = (Telltales::default(), CancellationToken::new());
        let config = Config {
            resync: Duration::from_millis(500),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(500),
            jobs: jobs::Options { image: Some(image()), ..jobs::Options::default() },
            ..world.config(now)
        };
        let (client, told, stopped) = (world.client.clone(), telltales.clone(), stop.clone());
        tokio::spawn(async move { controller::run_with(client, config, told, stopped.cancelled_owned()).await.unwrap() });
        Self { telltales, now: now.into(), _stop: stop.drop_guard() }
    }

    /// The value of the only series of this name.
    fn value(&self, name: &str) -> Option<i64> {
        let text = self.telltales.metrics.text(self.now.parse().unwrap());
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
        Some(line.rsplit(' ').next()?.parse().unwrap())
    }

    async fn becomes(&self, name: &str, wanted: Option<i64>) {
        let has_become = async || (self.value(name) == wanted).then_some(());
        eventually(&format!("{name} is {wanted:?}, and not {:?}", self.value(name)), PATIENCE, has_become).await;
    }
}

#[tokio::test]
async fn what_should_have_gone_is_late_until_it_goes_and_what_is_held_is_not() {
    let world = World::new(16).await;
    let years: String = (2024..2031)
        .map(|year| {
            format!(
                "create table v_{year} partition of v for values from ('{year}-01-01 00:00+00') to ('{}-01-01 00:00+00');",
                year + 1
            )
        })
        .collect();
    world.as_owner(&format!("create table v (at timestamptz not null) partition by range (at); {years}")).await;
    let hold = json!({"databaseRef": {"name": "db"}, "table": {"name": "v"}, "range": {"to": "2024-02-01"}, "reason": "audit"});
    world.create("RetentionHold", "audit", hold).await;
    let spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "v"}, "keep": {"age": "1 year"}, "partitions": {"grace": "0s"},
        "guards": {"approveAbovePercent": 100, "backup": {"scheduleRef": {"name": "nightly"}, "within": "24h"}}});
    world.create("RetentionPolicy", "v", spec).await;
    let operator = Watched::start(&world, "2030-06-21T08:00:00Z");
    world.wait("RetentionPolicy", "v", "Ready", "False", "BackupMissing").await;
    operator.becomes("pgreeve_retention_overdue_partitions", Some(4)).await;
    operator.becomes("pgreeve_retention_expired_partitions", Some(4)).await;
    operator.becomes("pgreeve_retention_held_partitions", Some(1)).await;
    world.patch("RetentionPolicy", "v", json!({"spec": {"guards": {"backup": null}}})).await;
    operator.becomes("pgreeve_retention_overdue_partitions", Some(0)).await;
    operator.becomes("pgreeve_retention_held_partitions", Some(1)).await;
    // The same table, of whose rows it now speaks: it is not plain, so nothing goes, and nothing is said of partitions any more.
    let rows = json!({"spec": {"partitions": null, "rows": {"column": "at"}}});
    world.patch("RetentionPolicy", "v", rows).await;
    operator.becomes("pgreeve_retention_overdue_rows", Some(0)).await;
    operator.becomes("pgreeve_retention_held_partitions", None).await;
    world.patch("RetentionPolicy", "v", json!({"spec": {"partitions": {"grace": "0s"}, "rows": null}})).await;
    operator.becomes("pgreeve_retention_overdue_rows", None).await;
    operator.becomes("pgreeve_retention_held_partitions", Some(1)).await;
    world.api("RetentionPolicy").delete("v", &DeleteParams::default()).await.unwrap();
    operator.becomes("pgreeve_retention_held_partitions", None).await;
}

#[tokio::test]
async fn a_job_that_fails_is_counted_until_it_succeeds() {
    let world = World::new(15).await;
    world
        .as_owner(
            "create table s (id bigint primary key, at timestamptz not null); create index on s (at);
             insert into s select n, timestamptz '2025-06-01 00:00+00' + n * interval '1 day' from generate_series(1, 300) as n",
        )
        .await;
    let spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "s"}, "keep": {"age": "1 year"}, "rows": {"column": "at"},
        "guards": {"approveAbovePercent": 100}});
    world.create("RetentionPolicy", "s", spec).await;
    world.patch("RetentionPolicy", "s", json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": "now"}}})).await;
    // Earlier than the Job fails, so that its next try is yet to come.
    let operator = Watched::start(&world, "2026-11-21T00:00:00Z");
    world.wait("RetentionPolicy", "s", "Ready", "True", "JobRunning").await;
    assert_eq!(operator.value("pgreeve_job_failures"), None);
    let kubelet = Kubelet::of(&world.client, &world.namespace);
    let job = kubelet.job().await;
    kubelet.fail(&job, r#"{"reason":"Unreachable","message":"no route to host"}"#, "BackoffLimitExceeded").await;
    operator.becomes("pgreeve_job_failures", Some(1)).await;
    let jobs: Api<k8s_openapi::api::batch::v1::Job> = Api::namespaced(world.client.clone(), &world.namespace);
    jobs.delete(&job.name_any(), &DeleteParams::background()).await.unwrap();
    let volume = tempfile::tempdir().unwrap();
    tokio::select! {
        () = kubelet.serve(Path::new(env!("CARGO_BIN_EXE_pgreeve")), volume.path()) => unreachable!("a node serves for ever"),
        () = operator.becomes("pgreeve_job_failures", None) => {}
    }
    let archived = world.wait("RetentionPolicy", "s", "Ready", "True", "UpToDate").await;
    assert!(archived.data["status"]["rows"]["removed"].as_i64().unwrap() > 0, "{}", archived.data["status"]);
}
