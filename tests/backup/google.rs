//! Do backups get into Google Cloud Storage whole and back again, does a killed run leave nothing there, and does a refusal say what to do?

use std::process::Command;
use std::time::Duration;

use pgreeve::api::destination::Gcs;
use pgreeve::api::{Destination, Reason};
use pgreeve::job::Access;
use pgreeve::plan::backup::DumpDatabase;
use pgreeve::storage::{Created, Credentials, Store};
use serde_json::json;

use crate::support::eventually;
use crate::support::google::{ACCOUNT, Google};
use crate::support::versitygw::s3;
use crate::world::{SHOP, World};

struct Bucket {
    google: Google,
    name: String,
    key: String,
}

impl Bucket {
    async fn new() -> Self {
        // The first to come decides; whoever comes later finds the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let server = s3();
        Self { google: Google::before(&server).await, name: server.bucket(), key: Google::key(ACCOUNT) }
    }

    fn destination(&self) -> Destination {
        let gcs = Gcs {
            bucket: self.name.clone(),
            prefix: Some("backups/shop".into()),
            endpoint: Some(self.google.endpoint.clone()),
            ..Gcs::default()
        };
        Destination { gcs: Some(gcs), ..Destination::default() }
    }

    fn store(&self) -> Store {
        Store::open(&self.destination(), &credentials(&self.key)).unwrap()
    }

    fn task(&self, world: &World) -> DumpDatabase {
        let mut task = world.task(json!({}));
        task.settings.destination = self.destination();
        task
    }
}

fn credentials(key: &str) -> Credentials {
    let secret = [("key.json".to_owned(), key.as_bytes().to_vec())].into();
    Credentials { secret, patience: Duration::from_secs(10), ..Credentials::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_backed_up_listed_and_restored() {
    let (world, bucket) = (World::new(SHOP).await, Bucket::new().await);
    let task = bucket.task(&world);
    let access = Access { storage: credentials(&bucket.key), ..world.access() };
    let done = world.back_up_with(&task, &access).await.unwrap();
    assert!(done.url.starts_with(&format!("gs://{}/backups/shop/{}/", bucket.name, task.directory)), "{}", done.url);
    let keys: Vec<String> = bucket.store().list("").await.unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys.len(), 3, "globals, data and manifest: {keys:?}");
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key.json");
    std::fs::write(&key, &bucket.key).unwrap();
    let says = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
        command.args(arguments).args(["--endpoint", &bucket.google.endpoint]).env("GOOGLE_SERVICE_ACCOUNT_PATH", &key);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = says(&["backups", "list", &format!("gs://{}/backups/shop", bucket.name)]);
    assert!(listed.contains(&done.url), "{listed}");
    let proven = says(&["verify", &done.url, "--restore"]);
    assert!(proven.contains(": 22000 rows as they were dumped"), "{proven}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_never_replaced() {
    let bucket = Bucket::new().await;
    let store = bucket.store();
    assert_eq!(store.create("manifest.json", b"first".to_vec()).await.unwrap(), Created::Yes);
    assert_eq!(store.create("manifest.json", b"second".to_vec()).await.unwrap(), Created::Existed);
    assert_eq!(store.get("manifest.json").await.unwrap().unwrap(), &b"first"[..]);
    store.delete("manifest.json").await.unwrap();
    store.delete("manifest.json").await.unwrap();
    assert_eq!((store.get("manifest.json").await.unwrap(), store.size("manifest.json").await.unwrap()), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_many_parts_counts_from_its_last_call_on_and_whoever_comes_next_ends_what_was_left() {
    let bucket = Bucket::new().await;
    let store = bucket.store();
    let content: Vec<u8> = (0..12 << 20).map(|n: u32| (n / 7) as u8).collect();
    let mut upload = store.upload("data/big");
    for part in content.chunks(1 << 20) {
        upload.write(part).await.unwrap();
    }
    let keys = || -> Vec<String> { s3().files(&bucket.name).into_iter().filter(|path| !path.starts_with(".sgwtmp")).collect() };
    let (big, note) = ("backups/shop/data/big".to_owned(), "backups/shop/data/big.upload".to_owned());
    assert_eq!((store.size("data/big").await.unwrap(), keys()), (None, vec![note]), "nobody sees its parts");
    upload.finish().await.unwrap();
    assert_eq!((store.size("data/big").await.unwrap(), keys()), (Some(12 << 20), vec![big.clone()]));
    assert_eq!(store.range("data/big", 6 << 20..(6 << 20) + 9).await.unwrap(), &content[6 << 20..(6 << 20) + 9]);
    assert!(store.get("data/big").await.unwrap().unwrap() == content);
    // What a killed run leaves.
    let mut upload = store.upload("data/killed");
    upload.write(&content).await.unwrap();
    std::mem::forget(upload);
    let parts = || s3().files(&bucket.name).iter().filter(|path| path.starts_with(".sgwtmp")).count();
    eventually("its whole parts have arrived", Duration::from_secs(10), async || (parts() == 2).then_some(())).await;
    assert_eq!(store.end_uploads("data").await.unwrap(), 1);
    assert_eq!((parts(), keys()), (0, vec![big]));
    assert_eq!(store.end_uploads("data").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_bucket_what_is_wrong_and_what_to_do() {
    let (world, bucket) = (World::new("create table t (n int)").await, Bucket::new().await);
    let task = bucket.task(&world);
    let refused = async |task: &DumpDatabase, key: &str| {
        let access = Access { storage: credentials(key), ..world.access() };
        let refused = world.back_up_with(task, &access).await.unwrap_err();
        assert_eq!(refused.reason, Reason::DestinationInvalid, "{}", refused.message);
        assert!(!refused.message.contains("PRIVATE KEY"), "{}", refused.message);
        refused.message
    };
    let message = refused(&task, &Google::key("intruder@shop.iam.gserviceaccount.com")).await;
    let words = format!("Allow reading, writing, listing and deleting in the bucket {}", bucket.name);
    assert!(message.contains(&words) && message.contains("gs://"), "{message}");
    let mut missing = task.clone();
    missing.settings.destination.gcs.as_mut().unwrap().bucket = "nowhere".into();
    let message = refused(&missing, &bucket.key).await;
    assert!(message.contains("Create the bucket nowhere"), "{message}");
}
