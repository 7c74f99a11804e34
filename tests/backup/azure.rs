//! Do backups get into Azure Blob Storage whole and back again, by each of its keys? Azurite is Microsoft's own stand-in.

use std::process::{Command, Output};

use pgreeve::api::Reason;
use pgreeve::job::Access;
use pgreeve::plan::backup::DumpDatabase;
use pgreeve::storage::Store;
use serde_json::json;

use crate::support::azurite::{ACCOUNT, Azurite, Container, KEY, credentials};
use crate::support::postgres::Database;
use crate::world::{MAJOR, SHOP, World};

/// More than one part of an upload, which random text is when it is compressed too.
const LARGE: &str = "create table notes (body text);
    insert into notes select md5(random()::text) || md5(random()::text) from generate_series(1, 300000)";

fn task(container: &Container, world: &World) -> DumpDatabase {
    let mut task = world.task(json!({}));
    task.settings.destination = container.destination("backups/shop");
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_backed_up_listed_proven_and_restored() {
    let (world, container) = (World::new(&format!("{SHOP}; {LARGE}")).await, Container::new());
    let task = task(&container, &world);
    let access = Access { storage: credentials("accountKey", KEY), ..world.access() };
    let done = world.back_up_with(&task, &access).await.unwrap();
    let place = format!("az://{ACCOUNT}/{}/backups/shop", container.name);
    assert!(done.url.starts_with(&format!("{place}/{}/", task.directory)), "{}", done.url);
    let store = Store::open(&task.settings.destination, &credentials("sasToken", &Azurite::sas("rl"))).unwrap();
    let objects = store.list("").await.unwrap();
    assert_eq!(objects.len(), 3, "globals, data and manifest: {objects:?}");
    assert!(objects.iter().any(|object| object.size > 10 << 20), "{objects:?}");
    let again = world.back_up_with(&task, &access).await.unwrap();
    assert_eq!((again.url, store.list("").await.unwrap()), (done.url.clone(), objects), "a second run finds what is there");
    let target = Database::create(MAJOR).await;
    let pgreeve = |key: (&str, &str), arguments: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
        command.args(arguments).args(["--endpoint", &container.server.endpoint()]).env(key.0, key.1);
        command.env("PGREEVE_DATABASE_URL", target.url("postgres")).output().unwrap()
    };
    let reader = Azurite::sas("rl");
    let (owner, reader) = (("AZURE_STORAGE_ACCOUNT_KEY", KEY), ("AZURE_STORAGE_SAS_TOKEN", reader.as_str()));
    let listed = pgreeve(reader, &["backups", "list", &place]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&done.url), "{listed:?}");
    let proven = pgreeve(reader, &["verify", &done.url, "--restore"]);
    assert!(String::from_utf8_lossy(&proven.stdout).contains(": 322000 rows as they were dumped"), "{proven:?}");
    let said = String::from_utf8_lossy(&proven.stderr);
    assert!(said.contains("the proof is not written down beside the backup") && !said.contains("sig="), "{proven:?}");
    let recorded = pgreeve(owner, &["verify", &done.url]);
    assert!(recorded.status.success() && recorded.stderr.is_empty(), "{recorded:?}");
    let restored = pgreeve(reader, &["restore", "backup", &done.url]);
    assert!(restored.status.success(), "{restored:?}");
    let rows: i64 = target.superuser().await.query_one("select count(*) from notes", &[]).await.unwrap().get(0);
    assert_eq!(rows, 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_only_read_makes_no_backup_and_the_refusal_says_what_to_allow() {
    let (world, container) = (World::new("create table t (n int)").await, Container::new());
    let task = task(&container, &world);
    let access = Access { storage: credentials("sasToken", &Azurite::sas("rl")), ..world.access() };
    let refused = world.back_up_with(&task, &access).await.unwrap_err();
    assert_eq!(refused.reason, Reason::DestinationInvalid, "{}", refused.message);
    let words = format!("Allow reading, writing, listing and deleting in the container {} of {ACCOUNT}", container.name);
    assert!(refused.message.contains(&words) && !refused.message.contains("sig="), "{}", refused.message);
    let store = Store::open(&task.settings.destination, &credentials("accountKey", KEY)).unwrap();
    assert_eq!(store.list("").await.unwrap(), vec![], "nothing of it is there");
}
