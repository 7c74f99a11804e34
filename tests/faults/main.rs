//! Does everything end as it would have, whatever breaks on the way?
//!
//! Each scenario is played undisturbed first, which counts its side effects in PostgreSQL and in Kubernetes. Then it is played again
//! for each of them, with the connection cut before it and after it, the operator's process dying with it or not, and with everything a
//! server may answer instead. Each playing must end in the same catalog and the same objects, and then be silent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod end_state;
mod enrolment;
mod kubernetes_layer;
mod law;
mod operator;
mod play;
mod postgres_proxy;
mod scenario;
mod world;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_created_whatever_breaks() {
    play::every_fault(scenario::CREATE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_partitions_are_spared_a_scan_whatever_breaks() {
    play::every_fault(scenario::GUARDED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_repaired_whatever_breaks() {
    play::every_fault(scenario::REPAIR).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_are_removed_whatever_breaks() {
    play::every_fault(scenario::LEFTOVER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extensions_are_created_whatever_breaks() {
    play::every_fault(scenario::EXTENSION).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_leave_whatever_breaks() {
    play::every_fault(scenario::RETIRE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_move_whatever_breaks() {
    play::every_fault(scenario::MOVE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archive_tables_are_made_whatever_breaks() {
    play::every_fault(scenario::ARCHIVE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_exported_before_they_leave_whatever_breaks() {
    play::every_fault(scenario::EXPORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_archived_whatever_breaks() {
    play::every_fault(scenario::ROWS).await;
}
