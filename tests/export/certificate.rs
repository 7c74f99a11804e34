//! Does an export reach a store whose certificate nobody knows but its own authority, and only by that?

use std::process::Command;

use pgreeve::api::Reason;
use pgreeve::storage::{Credentials, Store};

use crate::support::versitygw::{ACCESS_KEY, S3, SECRET_KEY};
use crate::world::{World, credentials};

fn trusting(ca: &str) -> Credentials {
    Credentials { ca: Some(ca.as_bytes().to_vec()), ..credentials() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_a_private_certificate_takes_and_gives_exports() {
    let server = S3::with_certificate();
    let world = World::with(16, server.clone()).await;
    world.events(", n int").await;
    world.owner("insert into events select '2025-05-05', i from generate_series(1, 1000) i").await;
    let task = world.parquet().await;
    let export = world.run_with(&task, trusting(server.ca())).await.unwrap();
    assert_eq!((export.rows, world.files().len()), (1000, 2), "{:?}", world.files());
    let again = world.run_with(&task, trusting(server.ca())).await.unwrap();
    assert_eq!((&again.id, again.checksum), (&export.id, export.checksum), "read back, and not written anew");
    let store = Store::open(&task.destination, &trusting(server.ca())).unwrap();
    assert_eq!(
        store.end_uploads("").await.unwrap(),
        0,
        "unfinished uploads are asked for by another client, which must trust it too"
    );
    world.owner(&format!("grant create on schema public to {}", world.roles.operator)).await;
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), server.ca()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
    command.args(["restore", "export", &export.url, "--endpoint", &server.endpoint, "--table", "back", "--create", "--ca-file"]);
    command.arg(ca.path()).env("PGREEVE_DATABASE_URL", world.database.url(&world.roles.operator));
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("public.back: 1000 rows, checksum {}, as exported\n", export.checksum)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_certificate_is_refused_with_where_to_name_its_authority() {
    let (server, other) = (S3::with_certificate(), S3::with_certificate());
    let world = World::with(17, server.clone()).await;
    world.events("").await;
    let task = world.parquet().await;
    let begun = std::time::Instant::now();
    for storage in [credentials(), trusting(other.ca())] {
        let refused = world.run_with(&task, storage).await.unwrap_err();
        assert_eq!(refused.reason, Reason::DestinationInvalid, "{}", refused.message);
        for words in [format!("s3://{}/", world.bucket), "certificate".into(), "caSecretRef".into()] {
            assert!(refused.message.contains(&words), "{words}: {}", refused.message);
        }
        assert!(!refused.message.contains(SECRET_KEY), "{}", refused.message);
    }
    println!("two refusals in {:?}", begun.elapsed());
    let refused = world.run_with(&task, trusting("no certificate")).await.unwrap_err();
    assert!(refused.message.contains("holds no certificate in PEM"), "{}", refused.message);
    assert_eq!(world.files(), Vec::<String>::new());
}
