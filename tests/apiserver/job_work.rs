//! Does a Job do its task, from the wish to the rows? The Pod is a process here; all else is real.

use std::path::Path;

use kube::ResourceExt as _;
use pgreeve::controller::jobs::{Jobs, Progress};
use pgreeve::plan::Action;
use serde_json::{Value, json};

use crate::job_queue::jobs;
use crate::jobs::owner;
use crate::support::kubelet::Kubelet;
use crate::world::World;

/// The program that the image holds.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pgreeve"))
}

/// A database in which `setup` has run, an operator's Jobs, a node, and a volume.
struct Stage {
    world: World,
    jobs: Jobs,
    kubelet: Kubelet,
    volume: tempfile::TempDir,
}

impl Stage {
    async fn new(setup: &str) -> Self {
        let world = World::new(15).await;
        world.as_owner(setup).await;
        let (jobs, kubelet) = (jobs(&world.client, 1), Kubelet::of(&world.client, &world.namespace));
        Self { world, jobs, kubelet, volume: tempfile::tempdir().unwrap() }
    }

    async fn one(&self, query: &str) -> i64 {
        self.world.database.superuser().await.query_one(query, &[]).await.unwrap().get(0)
    }

    async fn relation(&self, name: &str) -> Value {
        let oid = self.one(&format!("select '{name}'::regclass::oid::bigint")).await;
        json!({"oid": oid, "schema": "public", "name": name})
    }

    /// Asks, runs the Job, and asks again.
    async fn done(&self, action: &Action) -> Value {
        let owner = owner(&self.world.namespace, "events");
        assert!(matches!(self.jobs.run(&owner, "db", action).await, Progress::Running { .. }));
        self.kubelet.run(&self.kubelet.job().await, program(), self.volume.path()).await;
        let progress = self.jobs.run(&owner, "db", action).await;
        let Progress::Done(report) = progress else { panic!("{progress:?}") };
        self.jobs.forget(&owner, "db", action).await.unwrap();
        self.kubelet.lose_pods().await;
        report
    }

    async fn archival(&self) -> Action {
        serde_json::from_value(json!({
            "action": "archiveRows",
            "table": self.relation("sessions").await,
            "role": self.world.roles.owner,
            "column": "at", "typeName": "timestamp with time zone", "encoding": "Native", "before": "2026-01-01 00:00:00+00",
            "key": ["id"],
            "rowAction": "Archive", "archive": {"schema": "public", "name": "sessions_archive"},
            "pace": {"rows": 100, "maxLoad": 100, "pauseMs": 0, "maxReplicationLagMs": 60000, "maxDeadTuplePercent": 100},
            "maxRows": 1_000_000, "vacuum": "Suggest",
            "job": {},
        }))
        .unwrap()
    }
}

const SESSIONS: &str = "create table sessions (id bigint primary key, at timestamptz not null);
    create index on sessions (at);
    create table sessions_archive (like sessions, archived_at timestamptz not null default now());
    insert into sessions select n, timestamptz '2025-06-01 00:00:00+00' + n * interval '1 day' from generate_series(1, 300) as n";

const VISITS: &str = "create table visits (at timestamptz not null, text text) partition by range (at);
    create table visits_2025 partition of visits for values from ('2025-01-01 00:00:00+00') to ('2026-01-01 00:00:00+00');
    insert into visits select timestamptz '2025-06-01 00:00:00+00' + n * interval '1 s', 'row ' || n from generate_series(1, 300) as n";

#[tokio::test]
async fn old_rows_are_archived_by_a_job_and_none_is_lost() {
    let stage = Stage::new(SESSIONS).await;
    let action = stage.archival().await;
    let report = stage.done(&action).await;
    // From 2025-06-02 to 2025-12-31.
    assert_eq!((&report["rows"], &report["left"]), (&json!(213), &json!(0)), "{report}");
    assert_eq!(stage.one("select count(distinct id) from sessions_archive").await, 213);
    assert_eq!(stage.one("select count(*) from sessions").await, 300 - 213);
    assert_eq!(stage.done(&action).await["rows"], json!(0), "run again it finds nothing to do");
}

#[tokio::test]
async fn a_partition_is_exported_by_a_job_and_the_next_run_confirms_it() {
    let stage = Stage::new(VISITS).await;
    let action: Action = serde_json::from_value(json!({
        "action": "exportPartition",
        "parent": stage.relation("visits").await,
        "partition": stage.relation("visits_2025").await,
        "bound": "FOR VALUES FROM ('2025-01-01 00:00:00+00') TO ('2026-01-01 00:00:00+00')",
        "role": stage.world.roles.owner,
        "destination": {"pvc": {"claimName": "exports"}},
        "format": "Parquet", "compression": "Zstd",
        "job": {},
    }))
    .unwrap();
    let report = stage.done(&action).await;
    assert_eq!(report["rows"], json!(300), "{report}");
    assert!(std::fs::read_dir(stage.volume.path()).unwrap().count() > 0, "the volume holds it");
    let again = stage.done(&action).await;
    assert_eq!((&again["url"], &again["checksum"]), (&report["url"], &report["checksum"]));
}

#[tokio::test]
async fn a_job_that_may_not_do_its_task_says_what_lacks_and_no_pod_follows() {
    let stage = Stage::new(SESSIONS).await;
    let action = stage.archival().await;
    let admin = stage.world.database.superuser().await;
    admin.batch_execute(&format!("revoke {} from {}", stage.world.roles.owner, stage.world.roles.operator)).await.unwrap();
    let owner = owner(&stage.world.namespace, "events");
    stage.jobs.run(&owner, "db", &action).await;
    let code = stage.kubelet.run(&stage.kubelet.job().await, program(), stage.volume.path()).await;
    let progress = stage.jobs.run(&owner, "db", &action).await;
    let Progress::Refused(blocked) = progress else { panic!("{progress:?}") };
    assert!(blocked.message.contains(&stage.world.roles.owner), "exit code {code}: {blocked:?}");
    assert_eq!(stage.one("select count(*) from sessions").await, 300);
}

#[tokio::test]
async fn a_job_without_its_secret_names_it() {
    let stage = Stage::new(SESSIONS).await;
    let action = stage.archival().await;
    let owner = owner(&stage.world.namespace, "events");
    stage.jobs.run(&owner, "db", &action).await;
    stage.world.delete_secret("db").await;
    let job = stage.kubelet.job().await;
    assert_eq!(stage.kubelet.run(&job, program(), stage.volume.path()).await, 3);
    let progress = stage.jobs.run(&owner, "db", &action).await;
    let Progress::Refused(blocked) = progress else { panic!("{progress:?}") };
    assert!(blocked.message.contains("Secret db does not exist in namespace"), "{} {}", job.name_any(), blocked.message);
}
