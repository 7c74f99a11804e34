//! Does `apply` carry out what `plan` showed, and nothing that it must not?

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::run;
use crate::shop::{Shop, policy};

const ALL: [&str; 5] = ["events_y2026m09", "events_y2026m10", "events_y2026m11", "events_y2026m12", "events_y2027m01"];

#[tokio::test]
async fn apply_does_what_plan_showed_and_a_second_time_nothing() {
    for major in [14, 18] {
        let shop = Shop::open(major).await;
        let ran = shop.run(&["apply", "--yes"]).expect_code(0);
        assert!(ran.stdout.contains("done     create events_y2026m10"), "{}", ran.stdout);
        assert!(ran.stdout.contains("settled  PartitionPolicy shop/events: 5 partitions"), "{}", ran.stdout);
        assert!(ran.stdout.ends_with("3 done, 0 left.\n"), "{}", ran.stdout);
        assert_eq!(shop.partitions().await, ALL);
        let ran = shop.run(&["apply", "--yes", "-o", "json"]).expect_code(0);
        let results: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((&results["formatVersion"], &results["done"], &results["left"]), (&"1".into(), &0.into(), &0.into()));
    }
}

#[tokio::test]
async fn a_fingerprint_names_its_plan_and_goes_stale_with_the_world() {
    let shop = Shop::open(16).await;
    shop.execute(&format!(
        "set role {}; create table orders (created_at timestamptz not null) partition by range (created_at)",
        shop.roles.owner
    ))
    .await;
    let events = shop.fingerprints().remove(0);
    shop.write("orders.yaml", &policy("orders", ""));
    // Nobody can be asked, and nothing was named.
    shop.run(&["apply"]).expect_code(64);
    // New partitions are made like the newest sibling, and that one has another owner now: what was named is no longer what would be done.
    shop.execute("alter table events_y2026m11 owner to postgres").await;
    let ran = shop.run(&["apply", &events[..6]]).expect_code(3);
    assert!(ran.stderr.contains("no plan has the fingerprint"), "{}", ran.stderr);
    shop.execute(&format!("alter table events_y2026m11 owner to {}", shop.roles.owner)).await;
    shop.run(&["apply", &events[..6]]).expect_code(0);
    assert_eq!(shop.partitions().await, ALL);
    let ran = shop.run(&["apply", &events[..6]]).expect_code(3);
    assert!(ran.stderr.contains("no plan has the fingerprint"), "{}", ran.stderr);
    // The plan that was not named waits.
    assert_eq!(shop.fingerprints().len(), 1);
}

#[tokio::test]
async fn observe_manual_suspended_and_a_closed_window_hold() {
    let shop = Shop::open(16).await;
    for (spec, reason) in [
        ("  mode: Observe\n", "Planned"),
        ("  suspend: true\n", "Suspended"),
        ("  approval: Manual\n", "ApprovalPending"),
        ("  window: [{schedule: 0 3 * * *, duration: 1h}]\n", "OutsideWindow"),
    ] {
        shop.write("events.yaml", &policy("events", spec));
        let ran = shop.run(&["apply", "--yes"]).expect_code(3);
        assert!(ran.stdout.contains(&format!("[{reason}]")), "{}", ran.stdout);
        assert_eq!(shop.partitions().await.len(), 2, "{reason}");
    }
    shop.write("events.yaml", &policy("events", "  approval: Manual\n"));
    let fingerprint = shop.fingerprints().remove(0);
    shop.run(&["apply", &fingerprint]).expect_code(0);
    assert_eq!(shop.partitions().await, ALL);
}

#[tokio::test]
async fn what_is_locked_is_put_off_and_the_session_in_the_way_is_named() {
    let shop = Shop::open(16).await;
    let other = shop.database.superuser().await;
    other.batch_execute("begin; lock table events in share row exclusive mode").await.unwrap();
    let pid: i32 = other.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let ran = shop.run(&["apply", "--yes"]).expect_code(3);
    assert!(ran.stdout.contains("Deferred") && ran.stdout.contains(&format!("pid {pid} ")), "{}", ran.stdout);
    other.batch_execute("rollback").await.unwrap();
    shop.run(&["apply", "--yes"]).expect_code(0);
}

