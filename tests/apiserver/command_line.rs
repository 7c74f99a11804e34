//! Does the command line see in a cluster what the operator sees there?

use serde_json::{Value, json};

use crate::desk::{Desk, fingerprint, views};
use crate::program::Ran;
use crate::support::apiserver::apiserver;
use crate::support::versitygw;
use crate::world::World;

/// A table with a partition and no default partition.
const EVENTS: &str = "create table events (id bigint, at timestamptz not null) partition by range (at);
     create table events_y2026m11 partition of events for values from ('2026-11-01 00:00+00') to ('2026-12-01 00:00+00')";

/// A policy with several changes of several sorts to make.
fn events(more: Value) -> Value {
    let mut spec = json!({
        "databaseRef": {"name": "db"}, "table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 month",
        "create": {"ahead": 2}, "defaultPartition": "Ensure", "template": {"storageParameters": [{"name": "fillfactor", "value": "70"}]},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// A namespace with such a policy, and a person at a desk.
async fn world(more: Value) -> (World, Desk) {
    let world = World::new(16).await;
    world.as_owner(EVENTS).await;
    world.create("PartitionPolicy", "events", events(more)).await;
    let desk = Desk::of(&world);
    (world, desk)
}

/// A file as a person would propose it, without a namespace.
fn file(desk: &Desk, more: Value) -> String {
    let object = json!({
        "apiVersion": "pgreeve.dev/v1alpha1", "kind": "PartitionPolicy", "metadata": {"name": "events"}, "spec": events(more),
    });
    desk.write("events.yaml", &object.to_string()).display().to_string()
}

/// The plan by each way to policies and to their database.
fn by_every_way(world: &World, desk: &Desk, file: &str) -> [Ran; 4] {
    let namespace = &world.namespace;
    let in_cluster = ["plan", "-n", namespace, "-o", "json"];
    let in_file = ["plan", "-f", file, "-n", namespace, "-o", "json"];
    [desk.run(&in_cluster), desk.run_with_url(world, &in_cluster), desk.run(&in_file), desk.run_with_url(world, &in_file)]
        .map(|ran| ran.expect_code(0))
}

#[tokio::test]
async fn a_plan_has_the_operators_fingerprint_and_the_next_line_approves_it() {
    let manual = json!({"approval": "Manual"});
    let (mut world, desk) = world(manual.clone()).await;
    let file = file(&desk, manual);
    world.start().await;
    let waiting = world.wait("PartitionPolicy", "events", "Ready", "True", "ApprovalPending").await;
    let plan = &waiting.data["status"]["plan"];
    let ours = plan["fingerprint"].as_str().unwrap().to_owned();
    let lines = plan["actions"].as_array().unwrap().len() as u64;
    assert!(lines >= 4, "{plan}");
    for ran in by_every_way(&world, &desk, &file) {
        assert_eq!(fingerprint(&ran), (ours.clone(), lines));
    }
    // Another namespace is another object, so the operator's fingerprint approves nothing there.
    let elsewhere = desk.run_with_url(&world, &["plan", "-f", &file, "-o", "json"]).expect_code(0);
    assert_ne!(fingerprint(&elsewhere).0, ours);
    let ran = desk.run(&["plan"]).expect_code(0);
    let next = ran.stderr.lines().find_map(|line| line.strip_prefix("Next: kubectl ")).unwrap();
    apiserver().kubectl_output(&next.split_whitespace().collect::<Vec<_>>());
    let ready = world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    assert_eq!(ready.data["status"]["plan"], Value::Null);
    let settled: Vec<(String, u64)> = by_every_way(&world, &desk, &file).iter().map(fingerprint).collect();
    assert!(settled.iter().all(|one| one.1 == 0 && *one == settled[0] && one.0 != ours), "{settled:?}");
    let ran = desk.run(&["plan", "--exit-code"]).expect_code(0);
    assert!(ran.stdout.contains("No changes.") && ran.stderr.is_empty(), "{}{}", ran.stdout, ran.stderr);
}

#[tokio::test]
async fn what_is_only_observed_has_the_operators_fingerprint_and_nobody_is_told_to_apply_it() {
    let observe = json!({"mode": "Observe"});
    let (mut world, desk) = world(observe.clone()).await;
    let file = file(&desk, observe);
    world.start().await;
    let planned = world.wait("PartitionPolicy", "events", "Ready", "True", "Planned").await;
    let ours = planned.data["status"]["plan"]["fingerprint"].as_str().unwrap().to_owned();
    for ran in by_every_way(&world, &desk, &file) {
        assert_eq!(fingerprint(&ran).0, ours);
    }
    let ran = desk.run(&["plan"]).expect_code(0);
    assert!(ran.stdout.contains("mode is Observe") && ran.stderr.is_empty(), "{}{}", ran.stdout, ran.stderr);
}

/// Two months of which one has expired, a hold on nothing of it, and an export on the way out.
#[tokio::test]
async fn a_retention_has_the_operators_fingerprint_too_and_the_clusters_holds_count() {
    let mut world = World::new(16).await;
    world
        .as_owner(
            "create table costs (id bigint, at timestamptz not null) partition by range (at);
             create table costs_m01 partition of costs for values from ('2026-01-01 00:00+00') to ('2026-02-01 00:00+00');
             create table costs_m02 partition of costs for values from ('2026-02-01 00:00+00') to ('2026-03-01 00:00+00');
             create table costs_m11 partition of costs for values from ('2026-11-01 00:00+00') to ('2026-12-01 00:00+00')",
        )
        .await;
    let spec = json!({
        "databaseRef": {"name": "db"}, "table": {"name": "costs"}, "mode": "Observe", "keep": {"age": "6 months"},
        "partitions": {}, "export": {"destination": {"pvc": {"claimName": "exports"}}},
    });
    let hold =
        json!({"databaseRef": {"name": "db"}, "table": {"name": "costs"}, "range": {"from": "2026-02-01"}, "reason": "audit"});
    world.create("RetentionHold", "audit", hold).await;
    world.create("RetentionPolicy", "costs", spec.clone()).await;
    let desk = Desk::of(&world);
    let object =
        json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": "costs"}, "spec": spec});
    let file = desk.write("costs.yaml", &object.to_string()).display().to_string();
    world.start().await;
    let planned = world.wait("RetentionPolicy", "costs", "Ready", "True", "Planned").await;
    let ours = planned.data["status"]["plan"]["fingerprint"].as_str().unwrap().to_owned();
    let ways: [&[&str]; 2] = [&["plan", "-o", "json"], &["plan", "-o", "json", "-n", &world.namespace, "-f", &file]];
    for way in ways {
        assert_eq!(fingerprint(&desk.run(way).expect_code(0)), (ours.clone(), 2), "export and detach of the first month");
    }
    let ran = desk.run(&["plan"]).expect_code(0);
    assert!(ran.stdout.contains("costs_m02 on hold (RetentionHold "), "{}", ran.stdout);
}

/// Two months that have expired, one that has not, and a policy that exports to this bucket of the server.
async fn exporting(store: &versitygw::S3, bucket: &str) -> (World, Desk, String) {
    let world = World::new(17).await;
    let month = |name: &str, from: &str, to: &str| {
        format!("create table costs_{name} partition of costs for values from ('{from} 00:00+00') to ('{to} 00:00+00');")
    };
    let months = [("m01", "2026-01-01", "2026-02-01"), ("m02", "2026-02-01", "2026-03-01"), ("m11", "2026-11-01", "2026-12-01")];
    let months: String = months.iter().map(|(name, from, to)| month(name, from, to)).collect();
    let sql = format!(
        "create table costs (id bigint, at timestamptz not null) partition by range (at); {months} insert into costs values (1, '2026-01-05')"
    );
    world.as_owner(&sql).await;
    let s3 = json!({"bucket": bucket, "endpoint": store.endpoint, "credentialsSecretRef": {"name": "archive"},
        "caSecretRef": {"name": "archive-ca", "key": "ca.crt"}});
    let spec = json!({"databaseRef": {"name": "db"}, "table": {"name": "costs"}, "keep": {"age": "6 months"},
        "partitions": {"grace": "0s"}, "export": {"destination": {"s3": s3}}});
    let object =
        json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": "costs"}, "spec": spec});
    let desk = Desk::of(&world);
    let file = desk.write("costs.yaml", &object.to_string()).display().to_string();
    (world, desk, file)
}

#[tokio::test]
async fn what_opens_the_store_comes_from_the_cluster_as_the_connection_does() {
    let store = versitygw::S3::with_certificate();
    let bucket = store.bucket();
    let (world, desk, file) = exporting(&store, &bucket).await;
    let apply = ["apply", "--yes", "-n", &world.namespace, "-f", &file];
    let refused = |words: &str| {
        let ran = desk.run(&apply).expect_code(3);
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    };
    refused(&format!("Secret archive does not exist in namespace {}", world.namespace));
    let (id, key) = (versitygw::ACCESS_KEY, versitygw::SECRET_KEY);
    world.secret("archive", &json!({"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": key})).await;
    refused("Secret archive-ca does not exist");
    world.secret("archive-ca", &json!({"tls.crt": "another"})).await;
    refused("Secret archive-ca has no key ca.crt");
    world.delete_secret("archive-ca").await;
    world.secret("archive-ca", &json!({"ca.crt": store.ca()})).await;
    let ran = desk.run(&apply).expect_code(0);
    assert!(ran.stdout.contains("6 done, 0 left.") && !format!("{}{}", ran.stdout, ran.stderr).contains(key), "{}", ran.stdout);
    let manifests = store.files(&bucket).iter().filter(|name| name.ends_with("manifest.json")).count();
    assert_eq!(manifests, 2, "{:?}", store.files(&bucket));
}

#[tokio::test]
async fn archive_reads_the_clusters_secrets_and_holds_too() {
    let store = versitygw::S3::with_certificate();
    let bucket = store.bucket();
    let (world, desk, file) = exporting(&store, &bucket).await;
    let hold =
        json!({"databaseRef": {"name": "db"}, "table": {"name": "costs"}, "range": {"from": "2026-02-01"}, "reason": "audit"});
    world.create("RetentionHold", "audit", hold).await;
    let (id, key) = (versitygw::ACCESS_KEY, versitygw::SECRET_KEY);
    world.secret("archive", &json!({"accessKeyId": id, "secretAccessKey": key})).await;
    world.secret("archive-ca", &json!({"ca.crt": store.ca()})).await;
    let ran = desk.run(&["archive", "--yes", "-n", &world.namespace, "-f", &file]).expect_code(0);
    assert!(ran.stdout.contains("= done: drop costs_m01") && ran.stdout.contains("= keep costs_m02 on hold"), "{}", ran.stdout);
    assert_eq!(store.files(&bucket).iter().filter(|name| name.ends_with("manifest.json")).count(), 1);
    let ran = desk.run(&["archive", "--dry-run"]).expect_code(64);
    assert!(ran.stderr.contains("no policy is given"), "{}", ran.stderr);
}

#[tokio::test]
async fn what_the_operator_carries_out_needs_nobody_and_a_plan_changes_nothing() {
    let (world, desk) = world(json!({})).await;
    let ran = desk.run(&["plan", "--exit-code"]).expect_code(2);
    assert_eq!(ran.stderr.trim(), "The operator carries it out: nothing to do here.");
    assert!(ran.stdout.contains("+ create   events_y2027m01"), "{}", ran.stdout);
    let count = "select count(*) from pg_inherits where inhparent = 'events'::regclass";
    assert_eq!(world.database.superuser().await.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 1);
    let password = crate::support::postgres::Database::password(&world.roles.operator);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(&password));
}

#[tokio::test]
async fn an_approval_in_the_cluster_counts_and_one_in_a_file_does_not() {
    let manual = json!({"approval": "Manual"});
    let (world, desk) = world(manual).await;
    let (ours, _) = fingerprint(&desk.run(&["plan", "-o", "json"]).expect_code(0));
    let approve = json!({"metadata": {"annotations": {"pgreeve.dev/approve": ours}}});
    world.patch("PartitionPolicy", "events", approve).await;
    let live = views(&desk.run(&["plan", "-o", "json"]).expect_code(0)).remove(0);
    assert_eq!(live["policies"][0]["hold"], Value::Null);
    let exported = apiserver().kubectl_output(&["get", "ppol", "events", "-n", &world.namespace, "-o", "yaml"]);
    let path = desk.write("exported.yaml", &exported).display().to_string();
    let proposed = views(&desk.run(&["plan", "-f", &path, "-o", "json"]).expect_code(0)).remove(0);
    assert_eq!(proposed["policies"][0]["fingerprint"], json!(ours));
    assert_eq!(proposed["policies"][0]["hold"]["reason"], "ApprovalPending");
}

#[tokio::test]
async fn what_is_suspended_is_planned_and_said_to_be_suspended() {
    let (world, desk) = world(json!({"suspend": true})).await;
    let ran = desk.run(&["plan"]).expect_code(0);
    assert!(ran.stdout.contains("= hold     spec.suspend is true, so nothing is changed   [Suspended]"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("+ create   events_y2026m12") && !ran.stderr.contains("operator"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    world.patch("PartitionPolicy", "events", json!({"spec": {"suspend": false}})).await;
    world.patch("PostgresDatabase", "db", json!({"spec": {"suspend": true}})).await;
    let ran = desk.run(&["plan"]).expect_code(0);
    assert!(
        ran.stdout.contains("spec.suspend of PostgresDatabase db is true, so nothing is changed   [Suspended]"),
        "{}",
        ran.stdout
    );
    let ran = desk.run(&["check"]).expect_code(0);
    assert!(ran.stdout.contains("spec.suspend of PostgresDatabase db is true"), "{}", ran.stdout);
}

#[tokio::test]
async fn the_databases_of_a_namespace_are_planned_in_turn_and_a_broken_one_harms_no_other() {
    let (world, desk) = world(json!({})).await;
    let connection = json!({"connection": {"secretRef": {"name": "db"}, "tls": {"mode": "Disable"}}});
    world.create("PostgresDatabase", "again", connection).await;
    world.create("PartitionPolicy", "again", events(json!({"databaseRef": {"name": "again"}}))).await;
    let names =
        |ran: &Ran| views(ran).iter().map(|view| view["database"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let both = ["again", "db"].map(|name| format!("{}/{name}", world.namespace));
    assert_eq!(names(&desk.run(&["plan", "-o", "json"]).expect_code(0)), both);
    assert_eq!(names(&desk.run(&["plan", "--database", "db", "-o", "json"]).expect_code(0)), both[1..]);
    world.create("PartitionPolicy", "lost", events(json!({"databaseRef": {"name": "a-lost-one"}}))).await;
    let ran = desk.run(&["plan", "-o", "json"]).expect_code(4);
    assert_eq!(names(&ran), both);
    assert!(ran.stderr.contains(&format!("PostgresDatabase {}/a-lost-one does not exist", world.namespace)), "{}", ran.stderr);
    let ran = desk.run_with_url(&world, &["plan"]).expect_code(64);
    assert!(ran.stderr.contains("(a-lost-one, again, db), and a URL leads to one"), "{}", ran.stderr);
    desk.run_with_url(&world, &["plan", "--database", "db"]).expect_code(0);
    let ran = desk.run(&["check", "-o", "json"]).expect_code(4);
    let checks = views(&ran).remove(0);
    let of = |name: &String| checks["checks"].as_array().unwrap().iter().filter(|line| line["database"] == json!(name)).count();
    assert!(both.iter().all(|name| of(name) > 5), "{checks}");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_named_and_harms_no_other() {
    let (world, desk) = world(json!({})).await;
    world.create("PartitionPolicy", "other", events(json!({}))).await;
    let path = format!("partitionpolicies/{}/other", world.namespace);
    apiserver().rewrite_stored(&path, |object| object["spec"]["interval"] = json!({"months": 1})).await;
    let ran = desk.run(&["plan"]).expect_code(1);
    assert!(ran.stderr.contains(&format!("PartitionPolicy {}/other is left out: ", world.namespace)), "{}", ran.stderr);
    assert!(ran.stdout.contains("+ create   events_y2027m01"), "{}", ran.stdout);
}

#[tokio::test]
async fn check_looks_at_a_database_without_policies_too() {
    let world = World::new(16).await;
    let desk = Desk::of(&world);
    let ran = desk.run(&["check"]).expect_code(0);
    assert!(ran.stdout.starts_with(&format!("Database {}/db\nok ", world.namespace)), "{}", ran.stdout);
    desk.run(&["check", "--database", "none"]).expect_code(4);
    // A URL alone is about its server alone, and no cluster is asked.
    desk.change(|kubeconfig| kubeconfig["current-context"] = json!("gone"));
    desk.run_with_url(&world, &["check"]).expect_code(0);
}
