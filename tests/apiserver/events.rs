//! Are events told once, and as a series when they repeat?

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams};
use kube::{Client, ResourceExt as _};
use pgreeve::api::Reason;
use pgreeve::cluster::events::Events;

use crate::support::apiserver::apiserver;

async fn told(client: &Client, namespace: &str) -> Vec<(String, i32)> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut told: Vec<(String, i32)> = api.list(&Default::default()).await.unwrap().items.into_iter().map(said).collect();
    told.sort();
    told
}

fn said(event: Event) -> (String, i32) {
    (event.note.unwrap(), event.series.map_or(1, |series| series.count))
}

#[tokio::test]
async fn what_is_said_again_is_one_event_and_what_is_said_otherwise_is_another() {
    let client = apiserver().admin().await;
    let namespace = apiserver().namespace(&client).await;
    let about = |name: &str| ObjectReference {
        api_version: Some("pgreeve.dev/v1alpha1".into()),
        kind: Some("PartitionPolicy".into()),
        name: Some(name.into()),
        namespace: Some(namespace.clone()),
        ..ObjectReference::default()
    };
    let events = Events::new(client.clone(), "a-test");
    for _ in 0..3 {
        events.publish(&about("one"), Reason::UpToDate, false, "covered").await;
        events.publish(&about("one"), Reason::DatabaseNotReady, true, "away").await;
    }
    events.publish(&about("one"), Reason::UpToDate, false, "covered longer").await;
    events.publish(&about("two"), Reason::UpToDate, false, "covered").await;
    let expected = [("away", 3), ("covered", 1), ("covered", 3), ("covered longer", 1)];
    assert_eq!(told(&client, &namespace).await, expected.map(|(note, count)| (note.to_owned(), count)));

    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    for event in api.list(&Default::default()).await.unwrap().items {
        api.delete(&event.name_any(), &DeleteParams::default()).await.unwrap();
    }
    events.publish(&about("one"), Reason::UpToDate, false, "covered").await;
    assert_eq!(told(&client, &namespace).await, [("covered".to_owned(), 1)], "an event that somebody deleted is made anew");
}
