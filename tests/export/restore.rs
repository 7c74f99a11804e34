//! What does `pgreeve restore export` do, and how does it end?

use std::process::{Command, Output};

use pgreeve::job::export::Export;

use crate::support::versitygw::{ACCESS_KEY, SECRET_KEY};
use crate::world::World;

/// A database with an export of three rows.
async fn exported() -> (World, Export) {
    let world = World::new(16).await;
    world.events(", n int, note text").await;
    world.owner("insert into events select '2025-05-05', i, 'n' || i from generate_series(1, 3) i").await;
    world.owner(&format!("grant create on schema public to {}", world.roles.operator)).await;
    let export = world.run(&world.parquet().await).await.unwrap();
    (world, export)
}

fn pgreeve(world: &World, manifest: &str, arguments: &[&str]) -> (i32, String, String) {
    let url = world.database.url(&world.roles.operator);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
    command.args(["restore", "export", manifest, "--endpoint", &world.server.endpoint]).args(arguments);
    command.env("PGREEVE_DATABASE_URL", url).env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(!stdout.contains(SECRET_KEY) && !stderr.contains(SECRET_KEY), "{stdout}{stderr}");
    (status.code().unwrap(), stdout, stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_becomes_a_table_again_from_its_url_and_from_a_file() {
    let (world, export) = exported().await;
    let (code, stdout, stderr) = pgreeve(&world, &export.url, &["--table", "back", "--create"]);
    assert_eq!((code, stdout), (0, format!("public.back: 3 rows, checksum {}, as exported\n", export.checksum)), "{stderr}");
    let task = world.parquet().await;
    let file = world.data_file(&task, &world.manifest(&task, &export).await).with_file_name("manifest.json");
    let (code, _, stderr) = pgreeve(&world, file.to_str().unwrap(), &["--table", "public.again", "--create"]);
    assert_eq!(code, 0, "{stderr}");
    let sql = "select count(*) from (select * from back intersect select * from again intersect select * from events) x";
    assert_eq!(world.database.superuser().await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_says_why_and_changes_nothing() {
    let (world, export) = exported().await;
    let refused = |manifest: &str, arguments: &[&str], code: i32, says: &str| {
        let (ended, stdout, stderr) = pgreeve(&world, manifest, arguments);
        assert_eq!((ended, stdout.as_str()), (code, ""), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    };
    refused(&export.url, &["--table", "nowhere"], 1, "public.nowhere does not exist");
    refused(&format!("{}x", export.url), &["--table", "t", "--create"], 3, "there is no manifest");
    refused("s3://only-a-bucket", &["--table", "t"], 1, "names no object");
    refused("ftp://a/b", &["--table", "t"], 1, "ftp:// is not known");
    refused(&export.url.replace("s3://bucket", "s3://other"), &["--table", "t"], 1, "Create the bucket other");
    world.owner("create table narrow (day date, n bigint, note text)").await;
    refused(&export.url, &["--table", "narrow"], 1, "a column n of type integer, and public.narrow has it as bigint");
    world.owner(
        "create table changed (like events); create function shout() returns trigger language plpgsql as $$begin new.note := upper(new.note); return new; end$$;
         create trigger shout before insert on changed for each row execute function shout()",
    ).await;
    world.owner(&format!("grant all on changed to {}", world.roles.operator)).await;
    refused(&export.url, &["--table", "changed"], 3, "a trigger or a default may change rows");
    let task = world.parquet().await;
    let file = world.data_file(&task, &world.manifest(&task, &export).await);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    refused(&export.url, &["--table", "t", "--create"], 3, "its SHA-256 is");
    let sql = "select (select count(*) from changed) + (select count(*) from pg_class where relname in ('t', 'nowhere'))";
    assert_eq!(world.client().await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}
