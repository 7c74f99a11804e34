//! Does a restore end as it would have, whatever breaks on the way? Each of its effects in PostgreSQL and in Kubernetes is cut off before and
//! after it is carried out, and the operator dies with it or goes on.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::play::{Cut, Played, Scene, play};
use crate::support::kubefault::WriteFault;
use crate::support::pgproxy::Fault;

/// Playings at a time.
const AT_A_TIME: usize = 8;

/// For how long a server is away.
const OUTAGE: Duration = Duration::from_secs(1);

/// Workloads as they were before.
fn as_before() -> Value {
    json!({"replicas": 3, "suspended": false, "traces": []})
}

/// The variable of the environment that has every fault played for itself too, for an hour.
const ALONE: &str = "PGREEVE_FAULTS_ALONE";

fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// Every effect and every write is cut off when it is sent for the first time: in some playings before it is carried out, in others after; the
/// operator dies with it, or goes on; or the server is away for a while. So a playing breaks off as often as it has effects, and what comes
/// after a fault meets the next one.
fn each(scene: Scene) -> Vec<Cut> {
    let sql = vec![
        Cut::EachSql(Fault::Swallowed, true),
        Cut::EachSql(Fault::Unanswered, true),
        Cut::EachSql(Fault::CutAfter, false),
        Cut::EachSql(Fault::Outage(OUTAGE), false),
    ];
    let writes = vec![
        Cut::EachWrite(WriteFault::Swallowed, true),
        Cut::EachWrite(WriteFault::Unanswered, true),
        Cut::EachWrite(WriteFault::CutAfter, false),
        Cut::EachWrite(WriteFault::Outage(OUTAGE), false),
    ];
    match scene {
        // What is written there is written by a swap too.
        Scene::Privileges => sql,
        _ => [sql, writes].concat(),
    }
}

/// The database goes away from Jobs that have so many effects: from the first one at once, from the next at half, from the one after it at the
/// end. So many tries may break off.
fn of_jobs(effects: usize) -> Vec<Cut> {
    let numbers = [1, 1 + effects / 2, 1 + effects / 2 + effects];
    [Fault::CutBefore, Fault::CutAfter, Fault::Outage(OUTAGE / 4)].map(|fault| Cut::OfJobs(numbers, fault)).to_vec()
}

/// The same faults, each in a playing of its own.
fn alone(effects: usize, writes: usize) -> Vec<Cut> {
    let sql = |number| {
        [(Fault::Swallowed, true), (Fault::Unanswered, true), (Fault::CutAfter, false), (Fault::Outage(OUTAGE), false)]
            .map(|(fault, dies)| Cut::Sql(number, fault, dies))
    };
    let write = |number| {
        [(WriteFault::Swallowed, true), (WriteFault::Unanswered, true), (WriteFault::Outage(OUTAGE), false)]
            .map(|(fault, dies)| Cut::Write(number, fault, dies))
    };
    (1..=effects).flat_map(sql).chain((1..=writes).flat_map(write)).collect()
}

async fn every_cut(scene: Scene) {
    let begun = Instant::now();
    let undisturbed = play(scene, Cut::Nothing, &[]).await.unwrap();
    assert_eq!(undisturbed.end["workloads"], as_before(), "{undisturbed:#?}");
    let found: Vec<Value> = undisturbed.end["databases"].as_array().unwrap().iter().map(|found| found["users"].clone()).collect();
    let expected = match scene {
        Scene::Swap | Scene::Privileges => [json!(2000), json!(null)].to_vec(),
        Scene::Rollback => [json!(5), json!(null)].to_vec(),
        Scene::Replace => [json!(2000)].to_vec(),
        Scene::New => [json!(5), json!(2000)].to_vec(),
    };
    assert_eq!(found, expected, "users of each database that is open: {undisturbed:#?}");
    let mut cuts = each(scene);
    // What is rolled back was restored before, and what a Job restores into is the same for all others.
    if matches!(scene, Scene::Swap | Scene::New) {
        cuts.extend(of_jobs(undisturbed.effects_of_jobs));
    }
    if is_alone() {
        cuts.extend(alone(undisturbed.effects, undisturbed.writes));
    }
    all(scene, cuts, vec![undisturbed.end.clone()], (&undisturbed, begun)).await;
}

