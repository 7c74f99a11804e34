//! Does a Restore wait for the lock on its database no longer than somebody has it?

use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;

use crate::support::eventually;
use crate::support::kubefault::WriteFault;
use crate::world::{PATIENCE, World};

/// How the operator takes it.
const TAKEN: &str = "select pg_advisory_lock(x'70677264'::int, hashtext($1))";

/// An operator that looks again only where it has a reason to, and a plan that waits for its word.
async fn planned() -> World {
    let (mut world, backup) = World::copy().await;
    world.start_calm().await;
    world.start_node();
    world.restore("back", &backup, json!({})).await;
    world.wait("back", "Ready", "False", "ApprovalPending").await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_somebody_has_is_asked_for_until_it_is_free() {
    let mut world = planned().await;
    let name = world.database.name.clone();
    let other = world.superuser("postgres").await;
    other.execute(TAKEN, &[&name]).await.unwrap();
    world.patch("back", json!({"spec": {"confirm": name}})).await;
    world.wait("back", "Ready", "False", "OtherOperator").await;
    drop(other);
    world.wait("back", "Complete", "True", "Restored").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_goes_before_its_status_is_written_leaves_no_lock() {
    let (mut world, backup) = World::copy().await;
    world.start().await;
    world.wait_for("PostgresDatabase", "db", "Ready", "True", None).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The first write is the Job that inspects the backup.
    world.faults.plan(world.faults.count() + 2, WriteFault::Outage(Duration::from_secs(2)));
    world.restore("gone", &backup, json!({})).await;
    eventually("its status is written", PATIENCE, async || (world.faults.met() > 0).then_some(())).await;
    world.api("Restore").delete("gone", &DeleteParams::default()).await.unwrap();
    world.start_node();
    world.restore("back", &backup, json!({"confirm": world.database.name})).await;
    world.wait("back", "Complete", "True", "Restored").await;
    world.stop().await;
}
