//! Whatever fails while a backup is made: is there never a manifest without a whole dump behind it, and does the next run succeed?

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgreeve::api::destination::S3;
use pgreeve::api::{Destination, Reason};
use pgreeve::job::Access;
use pgreeve::plan::backup::DumpDatabase;
use pgreeve::plan::backup::manifest::Manifest;
use pgreeve::storage::{Credentials, Store};
use serde_json::json;
use tempfile::TempDir;

use crate::support::s3faults::{ALL, Fault, Plan, Proxy};
use crate::support::versitygw::{ACCESS_KEY, SECRET_KEY, s3};
use crate::world::{MAJOR, SHOP, World};

/// A directory with programs that stand before PostgreSQL's own.
struct Programs(TempDir);

impl Programs {
    /// `pg_dump` does as this script says; the real one is `$REAL`.
    fn with_pg_dump(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["pg_dump", "pg_dumpall", "pg_restore", "initdb", "postgres"] {
            let real = PathBuf::from(format!("/usr/lib/postgresql/{MAJOR}/bin/{name}"));
            let text = match name {
                "pg_dump" => format!(
                    "#!/bin/sh\nREAL={}\nif [ \"$1\" = --version ]; then exec $REAL --version; fi\n{script}\n",
                    real.display()
                ),
                _ => format!("#!/bin/sh\nexec {} \"$@\"\n", real.display()),
            };
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(directory)
    }

    fn access(&self, world: &World) -> Access {
        let mut access = world.access();
        access.workshop.programs = vec![self.0.path().to_owned()];
        access
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_dump_is_under_way_its_session_says_how_far_it_is() {
    let world = World::new(SHOP).await;
    let programs = Programs::with_pg_dump("$REAL \"$@\" | { /usr/bin/head -c 700000; /bin/sleep 6; /bin/cat; }");
    let task = world.task(json!({"compression": {"method": "None"}}));
    let prefix = pgreeve::plan::backup::progress::prefix(&task.directory);
    let said = async || {
        let query = "select application_name from pg_stat_activity where starts_with(application_name, $1)";
        let row = world.admin.query_opt(query, &[&prefix]).await.unwrap()?;
        pgreeve::plan::backup::progress::percent(row.get(0)).filter(|percent| *percent > 0)
    };
    let access = programs.access(&world);
    let told = crate::support::eventually("the session says how far it is", Duration::from_secs(30), said);
    let (done, percent) = tokio::join!(world.back_up_with(&task, &access), told);
    assert!((5..=99).contains(&percent), "{percent}");
    done.unwrap();
}

async fn fails_and_then_succeeds(script: &str, reason: Reason, says: &str) {
    let world = World::new(SHOP).await;
    for format in ["Custom", "Plain"] {
        let mut task = world.task(json!({"format": format}));
        task.directory = format.into();
        let programs = Programs::with_pg_dump(script);
        let blocked = world.back_up_with(&task, &programs.access(&world)).await.unwrap_err();
        assert_eq!(blocked.reason, reason, "{}", blocked.message);
        assert!(blocked.message.contains(says), "{}", blocked.message);
        assert!(world.manifest(&task).await.is_none());
        let left: Vec<PathBuf> =
            world.files().into_iter().filter(|path| path.starts_with(world.volume.path().join(format))).collect();
        assert!(left.is_empty(), "{left:?}");
        world.back_up(&task).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_dies_at_the_beginning_is_no_backup() {
    fails_and_then_succeeds("kill -9 $$", Reason::ToolFailed, "signal: 9").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_dies_after_a_hundredth_is_no_backup() {
    fails_and_then_succeeds("$REAL \"$@\" | head -c 20000; kill -9 $$", Reason::ToolFailed, "signal: 9").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_dies_in_the_middle_is_no_backup() {
    fails_and_then_succeeds("$REAL \"$@\" | head -c 1000000; kill -9 $$", Reason::ToolFailed, "signal: 9").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_dies_when_all_is_written_is_no_backup() {
    fails_and_then_succeeds(
        "$REAL \"$@\"; echo 'pg_dump: error: at the very end' >&2; exit 1",
        Reason::ToolFailed,
        "at the very end",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_lies_about_its_end_is_found_out_when_the_dump_is_read_back() {
    fails_and_then_succeeds("$REAL \"$@\" | head -c 1000000; exit 0", Reason::BackupDamaged, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_writes_nothing_and_says_that_all_is_well_is_no_backup() {
    fails_and_then_succeeds("exit 0", Reason::BackupDamaged, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_ends_is_no_backup() {
    let world = World::new(SHOP).await;
    world
        .admin
        .batch_execute("insert into events select date '2026-01-01', repeat(md5(n::text), 30) from generate_series(1, 100000) n")
        .await
        .unwrap();
    let task = world.task(json!({"compression": {"level": 9}}));
    let kill = async {
        loop {
            let query = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'pgreeve' and datname = current_database() and query like 'COPY%'";
            let ended: i64 = world.admin.query_one(query, &[]).await.unwrap().get(0);
            if ended > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (backed_up, ()) = tokio::join!(world.back_up(&task), kill);
    let blocked = backed_up.unwrap_err();
    assert_eq!(blocked.reason, Reason::ToolFailed);
    assert!(blocked.message.contains("pg_dump: error"), "{}", blocked.message);
    assert!(world.files().is_empty());
    world.back_up(&task).await.unwrap();
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

/// A backup in a bucket, before which a proxy breaks requests.
struct Bucket {
    world: World,
    proxy: Proxy,
    name: String,
    home: PathBuf,
}

impl Bucket {
    async fn new() -> Self {
        let world = World::new("create table t as select n, md5(n::text) from generate_series(1, 3000) n").await;
        let server = s3();
        let name = server.bucket();
        let proxy = Proxy::before(&server.endpoint, server.home.join(&name)).await;
        Self { world, proxy, name: name.clone(), home: server.home.join(name) }
    }

    fn task(&self, endpoint: &str) -> DumpDatabase {
        let s3 = S3 { bucket: self.name.clone(), endpoint: Some(endpoint.into()), ..S3::default() };
        let mut task = self.world.task(json!({}));
        task.settings.destination = Destination { s3: Some(s3), ..Destination::default() };
        task
    }

    fn access(&self, patience: Duration) -> Access {
        let secret = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
        let secret = secret.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
        Access { storage: Credentials { secret, patience, ..Credentials::default() }, ..self.world.access() }
    }

    /// Whether the manifest that there is, if there is one, is of a dump that holds.
    async fn holds(&self) -> bool {
        let task = self.task(&s3().endpoint);
        let access = self.access(Duration::from_secs(5));
        let store = Store::open(&task.settings.destination, &access.storage).unwrap();
        let key = format!("{}/manifest.json", task.directory);
        match store.get(&key).await.unwrap() {
            None => true,
            Some(content) => {
                let manifest = Manifest::read(&content).unwrap();
                let data = self.home.join(&task.directory).join(&manifest.data.name);
                matches_file(&data, &manifest)
            }
        }
    }
}

fn matches_file(data: &Path, manifest: &Manifest) -> bool {
    use sha2::Digest as _;
    let Ok(content) = std::fs::read(data) else { return false };
    let digest: String = sha2::Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    digest == manifest.data.sha256
}

/// See [`every_fault_at_a_share_of_the_requests`].
const SHARES: usize = 3;

/// Every fault at each of a share of the requests: shares are played side by side, because most of it is waiting.
async fn every_fault_at_a_share_of_the_requests(share: usize) {
    let bucket = Bucket::new().await;
    bucket.proxy.play(None);
    bucket.world.back_up_with(&bucket.task(&bucket.proxy.endpoint), &bucket.access(Duration::from_secs(5))).await.unwrap();
    let requests = bucket.proxy.requests().len();
    let (mut played, mut overcome) = (0, 0);
    for first in (share..requests).step_by(SHARES) {
        for fault in ALL {
            for lasting in [false, true] {
                if lasting && !matches!(fault, Fault::Refuse(500 | 503, _) | Fault::CutAfter) {
                    continue;
                }
                drop(std::fs::remove_dir_all(bucket.home.join("shop")));
                let plan = Plan { first, lasting, fault };
                bucket.proxy.play(Some(plan));
                let access = bucket.access(Duration::from_millis(200));
                let outcome = bucket.world.back_up_with(&bucket.task(&bucket.proxy.endpoint), &access).await;
                bucket.proxy.play(None);
                let strikes_later = matches!(fault, Fault::Vanish | Fault::Rot);
                assert!(bucket.holds().await || strikes_later, "{plan:?}: {outcome:?}");
                if let Err(blocked) = &outcome {
                    assert!(!blocked.message.contains(SECRET_KEY), "{plan:?}: {}", blocked.message);
                }
                (played, overcome) = (played + 1, overcome + usize::from(outcome.is_ok()));
            }
        }
    }
    println!("{played} faults at {requests} requests; {overcome} were overcome by the run itself");
    assert!(requests >= 10 && played >= 150 / SHARES, "{requests} {played}");
    drop(std::fs::remove_dir_all(bucket.home.join("shop")));
    bucket.world.back_up_with(&bucket.task(&s3().endpoint), &bucket.access(Duration::from_secs(5))).await.unwrap();
    assert!(bucket.holds().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_at_the_first_request_to_the_store_and_every_third_from_there_leaves_no_false_backup() {
    every_fault_at_a_share_of_the_requests(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_at_the_second_request_to_the_store_and_every_third_from_there_leaves_no_false_backup() {
    every_fault_at_a_share_of_the_requests(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_at_the_third_request_to_the_store_and_every_third_from_there_leaves_no_false_backup() {
    every_fault_at_a_share_of_the_requests(2).await;
}