async fn all(scene: Scene, cuts: Vec<Cut>, ends: Vec<Value>, (undisturbed, begun): (&Played, Instant)) {
    let count = cuts.len();
    let one = |cut: Cut| {
        let ends = ends.clone();
        tokio::spawn(async move { (cut, play(scene, cut, &ends).await) })
    };
    let mut plays = futures::stream::iter(cuts).map(one).buffer_unordered(AT_A_TIME);
    let (mut failures, mut met, mut away) = (Vec::new(), 0, Duration::ZERO);
    while failures.len() < 3
        && let Some(played) = plays.next().await
    {
        match played.unwrap() {
            (cut, Ok(played)) => {
                eprintln!("{scene:?} {cut:?}: {} faults, {:?} at {} s", played.met, played.seen, begun.elapsed().as_secs());
                assert!(played.met > 0 || is_alone(), "{scene:?} {cut:?}: nothing broke");
                met += played.met;
                away = away.max(played.seen.away);
            }
            (_, Err(failure)) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    eprintln!(
        "{scene:?}: {} effects in PostgreSQL, {} in Kubernetes; {count} playings with {met} faults ended alike in {} s; nobody could connect for {away:?} at most, undisturbed for {:?}",
        undisturbed.effects,
        undisturbed.writes,
        begun.elapsed().as_secs(),
        undisturbed.seen.away,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_ends_alike_wherever_it_is_cut_off() {
    every_cut(Scene::Swap).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_ends_alike_wherever_it_is_cut_off() {
    every_cut(Scene::Replace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_ends_alike_wherever_it_is_cut_off() {
    every_cut(Scene::Rollback).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_ends_alike_wherever_it_is_cut_off() {
    every_cut(Scene::New).await;
}

/// Where the server refuses ALLOW_CONNECTIONS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_behind_the_other_fence_ends_alike_wherever_it_is_cut_off() {
    every_cut(Scene::Privileges).await;
}

/// What databases are like in the end: the one of the name with so many users, and the other where one is kept.
fn left(undisturbed: &Played, users: i64, kept: Option<&str>) -> Value {
    let mut live = undisturbed.end["databases"][0].clone();
    live["users"] = json!(users);
    let mut left = vec![live];
    if let Some(kind) = kept {
        let mut kept = undisturbed.end["databases"][1].clone();
        kept["kind"] = json!(kind);
        left.push(kept);
    }
    json!(left)
}

/// Something happens after every second write, beginning with the first or with the second; after every one where faults are played alone.
fn after(undisturbed: &Played, first: usize, cut: fn(usize) -> Cut) -> Vec<Cut> {
    let (first, step) = if is_alone() { (0, 1) } else { (first, 2) };
    undisturbed.moments.iter().skip(first).step_by(step).map(|(number, _)| cut(*number)).collect()
}

/// Either nothing was replaced, or all is done and the former database stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_deleted_leaves_a_whole_database_and_no_trace() {
    let begun = Instant::now();
    let undisturbed = play(Scene::Swap, Cut::Nothing, &[]).await.unwrap();
    let end = |databases| json!({"databases": databases, "workloads": as_before(), "restore": null, "jobs": 0});
    let ends = vec![end(left(&undisturbed, 5, None)), end(left(&undisturbed, 2000, Some("before")))];
    all(Scene::Swap, after(&undisturbed, 0, Cut::Deleted), ends, (&undisturbed, begun)).await;
}

/// Either of the two has the name, and the other one stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_that_is_deleted_leaves_both_databases_and_no_trace() {
    let begun = Instant::now();
    let undisturbed = play(Scene::Rollback, Cut::Nothing, &[]).await.unwrap();
    let end = |databases| json!({"databases": databases, "workloads": as_before(), "restore": null, "jobs": 0});
    let ends = vec![end(left(&undisturbed, 5, Some("restore"))), end(left(&undisturbed, 2000, Some("before")))];
    all(Scene::Rollback, after(&undisturbed, 1, Cut::Deleted), ends, (&undisturbed, begun)).await;
}

/// From the moment on at which workloads make way: before that it is as with a swap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_that_is_deleted_goes_on_once_the_database_was_dropped() {
    let begun = Instant::now();
    let mut undisturbed = play(Scene::Replace, Cut::Nothing, &[]).await.unwrap();
    let end = |users| json!({"databases": left(&undisturbed, users, None), "workloads": as_before(), "restore": null, "jobs": 0});
    let ends = vec![end(5), end(2000)];
    let touches = undisturbed.moments.iter().position(|(_, text)| text.contains("deployments/api")).unwrap();
    undisturbed.moments.drain(..touches);
    all(Scene::Replace, after(&undisturbed, 0, Cut::Deleted), ends, (&undisturbed, begun)).await;
}

/// Either nothing is replaced, or what was replaced comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_not_wanted_any_more_leaves_the_database_that_was_there() {
    let begun = Instant::now();
    let undisturbed = play(Scene::Swap, Cut::Nothing, &[]).await.unwrap();
    let end = |kept, restore| json!({"databases": left(&undisturbed, 5, kept), "workloads": as_before(), "restore": restore, "jobs": 0});
    let failure = "spec.rollback was set before anything was replaced";
    let given_up = json!({"step": "Done", "ready": "RestoreFailed", "failure": failure, "previous": null});
    let rolled_back = json!({"step": "Keeping", "ready": "RolledBack", "failure": null, "previous": "restore"});
    let ends = vec![end(None, given_up), end(Some("restore"), rolled_back)];
    all(Scene::Swap, after(&undisturbed, 1, Cut::Cancelled), ends, (&undisturbed, begun)).await;
}
