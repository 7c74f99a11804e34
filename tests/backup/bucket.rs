//! Whatever a store does to a backup, and wherever the program that makes it is killed: is there never a manifest without a whole dump?

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgreeve::api::Destination;
use pgreeve::api::destination::S3;
use pgreeve::job::Access;
use pgreeve::plan::action::Action;
use pgreeve::plan::backup::DumpDatabase;
use pgreeve::plan::backup::manifest::Manifest;
use pgreeve::storage::{Credentials, Store};
use serde_json::json;
use tempfile::TempDir;

use crate::support::s3faults::{ALL, Fault, Plan, Proxy};
use crate::support::versitygw::{ACCESS_KEY, SECRET_KEY, s3};
use crate::world::World;

/// Three parts of an upload.
const PARTS: &str = "create table t as select n, repeat(md5(n::text), 9) from generate_series(1, 40000) n";

/// A backup in a bucket, before which a proxy breaks requests.
struct Bucket {
    world: World,
    proxy: Proxy,
    name: String,
    home: PathBuf,
}

impl Bucket {
    async fn new() -> Self {
        let world = World::new(PARTS).await;
        let server = s3();
        let name = server.bucket();
        let proxy = Proxy::before(&server.endpoint, server.home.join(&name)).await;
        Self { world, proxy, name: name.clone(), home: server.home.join(name) }
    }

    fn task(&self, endpoint: &str) -> DumpDatabase {
        let s3 = S3 { bucket: self.name.clone(), endpoint: Some(endpoint.into()), ..S3::default() };
        let mut task = self.world.task(json!({"compression": {"method": "None"}}));
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
        self.found().await != Some(false)
    }

    /// Whether there is a manifest, and its dump holds.
    async fn found(&self) -> Option<bool> {
        let task = self.task(&s3().endpoint);
        let access = self.access(Duration::from_secs(5));
        let store = Store::open(&task.settings.destination, &access.storage).unwrap();
        let key = format!("{}/manifest.json", task.directory);
        let content = store.get(&key).await.unwrap()?;
        let manifest = Manifest::read(&content).unwrap();
        Some(matches_file(&self.home.join(&task.directory).join(&manifest.data.name), &manifest))
    }
}

fn matches_file(data: &Path, manifest: &Manifest) -> bool {
    use sha2::Digest as _;
    let Ok(content) = std::fs::read(data) else { return false };
    let digest: String = sha2::Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    digest == manifest.data.sha256
}

/// Requests are played in so many shares side by side, because most of a playing is waiting.
const SHARES: usize = 6;

/// The requests before which the dump lies in the store and has still to be read back: whatever becomes of it then is seen.
fn while_it_is_unproven(requests: &[String]) -> std::ops::RangeInclusive<usize> {
    let is_data = |request: &&String, method: &str| request.starts_with(method) && request.contains(".data.");
    let completed = requests.iter().position(|request| is_data(&request, "POST") && request.contains("uploadId=")).unwrap();
    let read = requests.iter().rposition(|request| is_data(&request, "GET")).unwrap();
    assert!(completed < read, "{requests:?}");
    completed + 1..=read
}

