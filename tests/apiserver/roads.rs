//! What does the command line say where a way to policies or to their database is closed?

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::program::pgreeve;
use crate::support::apiserver::apiserver;
use crate::support::postgres::Database;
use crate::support::process::free_port;
use crate::world::World;

/// A policy of a table; it need not be there, where the database is not reached.
fn policy() -> Value {
    json!({"databaseRef": {"name": "db"}, "table": {"name": "events"}, "key": {"column": "at"}, "interval": "1 month"})
}

async fn world() -> (World, Desk) {
    let world = World::new(16).await;
    world.create("PartitionPolicy", "events", policy()).await;
    let desk = Desk::of(&world);
    (world, desk)
}

/// Lets an account of this name do these things in the namespace, and the desk be that account's.
async fn become_account(world: &World, desk: &Desk, name: &str, rules: Value) {
    let token = apiserver().token_of(&world.namespace, name).await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules});
    let path = desk.write("role.yaml", &role.to_string()).display().to_string();
    let namespace = world.namespace.as_str();
    apiserver().kubectl_output(&["apply", "-n", namespace, "-f", &path]);
    let (role, account) = (format!("--role={name}"), format!("--serviceaccount={namespace}:{name}"));
    apiserver().kubectl_output(&["create", "rolebinding", name, "-n", namespace, &role, &account]);
    desk.change(|kubeconfig| kubeconfig["users"][0]["user"] = json!({"token": token}));
}

#[tokio::test]
async fn without_files_and_without_a_cluster_both_ways_are_named() {
    let ways =
        ["-f", "PGREEVE_DATABASE_URL", "--database-url-env", "KUBECONFIG", "--context", "tried: ", "/nonexistent/kubeconfig"];
    for command in ["plan", "check"] {
        let ran = crate::program::run(pgreeve(&[command])).expect_code(64);
        assert!(ways.iter().all(|way| ran.stderr.contains(way)), "{}", ran.stderr);
    }
    let ran = crate::program::run(pgreeve(&["plan", "-f", "examples/partition-policy-chat-history.yaml"])).expect_code(64);
    assert!(ways[1..].iter().all(|way| ran.stderr.contains(way)), "{}", ran.stderr);
}