#[tokio::test]
async fn an_interrupt_ends_it_at_once_and_leaves_nothing_half_done() {
    let shop = Shop::open(16).await;
    let limits = "apiVersion: pgreeve.dev/v1alpha1\nkind: PostgresDatabase\nmetadata: {namespace: shop, name: orders-db}\nspec: {connection: {secretRef: {name: x}}, limits: {lockTimeout: 10m}}\n";
    shop.write("database.yaml", limits);
    let other = shop.database.superuser().await;
    other.batch_execute("begin; lock table events in share row exclusive mode").await.unwrap();
    let mut command = shop.command(&["apply", "--yes"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It works in turns with others of its kind, which is the lock to see it by.
    let held = "select 1 from pg_locks where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())";
    let watcher = shop.database.superuser().await;
    let works = async || watcher.query_opt(held, &[]).await.unwrap().map(drop);
    crate::support::eventually("it is at work", Duration::from_secs(30), works).await;
    let begun = Instant::now();
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("was interrupted"), "{stderr}");
    assert_eq!(shop.partitions().await.len(), 2);
}

#[tokio::test]
async fn a_standby_is_never_written() {
    use crate::support::postgres::{Options, Server};
    let server = Server::start(16, &Options { standby: true, ..Options::default() });
    let shop = Shop::open(16).await;
    let mut command = shop.command(&["apply", "--yes"]);
    command.env("URL", server.url("postgres", "postgres"));
    let ran = run(command).expect_code(3);
    assert!(ran.stderr.contains("is on a standby"), "{}", ran.stderr);
}

/// Every example does what it says, on the table that it is for.
#[tokio::test]
async fn every_example_can_be_applied() {
    let shop = Shop::open(17).await;
    shop.execute(
        "create schema app;
         create table chat_history (id bigint, created_at timestamp not null) partition by range (created_at);
         create table cost_tracking (id bigint, created_at timestamp not null) partition by range (created_at);
         create table app.events (kind text, happened_at timestamptz not null) partition by range (happened_at);
         create table messages (id bigint not null) partition by range (id);
         create table traces (id uuid not null) partition by range (id);
         create table ledger (booked_on date not null) partition by range (booked_on)",
    )
    .await;
    let role = format!("{}_reporting", shop.database.name);
    shop.execute(&format!("create role {role}")).await;
    let examples = shop.path().join("examples");
    std::fs::create_dir(&examples).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap().replace("role: reporting", &format!("role: {role}"));
        let file = examples.join(path.file_name().unwrap());
        std::fs::write(&file, &text).unwrap();
        if !text.contains("kind: PartitionPolicy") {
            continue;
        }
        files += 1;
        let apply = |given: &[&str]| {
            let mut command = crate::program::pgreeve(&[
                "apply",
                "-f",
                &file.display().to_string(),
                "--as-of",
                "2026-11-15T01:30:00Z",
                "-o",
                "json",
            ]);
            command.args(given).env("PGREEVE_DATABASE_URL", shop.database.url("postgres"));
            run(command)
        };
        let is_manual = text.contains("approval: Manual");
        let ran = apply(&["--yes"]).expect_code(if is_manual { 3 } else { 0 });
        let results: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        if is_manual {
            apply(&[results["policies"][0]["fingerprint"].as_str().unwrap()]).expect_code(0);
        }
        assert!(is_manual || results["done"].as_i64() > Some(0), "{}: {}", file.display(), ran.stdout);
        let again: serde_json::Value = serde_json::from_str(&apply(&["--yes"]).expect_code(0).stdout).unwrap();
        assert_eq!((&again["done"], &again["left"]), (&0.into(), &0.into()), "{}", file.display());
    }
    assert!(files >= 6);
    shop.execute(&format!("drop owned by {role}; drop role {role}")).await;
}
