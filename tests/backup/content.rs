//! Does a backup hold what was asked for, exactly as it was at one moment, and say what it lacks?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgreeve::api::Reason;
use pgreeve::api::backup::VerifyLevel;
use serde_json::{Value, json};

use crate::support::postgres::{Database, Options, Server};
use crate::world::{MAJOR, SHOP, World};

/// Tables and their rows.
type Rows = &'static [(&'static str, i64)];

fn rows(manifest: &pgreeve::plan::backup::Manifest) -> Vec<(String, i64)> {
    manifest.tables.iter().map(|table| (table.table.to_string(), table.rows)).collect()
}

/// SQL_ASCII takes any bytes, and WIN1252 some that Unicode has nothing for.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_utf_8_are_dumped_as_they_are() {
    for encoding in ["SQL_ASCII", "WIN1252"] {
        let world = World::new("select 1").await;
        let name = format!("{}_{}", world.database.name, encoding.to_lowercase());
        let create = format!("create database {name} template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'");
        world.admin.batch_execute(&create).await.unwrap();
        let other = world.database.server().superuser(&name).await;
        let rows = "set client_encoding = 'UTF8'; create table t (body text);
            insert into t values (convert_from('\\x81e9'::bytea, getdatabaseencoding()))";
        other.batch_execute(rows).await.unwrap();
        let mut access = world.access();
        access.target.as_mut().unwrap().database = name.clone();
        for format in ["Custom", "Directory"] {
            let mut task = world.task(json!({"format": format}));
            task.directory = format!("{encoding}-{format}");
            let done =
                world.back_up_with(&task, &access).await.unwrap_or_else(|blocked| panic!("{encoding}: {}", blocked.message));
            assert_eq!(done.rows, 1);
            let verified = world
                .verify(
                    &task,
                    "Restore",
                    json!([{"name": "bytes", "equals": 1,
                "sql": "select count(*) from t where convert_to(body, getdatabaseencoding()) = '\\x81e9'"}]),
                )
                .await;
            assert_eq!(verified.unwrap_or_else(|blocked| panic!("{encoding}: {}", blocked.message)).rows_matched, Some(1));
        }
        drop(other);
        world.admin.batch_execute(&format!("drop database {name} with (force)")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_is_what_was_there_row_by_row() {
    let world = World::new(SHOP).await;
    let task = world.task(json!({}));
    let done = world.back_up(&task).await.unwrap();
    let manifest = world.manifest(&task).await.unwrap();
    let expected: Vec<(String, i64)> =
        [("public.empty", 0), ("public.events_1", 12400), ("public.events_2", 7600), ("public.users", 2000)]
            .map(|(name, rows)| (name.to_owned(), rows))
            .into();
    assert_eq!(rows(&manifest), expected);
    assert_eq!((done.tables, done.rows), (4, 22_000));
    assert_eq!(done.verified.as_ref().unwrap().level, VerifyLevel::Catalog);
    let assertions = json!([{"name": "users exist", "sql": "select count(*) from users", "atLeast": 1}, {"name": "tickets", "sql": "select last_value from tickets;", "equals": 1000},
        {"name": "nothing lies in /dev/shm", "sql": "select count(*) from pg_settings where name = 'dynamic_shared_memory_type' and setting = 'mmap'", "equals": 1}]);
    let verified = world.verify(&task, "Restore", assertions).await.unwrap();
    assert_eq!((verified.rows_matched, verified.assertions), (Some(22_000), 3));
    // Nothing is left of the server, and the store holds dump, globals, manifest and what was proven.
    assert_eq!(world.files().len(), 4, "{:?}", world.files());
    let wrong = json!([{"name": "users exist", "sql": "select count(*) from users", "atLeast": 3000}]);
    let blocked = world.verify(&task, "Restore", wrong).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::VerificationFailed);
    assert!(blocked.message.contains("\"users exist\" does not hold: 2000 is less than 3000"), "{}", blocked.message);
    // Run again, it is the same backup.
    let again = world.back_up(&task).await.unwrap();
    assert_eq!((again.manifest, again.verified.unwrap().level), (done.manifest, VerifyLevel::Restore));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_writers_the_counts_are_those_of_the_dump() {
    let world = World::new(SHOP).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = vec![];
    for number in 0..3_i64 {
        let (client, stop) = (world.database.superuser().await, Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            let mut changes = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                let sql = if changes % 3 == 2 {
                    "delete from users where id = $1::bigint - 1"
                } else {
                    "insert into users values ($1, 'new')"
                };
                client.execute(sql, &[&(1_000_000 * (number + 1) + changes)]).await.unwrap();
                changes += 1;
            }
            changes
        }));
    }
    for round in 0..3 {
        let mut task = world.task(json!({"content": {"globals": false}}));
        task.directory = format!("shop/{round}");
        world.back_up(&task).await.unwrap();
        world.verify(&task, "Restore", json!([])).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut changes = 0;
    for writer in writers {
        changes += writer.await.unwrap();
    }
    println!("{changes} changes while three backups were made");
    assert!(changes > 100);
}

