//! What do `pgreeve backups` and `pgreeve backup --schedule` show and make in a cluster?

use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::office::{Office, condition};

#[tokio::test(flavor = "multi_thread")]
async fn the_backups_of_a_namespace_are_listed_the_oldest_first() {
    let office = Office::new().await;
    let ran = office.types(&["backups"]).ends().await.expect_code(0);
    assert!(ran.stdout.starts_with("no Backups in namespace "), "{}", ran.stdout);
    office.backup("proven", "db", 8, &["Complete", "Verified"]).await;
    office.backup("older", "db", 7, &["Complete"]).await;
    office.backup("broken", "other", 9, &["Failed"]).await;
    office.backup("under-way", "db", 10, &[]).await;
    let ran = office.types(&["backups"]).ends().await.expect_code(0);
    let cells: Vec<Vec<&str>> =
        ran.stdout.lines().map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    let line = |name: &str, database: &str, state: &str, hour: &str, proven: &str| {
        [name, database, state, &format!("2026-11-21T{hour}:00:00Z"), "195 MiB", "5000", proven].map(str::to_owned).to_vec()
    };
    let expected = vec![
        ["NAME", "DATABASE", "STATE", "AS OF", "SIZE", "ROWS", "PROVEN"].map(str::to_owned).to_vec(),
        line("older", "db", "Complete", "07", "–"),
        line("proven", "db", "Complete", "08", "Restore"),
        line("broken", "other", "Failed", "09", "–"),
        line("under-way", "db", "Running", "10", "–"),
    ];
    // The age depends on the day of the test.
    let seen: Vec<Vec<String>> = cells
        .iter()
        .map(|cells| cells.iter().enumerate().filter(|(at, _)| *at != 4).map(|(_, cell)| (*cell).to_owned()).collect())
        .collect();
    assert_eq!(seen, expected, "{}", ran.stdout);
    let ran = office.types(&["backups", "--database", "other"]).ends().await.expect_code(0);
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    office.types(&["backups", "s3://backups", "--database", "other"]).ends().await.expect_code(64);
}

/// A schedule whose backups are encrypted and restored, so that nothing of them is the default.
async fn schedule(office: &Office) -> Value {
    let backup = json!({"destination": {"pvc": {"claimName": "backups"}}, "format": "Directory", "jobs": 4, "verify": "Restore"});
    let spec = json!({"databaseRef": {"name": "db"}, "schedule": "0 2 * * *", "backup": backup, "deletionPolicy": "Delete"});
    office.create("BackupSchedule", json!({"name": "nightly"}), spec).await;
    backup
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_as_the_schedule_makes_them_and_waited_for() {
    let office = Office::new().await;
    let settings = schedule(&office).await;
    let program = office.types(&["backup", "--schedule", "nightly"]);
    let made = office.the("Backup", |_| true).await;
    assert_eq!(made.labels()["pgreeve.dev/schedule"], "nightly");
    for (field, value) in settings.as_object().unwrap() {
        assert_eq!(&made.data["spec"][field], value, "{field}");
    }
    assert_eq!(
        (&made.data["spec"]["databaseRef"]["name"], &made.data["spec"]["deletionPolicy"]),
        (&json!("db"), &json!("Delete"))
    );
    let name = made.name_any();
    assert!(name.starts_with("nightly-20"), "{name}");
    office.status("Backup", &name, json!({"conditions": [condition("Ready", "JobRunning", "Job dump runs"), condition("Progressing", "JobRunning", "")]})).await;
    program.says("Job dump runs").await;
    // It was read back, and is to be restored.
    let verified = [condition("Complete", "UpToDate", ""), condition("Verified", "UpToDate", "")];
    office.status("Backup", &name, json!({"conditions": verified, "url": "s3://b/manifest.json",
        "sizeBytes": 1000, "tables": {"count": 2, "rows": 7}, "verification": {"level": "Catalog", "at": "2026-11-21T08:00:00Z"}})).await;
    // It looks every half a second, so that it has seen this.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(!program.has_ended(), "it is not restored yet");
    office.status("Backup", &name, json!({"verification": {"level": "Restore"}})).await;
    let ran = program.ends().await.expect_code(0);
    assert_eq!(ran.stdout, "Backup    s3://b/manifest.json\nStored    1000 B, 2 tables with 7 rows\nProven    Restore\n");
    assert!(ran.stderr.contains("Job dump runs"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fails_ends_with_code_1_and_one_that_nobody_waits_for_at_once() {
    let office = Office::new().await;
    let ran = office.types(&["backup", "--schedule", "nightly"]).ends().await.expect_code(1);
    assert!(ran.stderr.contains("/nightly does not exist in context tests"), "{}", ran.stderr);
    schedule(&office).await;
    let program = office.types(&["backup", "--schedule", "nightly"]);
    let name = office.the("Backup", |_| true).await.name_any();
    office
        .status(
            "Backup",
            &name,
            json!({"conditions": [condition("Failed", "ToolFailed", "x"), condition("Ready", "ToolFailed", "pg_dump said no")]}),
        )
        .await;
    let ran = program.ends().await.expect_code(1);
    assert!(ran.stderr.contains("the backup has failed: pg_dump said no"), "{}", ran.stderr);
    office.api("Backup").delete(&name, &Default::default()).await.unwrap();
    let program = office.types(&["backup", "--schedule", "nightly"]);
    let name = office.the("Backup", |_| true).await.name_any();
    let stalled = [condition("Stalled", "ToolsMissing", "x"), condition("Ready", "ToolsMissing", "no pg_dump 16")];
    office.status("Backup", &name, json!({"conditions": stalled})).await;
    let ran = program.ends().await.expect_code(3);
    assert!(ran.stderr.contains("no pg_dump 16; the Backup stays"), "{}", ran.stderr);
    office.api("Backup").delete(&name, &Default::default()).await.unwrap();
    let ran = office.types(&["backup", "--schedule", "nightly", "--no-wait"]).ends().await.expect_code(0);
    assert!(ran.stdout.starts_with(&format!("Backup {}/nightly-", office.namespace)), "{}", ran.stdout);
    for wrong in [
        &["backup", "--schedule", "nightly", "s3://b"][..],
        &["backup", "--schedule", "nightly", "--format", "plain"],
        &["backup", "s3://b", "--no-wait"],
        &["backup"],
    ] {
        office.types(wrong).ends().await.expect_code(64);
    }
}
