//! Does a restore end as it would have, wherever the operator dies? Each of its effects in PostgreSQL and in Kubernetes is cut off before and
//! after it is carried out, and the operator dies with it or goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::kubefault::WriteFault;
use crate::support::pgproxy::Fault;
use crate::world::{PATIENCE, World};

/// Playings at a time.
const AT_A_TIME: usize = 5;

/// How often is looked whether all is over.
const OFTEN: Duration = Duration::from_millis(50);

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// The restored database takes the place of the other.
    Swap,
    /// The other is dropped first.
    Replace,
    /// A restore that is complete is rolled back.
    Rollback,
}

/// What breaks.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nothing,
    /// This effect in PostgreSQL, and whether the operator dies with it.
    Sql(usize, Fault, bool),
    /// This write to Kubernetes, with which the operator dies.
    Write(usize, WriteFault),
    /// Somebody deletes the Restore after so many writes.
    Deleted(usize),
}

/// A world with a Restore that is about to begin, or complete where it is to be rolled back.
async fn stage(scene: Scene) -> World {
    let mut world = World::new().await;
    world.workloads().await;
    let backup = world.back_up(json!({})).await;
    let name = world.database.name.clone();
    world.superuser(&name).await.batch_execute("delete from users where id > 5").await.unwrap();
    world.start_node();
    let strategy = if scene == Scene::Replace { "Replace" } else { "Swap" };
    let workloads = json!([{"kind": "Deployment", "name": "api"}, {"kind": "CronJob", "name": "report"}]);
    world.restore("back", &backup, json!({"confirm": name, "strategy": strategy, "workloads": workloads})).await;
    if scene == Scene::Rollback {
        world.start().await;
        world.wait("back", "Complete", "True", "Restored").await;
        world.stop().await;
        world.patch("back", json!({"spec": {"rollback": true}})).await;
    }
    let volume = world.volume.path().to_owned();
    world.proxy.show(move |sql| assert!(may_go(sql, scene, &volume), "{scene:?} must not send: {sql}"));
    world
}

/// Whether a statement drops nothing that is not proven to be elsewhere.
fn may_go(sql: &str, scene: Scene, volume: &Path) -> bool {
    let drops = sql.contains("DROP DATABASE");
    let is_proven = || {
        let database = std::fs::read_dir(volume).into_iter().flatten().flatten();
        let directories = database.flat_map(|entry| std::fs::read_dir(entry.path()).into_iter().flatten().flatten());
        directories
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("before-back"))
            .any(|entry| entry.path().join("manifest.json").is_file())
    };
    match scene {
        _ if !drops || sql.contains("__restore_") => true,
        Scene::Replace => sql.contains("__before_") && is_proven(),
        Scene::Swap | Scene::Rollback => false,
    }
}

/// All that matters in the end.
async fn state(world: &World) -> Value {
    let name = &world.database.name;
    let databases = world.databases().await;
    let is_there = databases.iter().any(|(found, ..)| found == name);
    let users = if is_there { world.try_one(name, "select count(*) from users").await } else { None };
    let databases: Vec<Value> = databases
        .into_iter()
        .map(|(found, comment, open)| {
            let kind = found.strip_prefix(name.as_str()).unwrap_or_default().split('_').nth(2).unwrap_or_default().to_owned();
            let comment = comment.map(|comment| if comment.starts_with('{') { "a witness".into() } else { comment });
            json!({"kind": kind, "comment": comment, "open": open})
        })
        .collect();
    let restore = world.api("Restore").get_opt("back").await.unwrap();
    let status = restore.map(|restore| {
        let ready =
            restore.data["status"]["conditions"].as_array().into_iter().flatten().find(|found| found["type"] == "Ready").cloned();
        json!({"step": restore.data["status"]["step"], "ready": ready.map(|ready| ready["reason"].clone()),
            "failure": restore.data["status"]["failure"]})
    });
    let jobs = world.kubelet.jobs.list(&Default::default()).await.unwrap().items.len();
    json!({"databases": databases, "users": users, "workloads": world.workloads_now().await, "restore": status, "jobs": jobs})
}

