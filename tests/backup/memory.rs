//! Does a backup need the same little memory however large the database is?

use std::process::Command;

use pgreeve::api::Destination;
use pgreeve::api::destination::S3;
use pgreeve::job::backup::Workshop;
use pgreeve::job::{Access, Task, run};
use pgreeve::plan::backup::DumpDatabase;
use pgreeve::postgres::Target;
use pgreeve::postgres::connect::Tls;
use pgreeve::postgres::execute::Budget;
use pgreeve::storage::Credentials;
use serde_json::json;

use crate::support::versitygw::{ACCESS_KEY, SECRET_KEY, s3};
use crate::world::World;

/// In MiB, of a program without optimisation.
const LIMIT: u64 = 96;

/// More than twice the limit as text, and of what can hardly be compressed.
const NOTES: &str =
    "create extension pgcrypto; create table notes (body bytea); alter table notes alter body set storage external;
    insert into notes select string_agg(gen_random_bytes(1024), '') from generate_series(1, 110 * 1024) n group by n / 1024";

#[tokio::test(flavor = "multi_thread")]
async fn a_large_database_takes_no_more_memory_than_a_small_one() {
    let world = World::new(NOTES).await;
    let server = s3();
    let s3 = S3 { bucket: server.bucket(), endpoint: Some(server.endpoint.clone()), ..S3::default() };
    let mut task = world.task(json!({}));
    task.settings.destination = Destination { s3: Some(s3), ..Destination::default() };
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "memory::the_backup_of_a_process_of_its_own", "--ignored", "--nocapture"]);
    let target = world.target();
    child
        .env("BACKUP_TASK", serde_json::to_string(&task).unwrap())
        .env("BACKUP_HOST", target.host)
        .env("BACKUP_DATABASE", target.database);
    child.env("MALLOC_ARENA_MAX", "1");
    let said = crate::support::process::run(&mut child);
    let number = |name: &str| -> u64 {
        let found = said.lines().find_map(|line| line.rsplit_once(name)?.1.trim().parse().ok());
        found.unwrap_or_else(|| panic!("{said}"))
    };
    let (peak, stored) = (number("VmHWM ") >> 10, number("stored ") >> 20);
    println!("peak of the process that backed up {stored} MiB: {peak} MiB");
    assert!(peak <= LIMIT && stored >= 100, "{peak} MiB for {stored} MiB");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as a process of its own, which the test above starts"]
async fn the_backup_of_a_process_of_its_own() {
    let given = |name: &str| std::env::var(name).unwrap();
    drop(rustls::crypto::ring::default_provider().install_default());
    let task: DumpDatabase = serde_json::from_str(&given("BACKUP_TASK")).unwrap();
    let target = Target {
        host: given("BACKUP_HOST"),
        port: 5432,
        database: given("BACKUP_DATABASE"),
        user: "postgres".into(),
        password: None,
        tls: Tls::Disable,
    };
    let secret = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let secret = secret.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
    let storage = Credentials { secret, ..Credentials::default() };
    let access = Access { target: Some(target), budget: Budget::default(), storage, workshop: Workshop::default() };
    let pgreeve::job::Report::BackedUp(done) = run(&Task::DumpDatabase(Box::new(task)), &access).await.unwrap() else { panic!() };
    println!("\nstored {}", done.bytes);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()).unwrap();
    println!("VmHWM {peak}");
}