#[tokio::test]
async fn a_context_can_be_chosen_and_one_that_is_unknown_is_wrong_usage() {
    let (world, desk) = world().await;
    world.as_owner("create table events (at timestamptz not null) partition by range (at)").await;
    desk.change(|kubeconfig| kubeconfig["current-context"] = json!("gone"));
    let ran = desk.run(&["plan"]).expect_code(64);
    assert!(ran.stderr.contains("gone") && ran.stderr.contains("--context"), "{}", ran.stderr);
    desk.run(&["plan", "--context", "tests"]).expect_code(0);
    let ran = desk.run(&["plan", "--context", "nowhere"]).expect_code(64);
    assert!(ran.stderr.contains("the kubeconfig has no context nowhere; it has: tests"), "{}", ran.stderr);
    let file = "examples/partition-policy-chat-history.yaml";
    let ran = desk.run_with_url(&world, &["plan", "--context", "tests", "-f", file]).expect_code(64);
    assert!(ran.stderr.contains("--context has nothing to do"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_namespace_without_policies_is_an_error_and_a_database_without_them_wrong_usage() {
    let (world, desk) = world().await;
    let ran = desk.run(&["plan", "-n", "kube-system"]).expect_code(1);
    assert!(ran.stderr.contains("namespace kube-system of context tests holds no PartitionPolicy"), "{}", ran.stderr);
    let ran = desk.run(&["plan", "--database", "none"]).expect_code(64);
    let expected = format!("no policy in namespace {} of context tests refers to a PostgresDatabase none", world.namespace);
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    desk.run(&["check", "-n", "kube-system"]).expect_code(1);
}

#[tokio::test]
async fn a_secret_that_is_missing_or_incomplete_is_no_connection() {
    let (world, desk) = world().await;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    secrets.delete("db", &DeleteParams::default()).await.unwrap();
    let ran = desk.run(&["plan"]).expect_code(4);
    let expected = format!("PostgresDatabase db: Secret db does not exist in namespace {}", world.namespace);
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    world.secret("db", &json!({"host": "h", "password": "hunter2"})).await;
    let ran = desk.run(&["check"]).expect_code(4);
    assert!(ran.stderr.contains("Secret db has no key dbname") && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_is_no_connection() {
    let (_world, desk) = world().await;
    let address = format!("https://127.0.0.1:{}", free_port());
    desk.change(|kubeconfig| kubeconfig["clusters"][0]["cluster"]["server"] = json!(address));
    let ran = desk.run(&["plan"]).expect_code(4);
    assert!(ran.stderr.contains("listing partitionpolicies") && ran.stderr.contains("Connection refused"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_service_that_only_the_cluster_reaches_comes_with_the_way_around() {
    let world = World::bare(Database::create(16).await).await;
    let secret = json!({"host": "chat-rw", "dbname": "chat", "username": "app", "password": "hunter2"});
    world.secret("db", &secret).await;
    world.create("PostgresDatabase", "db", json!({"connection": {"secretRef": {"name": "db"}}})).await;
    world.create("PartitionPolicy", "events", policy()).await;
    let ran = Desk::of(&world).run(&["plan"]).expect_code(4);
    let forward = format!("kubectl port-forward -n {} service/chat-rw 5432:5432", world.namespace);
    assert!(ran.stderr.contains(&forward), "{}", ran.stderr);
    assert!(ran.stderr.contains("PGREEVE_DATABASE_URL=postgresql://app@127.0.0.1:5432/chat"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_right_that_lacks_is_named_with_its_object() {
    let (world, desk) = world().await;
    let namespace = &world.namespace;
    let ours = |verbs: Value| json!({"apiGroups": ["pgreeve.dev"], "resources": ["partitionpolicies", "retentionpolicies", "postgresdatabases"], "verbs": verbs});
    become_account(&world, &desk, "nobody", json!([])).await;
    let ran = desk.run(&["plan", "-n", namespace]).expect_code(4);
    assert!(ran.stderr.contains("partitionpolicies") && ran.stderr.contains("forbidden"), "{}", ran.stderr);
    become_account(&world, &desk, "lister", json!([ours(json!(["list"]))])).await;
    let ran = desk.run(&["plan"]).expect_code(4);
    assert!(
        ran.stderr.contains(&format!("PostgresDatabase {namespace}/db")) && ran.stderr.contains("forbidden"),
        "{}",
        ran.stderr
    );
    become_account(&world, &desk, "reader", json!([ours(json!(["list", "get"]))])).await;
    let ran = desk.run(&["plan"]).expect_code(4);
    let expected = format!(
        "PostgresDatabase db: Secret db may not be read with this account; let its Role get Secrets in namespace {namespace}"
    );
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    // With a URL no Secret is read.
    world.as_owner("create table events (at timestamptz not null) partition by range (at)").await;
    desk.run_with_url(&world, &["plan"]).expect_code(0);
}

#[tokio::test]
async fn what_is_in_a_cluster_is_not_applied_from_here() {
    let (_world, desk) = world().await;
    let ran = desk.run(&["apply", "--yes"]).expect_code(64);
    assert!(ran.stderr.contains("carried out by its operator"), "{}", ran.stderr);
    assert!(ran.stderr.contains("kubectl annotate partitionpolicy NAME pgreeve.dev/approve=FINGERPRINT"), "{}", ran.stderr);
}

#[tokio::test]
async fn files_are_applied_where_the_postgresdatabase_of_the_cluster_leads() {
    let (world, desk) = world().await;
    world.as_owner("create table events (at timestamptz not null) partition by range (at)").await;
    let object = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": "PartitionPolicy", "metadata": {"name": "events"}, "spec": policy()});
    let path = desk.write("events.yaml", &object.to_string()).display().to_string();
    let ran = desk.run(&["plan", "-f", &path, "-n", &world.namespace, "--context", "tests"]).expect_code(0);
    let next = ran.stderr.lines().find_map(|line| line.strip_prefix("Next: pgreeve ")).unwrap();
    assert!(next.contains(&format!(" -n {} --context tests", world.namespace)), "{next}");
    let arguments: Vec<&str> = next.split_whitespace().collect();
    // The moment is in the line already.
    let arguments: Vec<&str> = arguments.iter().copied().filter(|word| *word != "--as-of" && *word != crate::desk::NOW).collect();
    desk.run(&arguments).expect_code(0);
    desk.run(&["plan", "--exit-code"]).expect_code(0);
}

#[tokio::test]
async fn a_postgresdatabase_of_the_files_leads_with_the_secrets_of_the_cluster() {
    let (world, desk) = world().await;
    world.as_owner("create table events (at timestamptz not null) partition by range (at)").await;
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut policy = policy();
    policy["databaseRef"]["name"] = json!("proposed");
    let connection =
        json!({"connection": {"secretRef": {"name": "db"}, "tls": {"mode": "Disable"}}, "limits": {"lockTimeout": "7s"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        object("PartitionPolicy", "events", policy), object("PostgresDatabase", "proposed", connection),
    ]});
    let path = desk.write("both.yaml", &list.to_string()).display().to_string();
    let ran = desk.run(&["plan", "-f", &path, "-n", &world.namespace]).expect_code(0);
    assert!(ran.stdout.contains("lock budget 7s"), "{}", ran.stdout);
    desk.run(&["plan", "-f", &path, "-n", "kube-system"]).expect_code(4);
}
