//! Does a backup come back that a schedule made of another database, encrypted, in a bucket, in parts?

use std::collections::BTreeMap;

use age::secrecy::ExposeSecret as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::support::postgres::Database;
use crate::support::versitygw::{ACCESS_KEY, SECRET_KEY, s3};
use crate::world::World;

async fn secret(world: &World, name: &str, data: Value) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let secret = json!({"metadata": {"name": name}, "stringData": data});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
}

/// A second PostgresDatabase on the same server, that the same role owns.
async fn other(world: &World) -> Database {
    let other = Database::on(world.database.server()).await;
    let sql = format!("alter database {} owner to {}; create table theirs (n int)", other.name, world.roles.owner);
    other.superuser().await.batch_execute(&sql).await.unwrap();
    let login = json!({"host": "127.0.0.1", "port": world.proxy.port.to_string(), "dbname": other.name,
        "username": world.roles.operator, "password": Database::password(&world.roles.operator)});
    secret(world, "other", login).await;
    let spec = json!({"connection": {"secretRef": {"name": "other"}, "tls": {"mode": "Disable"}}});
    world.create("PostgresDatabase", "other", spec).await;
    other
}

async fn drop_beside(world: &World, other: &Database) {
    let server = world.superuser("postgres").await;
    let query = "select datname::text from pg_database where starts_with(datname, $1 || '__')";
    for row in server.query(query, &[&other.name]).await.unwrap() {
        server.batch_execute(&format!("drop database \"{}\" with (force)", row.get::<_, &str>(0))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_verified_backup_of_a_schedule_takes_the_place_of_another_database() {
    let (mut world, _) = World::copy().await;
    let other = other(&world).await;
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    secret(&world, "keys", json!({"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY})).await;
    secret(&world, "recipients", json!({"recipients": recipient})).await;
    secret(&world, "identity", json!({"identity": identity.to_string().expose_secret()})).await;
    let bucket = s3().bucket();
    let destination = json!({"s3": {"bucket": bucket, "endpoint": s3().endpoint, "credentialsSecretRef": {"name": "keys"}}});
    let encryption = json!({"recipientsSecretRef": {"name": "recipients"}, "identitySecretRef": {"name": "identity"}});
    let settings =
        json!({"destination": destination, "encryption": encryption, "format": "Directory", "jobs": 2, "verify": "Catalog"});
    let schedule = json!({"databaseRef": {"name": "db"}, "schedule": "0 2 * * *", "suspend": true, "backup": settings});
    world.create("BackupSchedule", "nightly", schedule).await;
    world.start().await;
    world.start_node();
    for (name, verify) in [("proven", "Catalog"), ("unproven", "None")] {
        let mut spec = settings.clone();
        (spec["databaseRef"], spec["verify"]) = (json!({"name": "db"}), json!(verify));
        let labels: BTreeMap<&str, &str> = [("pgreeve.dev/schedule", "nightly")].into();
        let object = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": "Backup", "metadata": {"name": name, "labels": labels}, "spec": spec});
        world.api("Backup").create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        world.wait_for("Backup", name, "Complete", "True", None).await;
        world.superuser(&world.database.name).await.batch_execute("insert into users values (3000, 'later')").await.unwrap_or(());
    }
    let source = json!({"scheduleRef": {"name": "nightly", "pick": "LatestVerified"}});
    world.create("Restore", "back", json!({"databaseRef": {"name": "other"}, "source": source, "confirm": other.name})).await;
    let status = world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!((&status["backup"], &status["verification"]["rowsMatched"]), (&json!("proven"), &json!(3005)), "{status:#}");
    assert_eq!(world.one(&other.name, "select count(*) from users").await, 5);
    // By its URL, over what is there: that is backed up for the same eyes alone.
    let source = json!({"url": status["chosen"]["url"], "destination": destination, "identitySecretRef": {"name": "identity"}});
    let spec = json!({"databaseRef": {"name": "other"}, "source": source, "confirm": other.name, "strategy": "Replace"});
    world.create("Restore", "again", spec).await;
    let status = world.wait("again", "Complete", "True", "Restored").await;
    let key = status["safetyBackup"].as_str().unwrap().split_once(&bucket).unwrap().1.trim_start_matches('/').to_owned();
    let manifest = std::fs::read(s3().home.join(&bucket).join(key)).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["data"]["recipients"], json!([recipient]), "{manifest:#}");
    world.stop().await;
    drop_beside(&world, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_some_tables_takes_the_place_of_no_database_and_becomes_one_of_its_own() {
    let (mut world, _) = World::copy().await;
    let name = world.database.name.clone();
    world.start().await;
    world.start_node();
    let content = json!({"excludeTables": [{"name": "events"}, {"name": "events_1"}]});
    let settings = json!({"destination": {"pvc": {"claimName": "backups"}}, "content": content, "databaseRef": {"name": "db"}});
    let labels: BTreeMap<&str, &str> = [("pgreeve.dev/schedule", "nightly")].into();
    let object = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": "Backup", "metadata": {"name": "part", "labels": labels}, "spec": settings});
    world.api("Backup").create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    world.wait_for("Backup", "part", "Verified", "True", None).await;
    let message = |status: &Value| {
        let conditions = status["conditions"].as_array().unwrap();
        conditions.iter().find(|found| found["type"] == "Ready").unwrap()["message"].as_str().unwrap().to_owned()
    };
    let restore = async |restore: &str, source: Value, more: Value| {
        let mut spec = json!({"databaseRef": {"name": "db"}, "source": source});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.create("Restore", restore, spec).await;
    };
    let (newest, this) = (json!({"scheduleRef": {"name": "nightly"}}), json!({"backupRef": {"name": "part"}}));
    restore("newest", newest, json!({"confirm": name})).await;
    let said = message(&world.wait("newest", "Ready", "False", "BackupMissing").await);
    assert!(said.contains("no verified Backup of the whole database: part hold"), "{said}");
    for strategy in ["Swap", "Replace"] {
        let named = strategy.to_lowercase();
        restore(&named, this.clone(), json!({"confirm": name, "strategy": strategy})).await;
        let status = world.wait(&named, "Stalled", "True", "Unsupported").await;
        let said = message(&status);
        assert!(said.contains("leaves out the tables public.events, public.events_1"), "{said}");
        assert!(status["plan"]["summary"].as_str().unwrap().contains("the backup leaves out the tables"), "{status:#}");
    }
    assert_eq!((world.databases().await.len(), world.one(&name, "select count(*) from events").await), (1, 3000));
    let other = format!("{name}__part");
    restore("new", this, json!({"strategy": "New", "targetDatabase": other})).await;
    world.wait("new", "Complete", "True", "Restored").await;
    assert_eq!(world.one(&other, "select count(*) from users").await, 5);
    assert_eq!(world.one(&other, "select count(*) from pg_class where relname like 'events%'").await, 0);
    world.stop().await;
}