/// Plays it, and answers how many effects and writes there were, and how it ended.
async fn play(scene: Scene, cut: Cut, expected: Option<&[Value]>) -> Result<(usize, usize, Value), String> {
    let mut world = stage(scene).await;
    let (effects, writes) = (world.proxy.count(), world.faults.count());
    match cut {
        Cut::Sql(number, fault, _) => world.proxy.plan(effects + number, fault),
        Cut::Write(number, fault) => world.faults.plan(writes + number, fault),
        Cut::Nothing | Cut::Deleted(_) => {}
    }
    world.start().await;
    let (begun, mut is_over) = (Instant::now(), matches!(cut, Cut::Nothing));
    loop {
        tokio::time::sleep(OFTEN).await;
        match cut {
            Cut::Deleted(after) if !is_over && world.faults.count() >= writes + after => {
                drop(world.api("Restore").delete("back", &DeleteParams::default()).await);
                is_over = true;
            }
            Cut::Sql(_, _, true) | Cut::Write(..) if !is_over && world.proxy.all_met() && world.faults.all_met() => {
                world.kill();
                world.start().await;
                is_over = true;
            }
            _ => {}
        }
        let now = state(&world).await;
        let is_expected = match expected {
            Some(expected) => expected.contains(&now),
            None => {
                now["restore"]["step"] == "Done"
                    || now["restore"]["ready"] == "Restored" && scene == Scene::Swap
                    || now["restore"]["ready"] == "RolledBack"
            }
        };
        if is_expected && now["jobs"] == 0 {
            world.stop().await;
            return Ok((world.proxy.count() - effects, world.faults.count() - writes, now));
        }
        if begun.elapsed() > PATIENCE {
            let status = world.api("Restore").get_opt("back").await.unwrap().map(|restore| restore.data["status"].clone());
            return Err(format!("{scene:?} {cut:?} came to {now:#}\n{status:#?}\n{}", world.log()));
        }
    }
}

async fn every_cut(scene: Scene) {
    let begun = Instant::now();
    let (effects, writes, end) = play(scene, Cut::Nothing, None).await.unwrap();
    assert_eq!(end["workloads"], json!({"replicas": 3, "suspended": false, "traces": []}), "{end:#}");
    let mut cuts = Vec::new();
    for number in 1..=effects {
        cuts.extend(
            [(Fault::CutBefore, true), (Fault::CutAfter, true), (Fault::CutAfter, false)]
                .map(|(fault, dies)| Cut::Sql(number, fault, dies)),
        );
    }
    // Both ways in turn: what lies between two writes is cut off either way.
    for number in 1..=writes {
        let fault = if number % 2 == 0 { WriteFault::CutAfter } else { WriteFault::CutBefore };
        cuts.push(Cut::Write(number, fault));
    }
    all(scene, cuts, vec![end], (effects, writes, begun)).await;
}

async fn all(scene: Scene, cuts: Vec<Cut>, ends: Vec<Value>, (effects, writes, begun): (usize, usize, Instant)) {
    let count = cuts.len();
    let one = |cut: Cut| {
        let ends = ends.clone();
        tokio::spawn(async move { play(scene, cut, Some(&ends)).await })
    };
    let mut plays = futures::stream::iter(cuts).map(one).buffer_unordered(AT_A_TIME);
    let mut failures = Vec::new();
    while failures.len() < 3
        && let Some(played) = plays.next().await
    {
        failures.extend(played.unwrap().err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    eprintln!(
        "{scene:?}: {effects} effects in PostgreSQL, {writes} in Kubernetes; {count} playings ended alike, in {} s",
        begun.elapsed().as_secs()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "plays for minutes: cargo test --test restore -- --ignored"]
async fn a_swap_ends_alike_wherever_it_is_cut_off() {
    every_cut(Scene::Swap).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "plays for minutes: cargo test --test restore -- --ignored"]
async fn a_replacement_ends_alike_wherever_it_is_cut_off() {
    every_cut(Scene::Replace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "plays for minutes: cargo test --test restore -- --ignored"]
async fn a_rollback_ends_alike_wherever_it_is_cut_off() {
    every_cut(Scene::Rollback).await;
}

/// Either nothing was replaced, or all is done and the former database stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "plays for minutes: cargo test --test restore -- --ignored"]
async fn a_restore_that_is_deleted_leaves_a_whole_database_and_no_trace() {
    let begun = Instant::now();
    let (effects, writes, _) = play(Scene::Swap, Cut::Nothing, None).await.unwrap();
    let workloads = json!({"replicas": 3, "suspended": false, "traces": []});
    let live = json!({"kind": "", "comment": "the shop", "open": true});
    let kept = json!({"kind": "before", "comment": "a witness", "open": false});
    let ends = vec![
        json!({"databases": [live], "users": 5, "workloads": workloads, "restore": null, "jobs": 0}),
        json!({"databases": [live, kept], "users": 2000, "workloads": workloads, "restore": null, "jobs": 0}),
    ];
    let cuts = (1..=writes).map(Cut::Deleted).collect();
    all(Scene::Swap, cuts, ends, (effects, writes, begun)).await;
}
