//! Down and up, alone and with others at work on the same objects.

use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use pgreeve::api::Reason;
use pgreeve::api::restore::ScaledWorkload;
use pgreeve::cluster::workloads::{self, DOWN, Lowered, RESTORE_STATE, RESTORED_BY, UP};
use serde_json::{Value, json};

use super::stage::{Stage, other_kinds, restore, schedule, spec};
use crate::support::kubefault::KubeFaults;

#[tokio::test]
async fn what_is_scaled_goes_to_nothing_and_comes_back_to_exactly_what_it_had() {
    let stage = Stage::new().await;
    for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
        let before = stage.scaled(kind, "api", 3).await;
        let mut workload = stage.record(kind, "api").await;
        assert_eq!((workload.replicas, workload.suspended, &*workload.held), (Some(3), None, &[][..]));
        assert_eq!(stage.lower(&mut workload).await, Lowered::Gone);
        assert_eq!((workload.state.as_deref(), workload.fought), (Some(DOWN), 0));
        let down = stage.get(kind, "api").await;
        assert_eq!(down.data["spec"]["replicas"], 0);
        assert_eq!(down.labels()[RESTORED_BY], stage.restore.uid);
        let witness: Value = serde_json::from_str(&down.annotations()[RESTORE_STATE]).unwrap();
        assert_eq!(witness["workload"]["replicas"], 3);
        assert_eq!(witness["restore"], json!({"namespace": stage.namespace, "name": "back", "uid": stage.restore.uid}));
        assert!(stage.raise(&mut workload).await);
        assert_eq!(workload.state.as_deref(), Some(UP));
        let up = stage.get(kind, "api").await;
        assert_eq!(
            (up.data["spec"].clone(), up.labels(), up.annotations()),
            (before.data["spec"].clone(), before.labels(), before.annotations())
        );
    }
}

#[tokio::test]
async fn a_statefulset_that_would_lose_its_volumes_is_refused_before_and_when_its_turn_comes() {
    let stage = Stage::new().await;
    let says = |retention: &str| json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": retention}}});
    stage.scaled("StatefulSet", "queue", 2).await;
    stage.merge("StatefulSet", "queue", says("Delete")).await;
    let wanted = json!([{"kind": "StatefulSet", "name": "queue"}]);
    let refused = stage.find(wanted.clone()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidSpec);
    let words = ["StatefulSet queue", "spec.persistentVolumeClaimRetentionPolicy.whenScaled is Delete", "set it to Retain"];
    assert!(words.iter().all(|words| refused.message.contains(words)), "{}", refused.message);
    stage.merge("StatefulSet", "queue", says("Retain")).await;
    let mut workload = stage.record("StatefulSet", "queue").await;
    stage.merge("StatefulSet", "queue", says("Delete")).await;
    let before = stage.get("StatefulSet", "queue").await;
    let lower =
        async |workload: &mut ScaledWorkload| workloads::lower(&stage.client, &stage.namespace, &stage.restore, workload).await;
    let late = lower(&mut workload).await.unwrap_err();
    assert!(late.message.contains("whenScaled is Delete"), "{}", late.message);
    let after = stage.get("StatefulSet", "queue").await;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "nothing was changed");
    stage.merge("StatefulSet", "queue", says("Retain")).await;
    assert_eq!(lower(&mut workload).await.unwrap(), Lowered::Gone);
    // It comes back whatever it says by then.
    stage.merge("StatefulSet", "queue", says("Delete")).await;
    assert!(stage.raise(&mut workload).await);
    assert_eq!(stage.replicas("StatefulSet", "queue").await, 2);
}

