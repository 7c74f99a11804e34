//! Do backups come when their schedule says, prove themselves, and go when nothing needs them any more?

use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::backup::Stage;
use crate::support::apiserver::apiserver;
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::world::{PATIENCE, condition_of};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// Every hour at a minute that is half an hour away.
fn hourly() -> String {
    let minute = pgreeve::clock::Clock::system().now().to_zoned(jiff::tz::TimeZone::UTC).minute();
    format!("{} * * * *", (i64::from(minute) + 30) % 60)
}

impl Stage {
    async fn schedule(&self, name: &str, more: Value) {
        let mut spec = json!({
            "databaseRef": {"name": "db"}, "schedule": hourly(), "backup": {"destination": self.destination(), "verify": "None"},
        });
        json_patch(&mut spec, &more);
        self.world.create("BackupSchedule", name, spec).await;
    }

    async fn status(&self, name: &str) -> Value {
        self.world.api("BackupSchedule").get(name).await.unwrap().data["status"].clone()
    }

    /// Waits until this is so of a schedule's status.
    async fn until(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("BackupSchedule {name}: {what}"), PATIENCE, async || {
            let status = self.status(name).await;
            is_so(&status).then_some(status)
        })
        .await
    }

    async fn names(&self) -> Vec<String> {
        use kube::ResourceExt as _;
        let mut names: Vec<String> =
            self.world.api("Backup").list(&Default::default()).await.unwrap().iter().map(|backup| backup.name_any()).collect();
        names.sort();
        names
    }

    /// So many hours have passed, and the backup of that time is complete.
    async fn hours_later(&self, schedule: &str, hours: i64, complete: i64) {
        self.go_ahead(hours * HOUR + 5 * MINUTE - 30 * MINUTE);
        self.until(schedule, &format!("{complete} backups after {hours} h"), |status| {
            status["backups"]["complete"] == complete && status["active"].is_null()
        })
        .await;
    }
}

fn json_patch(object: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().unwrap() {
        match object.get_mut(name) {
            Some(inner) if inner.is_object() && value.is_object() => json_patch(inner, value),
            _ => object[name] = value.clone(),
        }
    }
}

#[tokio::test]
async fn a_backup_begins_at_its_time_once_and_a_restarted_operator_makes_no_second_one() {
    let mut stage = Stage::new().await;
    stage.schedule("hourly", json!({})).await;
    let ready = stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    assert!(ready.data["status"]["nextRun"].is_string() && stage.names().await.is_empty(), "{}", ready.data["status"]);
    stage.hours_later("hourly", 1, 1).await;
    stage.world.stop().await;
    stage.start().await;
    stage.hours_later("hourly", 2, 2).await;
    let names = stage.names().await;
    assert!(names.len() == 2 && names.iter().all(|name| name.starts_with("hourly-20")), "{names:?}");
    let status = stage.status("hourly").await;
    assert_eq!((&status["missed"], &status["failures"]), (&json!(0), &json!(0)));
    assert_eq!(status["lastBackup"]["name"], json!(names[1]));
    stage.world.told("hourly", "begins").await;
}

#[tokio::test]
async fn after_an_outage_one_backup_is_made_up_for_and_the_others_are_missed() {
    let mut stage = Stage::new().await;
    stage.schedule("hourly", json!({})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.world.stop().await;
    stage.go_ahead(5 * HOUR + 10 * MINUTE - 30 * MINUTE);
    stage.start().await;
    let status = stage.until("hourly", "it is made up for", |status| status["backups"]["complete"] == 1).await;
    assert_eq!(status["missed"], 4, "{status}");
    assert_eq!(stage.names().await.len(), 1);
}

#[tokio::test]
async fn a_suspended_schedule_begins_nothing_and_makes_nothing_up() {
    let stage = Stage::new().await;
    stage.schedule("hourly", json!({"suspend": true})).await;
    let volume = json!({"destination": {"pvc": {"claimName": "backups"}}});
    let spec = json!({"databaseRef": {"name": "db"}, "schedule": "0 0 1 1 *", "backup": volume});
    stage.world.create("BackupSchedule", "volume", spec).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "Suspended").await;
    stage.go_ahead(3 * HOUR);
    stage.until("hourly", "its moments pass", |status| status["lastSlot"].is_string()).await;
    stage.world.patch("BackupSchedule", "hourly", json!({"spec": {"suspend": false}})).await;
    let status = stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await.data["status"].clone();
    assert_eq!((&status["missed"], &status["backups"]["complete"]), (&json!(0), &json!(0)));
    assert_eq!(stage.names().await, [""; 0]);
    assert!(status["catalogAt"].is_string() && status["catalogMessage"].is_null(), "{status}");
    let volume = stage.until("volume", "it was looked at", |status| status["conditions"].is_array()).await;
    assert!(volume["catalogAt"].is_null(), "nobody has looked into the volume: {volume}");
    assert!(volume["catalogMessage"].as_str().unwrap().contains("only a Job can look into this store"), "{volume}");
}

