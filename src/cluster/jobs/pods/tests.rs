//! Is what Pods say understood, whether it is the Job that speaks or Kubernetes?

use serde_json::json;

use super::*;

fn pod(phase: &str, conditions: Value, state: Value) -> Pod {
    let statuses = if state.is_null() {
        json!([])
    } else {
        json!([{"name": CONTAINER, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    };
    serde_json::from_value(json!({"metadata": {"name": "p"},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": statuses}}))
    .unwrap()
}

fn failed(message: &str) -> Pod {
    pod("Failed", json!([]), json!({"terminated": {"exitCode": 1, "reason": "Error", "message": message}}))
}

#[test]
fn a_report_is_the_termination_message() {
    let sight = see(&[pod("Succeeded", json!([]), json!({"terminated": {"exitCode": 0, "message": "{\"rows\":3}"}}))]);
    assert_eq!(sight.report, Some(json!({"rows": 3})));
    for lost in ["", "rows", "[]", "{\"rows\":"] {
        let sight = see(&[pod("Succeeded", json!([]), json!({"terminated": {"exitCode": 0, "message": lost}}))]);
        assert_eq!(sight.report, None, "{lost}");
    }
}

#[test]
fn a_refusal_keeps_its_reason() {
    let said = see(&[failed(r#"{"reason":"MissingPrivilege","message":"GRANT it"}"#)]).failure.unwrap();
    assert_eq!(said, Blocked::new(Reason::MissingPrivilege, "GRANT it"));
    let newer = see(&[failed(r#"{"reason":"OfALaterVersion","message":"m"}"#)]).failure.unwrap();
    assert_eq!(newer, Blocked::new(Reason::JobFailed, "m"));
}

#[test]
fn the_latest_failure_counts() {
    let both =
        [failed(r#"{"reason":"Unreachable","message":"first"}"#), failed(r#"{"reason":"Unreachable","message":"second"}"#)];
    assert_eq!(see(&both).failure.unwrap().message, "second");
}

#[test]
fn a_pod_that_could_not_say_anything_is_spoken_for_by_kubernetes() {
    let killed = pod("Failed", json!([]), json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}));
    let message = see(&[killed]).failure.unwrap().message;
    assert!(message.contains("OOMKilled (exit code 137)") && message.contains("job.memory"), "{message}");
    let logged = see(&[failed("exec format error\nat line 2")]).failure.unwrap().message;
    assert_eq!(logged, "Error (exit code 1): exec format error at line 2");
    let conditions = json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "evicted by kubectl drain"}]);
    assert_eq!(see(&[pod("Failed", conditions, json!(null))]).failure.unwrap().message, "evicted by kubectl drain");
    assert_eq!(see(&[pod("Failed", json!([]), json!(null))]).failure.unwrap().message, "its Pod ended without a word");
}

#[test]
fn what_a_pod_waits_for_is_told() {
    let unplaced = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "lastTransitionTime": "2026-11-21T08:00:00Z", "message": "0/3 nodes are available: 3 Insufficient memory."}]);
    let waiting = see(&[pod("Pending", unplaced, json!(null))]).waiting.unwrap();
    assert_eq!(waiting.message, "no node takes it: 0/3 nodes are available: 3 Insufficient memory.");
    assert_eq!(waiting.since, Some("2026-11-21T08:00:00Z".parse().unwrap()));
    let image = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\""}});
    let waiting = see(&[pod("Pending", json!([]), image)]).waiting.unwrap();
    assert_eq!(waiting.message, "ImagePullBackOff: Back-off pulling image \"x\"");
    let creating = json!({"waiting": {"reason": "ContainerCreating"}});
    assert!(see(&[pod("Pending", json!([]), creating)]).waiting.unwrap().message.contains("kubectl describe pod p"));
}

#[test]
fn a_container_that_runs_waits_for_nothing() {
    let sight = see(&[failed("x"), pod("Running", json!([]), json!({"running": {"startedAt": "2026-11-21T08:00:00Z"}}))]);
    assert!(sight.any && sight.started && sight.waiting.is_none() && sight.failure.is_some());
}
