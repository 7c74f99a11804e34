//! Do exports get into Azure Blob Storage whole and back again, and does a refusal say what to do? Azurite is Microsoft's own stand-in.

use std::process::Command;

use pgreeve::api::{Destination, Reason};
use pgreeve::plan::removal::ExportPartition;
use pgreeve::storage::{Created, Store};

use crate::support::azurite::{ACCOUNT, Azurite, Container, KEY, credentials};
use crate::world::World;

fn archive(container: &Container) -> Destination {
    container.destination("archive/shop")
}

fn store(container: &Container) -> Store {
    Store::open(&archive(container), &credentials("accountKey", KEY)).unwrap()
}

async fn export_to(container: &Container, world: &World) -> ExportPartition {
    ExportPartition { destination: archive(container), ..world.parquet().await }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_exported_read_back_and_restored() {
    let (world, container) = (World::new(16).await, Container::new());
    world.events(", n int, note text").await;
    world.owner("insert into events select '2025-05-05', i, md5(i::text) from generate_series(1, 20000) i").await;
    let task = export_to(&container, &world).await;
    let export = world.run_with(&task, credentials("accountKey", KEY)).await.unwrap();
    assert!(export.url.starts_with(&format!("az://{ACCOUNT}/{}/archive/shop/", container.name)), "{}", export.url);
    let objects = store(&container).list("").await.unwrap();
    let bytes: u64 = objects.iter().filter(|object| !object.key.ends_with("manifest.json")).map(|object| object.size).sum();
    assert_eq!((export.rows, objects.len(), export.bytes as u64), (20_000, 2, bytes), "{objects:?}");
    let again = world.run_with(&task, credentials("sasToken", &Azurite::sas("rwdlac"))).await.unwrap();
    assert_eq!((&again.id, again.checksum), (&export.id, export.checksum), "read back by another key, and not written anew");
    assert_eq!(store(&container).list("").await.unwrap(), objects);
    world.owner(&format!("grant create on schema public to {}", world.roles.operator)).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
    command.args(["restore", "export", &export.url, "--endpoint", &container.server.endpoint(), "--table", "back", "--create"]);
    command.env("PGREEVE_DATABASE_URL", world.database.url(&world.roles.operator)).env("AZURE_STORAGE_ACCOUNT_KEY", KEY);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("public.back: 20000 rows, checksum {}, as exported\n", export.checksum)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_never_replaced_and_two_runs_at_once_leave_one_export() {
    let (world, container) = (World::new(17).await, Container::new());
    let store = store(&container);
    assert_eq!(store.create("manifest.json", b"first".to_vec()).await.unwrap(), Created::Yes);
    assert_eq!(store.create("manifest.json", b"second".to_vec()).await.unwrap(), Created::Existed);
    assert_eq!(store.get("manifest.json").await.unwrap().unwrap(), &b"first"[..]);
    store.delete("manifest.json").await.unwrap();
    store.delete("manifest.json").await.unwrap();
    assert_eq!((store.get("manifest.json").await.unwrap(), store.size("manifest.json").await.unwrap()), (None, None));
    world.events(", n int").await;
    world.owner("insert into events select '2025-05-05', i from generate_series(1, 20000) i").await;
    let task = export_to(&container, &world).await;
    let runs = futures::future::join_all((0..3).map(|_| world.run_with(&task, credentials("accountKey", KEY)))).await;
    let done: Vec<_> = runs.into_iter().filter_map(|run| run.map_err(|blocked| eprintln!("{blocked:?}")).ok()).collect();
    let last = world.run_with(&task, credentials("accountKey", KEY)).await.unwrap();
    assert!(!done.is_empty() && done.iter().all(|export| export.id == last.id && export.checksum == last.checksum));
    assert_eq!(store.list("").await.unwrap().len(), 2, "{:?}", store.list("").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_many_parts_counts_from_its_last_call_on() {
    let store = store(&Container::new());
    let content: Vec<u8> = (0..12 << 20).map(|n: u32| (n / 7) as u8).collect();
    let mut upload = store.upload("data/big");
    for part in content.chunks(1 << 20) {
        upload.write(part).await.unwrap();
    }
    assert_eq!(
        (store.size("data/big").await.unwrap(), store.list("data").await.unwrap()),
        (None, vec![]),
        "nobody sees its parts"
    );
    upload.finish().await.unwrap();
    assert_eq!(store.size("data/big").await.unwrap(), Some(12 << 20));
    assert_eq!(store.range("data/big", 6 << 20..(6 << 20) + 9).await.unwrap(), &content[6 << 20..(6 << 20) + 9]);
    assert!(store.get("data/big").await.unwrap().unwrap() == content);
    let mut upload = store.upload("data/given-up");
    upload.write(&content).await.unwrap();
    upload.give_up().await;
    assert_eq!((store.size("data/given-up").await.unwrap(), store.end_uploads("data").await.unwrap()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_container_what_is_wrong_and_what_to_do() {
    let (world, container) = (World::new(16).await, Container::new());
    world.events("").await;
    let task = export_to(&container, &world).await;
    let another = "b3RoZXItY2FuYXJ5";
    let here = format!("the container {} of {ACCOUNT}", container.name);
    for (storage, remedy) in [
        (credentials("accountKey", another), "Correct the keys that open"),
        (credentials("sasToken", &Azurite::sas("r")), "Allow reading, writing, listing and deleting in"),
    ] {
        let refused = world.run_with(&task, storage).await.unwrap_err();
        assert_eq!(refused.reason, Reason::DestinationInvalid, "{}", refused.message);
        let words = [format!("az://{ACCOUNT}/{}/archive/shop/", container.name), format!("{remedy} {here}")];
        assert!(words.iter().all(|words| refused.message.contains(words)), "{}", refused.message);
        assert!(!refused.message.contains(another) && !refused.message.contains("sig="), "{}", refused.message);
    }
    let missing = Container { server: container.server.clone(), name: "nowhere".into() };
    let refused = world.run_with(&export_to(&missing, &world).await, credentials("accountKey", KEY)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::DestinationInvalid, "{}", refused.message);
    assert!(refused.message.contains("Create the container nowhere of reeveaccount"), "{}", refused.message);
    let mut declared = archive(&container);
    declared.azure.as_mut().unwrap().credentials_secret_ref = Some(serde_json::from_str(r#"{"name": "azure"}"#).unwrap());
    let opened = |key: &str, value: &str| Store::open(&declared, &credentials(key, value)).unwrap_err();
    let lacks = opened("key.json", "{}");
    assert_eq!(lacks.reason, Reason::SecretInvalid);
    assert!(lacks.message.contains("Secret azure of the destination has no key accountKey or sasToken"), "{}", lacks.message);
    for (key, value) in [("accountKey", "hunter2, not base64"), ("sasToken", "hunter2")] {
        let unusable = opened(key, value);
        assert_eq!(unusable.reason, Reason::SecretInvalid, "{}", unusable.message);
        assert!(
            unusable.message.contains(&format!("key {key} of Secret azure")) && !unusable.message.contains("hunter2"),
            "{}",
            unusable.message
        );
    }
}
