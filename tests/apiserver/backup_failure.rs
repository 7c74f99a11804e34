//! When has a Backup failed, and what is true then?

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use pgreeve::clock::Clock;
use serde_json::json;

use crate::backup::{LONG_AGO, Stage};
use crate::backup_store::is_good;
use crate::doorman::Doorman;
use crate::support::apiserver::apiserver;
use crate::support::eventually;
use crate::support::kubefault::{KubeFaults, ReadFault};
use crate::support::kubelet::Kubelet;
use crate::support::node::{Node, Pods, program};
use crate::support::postgres::programs;
use crate::support::s3faults::{Fault, Proxy};
use crate::world::{World, condition_of};

/// Longer than a backup is tried, in seconds.
const TOO_LONG: i64 = 31 * 60;

/// How long a backup of the table below may take, of which several are made at a time, and each again and again.
const LONGER: Duration = Duration::from_secs(120);

/// A PostgresDatabase that nobody reaches.
async fn nowhere(world: &World, name: &str) {
    let secret = json!({"host": "127.0.0.1", "port": "1", "dbname": "d", "username": "u", "password": "p"});
    world.secret(name, &secret).await;
    let connection = json!({"connection": {"secretRef": {"name": name}, "tls": {"mode": "Disable"}}});
    world.create("PostgresDatabase", name, connection).await;
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_is_tried_for_half_an_hour_and_has_failed_then() {
    let stage = Stage::new().await;
    nowhere(&stage.world, "nowhere").await;
    stage.backup("b", json!({"databaseRef": {"name": "nowhere"}})).await;
    let waiting = stage.world.wait("Backup", "b", "Ready", "False", "Unreachable").await;
    assert_eq!(condition_of(&waiting, "Failed").unwrap()["status"], "False");
    assert_eq!(condition_of(&waiting, "Reconciling").unwrap()["status"], "True");
    stage.go_ahead(TOO_LONG);
    let failed = stage.world.wait("Backup", "b", "Failed", "True", "Unreachable").await;
    // No schedule has made it, so nobody else says so.
    let series = format!("pgreeve_backup_failed{{namespace=\"{}\",database=\"nowhere\",backup=\"b\"}}", stage.world.namespace);
    assert_eq!(stage.world.metric(&series), Some(1));
    assert_eq!(condition_of(&failed, "Stalled").unwrap()["status"], "True");
    assert!(condition_of(&failed, "Failed").unwrap()["message"].as_str().unwrap().starts_with("given up: "));
    assert_eq!(stage.objects(""), [""; 0]);
}

#[tokio::test]
async fn a_backup_whose_job_runs_is_not_given_up_whatever_cannot_be_asked_meanwhile() {
    let (mut stage, doorman, faults) = (Stage::idle().await, Doorman::new(), KubeFaults::default());
    stage.guard(&doorman);
    doorman.hold("dumpDatabase");
    stage.start_with(faults.client(&apiserver().admin_config().await)).await;
    stage.backup("b", json!({})).await;
    doorman.has_held("dumpDatabase").await;
    stage.world.wait("Backup", "b", "Progressing", "True", "JobRunning").await;
    stage.go_ahead(TOO_LONG);
    // The server refuses connections, and so does now and then the API server.
    let secrets: Api<Secret> = Api::namespaced(stage.world.client.clone(), &stage.world.namespace);
    let wrong = json!({"stringData": {"host": "127.0.0.1", "port": "1"}});
    secrets.patch("db", &PatchParams::default(), &Patch::Merge(&wrong)).await.unwrap();
    stage.world.wait("PostgresDatabase", "db", "Ready", "False", "Unreachable").await;
    for _ in 0..20 {
        faults.plan_reads(ReadFault::Cut, 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let backup = stage.world.api("Backup").get("b").await.unwrap();
    assert_eq!(condition_of(&backup, "Failed").unwrap()["status"], "False", "{backup:?}");
    // The Job has its own way to the server, and nobody needs to ask that for what the Job reports.
    doorman.release("dumpDatabase");
    stage.complete("b").await;
}

#[tokio::test]
async fn a_backup_that_lies_in_the_store_when_it_would_be_given_up_is_complete() {
    let stage = Stage::new().await;
    stage.backup("good", json!({})).await;
    let good = stage.complete("good").await;
    nowhere(&stage.world, "nowhere").await;
    stage.backup("b", json!({"databaseRef": {"name": "nowhere"}})).await;
    let waiting = stage.world.wait("Backup", "b", "Ready", "False", "Unreachable").await;
    // As if its Job had written it, and nobody had heard so.
    let home = stage.s3.home.join(&stage.bucket);
    let own = pgreeve::plan::backup::directory("nowhere", "b", &waiting.uid().unwrap());
    std::fs::create_dir(home.join("nowhere")).unwrap();
    let from = home.join(good.data["status"]["directory"].as_str().unwrap());
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(home.join(own)).status().unwrap();
    assert!(copied.success());
    stage.go_ahead(TOO_LONG);
    let found = stage.complete("b").await;
    assert_eq!(found.data["status"]["tables"], json!({"count": 2, "rows": 1244}));
    assert_eq!(condition_of(&found, "Failed").unwrap()["status"], "False");
}

/// What becomes of every try.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// `pg_dump` is killed when it has written half.
    DumpKilled,
    /// The whole Job is, at that point.
    JobKilled,
    /// The server refuses whom the Job logs in as.
    LoginRefused,
    /// The store refuses these requests, by a part of their query.
    StoreRefuses(&'static str),
}

/// A `pg_dump` that is in this trouble once there is a file `now`; the real one is of the server's major, 16.
fn stand_in(directory: &Path, trouble: Trouble) -> PathBuf {
    let whom = if matches!(trouble, Trouble::JobKilled) { "$PPID $$" } else { "$$" };
    for name in ["pg_dump", "pg_dumpall", "pg_restore"] {
        let (real, now) = (programs(16).join(name), directory.join("now"));
        let (real, now) = (real.display(), now.display());
        let dumps =
            format!("if [ -e {now} ] && [ \"$1\" != --version ]; then {real} \"$@\" | /usr/bin/head -c 9000; kill -9 {whom}; fi");
        let first = if name == "pg_dump" { dumps } else { String::new() };
        let file = directory.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{first}\nexec {real} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    directory.to_owned()
}

/// Eight megabytes, of which a dump makes two parts.
const LARGE: &str = "create table large as select n, repeat(md5(n::text), 9) from generate_series(1, 26000) n";

/// A good backup is there, and every try of the next one fails in this way. Says what is wrong then.
async fn fails(trouble: Trouble, reason: &str) {
    let mut stage = Stage::idle_on(16).await;
    if matches!(trouble, Trouble::StoreRefuses(_)) {
        stage.world.as_owner(LARGE).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let kubelet = Kubelet::of(&stage.world.client, &stage.world.namespace).ending_at(Clock::system().now() - LONG_AGO);
    let kubelet = kubelet.with_programs(stand_in(directory.path(), trouble));
    stage.node = Node::of(kubelet.clone(), Pods::One, program());
    let proxy = Proxy::before(&stage.s3.endpoint, stage.s3.home.join(&stage.bucket)).await;
    let mut destination = stage.destination();
    destination["s3"]["endpoint"] = json!(proxy.endpoint);
    let backup = json!({"destination": destination, "compression": {"method": "None"}});
    let spec = json!({"databaseRef": {"name": "db"}, "schedule": "0 0 1 1 *", "retention": {"keepLast": 1}, "backup": backup});
    stage.world.create("BackupSchedule", "s", spec).await;
    stage.start().await;
    let good = next(&stage, "good", "completedAt").await;
    stage.no_job_is_left().await;
    match trouble {
        Trouble::DumpKilled | Trouble::JobKilled => std::fs::write(directory.path().join("now"), "").unwrap(),
        Trouble::LoginRefused => {
            stage.node = Node::of(kubelet.with_instead("username", "nobody-of-this-name"), Pods::One, program());
        }
        Trouble::StoreRefuses(which) => {
            proxy.break_those(move |request| request.contains(which), Fault::Refuse(403, "AccessDenied"));
        }
    }
    let bad = next(&stage, "bad", "startedAt").await;
    stage.go_ahead(TOO_LONG);
    let failed = eventually(&format!("{trouble:?}: {bad} has failed"), LONGER, async || {
        let backup = stage.world.api("Backup").get(&bad).await.unwrap();
        condition_of(&backup, "Failed").is_some_and(|failed| failed["status"] == "True").then_some(backup)
    })
    .await;
    assert_eq!(condition_of(&failed, "Failed").unwrap()["reason"], reason, "{trouble:?}: {}", failed.data["status"]);
    let message = condition_of(&failed, "Failed").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("given up: ") && !message.contains("tried again"), "{trouble:?}: {message}");
    assert_eq!(condition_of(&failed, "Complete").unwrap()["status"], "False", "{trouble:?}");
    assert!(failed.data["status"]["failures"].as_i64().unwrap() >= 4, "{trouble:?}: {}", failed.data["status"]);
    stage.no_job_is_left().await;
    let former = stage.world.wait("Backup", &good, "Complete", "True", "Completed").await;
    assert_eq!(former.metadata.deletion_timestamp, None, "{trouble:?}");
    let manifests = stage.objects("manifest.json");
    let [manifest] = &manifests[..] else { panic!("{trouble:?}: {manifests:?}") };
    assert!(manifest.contains(&format!("/{good}-")) && is_good(Path::new(manifest)), "{trouble:?}: {manifest}");
}

/// Asks for a backup, and waits until this stands in the status of the one that is made.
async fn next(stage: &Stage, request: &str, field: &str) -> String {
    let before: Vec<String> = names(stage).await;
    let annotation = json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": request}}});
    stage.world.patch("BackupSchedule", "s", annotation).await;
    eventually(&format!("the {request} backup has {field}"), LONGER, async || {
        let name = names(stage).await.into_iter().find(|name| !before.contains(name))?;
        let made = stage.world.api("Backup").get(&name).await.unwrap();
        made.data["status"][field].is_string().then_some(name)
    })
    .await
}

async fn names(stage: &Stage) -> Vec<String> {
    stage.world.api("Backup").list(&Default::default()).await.unwrap().iter().map(ResourceExt::name_any).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_makes_every_try_fail_there_is_no_backup_and_the_former_one_stays() {
    let cases = [
        (Trouble::DumpKilled, "ToolFailed"),
        (Trouble::JobKilled, "JobFailed"),
        (Trouble::LoginRefused, "AuthenticationFailed"),
        (Trouble::StoreRefuses("partNumber="), "DestinationInvalid"),
        (Trouble::StoreRefuses("?uploadId="), "DestinationInvalid"),
    ];
    futures::future::join_all(cases.map(|(trouble, reason)| fails(trouble, reason))).await;
}
