//! Does a person get through a backup, a look, a proof and a restore, with the program alone?

use std::process::{Command, Output};

use serde_json::json;

use crate::support::postgres::Database;
use crate::world::{SHOP, World};

fn pgreeve(database: &Database, arguments: &[&str]) -> Output {
    let url = database.url("postgres");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
    command.args(arguments).env("PGREEVE_DATABASE_URL", url).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_listed_proven_and_restored() {
    let world = World::new(SHOP).await;
    let place = world.volume.path().join("backups").display().to_string();
    let made = pgreeve(&world.database, &["backup", &place]);
    assert!(made.status.success(), "{}", text(&made));
    let said = text(&made);
    assert!(said.contains("4 tables with 22000 rows") && said.contains("Proven    read back"), "{said}");
    let manifest = said.lines().next().unwrap().trim_start_matches("Backup").trim().to_owned();
    let manifest = manifest.trim_start_matches("file://").to_owned();
    let proven = pgreeve(&world.database, &["verify", &manifest, "--restore", "--assert", "select count(*) from users >= 2000"]);
    assert!(
        proven.status.success() && text(&proven).contains("22000 rows as they were dumped, 1 assertions hold"),
        "{}",
        text(&proven)
    );
    let wrong = pgreeve(&world.database, &["verify", &manifest, "--restore", "--assert", "select count(*) from users >= 2001"]);
    assert_eq!(wrong.status.code(), Some(3), "{}", text(&wrong));
    let listed = pgreeve(&world.database, &["backups", &place]);
    assert!(
        text(&listed)
            .lines()
            .nth(1)
            .is_some_and(|line| line.contains("22000") && line.contains("Restore") && line.ends_with("manifest.json")),
        "{}",
        text(&listed)
    );
    let for_programs = pgreeve(&world.database, &["backups", "list", &place, "-o", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&for_programs.stdout).unwrap();
    assert_eq!((&found["formatVersion"], &found["backups"][0]["rows"]), (&json!("1"), &json!(22000)), "{found}");
    assert_eq!(found["backups"][0]["verified"]["level"], "Restore", "{found}");
    let nowhere = pgreeve(&world.database, &["backups", "list"]);
    assert!(!nowhere.status.success() && !std::path::Path::new("list").exists(), "no directory of that name: {}", text(&nowhere));
    // Never over what is there.
    let refused = pgreeve(&world.database, &["restore", "backup", &manifest]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    assert!(text(&refused).contains("is not empty"), "{}", text(&refused));
    let empty = World::new("select 1").await;
    for (made, unmade) in [
        ("create schema audit", "drop schema audit"),
        ("create function one() returns int language sql as 'select 1'", "drop function one()"),
        ("create type mood as enum ('good')", "drop type mood"),
        ("create extension citext", "drop extension citext"),
    ] {
        empty.admin.batch_execute(made).await.unwrap();
        let refused = pgreeve(&empty.database, &["restore", "backup", &manifest]);
        assert!(text(&refused).contains("is not empty (it has"), "{made}: {}", text(&refused));
        empty.admin.batch_execute(unmade).await.unwrap();
    }
    let restored = pgreeve(&empty.database, &["restore", "backup", &manifest]);
    assert!(restored.status.success() && text(&restored).contains("4 tables with 22000 rows"), "{}", text(&restored));
    let rows: i64 = empty.admin.query_one("select count(*) from events", &[]).await.unwrap().get(0);
    assert_eq!(rows, 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_manifest_and_what_is_no_place_say_so() {
    let world = World::new("select 1").await;
    let wrong = [
        (&["verify", "s3://bucket/data.dump"][..], 64, "is no manifest"),
        (&["backups", "ftp://host/x"][..], 1, "ftp:// is not known"),
        (&["backup", "/nowhere", "--jobs", "2"][..], 64, "goes with --format directory"),
        (&["backup", "/nowhere", "--format", "plain", "--verify", "restore"][..], 64, "which pgreeve does not run"),
        (&["backup", "/nowhere", "--data-only", "--verify", "restore"][..], 64, "into an empty server"),
        (&["backup", "/nowhere", "--schema", "a", "--table", "b.c"][..], 64, "does not go with --table"),
        (&["backup", "/nowhere", "--recipients-file", "/nowhere/keys", "--verify", "restore"][..], 64, "needs --identity-file"),
        (&["verify", "/nowhere/manifest.json"][..], 1, "/nowhere"),
        (&["backups", "/nowhere"][..], 1, "/nowhere is no directory"),
        (
            &["backup", "/tmp/pgreeve-no-backup", "--programs", "/nowhere", "--table", "public.nothing"][..],
            1,
            "there is no such table",
        ),
    ];
    for (arguments, code, says) in wrong {
        let output = pgreeve(&world.database, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(says), "{arguments:?}: {}", text(&output));
    }
    let empty = world.volume.path().display().to_string();
    assert_eq!(text(&pgreeve(&world.database, &["backups", &empty])), format!("no backups below {empty}\n"));
    drop(std::fs::remove_dir_all("/tmp/pgreeve-no-backup"));
}

/// Processes of this machine that name a directory in their arguments.
fn processes_in(directory: &std::path::Path) -> usize {
    let directory = directory.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let arguments = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    arguments.filter(|arguments| String::from_utf8_lossy(arguments).contains(&directory)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_test_that_is_killed_leaves_no_server_behind() {
    let world = World::new(SHOP).await;
    world.back_up(&world.task(serde_json::json!({}))).await.unwrap();
    let manifest = world.files().into_iter().find(|file| file.ends_with("manifest.json")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    // Whom the server runs as must reach it.
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
    command.args(["verify", "--restore"]).arg(manifest).env("TMPDIR", scratch.path());
    let mut program = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let limit = std::time::Duration::from_secs(30);
    let runs = async || (processes_in(scratch.path()) > 0 && has_socket(scratch.path())).then_some(());
    crate::support::eventually("its server runs", limit, runs).await;
    program.kill().unwrap();
    program.wait().unwrap();
    let gone = async || (processes_in(scratch.path()) == 0).then_some(());
    crate::support::eventually("its server is gone", limit, gone).await;
}

/// Whether a server listens in a directory of this one.
fn has_socket(directory: &std::path::Path) -> bool {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    entries.into_iter().any(|entry| entry.path().join(".s.PGSQL.5432").exists())
}
