//! Does `pgreeve restore` write what it was told, let nothing happen without a word, and say how it goes? A test answers as the operator would.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::office::{MANIFEST, Office, condition};

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_written_planned_confirmed_and_followed_to_its_end() {
    let office = Office::new().await;
    office.backup("old", "db", 8, &["Complete", "Verified"]).await;
    office.backup("older", "db", 7, &["Complete", "Verified"]).await;
    office.backup("unproven", "db", 9, &["Complete"]).await;
    office.backup("of-another", "other", 10, &["Complete", "Verified"]).await;
    let program = office.types(&[
        "restore",
        "db",
        "--latest-verified",
        "--workload",
        "deploy/api",
        "--workload",
        "CronJob/tier=batch",
        "--keep-previous",
        "48h",
        "--stay-down",
        "--name",
        "back",
        "--yes-restore",
        "shop",
    ]);
    let restore = office.planned(&program).await;
    let spec = &restore.data["spec"];
    assert_eq!(restore.name_any(), "back");
    assert_eq!((&spec["databaseRef"]["name"], &spec["source"]), (&json!("db"), &json!({"backupRef": {"name": "old"}})));
    assert_eq!(spec["workloads"], json!([{"kind": "Deployment", "name": "api"}, {"kind": "CronJob", "selector": "tier=batch"}]));
    assert_eq!(
        (&spec["strategy"], &spec["keepPrevious"], &spec["onFailure"]),
        (&json!("Swap"), &json!("48h"), &json!("StayDown"))
    );
    let confirmed = office.the("Restore", |restore| restore.data["spec"]["dryRun"] == false).await;
    assert_eq!(confirmed.data["spec"]["confirm"], "shop@7000", "the server is pinned that the plan is about");
    office
        .status(
            "Restore",
            "back",
            json!({"step": "Restoring", "conditions": [condition("Ready", "JobRunning", "Job fill runs")]}),
        )
        .await;
    program.says("Job fill runs").await;
    let workload = |name: &str, state: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": name, "fought": 0, "state": state});
    office
        .status(
            "Restore",
            "back",
            json!({"step": "Keeping", "previousDatabase": "shop__before_1", "rollbackUntil": "2026-11-23T08:00:00Z",
        "fencedMillis": 210, "verification": {"level": "Restore", "at": "2026-11-21T08:00:00Z", "rowsMatched": 5000},
        "workloads": [workload("api", "Up"), workload("worker", "left as somebody has set it meanwhile: replicas 1")],
        "conditions": [condition("Complete", "Restored", "it is in use"), condition("Ready", "Restored", "it is in use")]}),
        )
        .await;
    let ran = program.ends().await.expect_code(0);
    let expected = "Restore   NS/back\nBackup    old\nDatabase  shop\nPlan      database shop goes back to 08:00\n  1. restore it\n  2. swap them\n\
        Database shop is as it was at 2026-11-21T08:00:00Z; 5000 rows were counted, and are as many as were backed up; it accepted no connection for 210 ms\n\
        The former one is shop__before_1 until 2026-11-23T08:00:00Z; it comes back with: kubectl -n NS patch restore back --type merge -p '{\"spec\":{\"rollback\":true}}'\n";
    assert_eq!(ran.stdout, expected.replace("NS", &office.namespace));
    for words in ["Preflight    Job inspect runs", "Restoring    Job fill runs", "Deployment worker: left as somebody"] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("Deployment api"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_word_nothing_is_done_and_nothing_is_left() {
    let office = Office::new().await;
    let nobody = "nobody can be asked here: type the name ahead with --yes-restore shop";
    for (more, code, words) in [
        (&["--yes-restore", "db"][..], 3, "the database is shop, and not \"db\""),
        (&[], 64, nobody),
        (&["--dry-run"], 0, "is removed again; nothing was touched"),
    ] {
        let program = office.types(&[&["restore", "--backup", "old"], more].concat());
        office.planned(&program).await;
        let ran = program.ends().await.expect_code(code);
        assert!(ran.stderr.contains(words) && ran.stdout.contains("  2. swap them"), "{}{}", ran.stdout, ran.stderr);
        assert!(office.is_tidy().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_types_the_name_of_the_database() {
    let office = Office::new().await;
    let program = office.types_on_a_terminal(&["restore", "--backup", "old"], "shop\n");
    let restore = office.planned(&program).await;
    office.the("Restore", |restore| restore.data["spec"]["dryRun"] == false).await;
    office
        .status(
            "Restore",
            &restore.name_any(),
            json!({"step": "Done", "conditions": [condition("Complete", "Restored", "it is in use")]}),
        )
        .await;
    let ran = program.ends().await.expect_code(0);
    assert!(ran.stdout.contains("Type the name of the database to have this done (shop): "), "{}", ran.stdout);
    office.api("Restore").delete(&restore.name_any(), &Default::default()).await.unwrap();
    let program = office.types_on_a_terminal(&["restore", "--backup", "old"], "yes\n");
    office.planned(&program).await;
    program.ends().await.expect_code(3);
    assert!(office.is_tidy().await);
    // Ctrl-C, as a terminal sends it.
    let program = office.waits_on_a_terminal(&["restore", "--backup", "old"]);
    office.planned(&program).await;
    program.says("Type the name of the database").await;
    program.presses("\u{3}");
    let ran = program.ends().await.expect_code(1);
    assert!(ran.stdout.contains("interrupted; nothing was done"), "{}", ran.stdout);
    assert!(office.is_tidy().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_said_and_the_restore_is_removed() {
    let office = Office::new().await;
    let program = office.types(&["restore", "--backup", "old", "--yes-restore", "shop"]);
    let restore = office.the("Restore", |_| true).await;
    let message = "Deployment apo does not exist";
    office
        .status(
            "Restore",
            &restore.name_any(),
            json!({"observedGeneration": 1, "step": "Preflight",
        "conditions": [condition("Ready", "WorkloadNotFound", message), condition("Stalled", "WorkloadNotFound", message)]}),
        )
        .await;
    let ran = program.ends().await.expect_code(3);
    assert!(ran.stderr.contains(message) && ran.stdout.is_empty(), "{}{}", ran.stdout, ran.stderr);
    assert!(office.is_tidy().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_or_is_deleted_by_somebody_ends_with_code_1() {
    let office = Office::new().await;
    let program = office.types(&["restore", "--backup", "old", "--yes-restore", "shop"]);
    let restore = office.planned(&program).await;
    office.the("Restore", |restore| restore.data["spec"]["dryRun"] == false).await;
    let name = restore.name_any();
    office
        .status(
            "Restore",
            &name,
            json!({"step": "ScalingUp", "failure": "rows differ",
        "conditions": [condition("Ready", "Restoring", "workloads come back (it has failed: rows differ)")]}),
        )
        .await;
    program.says("workloads come back").await;
    office.status("Restore", &name, json!({"step": "Done"})).await;
    let ran = program.ends().await.expect_code(1);
    assert!(
        ran.stderr.contains("workloads come back") && ran.stderr.contains("the restore has failed: rows differ"),
        "{}",
        ran.stderr
    );
    office.api("Restore").delete(&name, &Default::default()).await.unwrap();
    let program = office.types(&["restore", "--backup", "old", "--yes-restore", "shop"]);
    let restore = office.planned(&program).await;
    office.the("Restore", |restore| restore.data["spec"]["dryRun"] == false).await;
    office.api("Restore").delete(&restore.name_any(), &Default::default()).await.unwrap();
    let ran = program.ends().await.expect_code(1);
    assert!(ran.stderr.contains("was deleted by somebody"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_is_the_one_that_was_meant() {
    let office = Office::new().await;
    let s3 = json!({"bucket": "backups", "endpoint": "http://127.0.0.1:1", "credentialsSecretRef": {"name": "store"}});
    let cases: [(&[&str], Value); 7] = [
        (
            &["--url", MANIFEST, "--endpoint", "http://127.0.0.1:1", "--store-secret", "store", "--identity-secret", "age"],
            json!({"url": MANIFEST, "destination": {"s3": s3}, "identitySecretRef": {"name": "age"}}),
        ),
        (
            &["--url", "pvc://claim/shop/1/manifest.json"],
            json!({"url": "pvc://claim/shop/1/manifest.json", "destination": {"pvc": {"claimName": "claim"}}}),
        ),
        (&["--schedule", "nightly"], json!({"scheduleRef": {"name": "nightly", "pick": "LatestVerified"}})),
        (&["--schedule", "nightly", "--latest"], json!({"scheduleRef": {"name": "nightly", "pick": "Latest"}})),
        (&["--backup", "chosen"], json!({"backupRef": {"name": "chosen"}})),
        (&["--latest"], json!({"backupRef": {"name": "unproven"}})),
        (&["--latest", "--strategy", "new", "--target", "copy"], json!({"backupRef": {"name": "unproven"}})),
    ];
    office.backup("unproven", "db", 9, &["Complete"]).await;
    office.backup("running", "db", 10, &[]).await;
    let ran = office.types(&["restore", "--latest-verified"]).ends().await.expect_code(3);
    assert!(ran.stderr.contains("has no verified Backup (of 2); --latest takes one that is not verified"), "{}", ran.stderr);
    for (arguments, source) in cases {
        let program = office.types(&[&["restore", "--dry-run"], arguments].concat());
        let spec = office.planned(&program).await.data["spec"].clone();
        assert_eq!(spec["source"], source);
        let is_new = arguments.contains(&"--target");
        let (strategy, target) = if is_new { (json!("New"), json!("copy")) } else { (json!("Swap"), Value::Null) };
        assert_eq!((&spec["strategy"], &spec["targetDatabase"]), (&strategy, &target));
        program.ends().await.expect_code(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_wrong_is_said_before_anything_is_written() {
    let office = Office::new().await;
    for (arguments, code, words) in [
        (&["restore"][..], 64, "which backup?"),
        (&["restore", "--latest", "--latest-verified"], 64, "cannot be used with"),
        (&["restore", "--backup", "a", "--schedule", "b"], 64, "cannot be used with"),
        (&["restore", "--backup", "a", "--url", MANIFEST], 64, "cannot be used with"),
        (&["restore", "--backup", "a", "--store-secret", "s"], 64, "--url"),
        (&["restore", "--url", "s3://backups/shop/1"], 64, "names no manifest.json"),
        (&["restore", "--url", "ftp://backups/shop/1/manifest.json"], 64, "ftp:// is not known"),
        (&["restore", "--url", "backups/1/manifest.json"], 64, "az:// or pvc://"),
        (&["restore", "--url", "gs://backups/1/manifest.json", "--region", "r"], 64, "--region has no effect on gs://"),
        (
            &["restore", "--url", "pvc://claim/1/manifest.json", "--endpoint", "http://e"],
            64,
            "--endpoint has no effect on pvc://",
        ),
        (&["restore", "--url", "pvc://claim/1/manifest.json", "--store-secret", "s"], 64, "a volume needs none"),
        (&["restore", "--backup", "a", "--workload", "api"], 64, "write KIND/NAME or KIND/SELECTOR"),
        (&["restore", "--backup", "a", "--keep-previous", "soon"], 64, "--keep-previous"),
        (&["restore", "none", "--backup", "a"], 4, "none does not exist"),
        (&["restore", "--backup", "a", "--strategy", "new"], 1, "strategy New makes a database: give targetDatabase"),
        (&["restore", "--backup", "a", "-n", "nowhere-at-all"], 64, "has no PostgresDatabase"),
    ] {
        let ran = office.types(arguments).ends().await.expect_code(code);
        assert!(ran.stderr.contains(words) && ran.stdout.is_empty(), "{words}: {}{}", ran.stdout, ran.stderr);
    }
    office.database("another").await;
    let ran = office.types(&["restore", "--backup", "a"]).ends().await.expect_code(64);
    assert!(ran.stderr.contains("has several PostgresDatabases: name one of another, db"), "{}", ran.stderr);
    assert!(office.is_tidy().await);
}
