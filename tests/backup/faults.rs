//! Whatever fails while a backup is made: is there never a manifest without a whole dump behind it, and does the next run succeed?

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pgreeve::api::Reason;
use pgreeve::job::Access;
use serde_json::json;
use tempfile::TempDir;

use crate::support::postgres::{Database, Options, Server};
use crate::world::{MAJOR, SHOP, World};

/// A directory with programs that stand before PostgreSQL's own.
pub struct Programs(TempDir);

impl Programs {
    /// `pg_dump` does as this script says; the real one is `$REAL`.
    pub fn with_pg_dump(script: &str) -> Self {
        Self::with("pg_dump", script)
    }

    /// This program does as this script says; the real one is `$REAL`.
    pub fn with(program: &str, script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["pg_dump", "pg_dumpall", "pg_restore", "initdb", "postgres"] {
            let real = PathBuf::from(format!("/usr/lib/postgresql/{MAJOR}/bin/{name}"));
            let text = if name == program {
                let real = real.display();
                format!("#!/bin/sh\nREAL={real}\nif [ \"$1\" = --version ]; then exec $REAL --version; fi\n{script}\n")
            } else {
                format!("#!/bin/sh\nexec {} \"$@\"\n", real.display())
            };
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(directory)
    }

    /// Their directory.
    pub fn directory(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    pub fn access(&self, world: &World) -> Access {
        let mut access = world.access();
        access.workshop.programs = vec![self.directory()];
        access
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_dump_is_under_way_its_session_says_how_far_it_is() {
    let world = World::new(SHOP).await;
    // The second writes to files: of what goes to the disk and then to the store, half is done when all of it lies there.
    let scripts = [
        ("Custom", "$REAL \"$@\" | { /usr/bin/head -c 700000; /bin/sleep 6; /bin/cat; }"),
        ("Directory", "$REAL \"$@\"; /bin/sleep 6"),
    ];
    let percents = scripts.map(async |(format, script)| {
        let programs = Programs::with_pg_dump(script);
        let mut task = world.task(json!({"format": format, "compression": {"method": "None"}}));
        task.directory = format.into();
        let prefix = pgreeve::plan::backup::progress::prefix(&task.directory);
        let said = async || {
            let query = "select application_name from pg_stat_activity where starts_with(application_name, $1)";
            let row = world.admin.query_opt(query, &[&prefix]).await.unwrap()?;
            pgreeve::plan::backup::progress::percent(row.get(0)).filter(|percent| *percent >= 5)
        };
        let access = programs.access(&world);
        let told = crate::support::eventually("the session says how far it is", Duration::from_secs(30), said);
        let (done, percent) = tokio::join!(world.back_up_with(&task, &access), told);
        done.unwrap();
        percent
    });
    for percent in futures::future::join_all(percents).await {
        assert!((5..=99).contains(&percent), "{percent}");
    }
}

/// The backup fails with this, leaves nothing, and the next one is made.
async fn fails_and_then_succeeds(world: &World, format: &str, script: &str, (reason, says): (Reason, &str)) {
    fails_with(world, json!({"format": format}), script, (reason, says)).await;
}

/// The same with these settings.
async fn fails_with(world: &World, settings: serde_json::Value, script: &str, (reason, says): (Reason, &str)) {
    let format = settings["format"].as_str().unwrap().to_owned();
    let mut task = world.task(settings);
    task.directory = format!("{format}-{}", world.files().len());
    let programs = Programs::with_pg_dump(script);
    let blocked = world.back_up_with(&task, &programs.access(world)).await.unwrap_err();
    assert_eq!(blocked.reason, reason, "{format}: {}", blocked.message);
    assert!(blocked.message.contains(says), "{format}: {}", blocked.message);
    assert!(world.manifest(&task).await.is_none());
    let directory = world.volume.path().join(&task.directory);
    let left: Vec<PathBuf> = world.files().into_iter().filter(|path| path.starts_with(&directory)).collect();
    assert!(left.is_empty(), "{format}: {left:?}");
    world.back_up(&task).await.unwrap();
}

/// Finds the directory that `pg_dump` writes to: our last arguments but three are `--file DIRECTORY --jobs N --no-sync`.
const INTO: &str = "for argument in \"$@\"; do [ \"$before\" = --file ] && into=$argument; before=$argument; done";

/// A `pg_dump` of this format that is killed when it has written this percentage of so many bytes.
fn killed_at(format: &str, share: i64, all: i64) -> String {
    let bytes = all * share / 100;
    match (format, share) {
        // What it writes to files is measured there.
        ("Directory", ..=50) => format!(
            "{INTO}
$REAL \"$@\" & dump=$!
while kill -0 $dump 2>/dev/null && [ \"$(/usr/bin/du -sb $into 2>/dev/null | /usr/bin/cut -f1)\" -lt {bytes} ] 2>/dev/null; do :; done
kill -9 $dump $$"
        ),
        // The table of contents is what it writes last.
        ("Directory", _) => format!(
            "{INTO}
$REAL \"$@\"; toc=$(/usr/bin/wc -c < $into/toc.dat); /usr/bin/truncate -s $((toc * (100 - (100 - {share}) * 50) / 100)) $into/toc.dat; kill -9 $$"
        ),
        _ => format!("$REAL \"$@\" | /usr/bin/head -c {bytes}; kill -9 $$"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_is_killed_at_any_share_of_its_work_is_no_backup() {
    let world = World::new(SHOP).await;
    for format in ["Custom", "Plain", "Directory"] {
        let mut whole = world.task(json!({"format": format}));
        whole.directory = format!("{format}-whole");
        let all = world.back_up(&whole).await.unwrap().manifest;
        let all = world.manifest(&whole).await.unwrap_or_else(|| panic!("{all}")).data.raw_bytes;
        for share in [0, 1, 50, 99, 100] {
            let script = killed_at(format, share, all);
            fails_and_then_succeeds(&world, format, &script, (Reason::ToolFailed, "signal: 9")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_fails_when_all_is_written_is_no_backup() {
    let world = World::new(SHOP).await;
    let script = "$REAL \"$@\"; echo 'pg_dump: error: at the very end' >&2; exit 1";
    for format in ["Custom", "Plain", "Directory"] {
        fails_and_then_succeeds(&world, format, script, (Reason::ToolFailed, "at the very end")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_lies_about_its_end_is_found_out_when_the_dump_is_read_back() {
    let world = World::new(SHOP).await;
    for format in ["Custom", "Plain"] {
        let script = "$REAL \"$@\" | /usr/bin/head -c 1000000; exit 0";
        fails_and_then_succeeds(&world, format, script, (Reason::BackupDamaged, "")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_writes_nothing_and_says_that_all_is_well_is_no_backup() {
    let world = World::new(SHOP).await;
    for format in ["Custom", "Plain", "Directory"] {
        let settings = json!({"format": format, "verify": "None"});
        fails_with(&world, settings, "exit 0", (Reason::ToolFailed, "pg_dump ended well and has written nothing")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_leaves_out_rows_which_were_counted_is_found_out_when_the_dump_is_read_back() {
    let world = World::new(&format!("{SHOP}; alter table users rename to \"Users of the shop\"")).await;
    let script = "exec $REAL --exclude-table-data='\"Users of the shop\"' \"$@\"";
    for format in ["Custom", "Directory"] {
        let says = "holds no rows of public.Users of the shop, and 2000 were counted";
        fails_and_then_succeeds(&world, format, script, (Reason::BackupDamaged, says)).await;
    }
}

/// While the archive is read back, this waits for a file.
fn a_reader_that_waits(go: &std::path::Path) -> Programs {
    let script = format!("until [ -e {} ]; do /bin/sleep 0.05; done\nexec $REAL \"$@\"", go.display());
    Programs::with("pg_restore", &script)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshot_is_let_go_when_all_is_dumped_and_counted() {
    let world = World::new(SHOP).await;
    let home = tempfile::tempdir().unwrap();
    let (go, task) = (home.path().join("go"), world.task(json!({})));
    let programs = a_reader_that_waits(&go);
    let reads = async || world.files().iter().any(|file| file.to_string_lossy().contains("globals.sql")).then_some(());
    let sessions = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null";
    let gone = async || (world.admin.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0) == 0).then_some(());
    let watched = async {
        let limit = Duration::from_secs(20);
        crate::support::eventually("the globals are written", limit, reads).await;
        crate::support::eventually("no transaction is open while the dump is read back", limit, gone).await;
        std::fs::write(&go, "").unwrap();
    };
    let access = programs.access(&world);
    let (done, ()) = tokio::join!(world.back_up_with(&task, &access), watched);
    done.unwrap();
}

/// Rows that take a while to be compressed at level 9.
const MANY_EVENTS: &str =
    "insert into events select date '2026-01-01', repeat(md5(n::text), 30) from generate_series(1, 100000) n";

/// Waits until `pg_dump` copies a table, does this, and answers what became of the backup.
async fn while_it_copies(world: &World, strike: impl AsyncFn()) -> pgreeve::plan::action::Blocked {
    world.admin.batch_execute(MANY_EVENTS).await.unwrap();
    let task = world.task(json!({"compression": {"level": 9}}));
    let query = "select count(*) from pg_stat_activity where application_name = 'pgreeve' and datname = current_database() and query like 'COPY%'";
    let struck = async {
        while world.admin.query_one(query, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        strike().await;
    };
    let (backed_up, ()) = tokio::join!(world.back_up(&task), struck);
    assert!(world.files().is_empty(), "{:?}", world.files());
    backed_up.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_ends_is_no_backup() {
    let world = World::new(SHOP).await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgreeve' and datname = current_database() and query like 'COPY%'";
    let blocked = while_it_copies(&world, async || world.admin.batch_execute(end).await.unwrap()).await;
    assert_eq!(blocked.reason, Reason::ToolFailed);
    assert!(blocked.message.contains("pg_dump: error"), "{}", blocked.message);
    world.back_up(&world.task(json!({}))).await.unwrap();
}

/// Hours may lie between the first sign that there will be no backup and the end of a dump, which holds its locks and its snapshot until then.
#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_fails_ends_the_dump() {
    let world = World::new(SHOP).await;
    let file = "select current_setting('data_directory') || '/' || pg_relation_filepath('users')";
    world.admin.batch_execute("checkpoint").await.unwrap();
    let file: String = world.admin.query_one(file, &[]).await.unwrap().get(0);
    std::fs::remove_file(file).unwrap();
    let programs = Programs::with_pg_dump("exec /bin/sleep 3600");
    let blocked = world.back_up_with(&world.task(json!({})), &programs.access(&world)).await.unwrap_err();
    assert!(blocked.message.contains("counting the rows of public.users"), "{}", blocked.message);
    assert!(world.files().is_empty(), "{:?}", world.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_down_is_no_backup() {
    let mut world = World::new("select 1").await;
    let server = Server::start(MAJOR, &Options::default());
    world.database = Database::on(server.clone()).await;
    world.admin = world.database.superuser().await;
    world.admin.batch_execute(SHOP).await.unwrap();
    let blocked = while_it_copies(&world, async || server.crash()).await;
    assert_eq!(blocked.reason, Reason::ToolFailed, "{}", blocked.message);
}

/// Runs `pgreeve backup` with these options where there is this directory with so much room, and then with 64 MiB in its place. The
/// namespace of mounts ends with the shell, and with it the file system.
fn with_little_room(world: &World, directory: &str, size: &str, options: &str) -> (String, String) {
    let script = format!(
        "mount -t tmpfs -o size={size} none $1 || exit 99
$2 backup $3 {options} 2>&1; echo \"code $?\"; find $3 -name 'manifest.json*'; find $1 -type f; echo then
mount -o remount,size=64m $1; $2 backup $3 {options} 2>&1; echo \"code $?\""
    );
    let place = world.volume.path().join("backups");
    std::fs::create_dir(&place).unwrap();
    let full = if directory == "scratch" { world.volume.path().join("scratch") } else { place.clone() };
    drop(std::fs::create_dir(&full));
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(&full).arg(env!("CARGO_BIN_EXE_pgreeve")).arg(&place);
    command.env("PGREEVE_DATABASE_URL", world.database.url("postgres"));
    if directory == "scratch" {
        command.env("TMPDIR", &full);
    }
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let (first, second) = text.split_once("then\n").unwrap_or_else(|| panic!("{text}"));
    (first.to_owned(), second.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_no_backup_and_leaves_nothing_on_it() {
    for (directory, options) in [("place", "--verify none"), ("scratch", "--format directory --jobs 2")] {
        let world = World::new(SHOP).await;
        let (full, then) = with_little_room(&world, directory, "100k", options);
        let (said, left) = full.split_once("code ").unwrap();
        assert!(!left.starts_with('0') && left.lines().count() == 1, "{directory}: {full}");
        assert!(said.to_lowercase().contains("no space left on device"), "{directory}: {full}");
        assert!(then.trim_end().ends_with("code 0"), "{directory}: {then}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_make_one_backup() {
    let world = World::new(SHOP).await;
    let task = world.task(json!({}));
    let (one, two) = tokio::join!(world.back_up(&task), world.back_up(&task));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.manifest, two.manifest);
    world.verify(&task, "Catalog", json!([])).await.unwrap();
    world.back_up(&task).await.unwrap();
    // Dump, globals, manifest, and what was proven.
    assert_eq!(world.files().len(), 4, "{:?}", world.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_taken_away_by_the_next_one() {
    let world = World::new(SHOP).await;
    let task = world.task(json!({}));
    let directory = world.volume.path().join(&task.directory);
    std::fs::create_dir_all(&directory).unwrap();
    for leftover in ["00000001.data.dump.zst", "00000001.data.dump.zst#1"] {
        std::fs::write(directory.join(leftover), "half").unwrap();
    }
    world.back_up(&task).await.unwrap();
    assert_eq!(world.files().len(), 3, "{:?}", world.files());
}
