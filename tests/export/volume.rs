//! Does a volume keep exports as a bucket does?

use pgreeve::api::Destination;
use pgreeve::api::destination::Pvc;
use pgreeve::job::export::manifest::{Manifest, directory};
use pgreeve::job::export::verify::verify;
use pgreeve::job::{Access, Report, Task, run};
use pgreeve::plan::removal::ExportPartition;
use pgreeve::storage::{Created, Credentials, Store};

use crate::world::World;

fn pvc() -> Destination {
    let pvc = Pvc { claim_name: "exports".into(), path: Some("shop/archive".into()) };
    Destination { pvc: Some(pvc), ..Destination::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_lies_in_a_volume_and_what_a_killed_run_left_is_taken_away() {
    let world = World::new(18).await;
    world.events(", n int").await;
    world.owner("insert into events select '2025-05-05', i from generate_series(1, 1000) i").await;
    let volume = tempfile::tempdir().unwrap();
    let storage = Credentials { volume: volume.path().to_owned(), ..Credentials::default() };
    let task = ExportPartition { destination: pvc(), ..world.parquet().await };
    let access = Access { storage: storage.clone(), ..world.access() };
    let work = Task::ExportPartition(Box::new(task.clone()));
    let Report::Exported(export) = run(&work, &access).await.unwrap() else { panic!("no export") };
    assert!(export.url.starts_with("pvc://exports/shop/archive/public.events/events_2025-"), "{}", export.url);

    let inside = volume.path().join("shop/archive").join(directory(&task, &export.id));
    for leftover in ["0123.parquet", "0123.parquet#1"] {
        std::fs::write(inside.join(leftover), "half").unwrap();
    }
    let Report::Exported(again) = run(&work, &access).await.unwrap() else { panic!("no export") };
    assert_eq!(again.id, export.id);
    let mut names: Vec<_> =
        std::fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let store = Store::open(&task.destination, &storage).unwrap();
    let content = store.get(&format!("{}/manifest.json", directory(&task, &export.id))).await.unwrap().unwrap();
    let manifest = Manifest::read(&export.url, &content).unwrap();
    assert_eq!(names, [manifest.data.name.clone(), "manifest.json".into()]);
    verify(&store, &directory(&task, &export.id), &manifest).await.unwrap();
}

#[tokio::test]
async fn an_object_that_exists_is_not_replaced() {
    let volume = tempfile::tempdir().unwrap();
    let store = Store::open(&pvc(), &Credentials { volume: volume.path().to_owned(), ..Credentials::default() }).unwrap();
    assert_eq!(store.create("a/b", b"first".to_vec()).await.unwrap(), Created::Yes);
    assert_eq!(store.create("a/b", b"second".to_vec()).await.unwrap(), Created::Existed);
    assert_eq!(store.get("a/b").await.unwrap().as_deref(), Some(&b"first"[..]));
    store.delete("a/b").await.unwrap();
    store.delete("a/b").await.unwrap();
    assert_eq!((store.get("a/b").await.unwrap(), store.size("a/b").await.unwrap()), (None, None));
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let volume = tempfile::tempdir().unwrap();
    let store = Store::open(&pvc(), &Credentials { volume: volume.path().to_owned(), ..Credentials::default() }).unwrap();
    let mut upload = store.upload("a/b");
    upload.write(&vec![7; 12 << 20]).await.unwrap();
    upload.give_up().await;
    assert_eq!(store.get("a/b").await.unwrap(), None);
    assert_eq!(std::fs::read_dir(volume.path().join("shop/archive/a")).map_or(0, Iterator::count), 0);
}
