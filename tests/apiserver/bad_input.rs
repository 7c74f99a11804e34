//! Is every wrong value refused by the API server, with a message that says which and why?

use std::collections::BTreeSet;

use kube::Client;
use kube::core::Status;
use serde_json::Value;

use crate::support::apiserver::apiserver;
use crate::support::bad_input::{By, bases, cases, fields};

/// What the API server says to this object as kubectl would send it; nothing is stored.
async fn verdict(client: &Client, namespace: &str, object: &Value) -> Result<(), Status> {
    let kind = object["kind"].as_str().unwrap();
    let crd = pgreeve::api::crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let path = format!("/apis/pgreeve.dev/v1alpha1/namespaces/{namespace}/{}", crd.spec.names.plural);
    let request = http::Request::post(format!("{path}?dryRun=All&fieldValidation=Strict"))
        .header("Content-Type", "application/json")
        .body(serde_json::to_vec(object).unwrap())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(*status),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_case_is_refused_with_a_message_that_names_the_field() {
    let client = apiserver().admin().await;
    let namespace = apiserver().namespace(&client).await;
    for base in bases() {
        verdict(&client, &namespace, &base).await.unwrap();
    }
    let mut wrong = Vec::new();
    for case in cases() {
        match (case.by, verdict(&client, &namespace, &case.object).await) {
            (By::Server, Err(status)) if case.says.iter().all(|fragment| status.message.contains(fragment)) => {}
            (By::Meaning, Ok(())) => {}
            (by, verdict) => {
                wrong.push(format!("{} is for {by:?} to refuse with {:?}; the answer: {verdict:?}", case.field, case.says))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_example_is_taken() {
    let client = apiserver().admin().await;
    let namespace = apiserver().namespace(&client).await;
    let mut kinds = BTreeSet::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        for document in serde_yaml::Deserializer::from_str(&std::fs::read_to_string(&path).unwrap()) {
            let object: Value = serde::Deserialize::deserialize(document).unwrap();
            let taken = verdict(&client, &namespace, &object).await;
            taken.unwrap_or_else(|status| panic!("{}: {}", path.display(), status.message));
            kinds.insert(object["kind"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(kinds, pgreeve::api::crds().into_iter().map(|crd| crd.spec.names.kind).collect(), "a kind without an example");
}

#[test]
fn every_field_of_every_kind_has_a_wrong_value() {
    for crd in pgreeve::api::crds() {
        let kind = &crd.spec.names.kind;
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let tried: BTreeSet<String> =
            cases().into_iter().filter(|case| case.object["kind"] == **kind).map(|case| without_indexes(&case.field)).collect();
        let missing: Vec<String> =
            fields(&schema["openAPIV3Schema"]).into_iter().filter(|field| !tried.contains(field)).collect();
        assert!(missing.is_empty(), "tests/bad-input has no case for these fields of {kind}: {missing:?}");
    }
}

fn without_indexes(field: &str) -> String {
    field.chars().filter(|c| !c.is_ascii_digit() || !field.contains('[')).collect()
}

#[tokio::test]
async fn a_selector_is_read_as_the_api_server_reads_it() {
    let client = apiserver().admin().await;
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::namespaced(client, "default");
    let selectors = [
        "tier=backend",
        "tier==backend, app in (api-gateway, ml-service)",
        "!legacy",
        "example.com/owner!=data,tier",
        "app notin (a,b),generation>3",
        "tier=",
        "tier in (a,,b)",
        " tier = backend ",
        "tier=back end",
        "tier in backend",
        "tier in (a",
        "=backend",
        "tier=-a",
        "a b",
        "tier=a=b",
        "/tier",
        "Example.com/tier",
        "tier>three",
        "tier (a)",
        "a,,b",
        "a,",
        "tier in ()",
        "!tier=a",
        "tier=a)",
    ];
    let mut differences = Vec::new();
    for selector in selectors {
        let listed = pods.list(&kube::api::ListParams::default().labels(selector)).await;
        let flaw = pgreeve::plan::restore::selector::flaw(selector);
        if listed.is_ok() != flaw.is_none() {
            differences.push(format!("{selector:?}: {flaw:?}, and the server: {:?}", listed.err()));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn what_a_backup_and_a_restore_are_cannot_be_changed_afterwards() {
    let client = apiserver().admin().await;
    let namespace = apiserver().namespace(&client).await;
    let changes = [
        ("backups", r#"{"spec":{"verify":"Restore"}}"#, Some("cannot become another one")),
        ("backups", r#"{"spec":{"assertions":[{"name":"a","sql":"select 1","equals":1}]}}"#, Some("cannot become another one")),
        ("backups", r#"{"spec":{"hold":true,"deletionPolicy":"Delete"}}"#, None),
        ("backupschedules", r#"{"spec":{"databaseRef":{"name":"another"}}}"#, Some("databaseRef cannot be changed")),
        ("backupschedules", r#"{"spec":{"schedule":"0 4 * * *","suspend":true}}"#, None),
        ("restores", r#"{"spec":{"source":{"backupRef":{"name":"another"}}}}"#, Some("create another Restore")),
        ("restores", r#"{"spec":{"confirm":"chat","keepPrevious":"2 days"}}"#, None),
    ];
    for base in bases() {
        let kind = base["kind"].as_str().unwrap().to_lowercase();
        if changes.iter().any(|(plural, ..)| plural.trim_end_matches('s') == kind) {
            let path = format!("/apis/pgreeve.dev/v1alpha1/namespaces/{namespace}/{kind}s");
            let request = http::Request::post(path).header("Content-Type", "application/json");
            client.request::<Value>(request.body(serde_json::to_vec(&base).unwrap()).unwrap()).await.unwrap();
        }
    }
    for (plural, patch, refused) in changes {
        let path = format!("/apis/pgreeve.dev/v1alpha1/namespaces/{namespace}/{plural}/bad");
        let request = http::Request::patch(path).header("Content-Type", "application/merge-patch+json");
        let answer = client.request::<Value>(request.body(patch.as_bytes().to_vec()).unwrap()).await;
        match (refused, answer) {
            (None, Ok(_)) => {}
            (Some(says), Err(kube::Error::Api(status))) if status.message.contains(says) => {}
            (_, answer) => panic!("{plural} {patch}: {answer:?}"),
        }
    }
}