#[tokio::test]
async fn a_backup_can_be_had_now() {
    let stage = Stage::new().await;
    // The longest name that a schedule may have.
    let name = format!("hourly-{}", "x".repeat(56));
    stage.schedule(&name, json!({})).await;
    stage.world.patch("BackupSchedule", &name, json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": "1"}}})).await;
    let status = stage.until(&name, "one is complete", |status| status["backups"]["complete"] == 1).await;
    assert_eq!(status["lastHandledReconcileAt"], "1");
    assert!(stage.names().await[0].starts_with(&format!("{name}-now-")));
}

#[tokio::test]
async fn what_no_rule_keeps_goes_with_its_objects_and_what_is_held_stays() {
    let stage = Stage::new().await;
    stage.schedule("hourly", json!({"retention": {"keepLast": 2}})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.hours_later("hourly", 1, 1).await;
    let held = stage.names().await.remove(0);
    stage.world.patch("Backup", &held, json!({"spec": {"hold": true}})).await;
    stage.hours_later("hourly", 2, 2).await;
    let gone = stage.names().await.into_iter().find(|name| *name != held).unwrap();
    // Somebody plans to restore it, and has named it by where it lies.
    let url = stage.world.api("Backup").get(&gone).await.unwrap().data["status"]["url"].clone();
    let source = json!({"url": url, "destination": stage.destination()});
    stage.world.create("Restore", "back", json!({"databaseRef": {"name": "db"}, "source": source, "dryRun": true})).await;
    stage.hours_later("hourly", 3, 3).await;
    stage.hours_later("hourly", 4, 4).await;
    // Of a Restore that cannot be read nobody knows what it needs.
    let path = format!("restores/{}/back", stage.world.namespace);
    apiserver().rewrite_stored(&path, |object| object["spec"]["strategy"] = json!("Sway")).await;
    let schedule = stage.world.wait("BackupSchedule", "hourly", "Ready", "False", "InvalidSpec").await;
    let said = condition_of(&schedule, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(said.contains("Restore back cannot be read") && said.contains("Sway"), "{said}");
    assert!(stage.names().await.contains(&gone));
    stage.world.api("Restore").delete("back", &Default::default()).await.unwrap();
    stage.is_gone(&gone).await;
    stage.until("hourly", "three are left", |status| status["backups"]["complete"] == 3 && status["active"].is_null()).await;
    assert!(stage.names().await.contains(&held));
    let manifests = stage.objects("manifest.json");
    assert_eq!(manifests.len(), 3, "{manifests:?}");
    assert!(!stage.objects("").iter().any(|path| path.contains(&format!("/{gone}-"))));
    stage.world.told("hourly", &format!("Backup {gone} goes")).await;
}

#[tokio::test]
async fn an_old_backup_goes_only_if_the_newer_one_is_whole_in_the_store() {
    let stage = Stage::new().await;
    stage.schedule("hourly", json!({"retention": {"keepLast": 1, "mode": "Observe"}})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.hours_later("hourly", 1, 1).await;
    let old = stage.names().await.remove(0);
    let lies = stage.objects("");
    stage.hours_later("hourly", 2, 2).await;
    let newer: Vec<String> = stage.objects("").into_iter().filter(|path| !lies.contains(path)).collect();
    let of_newer = |name: &str| newer.iter().find(|path| path.ends_with(name)).unwrap().clone();
    let (manifest, data) =
        (of_newer("manifest.json"), newer.iter().max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap());
    let (away, back) = (
        |path: &str| std::fs::rename(path, stage.s3.home.join("away")),
        |path: &str| std::fs::rename(stage.s3.home.join("away"), path),
    );
    let refused = async |why: &str| {
        eventually(&format!("{old} stays: {why}"), PATIENCE, async || {
            let found = stage.world.api("Backup").get(&old).await.unwrap();
            let ready = condition_of(&found, "Ready").unwrap();
            (ready["reason"] == "BackupDamaged" && ready["message"].as_str().unwrap().contains(why)).then_some(())
        })
        .await;
        assert!(lies.iter().all(|path| std::fs::exists(path).unwrap()), "{lies:?}");
    };
    // Somebody, or a lifecycle rule of the bucket, removes the newer one's manifest.
    let kept = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    stage.world.patch("BackupSchedule", "hourly", json!({"spec": {"retention": {"mode": "Apply"}}})).await;
    refused("manifest.json is not there").await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "False", "BackupDamaged").await;
    // The same with its data.
    away(data).unwrap();
    std::fs::write(&manifest, kept).unwrap();
    refused("it is gone, and its manifest is there").await;
    back(data).unwrap();
    stage.is_gone(&old).await;
    assert!(!lies.iter().any(|path| std::fs::exists(path).unwrap()), "{lies:?}");
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
}

#[tokio::test]
async fn a_backup_of_somebody_else_under_a_name_of_the_schedule_is_told_and_left_alone() {
    let stage = Stage::new().await;
    stage.schedule("hourly", json!({"retention": {"keepLast": 1}})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    let next: jiff::Timestamp = stage.status("hourly").await["nextRun"].as_str().unwrap().parse().unwrap();
    let foreign = format!("hourly-{}", next.strftime("%Y%m%d-%H%M"));
    stage.backup(&foreign, json!({"verify": "None"})).await;
    stage.complete(&foreign).await;
    stage.go_ahead(35 * MINUTE);
    let schedule = stage.world.wait("BackupSchedule", "hourly", "Ready", "False", "InvalidSpec").await;
    let said = condition_of(&schedule, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(said.contains(&format!("Backup {foreign} exists and is not of this schedule")), "{said}");
    let status = &schedule.data["status"];
    assert_eq!((&status["backups"]["complete"], &status["lastSlot"], &status["missed"]), (&json!(0), &Value::Null, &json!(0)));
    stage.world.api("Backup").delete(&foreign, &Default::default()).await.unwrap();
    stage.until("hourly", "its own is made", |status| status["backups"]["complete"] == 1).await;
    assert_eq!((stage.names().await, stage.objects("manifest.json").len()), (vec![foreign], 2));
}

#[tokio::test]
async fn a_backup_that_waits_behind_another_one_for_too_long_is_missed() {
    let stage = Stage::new().await;
    stage.schedule("hourly", json!({"startingDeadline": "10m"})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    let mut nowhere = stage.destination();
    nowhere["s3"]["bucket"] = json!("no-such-bucket");
    stage.world.create("Backup", "endless", json!({"databaseRef": {"name": "db"}, "destination": nowhere})).await;
    eventually("it has begun", PATIENCE, async || {
        let endless = stage.world.api("Backup").get("endless").await.unwrap();
        endless.data["status"]["startedAt"].is_string().then_some(())
    })
    .await;
    stage.go_ahead(35 * MINUTE);
    let waits = stage.until("hourly", "its backup waits", |status| status["active"].is_string()).await;
    let queued = waits["active"].as_str().unwrap();
    stage.world.wait("Backup", queued, "Ready", "False", "Queued").await;
    stage.go_ahead(45 * MINUTE);
    stage.is_gone(queued).await;
    let status = stage.until("hourly", "it is missed", |status| status["missed"] == 1).await;
    assert!(status["active"].is_null() && status["lastMissed"].is_string(), "{status}");
    stage.world.wait("BackupSchedule", "hourly", "Ready", "False", "BackupMissed").await;
}

#[tokio::test]
async fn a_retention_that_only_observes_shows_what_would_go_and_why() {
    let stage = Stage::new().await;
    stage.schedule("hourly", json!({"retention": {"keepLast": 1, "mode": "Observe"}})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.hours_later("hourly", 1, 1).await;
    stage.hours_later("hourly", 2, 2).await;
    let status = stage.until("hourly", "it has a plan", |status| status["plan"].is_object()).await;
    assert_eq!(status["plan"]["summary"], "1 to remove");
    assert!(status["plan"]["actions"][0].as_str().unwrap().ends_with("no rule keeps it"), "{status}");
    assert_eq!(stage.names().await.len(), 2);
}

#[tokio::test]
async fn nothing_goes_while_the_last_backup_has_failed() {
    let stage = Stage::new().await;
    stage.schedule("hourly", json!({"retention": {"keepLast": 1, "mode": "Observe"}})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.hours_later("hourly", 1, 1).await;
    stage.hours_later("hourly", 2, 2).await;
    // From here on no backup can be made.
    let nowhere = json!({"spec": {"connection": {"host": "127.0.0.1", "port": 1}}});
    stage.world.patch("PostgresDatabase", "db", nowhere).await;
    stage.world.wait("PostgresDatabase", "db", "Ready", "False", "Unreachable").await;
    stage.go_ahead(3 * HOUR + 5 * MINUTE - 30 * MINUTE);
    // From the first refusal on it is counted how long it is tried.
    eventually("the third one has begun and is refused", PATIENCE, async || {
        let backups = stage.world.api("Backup").list(&Default::default()).await.unwrap();
        let is_refused = |backup: &DynamicObject| {
            let status = &backup.data["status"];
            let progressing = condition_of(backup, "Progressing").map(|progressing| progressing["status"].clone());
            status["startedAt"].is_string() && status["completedAt"].is_null() && progressing == Some(json!("False"))
        };
        backups.iter().any(is_refused).then_some(())
    })
    .await;
    stage.go_ahead(3 * HOUR + 20 * MINUTE);
    let status = stage.until("hourly", "it has failed", |status| status["failures"] == 1).await;
    stage.world.patch("BackupSchedule", "hourly", json!({"spec": {"retention": {"mode": "Apply"}}})).await;
    stage.until("hourly", "nothing is to go", |status| status["plan"].is_null() && status["observedGeneration"] == 2).await;
    let ready = condition_of(&stage.world.api("BackupSchedule").get("hourly").await.unwrap(), "Ready").unwrap();
    assert_eq!(ready["status"], "False", "{ready} {status}");
    assert_eq!(stage.names().await.len(), 3);
    assert_eq!(stage.objects("manifest.json").len(), 2);
}

#[tokio::test]
async fn a_restore_is_tried_on_time_and_what_it_proves_is_in_the_status() {
    let stage = Stage::new().await;
    let test =
        json!({"schedule": hourly(), "assertions": [{"name": "users", "sql": "select count(*) from users", "equals": 1234}]});
    stage.schedule("hourly", json!({"restoreTest": test})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.hours_later("hourly", 1, 1).await;
    let status = stage.until("hourly", "it is restored", |status| status["lastRestored"].is_object()).await;
    let name = status["lastRestored"]["name"].as_str().unwrap();
    let backup = stage.world.api("Backup").get(name).await.unwrap();
    assert_eq!(backup.data["status"]["verification"]["assertions"], 1);
    assert!(status["nextRestoreTest"].is_string());
}

#[tokio::test]
async fn an_empty_cluster_finds_the_backups_that_a_former_one_has_left() {
    let stage = Stage::new().await;
    // The same both times, whenever the minute ends.
    let schedule = hourly();
    stage.schedule("hourly", json!({"schedule": schedule})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.hours_later("hourly", 1, 1).await;
    stage.hours_later("hourly", 2, 2).await;
    let before = stage.names().await;
    stage.world.api("BackupSchedule").delete("hourly", &Default::default()).await.unwrap();
    for name in &before {
        stage.world.api("Backup").delete(name, &Default::default()).await.unwrap();
        stage.is_gone(name).await;
    }
    let odd = stage.s3.home.join(&stage.bucket).join("db/odd/manifest.json");
    std::fs::create_dir_all(odd.parent().unwrap()).unwrap();
    std::fs::write(&odd, "{}").unwrap();
    let objects = stage.objects("");
    stage.schedule("hourly", json!({"schedule": schedule})).await;
    let status = stage.until("hourly", "both are found", |status| status["backups"]["complete"] == 2).await;
    assert_eq!(stage.names().await, before);
    assert_eq!(status["lastBackup"]["name"], json!(before[1]));
    assert_eq!(stage.objects(""), objects, "nothing was dumped anew");
    stage.world.told("hourly", "2 backups found").await;
    let said = status["catalogMessage"].as_str().unwrap();
    assert!(said.contains("a manifest cannot be read") && said.contains("db/odd/manifest.json"), "{said}");
}

/// A former cluster's, or those of staging, which shares the bucket.
#[tokio::test]
async fn backups_of_another_database_object_are_held_until_somebody_says_that_they_are_this_ones() {
    let stage = Stage::new().await;
    // The same both times, whenever the minute ends.
    let schedule = hourly();
    stage.schedule("hourly", json!({"schedule": schedule})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.hours_later("hourly", 1, 1).await;
    let (former, lies) = (stage.names().await.remove(0), stage.objects(""));
    stage.world.api("BackupSchedule").delete("hourly", &Default::default()).await.unwrap();
    stage.world.api("Backup").delete(&former, &Default::default()).await.unwrap();
    stage.is_gone(&former).await;
    let databases = stage.world.api("PostgresDatabase");
    let database = databases.get("db").await.unwrap();
    databases.delete("db", &Default::default()).await.unwrap();
    let is_gone = async || databases.get_opt("db").await.unwrap().is_none().then_some(());
    eventually("the PostgresDatabase is gone", PATIENCE, is_gone).await;
    stage.world.create("PostgresDatabase", "db", database.data["spec"].clone()).await;
    stage.schedule("hourly", json!({"schedule": schedule, "retention": {"keepLast": 1}, "deletionPolicy": "Delete"})).await;
    let status = stage.until("hourly", "the store was looked through", |status| status["catalogAt"].is_string()).await;
    let found = stage.world.api("Backup").get(&former).await.unwrap();
    assert_eq!((&found.data["spec"]["hold"], &found.data["spec"]["deletionPolicy"]), (&json!(true), &json!("Retain")));
    assert_eq!(found.metadata.annotations.unwrap().get("pgreeve.dev/madeFor"), database.metadata.uid.as_ref());
    let said = status["catalogMessage"].as_str().unwrap();
    assert!(said.starts_with("1 of the backups in the store were made for another PostgresDatabase"), "{said}");
    stage.hours_later("hourly", 2, 1).await;
    stage.hours_later("hourly", 3, 1).await;
    assert!(lies.iter().all(|path| std::fs::exists(path).unwrap()), "{lies:?}");
    stage.world.patch("Backup", &former, json!({"spec": {"hold": false}})).await;
    stage.is_gone(&former).await;
    assert!(!lies.iter().any(|path| std::fs::exists(path).unwrap()), "{lies:?}");
}

#[tokio::test]
async fn a_clock_that_is_years_ahead_for_a_while_costs_no_backup_and_stops_none() {
    let stage = Stage::new().await;
    stage.schedule("hourly", json!({"retention": {"maxAge": "30 days", "mode": "Apply"}})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.hours_later("hourly", 1, 1).await;
    stage.hours_later("hourly", 2, 2).await;
    stage.hours_later("hourly", 10 * 365 * 24, 3).await;
    let ahead = stage.names().await;
    assert!(ahead.len() == 3 && stage.objects("manifest.json").len() == 3, "{ahead:?}");
    // Back, and an hour on.
    stage.go_ahead(2 * HOUR + 10 * MINUTE - 30 * MINUTE);
    stage
        .until("hourly", "the moment that lies ahead is forgotten", |status| {
            let slot: Option<jiff::Timestamp> = status["lastSlot"].as_str().and_then(|at| at.parse().ok());
            slot.is_some_and(|slot| slot < pgreeve::clock::Clock::system().now() + jiff::SignedDuration::from_hours(9))
        })
        .await;
    stage.hours_later("hourly", 3, 4).await;
    assert_eq!((stage.names().await.len(), stage.objects("manifest.json").len()), (4, 4));
}

#[tokio::test]
async fn a_server_that_is_upgraded_between_two_backups_is_dumped_by_the_programs_of_its_new_major() {
    let stage = Stage::new().await;
    stage.schedule("hourly", json!({"backup": {"verify": "Restore"}})).await;
    stage.world.wait("BackupSchedule", "hourly", "Ready", "True", "UpToDate").await;
    stage.hours_later("hourly", 1, 1).await;
    // pg_upgrade in a wink: from now on the Secret leads to a server of another major with the same rows.
    let database = Database::create(16).await;
    let (server, admin, name) = (database.server(), database.superuser().await, &stage.world.roles.operator);
    let users = "create table users as select n as id from generate_series(1, 99) n";
    admin.batch_execute(&format!("create role {name} login in role pg_read_all_data; {users}")).await.unwrap();
    let leads = json!({"stringData": {"host": server.socket, "port": server.port.to_string(), "dbname": database.name}});
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(stage.world.client.clone(), &stage.world.namespace);
    secrets.patch("db", &PatchParams::default(), &Patch::Merge(leads)).await.unwrap();
    stage.hours_later("hourly", 2, 2).await;
    let status = stage.until("hourly", "both are restored", |status| status["backups"]["verified"] == 2).await;
    let newest = stage.world.api("Backup").get(status["lastVerified"]["name"].as_str().unwrap()).await.unwrap();
    assert!(newest.data["status"]["serverVersion"].as_str().unwrap().starts_with("16."), "{}", newest.data["status"]);
    assert_eq!(newest.data["status"]["tables"], json!({"count": 1, "rows": 99}));
    admin.batch_execute(&format!("drop role {name}")).await.unwrap();
}
