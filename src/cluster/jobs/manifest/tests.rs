//! Is a Job what its owner, its task and its settings say, and nothing more?

use serde_json::{Value, json};

use super::*;
use crate::api::postgres_database::Connection;

fn owner(name: &str) -> Owner {
    Owner {
        api_version: "pgreeve.dev/v1alpha1".into(),
        kind: "RetentionPolicy".into(),
        namespace: "shop".into(),
        name: name.into(),
        uid: "0d5d4a3c-0000-4000-8000-000000000001".into(),
    }
}

fn image() -> Image {
    Image { name: "registry.example/pgreeve:1.2.3".into(), ..Image::default() }
}

fn task(destination: Value, settings: Value) -> Task {
    serde_json::from_value(json!({
        "version": 1,
        "object": {"kind": "RetentionPolicy", "namespace": "shop", "name": "events"},
        "database": "orders",
        "connection": {"secretRef": {"name": "orders-app"}, "tls": {"caSecretRef": {"name": "ca"}}},
        "limits": {},
        "action": {
            "action": "exportPartition",
            "parent": {"oid": 1, "schema": "public", "name": "events"},
            "partition": {"oid": 2, "schema": "public", "name": "events_y2025m01"},
            "bound": "FOR VALUES FROM ('2025-01-01') TO ('2025-02-01')",
            "role": "owner",
            "destination": destination,
            "format": "Parquet", "compression": "Zstd",
            "job": settings,
        },
    }))
    .unwrap()
}

fn plain() -> Task {
    task(json!({"s3": {"bucket": "archive"}}), json!({}))
}

fn built(task: &Task) -> Value {
    serde_json::to_value(build(&owner("events"), task, &image()).unwrap()).unwrap()
}

#[test]
fn the_whole_job() {
    let destination = json!({"s3": {"bucket": "archive", "credentialsSecretRef": {"name": "store"},
        "caSecretRef": {"name": "store-ca"}}});
    let settings = json!({"serviceAccountName": "exporter", "cpu": "500m", "memory": "1Gi",
        "nodeSelector": [{"name": "disk", "value": "fast"}], "activeDeadline": "2h"});
    let image = Image { pull_secrets: vec!["registry".into()], pull_policy: Some("Always".into()), ..image() };
    let job = build(&owner("events"), &task(destination, settings), &image).unwrap();
    insta::assert_snapshot!(serde_yaml::to_string(&job).unwrap());
}

#[test]
fn a_pod_that_runs_a_server_gets_room_for_it_unless_somebody_says_otherwise() {
    let memory = |level: &str, settings: Value| {
        let stored = json!({"destination": {"s3": {"bucket": "archive"}}, "directory": "db/b-1"});
        let action =
            json!({"action": "verifyBackup", "backup": "b", "stored": stored, "level": level, "major": 15, "job": settings});
        let task = Task { action: serde_json::from_value(action).unwrap(), ..plain() };
        built(&task)["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"].clone()
    };
    assert_eq!(memory("Catalog", json!({})), "256Mi");
    assert_eq!(memory("Restore", json!({})), "512Mi");
    assert_eq!(memory("Restore", json!({"memory": "2Gi"})), "2Gi");
}

#[test]
fn an_image_of_ones_own_gets_our_program_and_tolerations_are_taken_over() {
    let settings = json!({"image": "registry.example/tools:15",
        "tolerations": [{"key": "backup", "value": "yes", "effect": "NoSchedule"}, {"key": "spot"}]});
    let pod = &built(&task(json!({"s3": {"bucket": "archive"}}), settings))["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "registry.example/tools:15");
    assert_eq!(pod["containers"][0]["command"], json!(["/var/run/pgreeve/bin/pgreeve"]));
    assert_eq!(pod["initContainers"][0]["image"], "registry.example/pgreeve:1.2.3");
    assert_eq!(pod["initContainers"][0]["args"], json!(["job", "--install", "/var/run/pgreeve/bin"]));
    let expected = json!([{"key": "backup", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}, {"key": "spot", "operator": "Exists"}]);
    assert_eq!(pod["tolerations"], expected);
}

#[test]
fn a_restore_test_has_its_tools_its_room_and_no_way_to_the_database() {
    let mut task = plain();
    task.action = serde_json::from_value(json!({
        "action": "verifyBackup", "backup": "nightly-1", "level": "Restore", "major": 16,
        "stored": {"destination": {"s3": {"bucket": "b", "credentialsSecretRef": {"name": "store"}}}, "directory": "shop/nightly-1", "identity": {"name": "age"}},
        "scratch": {"ephemeral": {"size": "20Gi"}}, "job": {},
    }))
    .unwrap();
    let job = built(&task);
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "docker.io/library/postgres:16");
    let text = pod["volumes"].to_string();
    assert!(text.contains("\"age\"") && text.contains("20Gi") && !text.contains("orders-app"), "{text}");
    let passwd = &job["spec"]["template"]["metadata"]["annotations"]["pgreeve.dev/passwd"];
    assert_eq!(passwd, "pgreeve:x:65532:65532::/tmp:/sbin/nologin\n");
}