/// Every fault at each of a share of the requests. Answers how many were played, and how many the run overcame by itself.
async fn every_fault_at_a_share_of_the_requests(share: usize) -> (usize, usize) {
    let bucket = Bucket::new().await;
    bucket.proxy.play(None);
    bucket.world.back_up_with(&bucket.task(&bucket.proxy.endpoint), &bucket.access(Duration::from_secs(5))).await.unwrap();
    let requests = bucket.proxy.requests();
    let unproven = while_it_is_unproven(&requests);
    let (mut played, mut overcome) = (0, 0);
    for first in (share..requests.len()).step_by(SHARES) {
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
                let found = bucket.found().await;
                assert!(outcome.is_err() || found.is_some(), "{plan:?}: {outcome:?} without a manifest");
                // What becomes of the objects after they were read back is seen by the next proof.
                let strikes = matches!(fault, Fault::Vanish | Fault::Rot);
                assert!(found != Some(false) || (strikes && first > *unproven.end()), "{plan:?}: {outcome:?}");
                assert!(outcome.is_err() || !strikes || !unproven.contains(&first), "{plan:?} of {requests:?}: {outcome:?}");
                if let Err(blocked) = &outcome {
                    assert!(!blocked.message.contains(SECRET_KEY), "{plan:?}: {}", blocked.message);
                }
                (played, overcome) = (played + 1, overcome + usize::from(outcome.is_ok()));
            }
        }
    }
    drop(std::fs::remove_dir_all(bucket.home.join("shop")));
    bucket.world.back_up_with(&bucket.task(&s3().endpoint), &bucket.access(Duration::from_secs(5))).await.unwrap();
    assert_eq!(bucket.found().await, Some(true));
    (played, overcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_at_every_request_to_the_store_leaves_no_false_backup() {
    let shares = (0..SHARES).map(|share| tokio::spawn(every_fault_at_a_share_of_the_requests(share)));
    let shares = futures::future::join_all(shares).await;
    let (played, overcome) = shares.into_iter().map(Result::unwrap).fold((0, 0), |sum, share| (sum.0 + share.0, sum.1 + share.1));
    println!("{played} faults at requests to the store, of which {overcome} were overcome by the run itself");
    assert!(played >= 200, "{played}");
}

impl Bucket {
    /// Begins the task as a Job's Pod does. What it is told of secrets goes with the directory.
    fn run(&self, task: &DumpDatabase) -> (Child, TempDir) {
        let home = tempfile::tempdir().unwrap();
        let target = self.world.target();
        let port = target.port.to_string();
        let secrets = [
            (
                "connection",
                vec![("host", &*target.host), ("port", &port), ("dbname", &target.database), ("username", "postgres")],
            ),
            ("store", vec![("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]),
        ];
        for (secret, keys) in secrets {
            std::fs::create_dir_all(home.path().join(secret)).unwrap();
            for (key, value) in keys {
                std::fs::write(home.path().join(secret).join(key), value).unwrap();
            }
        }
        let object = json!({"kind": "Backup", "namespace": "shop", "name": "first", "uid": "0d5d4a3c"});
        let connection = json!({"secretRef": {"name": "db"}, "tls": {"mode": "Disable"}});
        let task = json!({"version": 1, "object": object, "database": "db", "connection": connection, "limits": {},
            "action": Action::DumpDatabase(Box::new(task.clone()))});
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
        command.args(["job", "--secrets"]).arg(home.path()).arg("--report").arg(home.path().join("report"));
        command.env("PGREEVE_TASK", task.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        (command.spawn().unwrap(), home)
    }

    /// How many of our sessions this database has.
    async fn sessions(&self) -> i64 {
        let query = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        self.world.admin.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Files of uploads that were begun and neither finished nor ended.
    fn unfinished(&self) -> usize {
        fn count(directory: &Path) -> usize {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
        }
        count(&self.home.join(".sgwtmp"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_killed_at_any_request_leaves_no_false_backup_and_the_next_one_tidies_up() {
    let bucket = Bucket::new().await;
    bucket.proxy.play(None);
    let (mut clean, _home) = bucket.run(&bucket.task(&bucket.proxy.endpoint));
    assert!(clean.wait().unwrap().success());
    let requests = bucket.proxy.requests();
    assert!(requests.len() >= 10, "{requests:?}");
    for first in 0..requests.len() {
        for fault in [Fault::HoldBefore, Fault::HoldAfter] {
            drop(std::fs::remove_dir_all(bucket.home.join("shop")));
            bucket.proxy.play(Some(Plan { first, lasting: false, fault }));
            let (mut job, _home) = bucket.run(&bucket.task(&bucket.proxy.endpoint));
            let at = format!("{fault:?} at request {first} of {requests:?}");
            crate::support::eventually(&at, Duration::from_secs(30), async || bucket.proxy.holds().then_some(())).await;
            job.kill().unwrap();
            job.wait().unwrap();
            bucket.proxy.play(None);
            assert!(bucket.holds().await, "{at}");
            // Its pg_dump goes with it.
            crate::support::eventually("no session is left", Duration::from_secs(10), async || {
                (bucket.sessions().await == 0).then_some(())
            })
            .await;
            let task = bucket.task(&s3().endpoint);
            let done = bucket.world.back_up_with(&task, &bucket.access(Duration::from_secs(5))).await;
            assert!(done.is_ok() && bucket.found().await == Some(true), "{at}: {done:?}");
            let left: Vec<_> = std::fs::read_dir(bucket.home.join(&task.directory)).unwrap().flatten().collect();
            // Dump, globals, manifest; no parts of an upload.
            assert_eq!((left.len(), bucket.unfinished()), (3, 0), "{at}: {left:?}");
        }
    }
    println!("a Job was killed {} times", requests.len() * 2);
}

/// Whoever may write and not ask for uploads (`s3:ListBucketMultipartUploads`) knows them by their notes.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_a_killed_job_left_is_ended_by_its_note() {
    let bucket = Bucket::new().await;
    bucket.proxy.break_those(|request| request.contains("partNumber=2&"), Fault::HoldBefore);
    let (mut job, _home) = bucket.run(&bucket.task(&bucket.proxy.endpoint));
    // Parts are sent side by side: the second one may be held before the first one has arrived.
    let held = async || (bucket.proxy.holds() && bucket.unfinished() > 0).then_some(());
    crate::support::eventually("a part has arrived, and the second one is on its way", Duration::from_secs(30), held).await;
    job.kill().unwrap();
    job.wait().unwrap();
    let requests = bucket.proxy.requests();
    let number = |what: &str| requests.iter().position(|request| request.contains(what));
    assert!(number(".upload?") < number("partNumber="), "its note is written before its first part: {requests:?}");
    bucket
        .proxy
        .break_those(|request| request.starts_with("GET") && request.contains("?uploads"), Fault::Refuse(403, "AccessDenied"));
    let task = bucket.task(&bucket.proxy.endpoint);
    bucket.world.back_up_with(&task, &bucket.access(Duration::from_secs(5))).await.unwrap();
    assert!(bucket.proxy.requests().iter().any(|request| request.starts_with("GET") && request.contains("?uploads")));
    let left: Vec<_> = std::fs::read_dir(bucket.home.join(&task.directory)).unwrap().flatten().collect();
    assert_eq!((left.len(), bucket.unfinished()), (3, 0), "dump, globals, manifest: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_asked_to_encrypt_as_the_destination_says() {
    let bucket = Bucket::new().await;
    let kms = json!({"mode": "Kms", "kmsKeyId": "arn:aws:kms:eu-central-1:1:key/ours"});
    for (sse, asked) in [(json!({"mode": "Aes256"}), " AES256"), (kms, " aws:kms arn:aws:kms:eu-central-1:1:key/ours")] {
        drop(std::fs::remove_dir_all(bucket.home.join("shop")));
        bucket.proxy.play(None);
        let mut task = bucket.task(&bucket.proxy.endpoint);
        task.settings.destination.s3.as_mut().unwrap().sse = Some(serde_json::from_value(sse).unwrap());
        drop(bucket.world.back_up_with(&task, &bucket.access(Duration::from_secs(5))).await);
        let requests = bucket.proxy.requests();
        let begins = |request: &&String| {
            request.starts_with("POST data.dump") && request.contains("?uploads") || request.starts_with("PUT manifest.json")
        };
        let asking: Vec<&String> = requests.iter().filter(begins).collect();
        assert!(!asking.is_empty() && asking.iter().all(|request| request.ends_with(asked)), "{asked}: {requests:?}");
    }
}

/// Told to stop, a Job takes away what it has sent: nobody may come after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_told_to_stop_leaves_no_upload_behind() {
    let bucket = Bucket::new().await;
    bucket.proxy.break_those(|request| request.contains("partNumber=2&"), Fault::CutBefore);
    let (mut job, home) = bucket.run(&bucket.task(&bucket.proxy.endpoint));
    let sends = async || (bucket.unfinished() > 0).then_some(());
    crate::support::eventually("a part has arrived", Duration::from_secs(60), sends).await;
    crate::support::process::run(Command::new("kill").arg("-TERM").arg(job.id().to_string()));
    job.wait().unwrap();
    assert!(std::fs::read_to_string(home.path().join("report")).unwrap().contains("told to stop"));
    let left: Vec<_> = std::fs::read_dir(bucket.home.join("shop/first-0d5d4a3c")).into_iter().flatten().flatten().collect();
    assert_eq!((left.len(), bucket.unfinished()), (0, 0), "{left:?}");
}

/// The same while the whole dump is read back, which may take as long as the dump did.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_told_to_stop_while_it_reads_leaves_no_dump_behind() {
    let bucket = Bucket::new().await;
    bucket.proxy.break_those(|request| request.starts_with("GET") && request.contains("data.dump"), Fault::HoldBefore);
    let (mut job, _home) = bucket.run(&bucket.task(&bucket.proxy.endpoint));
    let reads = async || bucket.proxy.holds().then_some(());
    crate::support::eventually("the dump is read back", Duration::from_secs(60), reads).await;
    let left = || std::fs::read_dir(bucket.home.join("shop/first-0d5d4a3c")).into_iter().flatten().flatten().count();
    assert_eq!(left(), 2, "dump and globals");
    crate::support::process::run(Command::new("kill").arg("-TERM").arg(job.id().to_string()));
    job.wait().unwrap();
    assert_eq!((left(), bucket.unfinished()), (0, 0));
}

/// `pg_dump` dies of the pipe that nobody reads any more; why nobody does is what a person must know.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_is_told_and_not_what_pg_dump_died_of() {
    let bucket = Bucket::new().await;
    bucket.proxy.break_those(|request| request.contains("partNumber=1&"), Fault::Refuse(403, "AccessDenied"));
    let task = bucket.task(&bucket.proxy.endpoint);
    let blocked = bucket.world.back_up_with(&task, &bucket.access(Duration::from_secs(5))).await.unwrap_err();
    assert_eq!(blocked.reason, pgreeve::api::Reason::DestinationInvalid, "{}", blocked.message);
    assert!(blocked.message.contains("AccessDenied"), "{}", blocked.message);
}
