//! Does `validate` say what the API server would say, and where?

use serde_json::Value;

use crate::program::{Ran, pgreeve, run, run_with};
use crate::support::bad_input::{Case, bases, cases};

fn validate(text: &str) -> Ran {
    run_with(pgreeve(&["validate", "-"]), text)
}

#[test]
fn every_example_is_valid() {
    let ran = run(pgreeve(&["validate", "examples"])).expect_code(0);
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap().count();
    assert_eq!(ran.stdout.lines().filter(|line| line.ends_with("  ok")).count(), files, "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[test]
fn what_the_server_takes_is_taken_and_what_it_refuses_is_refused() {
    let text = |object: &Value| serde_json::to_string(object).unwrap();
    for base in bases() {
        validate(&text(&base)).expect_code(0);
    }
    let wrong = |case: &Case| {
        let ran = validate(&text(&case.object));
        let said: String = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let lacking: Vec<&String> = case.says.iter().filter(|fragment| !said.contains(*fragment)).collect();
        let is_wrong = ran.code != 1 || !lacking.is_empty();
        is_wrong.then(|| format!("{} ({:?}): code {}, lacks {lacking:?}:\n{}", case.field, case.by, ran.code, ran.stderr))
    };
    // Each is a run of the program, which reads all schemas: as many at a time as there are processors.
    let cases = cases();
    let at_a_time = std::thread::available_parallelism().unwrap().get();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let share = cases.len().div_ceil(at_a_time);
        let shares: Vec<_> =
            cases.chunks(share).map(|share| scope.spawn(|| share.iter().filter_map(wrong).collect::<Vec<_>>())).collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// An error names file and line, object, field, value and remedy.
#[test]
fn an_error_says_where_what_and_what_to_do() {
    let text = "\
apiVersion: pgreeve.dev/v1alpha1
kind: PartitionPolicy
metadata:
  name: events
  namespace: shop
spec:
  databaseRef: {name: orders-db}
  table: {name: events}
  key: {column: created_at}
  interval: 1 fortnight
  create:
    ahead: 1001
  timezone: Europe/Berlin
";
    let ran = validate(text).expect_code(1);
    insta::assert_snapshot!(ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_rule_and_a_meaning_are_explained_too() {
    let policy = |spec: &str| {
        format!(
            "apiVersion: pgreeve.dev/v1alpha1\nkind: PartitionPolicy\nmetadata: {{name: a}}\nspec:\n  databaseRef: {{name: b}}\n  table: {{name: t}}\n  key: {{column: id}}\n{spec}---\n"
        )
    };
    let text = policy("  interval: '1000'\n  create:\n    horizon: 60 days\n")
        + &policy("  interval: 1 month\n  timeZone: Europe/Nowhere\n")
        + &policy(
            "  interval: 1 month\n  window:\n  - {schedule: 0 1 * * *, duration: 1h}\n  - {schedule: 0 25 * * *, duration: 1h}\n",
        );
    insta::assert_snapshot!(validate(&text).expect_code(1).stderr);
}

#[test]
fn objects_of_others_are_skipped_and_lists_are_opened() {
    let text = "\
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
- apiVersion: pgreeve.dev/v1alpha1
  kind: PostgresDatabase
  metadata: {name: a}
  spec: {connection: {secretRef: {nam: b}}}
";
    let ran = validate(text).expect_code(1);
    assert!(ran.stderr.contains("stdin:4: skipped: Deployment of apps/v1"), "{}", ran.stderr);
    assert!(ran.stderr.contains("[stdin:9:"), "{}", ran.stderr);
    assert!(ran.stderr.contains("did you mean name?"), "{}", ran.stderr);
}

#[test]
fn the_result_as_json_has_a_version_and_the_errors_with_their_lines() {
    let text =
        "apiVersion: pgreeve.dev/v1alpha1\nkind: PostgresDatabase\nmetadata: {name: a}\nspec: {connection: {secretRef: {}}}\n";
    let ran = run_with(pgreeve(&["validate", "-o", "json", "-"]), text).expect_code(1);
    let result: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(result["formatVersion"], "1");
    let error = &result["objects"][0]["errors"][0];
    assert_eq!(error["field"], "spec.connection.secretRef.name");
    assert_eq!((error["line"].as_i64(), error["by"].as_str()), (Some(4), Some("Schema")));
}

#[test]
fn what_is_no_yaml_and_what_is_not_there_is_an_error() {
    let ran = validate("a: [1\n").expect_code(1);
    assert!(ran.stderr.contains("did not find expected"), "{}", ran.stderr);
    let ran = run(pgreeve(&["validate", "no/such/file.yaml"])).expect_code(1);
    assert!(ran.stderr.contains("no/such/file.yaml: no such file"), "{}", ran.stderr);
    run(pgreeve(&["validate"])).expect_code(64);
    run(pgreeve(&["validat", "x"])).expect_code(64);
}

#[test]
fn the_help_shows_the_exit_codes() {
    let ran = run(pgreeve(&["--help"])).expect_code(0);
    assert!(ran.stdout.contains("Exit codes:\n  0   done"), "{}", ran.stdout);
}
