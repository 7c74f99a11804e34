//! Does the layer below the client lie as an API server and a network would?

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Error, ResourceExt};
use serde_json::json;

use crate::support::apiserver::apiserver;
use crate::support::kubefault::{KubeFaults, ReadFault, WatchFault, WriteFault};

/// ConfigMaps of a new namespace: through the layer, and past it.
async fn setup() -> (KubeFaults, Api<ConfigMap>, Api<ConfigMap>) {
    let (server, faults) = (apiserver(), KubeFaults::default());
    let admin = server.admin().await;
    let namespace = server.namespace(&admin).await;
    let client = faults.client(&server.admin_config().await);
    (faults, Api::namespaced(client, &namespace), Api::namespaced(admin, &namespace))
}

fn named(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

async fn create(api: &Api<ConfigMap>, name: &str) -> Result<ConfigMap, Error> {
    api.create(&PostParams::default(), &named(name)).await
}

fn status_of(error: &Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        _ => 0,
    }
}

#[tokio::test]
async fn writes_are_numbered_and_reads_are_not() {
    let (faults, api, _) = setup().await;
    create(&api, "a").await.unwrap();
    api.get("a").await.unwrap();
    api.list(&ListParams::default()).await.unwrap();
    api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"k": "v"}}))).await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let methods: Vec<String> = faults.writes().iter().map(|write| write.what.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(methods, ["POST", "PATCH", "DELETE"]);
}

#[tokio::test]
async fn a_cut_before_a_write_hides_it_from_the_server_and_one_after_it_hides_the_answer() {
    let (faults, api, truth) = setup().await;
    faults.plan(1, WriteFault::CutBefore);
    faults.plan(2, WriteFault::CutAfter);
    faults.plan(3, WriteFault::Disowned(504));
    assert!(create(&api, "before").await.is_err());
    assert!(create(&api, "after").await.is_err());
    // The client's own retry after a 504 finds that it exists.
    assert_eq!(status_of(&create(&api, "disowned").await.unwrap_err()), 409);
    assert!(truth.get_opt("before").await.unwrap().is_none());
    assert!(truth.get_opt("after").await.unwrap().is_some() && truth.get_opt("disowned").await.unwrap().is_some());
    assert!(faults.all_met());
}

#[tokio::test]
async fn a_write_is_refused_with_the_status_that_was_planned() {
    let (faults, api, truth) = setup().await;
    for (number, status) in [(1, 409), (2, 410), (3, 500)] {
        faults.plan(number, WriteFault::Refused(status, None));
        assert_eq!(status_of(&create(&api, "refused").await.unwrap_err()), status);
    }
    faults.plan(4, WriteFault::Refused(429, Some(1)));
    let began = std::time::Instant::now();
    create(&api, "later").await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "the client waits as long as it was told to");
    assert!(truth.get_opt("refused").await.unwrap().is_none());
}

#[tokio::test]
async fn a_stale_read_tells_the_past() {
    let (faults, api, truth) = setup().await;
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 0);
    create(&truth, "new").await.unwrap();
    faults.plan_reads(ReadFault::Stale, 1);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 0);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
    faults.plan_reads(ReadFault::Refused(403), 1);
    assert_eq!(status_of(&api.get("new").await.unwrap_err()), 403);
    faults.plan_reads(ReadFault::Cut, 1);
    assert!(api.get("new").await.is_err() && faults.all_met());
}

/// The names that a watch tells of after `names` were created, with `fault` for the first event; `410` for an error.
async fn watched(fault: WatchFault, names: &[&str], expected: usize) -> Vec<String> {
    let (faults, api, truth) = setup().await;
    let version = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    faults.plan_watch(fault, 1);
    for name in names {
        create(&truth, name).await.unwrap();
    }
    let events = api.watch(&WatchParams::default(), &version).await.unwrap().take(expected);
    let told = events.map_ok(|event| match event {
        WatchEvent::Added(object) => object.name_any(),
        WatchEvent::Error(error) => error.code.to_string(),
        other => format!("{other:?}"),
    });
    tokio::time::timeout(Duration::from_secs(10), told.try_collect()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_watch_loses_repeats_delays_and_reorders_events() {
    let late = WatchFault::Late(Duration::from_millis(50));
    assert_eq!(watched(WatchFault::Lost, &["a", "b"], 1).await, ["b"]);
    assert_eq!(watched(WatchFault::Twice, &["a", "b"], 3).await, ["a", "a", "b"]);
    assert_eq!(watched(late, &["a", "b"], 2).await, ["a", "b"]);
    assert_eq!(watched(WatchFault::Overtaken, &["a", "b", "c"], 3).await, ["b", "a", "c"]);
    assert_eq!(watched(WatchFault::Overtaken, &["a"], 1).await, ["a"]);
}

#[tokio::test]
async fn a_watch_ends_or_expires_where_it_was_planned() {
    assert_eq!(watched(WatchFault::Expired, &["a", "b"], 2).await, ["410"]);
    assert_eq!(watched(WatchFault::Ended, &["a", "b"], 2).await, Vec::<String>::new());
}
