//! Do the tools that people use on Kubernetes objects understand ours?

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::apiserver::{apiserver, program};
use crate::world::World;

fn events(more: Value) -> Value {
    let mut spec = json!({
        "databaseRef": {"name": "db"}, "table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 month", "create": {"ahead": 1},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

const TABLE: &str = "create table events (id bigint, at timestamptz not null) partition by range (at)";

/// What kstatus itself, by which Flux and others judge, says of an object.
async fn kstatus(world: &World, kind: &str, name: &str) -> String {
    let object = serde_json::to_vec(&world.api(kind).get(name).await.unwrap()).unwrap();
    let mut judge = std::process::Command::new(program("kstatus"));
    let mut judge = judge.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    judge.stdin.take().unwrap().write_all(&object).unwrap();
    let verdict = String::from_utf8(judge.wait_with_output().unwrap().stdout).unwrap();
    verdict.split('\t').next().unwrap().to_owned()
}

#[tokio::test]
async fn kstatus_says_current_in_progress_and_failed_as_the_conditions_mean_it() {
    let mut world = World::new(15).await;
    world.as_owner(TABLE).await;
    world.create("PartitionPolicy", "ready", events(json!({}))).await;
    world.create("PartitionPolicy", "waits-for-approval", events(json!({"approval": "Manual", "create": {"ahead": 3}}))).await;
    world.create("PartitionPolicy", "stalled", events(json!({"table": {"name": "missing"}}))).await;
    world.create("PartitionPolicy", "suspended", events(json!({"suspend": true}))).await;
    // Nobody listens there: it is tried again by itself.
    let nowhere = json!({"host": "127.0.0.1", "port": "1", "dbname": "d", "username": "u", "password": "p"});
    world.secret("nowhere", &nowhere).await;
    let connection = json!({"connection": {"secretRef": {"name": "nowhere"}, "tls": {"mode": "Disable"}}});
    world.create("PostgresDatabase", "unreachable", connection).await;
    world.create("PartitionPolicy", "waiting", events(json!({"databaseRef": {"name": "unreachable"}}))).await;
    world.start().await;
    for (kind, name, condition, reason, expected) in [
        ("PostgresDatabase", "db", "Ready", "Connected", "Current"),
        ("PostgresDatabase", "unreachable", "Reconciling", "Unreachable", "InProgress"),
        ("PartitionPolicy", "ready", "Ready", "UpToDate", "Current"),
        ("PartitionPolicy", "waits-for-approval", "Ready", "ApprovalPending", "Current"),
        ("PartitionPolicy", "suspended", "Ready", "Suspended", "Current"),
        ("PartitionPolicy", "stalled", "Stalled", "TableNotFound", "Failed"),
        ("PartitionPolicy", "waiting", "Reconciling", "DatabaseNotReady", "InProgress"),
    ] {
        world.wait(kind, name, condition, "True", reason).await;
        assert_eq!(kstatus(&world, kind, name).await, expected, "{kind} {name}");
    }
}

#[tokio::test]
async fn an_edited_object_is_in_progress_until_its_new_generation_was_looked_at() {
    let mut world = World::new(15).await;
    world.as_owner(TABLE).await;
    world.create("PartitionPolicy", "events", events(json!({}))).await;
    world.start().await;
    world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    world.stop().await;
    world.patch("PartitionPolicy", "events", json!({"spec": {"create": {"ahead": 2}}})).await;
    assert_eq!(kstatus(&world, "PartitionPolicy", "events").await, "InProgress");
    world.start().await;
    let object = world.wait("PartitionPolicy", "events", "Ready", "True", "UpToDate").await;
    assert_eq!(object.data["status"]["partitions"]["count"], 3);
    assert_eq!(kstatus(&world, "PartitionPolicy", "events").await, "Current");
}

#[tokio::test]
async fn kubectl_wait_returns_when_an_object_is_ready_and_get_shows_what_an_on_call_needs() {
    let mut world = World::new(15).await;
    world.as_owner(TABLE).await;
    world.create("PartitionPolicy", "events", events(json!({}))).await;
    world.start().await;
    let namespace = world.namespace.clone();
    let kubectl = async |arguments: &str| {
        let arguments = format!("-n {namespace} {arguments}");
        let run = move || apiserver().kubectl_output(&arguments.split_whitespace().collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    kubectl("wait --for=condition=Ready --timeout=30s ppol/events pgdb/db").await;
    let policies = words(&kubectl("get ppol").await);
    assert_eq!(policies[0], ["NAME", "READY", "TABLE", "PARTITIONS", "COVERED UNTIL", "DEFAULT ROWS", "AGE"]);
    assert_eq!(policies[1][..5], ["events", "True", "events", "2", "2027-01-01T00:00:00Z"]);
    let databases = words(&kubectl("get pgdb").await);
    assert_eq!(databases[0], ["NAME", "READY", "VERSION", "DATABASE", "ROLE", "POLICIES", "AGE"]);
    assert_eq!(databases[1][..2], ["db", "True"]);
    assert_eq!(databases[1][3..6], [world.database.name.clone(), world.roles.operator.clone(), "1".into()]);
    let wide = kubectl("get ppol -o wide").await;
    assert!(wide.contains("STATUS") && wide.contains("2 partitions of public.events"), "{wide}");
    let category = kubectl("get pgreeve -o name").await;
    assert!(category.contains("/events") && category.contains("/db"), "{category}");
}

/// Columns are at least three blanks apart; a name may hold one.
fn words(table: &str) -> Vec<Vec<String>> {
    table
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect())
        .collect()
}

#[tokio::test]
async fn kubectl_explain_has_text_for_every_field() {
    let documents = apiserver().kubectl_output(&["get", "--raw", "/openapi/v3/apis/pgreeve.dev/v1alpha1"]);
    let documents: Value = serde_json::from_str(&documents).unwrap();
    let schemas = documents["components"]["schemas"].as_object().unwrap();
    let ours = schemas.iter().filter(|(name, _)| name.starts_with("dev.pgreeve.") && !name.ends_with("List"));
    let mut silent = Vec::new();
    let mut count = 0;
    for (name, schema) in ours {
        for part in ["spec", "status"] {
            count += walk(&schema["properties"][part], &format!("{name}.{part}"), &mut silent);
        }
    }
    assert!(silent.is_empty() && count > 100, "{count} fields, without text: {silent:?}");
    let explained = apiserver().kubectl_output(&["explain", "ppol.spec.create.horizon"]);
    assert!(explained.contains("FIELD: horizon <string>") && explained.contains("DESCRIPTION:\n    "), "{explained}");
}

/// How many fields there are; those without a description are added to `silent`.
fn walk(schema: &Value, path: &str, silent: &mut Vec<String>) -> usize {
    if schema["description"].as_str().is_none_or(|text| text.trim().is_empty()) {
        silent.push(path.to_owned());
    }
    let items = &schema["items"]["properties"];
    let properties = schema["properties"].as_object().into_iter().chain(items.as_object()).flatten();
    1 + properties.map(|(name, property)| walk(property, &format!("{path}.{name}"), silent)).sum::<usize>()
}
