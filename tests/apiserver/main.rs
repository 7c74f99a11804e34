//! Does pgreeve behave on a real API server as its users and their tools expect?
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod backup;
mod backup_command;
mod backup_failure;
mod backup_faults;
mod backup_proof;
mod backup_removal;
mod backup_schedule;
mod backup_store;
mod bad_input;
mod command_line;
mod conventions;
mod desk;
mod doorman;
mod events;
mod job_queue;
mod job_work;
mod jobs;
mod malformed;
mod meaning;
mod office;
mod partition_policy;
mod policy_jobs;
mod postgres_database;
#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "the tests of the command line use all of it")]
mod program;
mod restore_command;
mod retention_metrics;
mod retention_policy;
mod rights;
mod roads;
mod sessions;
mod workloads;
mod world;
