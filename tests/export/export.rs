//! Does a partition lie in the bucket as it stood in the table, closed to writes, and only once?

use std::time::Duration;

use pgreeve::api::Reason;
use pgreeve::api::retention_policy::{ExportCompression, ExportFormat};
use pgreeve::storage::Credentials;

use crate::support::versitygw::{ACCESS_KEY, SECRET_KEY};
use crate::world::World;

const FORMATS: [(ExportFormat, ExportCompression); 3] = [
    (ExportFormat::Parquet, ExportCompression::Zstd),
    (ExportFormat::Csv, ExportCompression::Zstd),
    (ExportFormat::Csv, ExportCompression::Gzip),
];

const ROWS: &str =
    "insert into events select date '2025-01-01' + i % 365, i, case when i % 7 > 0 then 'text ' || i || E'\\n\"x\", y' end
    from generate_series(1, 20000) i";

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_written_read_back_and_named_by_a_manifest() {
    for (format, compression) in FORMATS {
        let world = World::new(16).await;
        world.events(", n int, note text").await;
        world.owner(ROWS).await;
        let task = world.task(format, compression).await;
        let export = world.run(&task).await.unwrap();
        let manifest = world.manifest(&task, &export).await;
        assert_eq!((export.rows, manifest.rows, manifest.checksum), (20_000, 20_000, export.checksum));
        let size = std::fs::metadata(world.data_file(&task, &manifest)).unwrap().len();
        assert_eq!((export.bytes, manifest.data.bytes), (size as i64, size as i64));
        assert_eq!((manifest.source.oid, manifest.source.bound.as_str()), (task.partition.oid, task.bound.as_str()));
        assert_eq!(world.files().len(), 2, "{:?}", world.files());
        // Once more, and nothing is written anew.
        let again = world.run(&task).await.unwrap();
        assert_eq!((&again.id, &again.url, again.checksum), (&export.id, &export.url, export.checksum));
        assert_eq!(world.manifest(&task, &again).await, manifest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_rows_is_exported_too() {
    for (format, compression) in FORMATS {
        let world = World::new(18).await;
        world.events(", n int").await;
        let export = world.run(&world.task(format, compression).await).await.unwrap();
        assert_eq!((export.rows, export.checksum.to_string().as_str()), (0, "00000000000000000000000000000000"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_partition_takes_no_rows_and_gives_them_all() {
    let world = World::new(14).await;
    world.events(", n int").await;
    world.owner("insert into events values ('2025-05-05', 1), ('2025-05-06', 2)").await;
    world.run(&world.parquet().await).await.unwrap();
    let client = world.client().await;
    for write in [
        "insert into events values ('2025-06-01', 3)",
        "insert into events_2025 values ('2025-06-01', 3)",
        "update events set n = 4",
    ] {
        let refused = client.execute(write, &[]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "23514", "{write}");
    }
    assert_eq!(client.query_one("select count(*) from events", &[]).await.unwrap().get::<_, i64>(0), 2);
    assert_eq!(client.execute("delete from events where n = 1", &[]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_of_that_name_is_left_alone() {
    let world = World::new(17).await;
    world.events("").await;
    let task = world.parquet().await;
    world.owner("drop table events_2025; create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01')").await;
    assert_eq!(world.run(&task).await.unwrap_err().reason, Reason::Stale);
    world.owner("insert into events values ('2025-05-05')").await;
    assert_eq!(world.files(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bounds_are_another_partition() {
    let world = World::new(15).await;
    world.events("").await;
    let task = world.parquet().await;
    world.owner("alter table events detach partition events_2025; alter table events attach partition events_2025 for values from ('2025-01-01') to ('2026-02-01')").await;
    let refused = world.run(&task).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Stale);
    assert!(refused.message.contains("no longer has the bounds"), "{}", refused.message);
    world.owner("insert into events values ('2025-05-05')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_does_not_end_puts_the_export_off() {
    let world = World::new(16).await;
    world.events("").await;
    let writer = world.client().await;
    writer.batch_execute("begin; insert into events values ('2025-05-05')").await.unwrap();
    let refused = world.run(&world.parquet().await).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Deferred);
    assert!(refused.message.contains("pid"), "{}", refused.message);
    writer.batch_execute("commit").await.unwrap();
    assert_eq!(world.run(&world.parquet().await).await.unwrap().rows, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_changes_another_table_meanwhile_is_waited_for() {
    let world = World::new(15).await;
    world.events("").await;
    let operator = world.client().await;
    let holds = format!("begin; select pg_advisory_xact_lock({})", pgreeve::postgres::execute::ADVISORY_KEY);
    operator.batch_execute(&holds).await.unwrap();
    let task = world.parquet().await;
    let ends = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        operator.batch_execute("commit").await.unwrap();
    };
    let (export, ()) = tokio::join!(world.run_patiently(&task), ends);
    assert_eq!(export.unwrap().rows, 0);
    operator.batch_execute(&holds).await.unwrap();
    world.owner("alter table events_2025 drop constraint pgreeve_closed").await;
    let refused = world.run(&task).await.unwrap_err();
    assert_eq!(refused.reason, Reason::OtherOperator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_opened_again_gets_an_export_of_its_own() {
    let world = World::new(16).await;
    world.events("").await;
    let task = world.parquet().await;
    let first = world.run(&task).await.unwrap();
    world.owner("alter table events_2025 drop constraint pgreeve_closed; insert into events values ('2025-05-05')").await;
    let second = world.run(&task).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!((world.manifest(&task, &first).await.rows, world.manifest(&task, &second).await.rows), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_leave_one_export() {
    let world = World::new(17).await;
    world.events(", n int, note text").await;
    world.owner(ROWS).await;
    let task = world.parquet().await;
    let runs = futures::future::join_all((0..4).map(|_| world.run(&task))).await;
    let done: Vec<_> = runs.into_iter().filter_map(|run| run.map_err(|blocked| eprintln!("{blocked:?}")).ok()).collect();
    assert!(!done.is_empty());
    let last = world.run(&task).await.unwrap();
    assert!(done.iter().all(|export| export.id == last.id && export.checksum == last.checksum));
    assert_eq!(world.files().len(), 2, "{:?}", world.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_store_names_the_object_what_is_wrong_and_what_to_do() {
    let world = World::new(16).await;
    world.events("").await;
    let mut task = world.parquet().await;
    let keys = |id: &str, key: &str| {
        let secret = [("accessKeyId", id), ("secretAccessKey", key)];
        let secret = secret.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
        Credentials { secret, patience: Duration::from_secs(10), ..Credentials::default() }
    };
    for (storage, code) in
        [(keys("nobody-canary", SECRET_KEY), "XAdminUserNotFound"), (keys(ACCESS_KEY, "wrong-canary"), "SignatureDoesNotMatch")]
    {
        let refused = world.run_with(&task, storage).await.unwrap_err();
        assert_eq!(refused.reason, Reason::DestinationInvalid, "{}", refused.message);
        let place = format!("the bucket {} at {}", world.bucket, world.server.endpoint);
        let object = format!("s3://{}/archive/shop/public.events/", world.bucket);
        for words in [object, code.to_owned(), format!("Correct the keys that open {place}")] {
            assert!(refused.message.contains(&words), "{words}: {}", refused.message);
        }
        assert!(!refused.message.contains("canary"), "{}", refused.message);
    }
    task.destination.s3.as_mut().unwrap().bucket = "nowhere".into();
    let refused = world.run_with(&task, keys(ACCESS_KEY, SECRET_KEY)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::DestinationInvalid, "{}", refused.message);
    assert!(refused.message.contains("Create the bucket nowhere at http://"), "{}", refused.message);
    assert_eq!(world.files(), Vec::<String>::new());
}
