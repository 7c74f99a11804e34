//! Does a restore test that fails say whether that is the backup's fault?

use std::process::Command;

use pgreeve::api::Reason;
use pgreeve::plan::action::Blocked;
use serde_json::json;

use crate::faults::Programs;
use crate::world::{SHOP, World};

/// Rules that look into the other table, which a restore fills later or at the same time.
const ORDERS: &str = "create table users (id int primary key); insert into users values (1);
    create table orders (of_user int); insert into orders values (1);
    create function knows(id int) returns boolean language sql as 'select exists (select from public.users u where u.id = $1)';
    create function has_orders(id int) returns boolean language sql as 'select exists (select from public.orders o where o.of_user = $1)';
    alter table orders add constraint of_known check (knows(of_user)); alter table users add constraint of_known check (has_orders(id))";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_restored_is_no_verified_one_and_is_not_merely_tried_again() {
    let world = World::new(ORDERS).await;
    for format in ["Custom", "Directory"] {
        let mut task = world.task(json!({"format": format}));
        task.directory = format.into();
        world.back_up(&task).await.unwrap();
        let blocked = world.verify(&task, "Restore", json!([])).await.unwrap_err();
        assert_eq!(blocked.reason, Reason::VerificationFailed, "{format}: {}", blocked.message);
        assert!(blocked.message.contains("pg_restore: error:"), "{format}: {}", blocked.message);
        assert!(blocked.message.contains("violates check constraint \"of_known\""), "{format}: {}", blocked.message);
        assert!(world.manifest(&task).await.is_some());
    }
}

/// What becomes of a restore test in which one of PostgreSQL's programs does as this script says.
async fn tried_with(sql: &str, program: &str, script: &str) -> Blocked {
    let mut world = World::new(sql).await;
    let task = world.task(json!({}));
    world.back_up(&task).await.unwrap();
    let programs = Programs::with(program, script);
    world.workshop.programs = vec![programs.directory()];
    world.verify(&task, "Restore", json!([])).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_befalls_the_server_or_the_program_of_a_restore_test_says_nothing_of_the_backup() {
    let killed = tried_with(SHOP, "pg_restore", "kill -9 $$").await;
    assert_eq!(killed.reason, Reason::ToolFailed, "{}", killed.message);
    assert!(killed.message.contains("signal: 9"), "{}", killed.message);
    // A session of the restore is ended, as by the kernel that needs its memory.
    let ends = "create function boom(n bigint) returns bigint language plpgsql immutable as $$begin
            if current_database() = 'restored' then perform pg_terminate_backend(pg_backend_pid()); end if; return n; end$$;
        create index on users (boom(id))";
    let ended = tried_with(&format!("{SHOP}; {ends}"), "pg_restore", "exec $REAL \"$@\"").await;
    assert_eq!(ended.reason, Reason::ToolFailed, "{}", ended.message);
    assert!(ended.message.contains("terminating connection"), "{}", ended.message);
}

/// A machine under load lets us ask before the server is ready, which it logs as an error of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_slow_to_start_is_a_good_witness() {
    let early = "echo '57P03 FATAL:  the database system is starting up' >&2; exec $REAL \"$@\"";
    let blocked = tried_with(ORDERS, "postgres", early).await;
    assert_eq!(blocked.reason, Reason::VerificationFailed, "{}", blocked.message);
}

/// More than fits where the server of the restore test has room, and easily compressed.
const LARGE: &str = "create table notes (body text); alter table notes alter body set storage external;
    insert into notes select repeat('x', 100000) from generate_series(1, 800)";

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_says_nothing_of_the_backup() {
    let world = World::new(LARGE).await;
    let task = world.task(json!({}));
    world.back_up(&task).await.unwrap();
    let manifest = world.files().into_iter().find(|file| file.ends_with("manifest.json")).unwrap();
    // Without room for the server itself, and with too little for what is restored.
    for size in ["20m", "96m"] {
        let room = tempfile::tempdir().unwrap();
        let script =
            "chmod 755 $1; mount -t tmpfs -o mode=755,size=$2 none $1 || exit 99; exec $3 verify --restore $4 --scratch $1";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(room.path()).arg(size);
        command.arg(env!("CARGO_BIN_EXE_pgreeve")).arg(&manifest);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{size}: {said}");
        assert!(said.contains("needs more room (scratch)"), "{size}: {said}");
    }
}

/// Changes a backup's manifest, as if its dump had been made otherwise.
fn altered(world: &World, from: &str, to: &str) {
    let manifest = world.files().into_iter().find(|path| path.ends_with("manifest.json")).unwrap();
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&manifest, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_extensions_and_tables_that_lack_after_a_restore_are_seen() {
    let world = World::new(&format!("{SHOP}; create extension hstore; select lo_create(4711); drop view recent")).await;
    // A dump that leaves tables out has extensions and large objects all the same.
    let task = world.task(json!({"content": {"excludeTables": [{"name": "events"}]}}));
    world.back_up(&task).await.unwrap();
    world.verify(&task, "Restore", json!([])).await.unwrap();
    let cases = [
        ("\"largeObjects\": 1", "\"largeObjects\": 2", "1 large objects are there, and 2 were dumped"),
        ("\"hstore\"", "\"hstore_of_others\"", "extension hstore_of_others is missing"),
    ];
    for (from, to, says) in cases {
        altered(&world, from, to);
        let blocked = world.verify(&task, "Restore", json!([])).await.unwrap_err();
        assert_eq!(blocked.reason, Reason::VerificationFailed);
        assert!(blocked.message.contains(says), "{}", blocked.message);
        altered(&world, to, from);
    }
    // A dump of definitions has tables without any row to count.
    let mut definitions = world.task(json!({"content": {"what": "SchemaOnly"}}));
    definitions.directory = "a/definitions".into();
    world.back_up(&definitions).await.unwrap();
    world.verify(&definitions, "Restore", json!([])).await.unwrap();
    altered(&world, "\"name\": \"events\"", "\"name\": \"happenings\"");
    let blocked = world.verify(&definitions, "Restore", json!([])).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::VerificationFailed);
    assert!(blocked.message.contains("public.happenings is missing in the restored database"), "{}", blocked.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_in_another_locale_than_the_databases_own_says_so() {
    let world = World::new(SHOP).await;
    let task = world.task(json!({}));
    world.back_up(&task).await.unwrap();
    altered(&world, "\"collate\": \"C\"", "\"collate\": \"tlh_QO\"");
    let verified = world.verify(&task, "Restore", json!([])).await.unwrap();
    assert!(verified.notes.iter().any(|note| note.contains("tlh_QO") && note.contains("locale C")), "{verified:?}");
}