#[tokio::test]
async fn a_cronjob_is_suspended_and_one_that_was_stays_so() {
    let stage = Stage::new().await;
    for (name, was_suspended) in [("report", false), ("paused", true)] {
        stage.create("CronJob", json!({"name": name}), schedule(was_suspended)).await;
        let mut workload = stage.record("CronJob", name).await;
        assert_eq!((workload.replicas, workload.suspended), (None, Some(was_suspended)));
        assert_eq!(stage.lower(&mut workload).await, Lowered::Gone);
        assert_eq!(stage.get("CronJob", name).await.data["spec"]["suspend"], true);
        assert!(stage.raise(&mut workload).await);
        assert_eq!(workload.state.as_deref(), Some(UP));
        let up = stage.get("CronJob", name).await;
        assert_eq!(up.data["spec"]["suspend"], was_suspended);
        assert!(up.annotations().is_empty() && up.labels().is_empty());
    }
}

#[tokio::test]
async fn any_kind_with_a_scale_is_scaled_wherever_its_replicas_are() {
    other_kinds().await;
    let stage = Stage::new().await;
    stage.create("Rollout", json!({"name": "api"}), json!({"wanted": {"count": 4}})).await;
    let selector = json!({"status": {"selector": "app=rolled", "replicas": 4}});
    stage.api("Rollout").patch_status("api", &Default::default(), &kube::api::Patch::Merge(&selector)).await.unwrap();
    let wanted = json!([{"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "api"}]);
    let mut workload = stage.find(wanted).await.unwrap().remove(0);
    assert_eq!(workload.replicas, Some(4));
    stage.pod(json!({"app": "rolled"}), "Running", None).await;
    assert_eq!(stage.lower(&mut workload).await, Lowered::Pods(1));
    let count = async || stage.get("Rollout", "api").await.data["spec"]["wanted"]["count"].clone();
    assert_eq!(count().await, 0);
    assert!(stage.raise(&mut workload).await);
    assert_eq!(count().await, 4);
    assert!(stage.get("Rollout", "api").await.annotations().is_empty());
}

#[tokio::test]
async fn a_kind_that_tells_no_labels_is_gone_when_it_says_that_it_has_no_replicas() {
    other_kinds().await;
    let stage = Stage::new().await;
    stage.create("Rollout", json!({"name": "api"}), json!({"wanted": {"count": 2}})).await;
    let report = async |replicas: i32| {
        let status = json!({"status": {"replicas": replicas}});
        stage.api("Rollout").patch_status("api", &Default::default(), &kube::api::Patch::Merge(&status)).await.unwrap();
    };
    report(2).await;
    let wanted = json!([{"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "api"}]);
    let mut workload = stage.find(wanted).await.unwrap().remove(0);
    assert_eq!(stage.lower(&mut workload).await, Lowered::Pods(2));
    report(0).await;
    assert_eq!(stage.lower(&mut workload).await, Lowered::Gone);
}

#[tokio::test]
async fn it_is_gone_when_its_pods_have_ended_and_its_controller_has_seen_it() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 2).await;
    stage.pod(json!({"app": "api"}), "Running", None).await;
    stage.pod(json!({"app": "api"}), "Pending", None).await;
    stage.pod(json!({"app": "api"}), "Succeeded", None).await;
    stage.pod(json!({"app": "api"}), "Failed", None).await;
    stage.pod(json!({"app": "another"}), "Running", None).await;
    let mut workload = stage.record("Deployment", "api").await;
    assert_eq!(stage.lower(&mut workload).await, Lowered::Pods(2));
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(stage.client.clone(), &stage.namespace);
    pods.delete_collection(&Default::default(), &kube::api::ListParams::default().labels("app=api")).await.unwrap();
    let seen = async |generation: i64| {
        let status = json!({"status": {"observedGeneration": generation}});
        stage.api("Deployment").patch_status("api", &Default::default(), &kube::api::Patch::Merge(&status)).await.unwrap();
    };
    seen(1).await;
    assert_eq!(stage.lower(&mut workload).await, Lowered::Pods(1), "generation 2 may still make Pods of generation 1");
    seen(2).await;
    assert_eq!(stage.lower(&mut workload).await, Lowered::Gone);
}

#[tokio::test]
async fn a_cronjob_is_gone_when_the_jobs_that_it_has_begun_are() {
    let stage = Stage::new().await;
    let cronjob = stage.create("CronJob", json!({"name": "report"}), schedule(false)).await;
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "report", "uid": cronjob.uid(), "controller": true});
    let jobs: Api<k8s_openapi::api::batch::v1::Job> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let job = json!({"metadata": {"name": "report-1", "ownerReferences": [owner]}, "spec": {"parallelism": 2, "template": {"spec":
        {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.example/main"}]}}}});
    let job = jobs.create(&PostParams::default(), &serde_json::from_value(job).unwrap()).await.unwrap();
    let mut workload = stage.record("CronJob", "report").await;
    assert_eq!(stage.lower(&mut workload).await, Lowered::Pods(1), "a Job without a Pod is about to make one");
    let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "report-1", "uid": job.uid(), "controller": true});
    for _ in 0..2 {
        stage.pod(json!({"batch.kubernetes.io/job-name": "report-1"}), "Running", Some(owner.clone())).await;
    }
    stage.pod(json!({"batch.kubernetes.io/job-name": "another"}), "Running", None).await;
    assert_eq!(stage.lower(&mut workload).await, Lowered::Pods(2));
    let time = "2026-11-21T08:00:00Z";
    let done = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": time, "lastTransitionTime": time});
    let status = json!({"status": {"startTime": time, "completionTime": time, "succeeded": 1,
        "conditions": [done("SuccessCriteriaMet"), done("Complete")]}});
    jobs.patch_status("report-1", &Default::default(), &kube::api::Patch::Merge(&status)).await.unwrap();
    assert_eq!(stage.lower(&mut workload).await, Lowered::Gone);
}

#[tokio::test]
async fn whoever_scales_it_up_meanwhile_is_undone_and_counted() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    let mut workload = stage.record("Deployment", "api").await;
    stage.set_replicas("Deployment", "api", 5).await;
    stage.lower(&mut workload).await;
    assert_eq!(workload.fought, 0, "that was before it was down");
    for round in 1..=2 {
        stage.set_replicas("Deployment", "api", 7).await;
        stage.lower(&mut workload).await;
        stage.lower(&mut workload).await;
        assert_eq!((workload.fought, stage.replicas("Deployment", "api").await), (round, 0));
    }
    stage.create("CronJob", json!({"name": "report"}), schedule(false)).await;
    let mut report = stage.record("CronJob", "report").await;
    stage.lower(&mut report).await;
    stage.merge("CronJob", "report", json!({"spec": {"suspend": false}})).await;
    stage.lower(&mut report).await;
    assert_eq!((report.fought, &stage.get("CronJob", "report").await.data["spec"]["suspend"]), (1, &json!(true)));
    stage.raise(&mut workload).await;
    assert_eq!(stage.replicas("Deployment", "api").await, 3, "what was recorded counts, not what was read since");
}

#[tokio::test]
async fn what_is_down_already_costs_no_request_that_changes_anything() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    let mut workload = stage.record("Deployment", "api").await;
    stage.lower(&mut workload).await;
    let faults = KubeFaults::default();
    let client = faults.client(&crate::support::apiserver::apiserver().admin_config().await);
    workloads::lower(&client, &stage.namespace, &stage.restore, &mut workload).await.unwrap();
    assert_eq!(faults.count(), 0);
    stage.raise(&mut workload).await;
    workloads::raise(&client, &stage.namespace, &stage.restore, &mut workload).await.unwrap();
    assert_eq!(faults.count(), 0);
}

#[tokio::test]
async fn a_persons_change_wins_and_is_said() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    let mut workload = stage.record("Deployment", "api").await;
    stage.lower(&mut workload).await;
    stage.set_replicas("Deployment", "api", 1).await;
    assert!(stage.raise(&mut workload).await);
    assert_eq!(stage.replicas("Deployment", "api").await, 1);
    assert_eq!(workload.state.as_deref(), Some("left as somebody has set it meanwhile: replicas 1"));
    assert!(stage.get("Deployment", "api").await.annotations().is_empty());
}

#[tokio::test]
async fn what_has_lost_our_annotation_is_left_to_whoever_removed_it() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    let mut workload = stage.record("Deployment", "api").await;
    stage.lower(&mut workload).await;
    stage.merge("Deployment", "api", json!({"metadata": {"annotations": {RESTORE_STATE: null}}})).await;
    assert!(stage.raise(&mut workload).await);
    assert_eq!(stage.replicas("Deployment", "api").await, 0);
    assert!(
        workload.state.as_deref().is_some_and(|state| state.contains("no annotation pgreeve.dev/restore-state")),
        "{workload:?}"
    );
}

#[tokio::test]
async fn another_one_of_the_same_name_is_left_alone_at_every_step() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    let mut workload = stage.record("Deployment", "api").await;
    let replace = async || {
        stage.api("Deployment").delete("api", &Default::default()).await.unwrap();
        stage.create("Deployment", json!({"name": "api"}), spec("api", 2)).await;
    };
    let mut early = workload.clone();
    replace().await;
    assert_eq!(stage.lower(&mut early).await, Lowered::Skipped);
    assert!(early.state.as_deref().is_some_and(|state| state.contains("another one of its name is left alone")));
    workload.uid = stage.get("Deployment", "api").await.uid().unwrap();
    stage.lower(&mut workload).await;
    replace().await;
    stage.set_replicas("Deployment", "api", 0).await;
    assert!(stage.raise(&mut workload).await);
    assert_eq!(stage.replicas("Deployment", "api").await, 0);
    assert!(workload.state.as_deref().is_some_and(|state| state.contains("left alone")));
}

