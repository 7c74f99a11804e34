//! Can it be backed up at all, and restored here? What lacks is named before anything is written.

use std::time::Duration;

use pgreeve::api::Reason;
use pgreeve::job::{Report, Task, run};
use pgreeve::plan::action::Blocked;
use pgreeve::plan::backup::{InspectBackup, Stored};
use serde_json::{Value, json};

use crate::faults::Programs;
use crate::support::eventually;
use crate::support::postgres::{Database, Options, Server};
use crate::world::{MAJOR, SHOP, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_lacks_is_named_before_anything_is_dumped() {
    let world = World::new(&format!("{SHOP}; create schema audit; create table audit.log (n int)")).await;
    let operator = world.database.roles().await.operator;
    let mut access = world.access();
    access.target.as_mut().unwrap().user = operator.clone();
    let task = world.task(json!({"content": {"globals": false}}));
    let steps = [
        ("select 1", format!("GRANT USAGE ON SCHEMA \"audit\" TO \"{operator}\"")),
        ("grant usage on schema audit to {}", format!("GRANT SELECT ON \"audit\".\"log\" TO \"{operator}\"")),
        (
            "grant select on audit.log, empty, events_1, events_2, users to {}",
            format!("GRANT SELECT ON \"public\".\"events\" TO \"{operator}\""),
        ),
        ("grant select on events to {}", format!("GRANT SELECT ON SEQUENCE \"public\".\"tickets\" TO \"{operator}\"")),
    ];
    for (granted, lacks) in steps {
        world.admin.batch_execute(&granted.replace("{}", &operator)).await.unwrap();
        let blocked = world.back_up_with(&task, &access).await.unwrap_err();
        assert_eq!(blocked.reason, Reason::MissingPrivilege, "{}", blocked.message);
        assert!(blocked.message.contains(&lacks), "{lacks}: {}", blocked.message);
        assert!(world.files().is_empty());
    }
    world.admin.batch_execute(&format!("grant select on tickets to {operator}")).await.unwrap();
    world.back_up_with(&task, &access).await.unwrap();
    // What `pg_dump` alone finds out.
    world.admin.batch_execute("select lo_create(4711)").await.unwrap();
    let other = pgreeve::plan::backup::DumpDatabase { directory: "other".into(), ..task };
    let blocked = world.back_up_with(&other, &access).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::MissingPrivilege, "{}", blocked.message);
    assert!(blocked.message.contains("permission denied for large object 4711"), "{}", blocked.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_backed_up_as_its_primary_would_be() {
    let primary = Server::start(MAJOR, &Options::default());
    let mut world = World::new("select 1").await;
    world.database = Database::on(primary.clone()).await;
    world.admin = world.database.superuser().await;
    world
        .admin
        .batch_execute(&format!("{SHOP}; create unlogged table cache (n int); insert into cache values (1)"))
        .await
        .unwrap();
    let standby = primary.standby().await;
    standby.catch_up(&primary).await;
    let mut access = world.access();
    access.target.as_mut().unwrap().host = standby.socket.display().to_string();
    for format in ["Custom", "Directory"] {
        let mut task = world.task(json!({"format": format, "jobs": if format == "Directory" { 2 } else { 1 }}));
        task.directory = format.into();
        let done = world.back_up_with(&task, &access).await.unwrap();
        assert_eq!(done.rows, 22_000);
        assert!(done.lsn.is_some());
        // A standby has no rows of an unlogged table.
        assert!(done.omitted.iter().any(|line| line.contains("public.cache")), "{:?}", done.omitted);
        let verified = world.verify(&task, "Restore", json!([])).await.unwrap();
        assert_eq!(verified.rows_matched, Some(22_000));
    }
}

/// As on Aurora, whose log is not PostgreSQL's.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_say_where_its_log_is_can_be_backed_up() {
    let world = World::new(&format!("{SHOP}; revoke execute on function pg_current_wal_insert_lsn() from public")).await;
    let operator = world.database.roles().await.operator;
    world.admin.batch_execute(&format!("grant pg_read_all_data to {operator}")).await.unwrap();
    let mut access = world.access();
    access.target.as_mut().unwrap().user = operator;
    let done = world.back_up_with(&world.task(json!({"content": {"globals": false}})), &access).await.unwrap();
    assert_eq!((done.rows, done.lsn), (22_000, None));
}

/// A statement that waits for a table, as of a migration, lets nobody pass who comes to the table later.
#[tokio::test(flavor = "multi_thread")]
async fn the_tables_are_locked_for_the_count_before_the_dump_begins() {
    let world = World::new(SHOP).await;
    let begun = tempfile::tempdir().unwrap();
    let mark = begun.path().join("begun");
    let programs = Programs::with_pg_dump(&format!(": > {}; exec $REAL \"$@\"", mark.display()));
    let migration = world.database.superuser().await;
    migration.batch_execute("begin; lock table users in access exclusive mode").await.unwrap();
    let waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like 'LOCK TABLE%users%'";
    let watched = async {
        let waits = async || world.admin.query_opt(waiting, &[]).await.unwrap().map(drop);
        eventually("the count waits for the table", Duration::from_secs(30), waits).await;
        assert!(!mark.exists(), "nothing is dumped meanwhile");
        migration.batch_execute("commit").await.unwrap();
    };
    let (task, access) = (world.task(json!({})), programs.access(&world));
    let (done, ()) = tokio::join!(world.back_up_with(&task, &access), watched);
    assert_eq!(done.unwrap().rows, 22_000);
    assert!(mark.exists());
}

/// What is said of a backup with this manifest before it is restored on its own server.
async fn inspected(world: &World, directory: &str, manifest: &Value) -> Result<Report, Blocked> {
    let task = world.task(json!({}));
    let file = world.volume.path().join(directory).join("manifest.json");
    std::fs::write(file, manifest.to_string()).unwrap();
    let stored = Stored { destination: task.settings.destination, directory: directory.into(), identity: None };
    let inspect = InspectBackup { backup: "first".into(), stored, database: world.database.name.clone(), job: task.settings.job };
    run(&Task::InspectBackup(Box::new(inspect)), &world.access()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_lacks_for_a_restore_is_named_before_it_begins() {
    let world = World::new(SHOP).await;
    let task = world.task(json!({}));
    world.back_up(&task).await.unwrap();
    let file = world.volume.path().join(&task.directory).join("manifest.json");
    let manifest: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let Report::Inspected(found) = inspected(&world, &task.directory, &manifest).await.unwrap() else { panic!() };
    assert_eq!((found.tables.rows, found.recipients.is_empty()), (22_000, true));
    let extension = json!({"name": "of_another_server", "version": "1"});
    let roles = json!(["postgres", "of_another_server"]);
    let cases = [
        ("/database/versionNum", json!(190_001), Reason::Unsupported, "a newer dump is not restored into an older server"),
        ("/roles", roles, Reason::RoleMissing, "lacks: of_another_server; create them"),
        ("/database/properties/owner", json!("nobody's"), Reason::RoleMissing, "lacks: nobody's; create them"),
        ("/extensions", json!([extension]), Reason::ExtensionMissing, "lacks: of_another_server; install"),
        ("/format", json!("Plain"), Reason::Unsupported, "a script"),
        ("/content/what", json!("DataOnly"), Reason::Unsupported, "rows without their tables"),
    ];
    for (pointer, value, reason, says) in cases {
        let mut other = manifest.clone();
        *other.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}: {manifest}")) = value;
        let blocked = inspected(&world, &task.directory, &other).await.unwrap_err();
        assert_eq!(blocked.reason, reason, "{pointer}: {}", blocked.message);
        assert!(blocked.message.contains(says), "{pointer}: {}", blocked.message);
    }
    // A dump of some schemas has no extensions.
    let mut chosen = manifest.clone();
    chosen["extensions"] = json!([{"name": "of_another_server", "version": "1"}]);
    chosen["content"]["schemas"] = json!(["public"]);
    assert!(inspected(&world, &task.directory, &chosen).await.is_ok());
}