/// What a later major writes and an earlier one does not.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_other_majors_are_dumped_and_restored_by_programs_of_their_own() {
    for major in [16, 18] {
        let mut world = World::of_major(major, SHOP).await;
        world.workshop.programs = vec![crate::support::postgres::programs(major)];
        for format in ["Custom", "Directory"] {
            let mut task = world.task(json!({"format": format}));
            task.directory = format!("shop/{format}");
            world.back_up(&task).await.unwrap();
            let manifest = world.manifest(&task).await.unwrap();
            assert_eq!(manifest.major(), i32::try_from(major).unwrap());
            let verified = world.verify(&task, "Restore", json!([])).await.unwrap();
            assert_eq!(verified.rows_matched, Some(22_000), "{major} {format}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_restored_but_the_script() {
    let world = World::new(SHOP).await;
    for (format, jobs, method) in [("Custom", 1, "None"), ("Directory", 2, "Zstd"), ("Plain", 1, "Zstd")] {
        let mut task = world.task(json!({"format": format, "jobs": jobs, "compression": {"method": method}}));
        task.directory = format.into();
        let done = world.back_up(&task).await.unwrap();
        assert_eq!(done.rows, 22_000, "{format}");
        let restored = world.verify(&task, "Restore", json!([])).await;
        match format {
            "Plain" => assert_eq!(restored.unwrap_err().reason, Reason::Unsupported),
            _ => assert_eq!(restored.unwrap().rows_matched, Some(22_000), "{format}"),
        }
        assert_eq!(world.verify(&task, "Catalog", json!([])).await.unwrap().level, VerifyLevel::Catalog);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_is_what_was_chosen_and_what_it_lacks_is_said() {
    let world = World::new(&format!(
        "{SHOP}; create schema audit; create table audit.log (n int); insert into audit.log values (1); select lo_create(4711)"
    ))
    .await;
    let cases: [(Value, Rows, bool); 6] = [
        (json!({"schemas": ["audit"]}), &[("audit.log", 1)], true),
        (json!({"tables": [{"name": "events"}]}), &[("public.events_1", 12400), ("public.events_2", 7600)], true),
        (json!({"excludeTables": [{"name": "events"}, {"name": "users"}]}), &[("audit.log", 1), ("public.empty", 0)], false),
        (
            json!({"excludeRows": [{"name": "events"}], "schemas": ["public"]}),
            &[("public.empty", 0), ("public.events_1", 0), ("public.events_2", 0), ("public.users", 2000)],
            true,
        ),
        (json!({"what": "SchemaOnly"}), &[], false),
        (
            json!({}),
            &[
                ("audit.log", 1),
                ("public.empty", 0),
                ("public.events_1", 12400),
                ("public.events_2", 7600),
                ("public.users", 2000),
            ],
            false,
        ),
    ];
    for (number, (mut content, expected, lacks)) in cases.into_iter().enumerate() {
        content["globals"] = json!(false);
        // The view over what is left out cannot be restored.
        content["excludeTables"] = match content.get("excludeTables") {
            Some(tables) => json!([tables.as_array().unwrap().clone(), vec![json!({"name": "recent"})]].concat()),
            None => json!([]),
        };
        world
            .admin
            .batch_execute(if number == 2 { "drop view recent; create table recent (n int)" } else { "select 1" })
            .await
            .unwrap();
        let mut task = world.task(json!({"content": content}));
        task.directory = format!("case-{number}");
        let done = world.back_up(&task).await.unwrap_or_else(|blocked| panic!("{content}: {blocked:?}"));
        let manifest = world.manifest(&task).await.unwrap();
        let expected: Vec<(String, i64)> = expected.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect();
        let found: Vec<(String, i64)> = rows(&manifest).into_iter().filter(|(name, _)| name != "public.recent").collect();
        assert_eq!(found, expected, "{content}");
        assert_eq!(!done.omitted.is_empty(), lacks, "{content}: {:?}", done.omitted);
        if !manifest.content.schemas.contains(&"audit".to_owned()) || number == 0 {
            world.verify(&task, "Restore", json!([])).await.unwrap_or_else(|blocked| panic!("{content}: {blocked:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_there_is_no_smaller_backup() {
    let world = World::new(&format!("{SHOP}; create schema app; create table app.orders (n int)")).await;
    for wrong in ["typo", "App", "pg_catalog"] {
        let task = world.task(json!({"content": {"schemas": ["app", wrong]}}));
        let blocked = world.back_up(&task).await.unwrap_err();
        assert_eq!(blocked.reason, Reason::InvalidSpec, "{}", blocked.message);
        let says = format!("content.schemas names {wrong}, and there is no such schema (names are case-sensitive)");
        assert!(blocked.message.contains(&says), "{}", blocked.message);
        assert!(world.files().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_other_schemas_than_public_are_restored_with_their_schemas() {
    let world = World::new(SHOP).await;
    let name = &world.database.name;
    let app = format!("{name}_app");
    let sql = format!(
        "create role {app}; create schema audit authorization {app}; create schema \"of 2026\";
         create table audit.log (n int, at date) partition by range (at); alter table audit.log owner to {app};
         create table \"of 2026\".\"Log\" partition of audit.log for values from ('2026-01-01') to ('2027-01-01');
         insert into audit.log values (1, '2026-05-05')"
    );
    world.admin.batch_execute(&sql).await.unwrap();
    let tables = json!([{"schema": "audit", "name": "log"}, {"name": "users"}]);
    for (number, (what, rows)) in [("All", 2001), ("SchemaOnly", 0)].into_iter().enumerate() {
        let mut task = world.task(json!({"content": {"tables": tables, "what": what, "globals": false}}));
        task.directory = format!("case-{number}");
        let done = world.back_up(&task).await.unwrap();
        assert_eq!(done.rows, rows);
        let owned = format!("select count(*) from pg_namespace where nspname = 'audit' and nspowner = '{app}'::regrole");
        let assertions = json!([{"name": "the schema's owner", "sql": owned, "equals": 1},
            {"name": "partitions", "sql": "select count(*) from pg_inherits", "equals": 1}]);
        let verified = world.verify(&task, "Restore", assertions).await.unwrap();
        assert_eq!(verified.rows_matched, Some(rows), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_owners_grants_and_settings_are_not_lost() {
    let world = World::new(SHOP).await;
    let name = &world.database.name;
    world
        .admin
        .batch_execute(&format!(
            "create role {name}_app login; create role {name}_reader;
             alter table users owner to {name}_app; grant select on users to {name}_reader;
             grant connect on database {name} to {name}_reader; alter database {name} set work_mem = '7MB';
             alter role {name}_app in database {name} set search_path = 'public, audit'; comment on database {name} is 'the shop''s';
             select lo_from_bytea(4711, 'a large object')"
        ))
        .await
        .unwrap();
    let task = world.task(json!({}));
    world.back_up(&task).await.unwrap();
    let manifest = world.manifest(&task).await.unwrap();
    assert_eq!(manifest.large_objects, 1);
    let properties = &manifest.database.properties;
    assert_eq!(properties.comment.as_deref(), Some("the shop's"));
    assert!(
        properties.settings.iter().any(|setting| setting.role.is_empty() && setting.name == "work_mem" && setting.value == "7MB")
    );
    assert!(properties.settings.iter().any(|setting| setting.role == format!("{name}_app") && setting.name == "search_path"));
    assert!(
        properties
            .grants
            .as_ref()
            .unwrap()
            .iter()
            .any(|grant| grant.grantee == format!("{name}_reader") && grant.privilege == "CONNECT")
    );
    assert!(manifest.roles.contains(&format!("{name}_app")) && manifest.roles.contains(&format!("{name}_reader")));
    let assertions = json!([
        {"name": "large objects", "sql": "select count(*) from pg_largeobject_metadata", "equals": 1},
        {"name": "owner", "sql": format!("select count(*) from pg_tables where tablename = 'users' and tableowner = '{name}_app'"), "equals": 1},
        {"name": "grant", "sql": format!("select has_table_privilege('{name}_reader', 'users', 'select')::int"), "equals": 1},
    ]);
    world.verify(&task, "Restore", assertions).await.unwrap();
}

/// Assertions are written for sessions as everybody has them.
#[tokio::test(flavor = "multi_thread")]
async fn assertions_are_asked_with_the_settings_of_the_database_and_rows_are_counted_without() {
    let world = World::new("create schema app; create table app.users (n int); insert into app.users values (1), (2)").await;
    let name = &world.database.name;
    let settings = [
        "search_path = app, public",
        "statement_timeout = '200ms'",
        "default_transaction_read_only = on",
        // Which the other server need not have: then nobody would be let in.
        "session_preload_libraries = 'plpgsql'",
    ];
    for setting in settings {
        world.admin.batch_execute(&format!("alter database {name} set {setting}")).await.unwrap();
    }
    let task = world.task(json!({}));
    world.back_up(&task).await.unwrap();
    let assertions = json!([{"name": "users", "sql": "select count(*) from users, pg_sleep(0.3)", "equals": 2}]);
    let verified = world.verify(&task, "Restore", assertions).await.unwrap();
    assert_eq!((verified.rows_matched, verified.assertions), (Some(2), 1));
    assert!(verified.notes.is_empty(), "{verified:?}");
    let wrong = json!([{"name": "users", "sql": "select count(*) from users", "equals": 3}]);
    assert_eq!(world.verify(&task, "Restore", wrong).await.unwrap_err().reason, Reason::VerificationFailed);
}

/// A materialized view is filled again by a restore, which asks the library.
#[tokio::test(flavor = "multi_thread")]
async fn an_extension_whose_library_must_be_there_from_the_start_is_restored_with_it() {
    let settings = vec!["shared_preload_libraries = 'pg_stat_statements'".to_owned()];
    let server = Server::start(MAJOR, &Options { settings, ..Options::default() });
    let world = World::on(
        Database::on(server).await,
        "create extension pg_stat_statements; \
        create materialized view slow as select count(*) from pg_stat_statements",
    )
    .await;
    let task = world.task(json!({}));
    world.back_up(&task).await.unwrap();
    let assertions =
        json!([{"name": "nothing runs by itself", "sql": "select current_setting('max_worker_processes')::int", "equals": 0}]);
    assert_eq!(world.verify(&task, "Restore", assertions).await.unwrap().assertions, 1);
    // As of an extension that is not known to need it.
    let file = world.volume.path().join(&task.directory).join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    manifest["extensions"] = json!([]);
    std::fs::write(&file, manifest.to_string()).unwrap();
    let blocked = world.verify(&task, "Restore", json!([])).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::ExtensionMissing, "{}", blocked.message);
    assert!(blocked.message.contains("must be loaded via"), "{}", blocked.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_role_may_not_see_are_no_empty_backup() {
    let world = World::new(SHOP).await;
    let roles = world.database.roles().await;
    let (owner, operator) = (&roles.owner, &roles.operator);
    world
        .admin
        .batch_execute(&format!(
            "grant pg_read_all_data to {operator}; alter table users owner to {owner}; alter table users enable row level security, force row level security"
        ))
        .await
        .unwrap();
    let mut access = world.access();
    access.target.as_mut().unwrap().user = operator.clone();
    let task = world.task(json!({"content": {"globals": false}}));
    let blocked = world.back_up_with(&task, &access).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::MissingPrivilege);
    assert!(blocked.message.contains("public.users") && blocked.message.contains("BYPASSRLS"), "{}", blocked.message);
    assert!(world.files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_no_longer_of_that_major_is_planned_anew_and_without_its_tools_nothing_begins() {
    let world = World::new(SHOP).await;
    let mut task = world.task(json!({}));
    task.major = 14;
    assert_eq!(world.back_up(&task).await.unwrap_err().reason, Reason::Stale);
    let other = World::of_major(14, "select 1").await;
    let blocked = other.back_up(&other.task(json!({}))).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::ToolsMissing);
    assert!(blocked.message.contains("there is only 15."), "{}", blocked.message);
}