#[tokio::test]
async fn a_copy_of_a_workload_that_is_down_is_none() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    let mut workload = stage.record("Deployment", "api").await;
    stage.lower(&mut workload).await;
    let mut copy = stage.get("Deployment", "api").await;
    copy.metadata = kube::api::ObjectMeta {
        name: Some("copy".into()),
        labels: copy.metadata.labels,
        annotations: copy.metadata.annotations,
        ..Default::default()
    };
    stage.api("Deployment").create(&PostParams::default(), &copy).await.unwrap();
    let mut copied = stage.record("Deployment", "copy").await;
    assert_eq!(copied.replicas, Some(0));
    assert!(stage.raise(&mut copied).await);
    assert_eq!(stage.replicas("Deployment", "copy").await, 0);
    let left = workloads::stranded(&stage.client, Some(&stage.namespace)).await.unwrap();
    assert_eq!(left.iter().map(|left| left.workload.name.as_str()).collect::<Vec<_>>(), ["api"]);
}

#[tokio::test]
async fn a_workload_belongs_to_one_restore_at_a_time() {
    let stage = Stage::new().await;
    stage.scaled("Deployment", "api", 3).await;
    let mut workload = stage.record("Deployment", "api").await;
    let mut of_the_other = workload.clone();
    stage.lower(&mut workload).await;
    let other = restore(&stage.namespace, "another");
    let refused = stage.find(json!([{"kind": "Deployment", "name": "api"}])).await.unwrap_err();
    assert_eq!(
        (refused.reason, &*refused.message),
        (Reason::WorkloadTaken, "Deployment api is down for Restore back; wait until it comes back")
    );
    let refused = workloads::lower(&stage.client, &stage.namespace, &other, &mut of_the_other).await.unwrap_err();
    assert_eq!(refused.reason, Reason::WorkloadTaken);
    assert!(workloads::raise(&stage.client, &stage.namespace, &other, &mut of_the_other).await.unwrap());
    assert_eq!(stage.replicas("Deployment", "api").await, 0, "it is down for the first one");
    stage.raise(&mut workload).await;
    assert_eq!(stage.replicas("Deployment", "api").await, 3);
}