#[test]
fn its_pod_reads_its_task_as_it_was_written() {
    let mut task = plain();
    task.object.name = "a$(PATH)$$b".into();
    let value = built(&task)["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap().to_owned();
    // As Kubernetes expands it: no $(NAME) is left that is not escaped.
    assert!(value.contains("a$$(PATH)$$$$b"));
    assert_eq!(serde_json::from_str::<Task>(&value.replace("$$", "$")).unwrap(), task);
}

#[test]
fn a_task_too_long_for_a_pod_is_refused() {
    let mut task = plain();
    task.object.name = "x".repeat(TASK_LIMIT);
    let refused = build(&owner("events"), &task, &image()).unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidSpec);
    assert!(refused.message.contains("100 KiB long") || refused.message.contains("KiB long"), "{}", refused.message);
}

#[test]
fn an_action_that_is_no_task_gets_no_job() {
    let mut task = plain();
    task.action = serde_json::from_value(json!({"action": "createExtension", "name": "pg_trgm"})).unwrap();
    assert!(build(&owner("events"), &task, &image()).unwrap_err().message.contains("no task"));
}

#[test]
fn the_same_wish_has_the_same_name_and_any_other_another() {
    let (owner, task) = (owner("events"), plain());
    let of = |owner: &Owner, task: &Task| name(owner, &task.database, &task.action);
    let usual = of(&owner, &task);
    assert_eq!(usual, of(&owner, &task.clone()));
    let connection = task.connection.clone().map(|connection| Connection { host: Some("other".into()), ..connection });
    let moved = Task { connection, ..task.clone() };
    assert_eq!(usual, of(&owner, &moved), "another host is no other task");
    let recreated = Owner { uid: "another".into(), ..owner.clone() };
    let elsewhere = Task { database: "other".into(), ..task.clone() };
    let bigger = self::task(json!({"s3": {"bucket": "archive"}}), json!({"memory": "1Gi"}));
    for other in [of(&recreated, &task), of(&owner, &elsewhere), of(&owner, &bigger)] {
        assert_ne!(usual, other);
    }
}

#[test]
fn no_name_is_too_long_or_odd_for_what_kubernetes_makes_of_it() {
    for long in ["events", &"a.b-".repeat(60), &"x".repeat(253), "a.very.long-name.with.a-dot-at.character24"] {
        let (owner, task) = (owner(long), Task { database: long.to_owned(), ..plain() });
        let job = build(&owner, &task, &image()).unwrap();
        let name = job.metadata.name.unwrap();
        // A Pod of a Job has six characters more, and its name becomes a host name of at most 63.
        assert!(name.len() <= 57 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        for value in job.metadata.labels.unwrap().into_values() {
            let ends = value.chars().last().is_some_and(|c| c.is_ascii_alphanumeric());
            assert!(value.len() <= 63 && ends, "{value}");
        }
    }
    assert_ne!(label_value(&"x".repeat(64)), label_value(&"x".repeat(65)));
}

#[test]
fn only_named_keys_of_named_secrets_are_mounted_and_none_must_be_there() {
    let azure = json!({"azure": {"account": "acc", "container": "archive", "credentialsSecretRef": {"name": "az"}}});
    let volumes = built(&task(azure, json!({})))["spec"]["template"]["spec"]["volumes"].clone();
    let sources = volumes[0]["projected"]["sources"].as_array().unwrap().clone();
    assert_eq!(sources.iter().map(|s| s["secret"]["name"].as_str().unwrap()).collect::<Vec<_>>(), ["orders-app", "ca", "az"]);
    for source in sources {
        assert!(!source["secret"]["items"].as_array().unwrap().is_empty(), "without items every key is mounted");
        assert_eq!(source["secret"]["optional"], json!(true));
    }
    let bare = built(&plain());
    assert!(!bare.to_string().contains("store/"), "no credentials are named, so none are mounted");
}

#[test]
fn a_volume_is_mounted_whole_where_objects_go_to_one() {
    let job = built(&task(json!({"pvc": {"claimName": "exports", "path": "shop"}}), json!({})));
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][2]["persistentVolumeClaim"]["claimName"], "exports");
    assert_eq!(pod["containers"][0]["volumeMounts"][2], json!({"name": "volume", "mountPath": mounts::VOLUME}));
}

#[test]
fn a_deadline_without_a_fixed_length_is_refused() {
    let task = task(json!({"s3": {"bucket": "archive"}}), json!({"activeDeadline": "1 month"}));
    assert!(build(&owner("events"), &task, &image()).unwrap_err().message.contains("activeDeadline"));
}

#[test]
fn a_job_can_be_asked_what_it_was_told() {
    let task = task(json!({"pvc": {"claimName": "$(HOME) or $$2"}}), json!({}));
    let mut job = build(&owner("events"), &task, &image()).unwrap();
    assert_eq!(told(&job), Some(task));
    job.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].env = None;
    assert_eq!(told(&job), None);
}
