//! Is a Job made once, whatever happens, and is what it says understood?

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use pgreeve::api::Reason;
use pgreeve::cluster::jobs::{self, Image, Owner, State};
use pgreeve::plan::task::Task;
use serde_json::json;

use crate::support::apiserver::apiserver;
use crate::support::kubefault::{KubeFaults, ReadFault, WriteFault};
use crate::support::kubelet::{Kubelet, container};

/// When the Jobs of these tests end; see [`Kubelet`].
const ENDED: &str = "2026-11-21T09:00:00Z";

/// A namespace, and what a Job there is made from.
struct Stage {
    client: Client,
    namespace: String,
    owner: Owner,
    kubelet: Kubelet,
}

impl Stage {
    async fn new() -> Self {
        let client = apiserver().admin().await;
        let namespace = apiserver().namespace(&client).await;
        let owner = owner(&namespace, "events");
        Self { kubelet: Kubelet::of(&client, &namespace), client, namespace, owner }
    }

    fn job(&self) -> Job {
        jobs::build(&self.owner, &task(&self.namespace, "events"), &image()).unwrap()
    }

    async fn ensure_at(&self, now: Timestamp) -> State {
        jobs::ensure(&self.client, &self.job(), None, now).await.unwrap()
    }

    /// A look a minute after the Job has ended, which is too early to try a failed one again.
    async fn ensure(&self) -> State {
        self.ensure_at(minutes_after(0)).await
    }
}

fn minutes_after(minutes: i64) -> Timestamp {
    ENDED.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

pub fn owner(namespace: &str, name: &str) -> Owner {
    Owner {
        api_version: "pgreeve.dev/v1alpha1".into(),
        kind: "RetentionPolicy".into(),
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("0d5d4a3c-0000-4000-8000-{:012x}", name.len()),
    }
}

pub fn image() -> Image {
    Image { name: "registry.example/pgreeve:1".into(), ..Image::default() }
}

/// An export for the policy of this name.
pub fn task(namespace: &str, name: &str) -> Task {
    serde_json::from_value(json!({
        "version": 1,
        "object": {"kind": "RetentionPolicy", "namespace": namespace, "name": name},
        "database": "db",
        "connection": {"secretRef": {"name": "db"}},
        "limits": {},
        "action": {
            "action": "exportPartition",
            "parent": {"oid": 1, "schema": "public", "name": "events"},
            "partition": {"oid": 2, "schema": "public", "name": "events_y2025m01"},
            "bound": "FOR VALUES FROM ('2025-01-01') TO ('2025-02-01')",
            "role": "owner",
            "destination": {"pvc": {"claimName": "exports"}},
            "format": "Parquet", "compression": "Zstd",
            "job": {},
        },
    }))
    .unwrap()
}

fn message(state: &State) -> &str {
    match state {
        State::Running { message, .. } | State::Failed { message, .. } => message,
        State::Succeeded { .. } => "succeeded",
    }
}

#[tokio::test]
async fn a_job_is_made_once_and_its_report_is_there_until_it_is_forgotten() {
    let stage = Stage::new().await;
    assert!(message(&stage.ensure().await).contains("is about to start"));
    let job = stage.kubelet.job().await;
    assert!(message(&stage.ensure().await).contains("has no Pod yet"));
    stage.kubelet.pod(&job, "p", container("Running", json!({"running": {"startedAt": ENDED}}))).await;
    assert!(message(&stage.ensure().await).contains("runs since"));
    stage.kubelet.lose_pods().await;
    stage.kubelet.succeed(&job, r#"{"rows":3}"#).await;
    for _ in 0..2 {
        assert_eq!(stage.ensure().await, State::Succeeded { report: json!({"rows": 3}) });
    }
    assert_eq!(stage.kubelet.job().await.uid(), job.uid());
    for _ in 0..2 {
        jobs::forget(&stage.client, &stage.owner, &job.name_any()).await.unwrap();
    }
    assert!(stage.kubelet.jobs.list(&Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn many_operators_at_once_make_one_job() {
    let stage = Stage::new().await;
    let looks = futures::future::join_all((0..16).map(|_| stage.ensure())).await;
    assert!(looks.iter().all(|state| matches!(state, State::Running { .. })), "{looks:?}");
    stage.kubelet.job().await;
}

#[tokio::test]
async fn a_job_whose_creation_went_unheard_is_met_again() {
    for fault in [WriteFault::CutBefore, WriteFault::CutAfter, WriteFault::Disowned(504), WriteFault::Refused(500, None)] {
        let stage = Stage::new().await;
        let faults = KubeFaults::default();
        let client = faults.client(&apiserver().admin_config().await);
        faults.plan(1, fault);
        // Some faults the client overcomes by itself; of the others the next look knows nothing but what is there.
        if let Err(refused) = jobs::ensure(&client, &stage.job(), None, minutes_after(0)).await {
            assert_eq!(refused.reason, Reason::KubernetesUnavailable, "{fault:?}");
        }
        assert!(faults.writes()[0].what.starts_with("POST /apis/batch/v1/namespaces/"), "a Job counts as a write");
        jobs::ensure(&client, &stage.job(), None, minutes_after(0)).await.unwrap();
        assert!(faults.all_met());
        stage.kubelet.job().await;
    }
}

#[tokio::test]
async fn a_job_that_was_forgotten_unheard_is_forgotten_again() {
    for fault in [WriteFault::CutBefore, WriteFault::CutAfter] {
        let stage = Stage::new().await;
        stage.ensure().await;
        let faults = KubeFaults::default();
        let client = faults.client(&apiserver().admin_config().await);
        faults.plan(1, fault);
        let name = stage.job().name_any();
        jobs::forget(&client, &stage.owner, &name).await.unwrap_err();
        jobs::forget(&client, &stage.owner, &name).await.unwrap();
        assert!(faults.writes()[0].what.starts_with("DELETE /apis/batch/v1/"));
        assert!(stage.kubelet.jobs.list(&Default::default()).await.unwrap().items.is_empty());
    }
}

#[tokio::test]
async fn a_lost_report_makes_the_task_run_again_and_a_pod_that_keeps_vanishing_not_without_end() {
    let stage = Stage::new().await;
    stage.ensure().await;
    let first = stage.kubelet.job().await;
    stage.kubelet.succeed(&first, r#"{"rows":3}"#).await;
    stage.kubelet.lose_pods().await;
    assert!(message(&stage.ensure().await).contains("its report is lost"));
    assert!(message(&stage.ensure_at(minutes_after(1)).await).contains("is tried again"));
    let second = stage.kubelet.job().await;
    assert_ne!(first.uid(), second.uid());
    // A Pod of the former Job that comes to light is not taken for one of this.
    stage.kubelet.pod(&first, "late", container("Succeeded", json!({"terminated": {"exitCode": 0, "message": "{}"}}))).await;
    assert!(message(&stage.ensure().await).contains("has no Pod yet"));
    stage.kubelet.succeed(&second, "no JSON").await;
    let State::Failed { retry, .. } = stage.ensure().await else { panic!() };
    assert_eq!(retry, minutes_after(2));
}

#[tokio::test]
async fn a_job_that_was_deleted_by_hand_is_made_anew() {
    let stage = Stage::new().await;
    stage.ensure().await;
    let first = stage.kubelet.job().await;
    stage.kubelet.jobs.delete(&first.name_any(), &DeleteParams::background()).await.unwrap();
    stage.ensure().await;
    assert_ne!(first.uid(), stage.kubelet.job().await.uid());
}

#[tokio::test]
async fn a_job_that_is_on_its_way_out_is_waited_for() {
    let stage = Stage::new().await;
    stage.ensure().await;
    let name = stage.job().name_any();
    let finalizers = |list: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": list}}));
    stage.kubelet.jobs.patch(&name, &PatchParams::default(), &finalizers(json!(["tests/slow"]))).await.unwrap();
    stage.kubelet.jobs.delete(&name, &DeleteParams::background()).await.unwrap();
    assert!(message(&stage.ensure().await).contains("is being deleted"));
    stage.kubelet.jobs.patch(&name, &PatchParams::default(), &finalizers(json!([]))).await.unwrap();
    assert!(message(&stage.ensure().await).contains("is about to start"));
}

#[tokio::test]
async fn a_job_of_somebody_else_is_neither_believed_nor_deleted() {
    let stage = Stage::new().await;
    let mut foreign = stage.job();
    foreign.metadata.owner_references = None;
    stage.kubelet.jobs.create(&PostParams::default(), &foreign).await.unwrap();
    let foreign = stage.kubelet.job().await;
    stage.kubelet.succeed(&foreign, r#"{"rows":3}"#).await;
    let refused = jobs::ensure(&stage.client, &stage.job(), None, minutes_after(0)).await.unwrap_err();
    assert!(refused.reason == Reason::JobFailed && refused.message.contains("is not ours"), "{}", refused.message);
    jobs::forget(&stage.client, &stage.owner, &foreign.name_any()).await.unwrap();
    assert_eq!(stage.kubelet.job().await.uid(), foreign.uid());
}

#[tokio::test]
async fn a_failed_job_says_why_and_is_tried_again_later_and_later() {
    let stage = Stage::new().await;
    let mut expected = 1;
    for attempt in 1..=8 {
        stage.ensure_at(minutes_after(0)).await;
        let job = stage.kubelet.job().await;
        assert_eq!(job.annotations()["pgreeve.dev/attempt"], attempt.to_string());
        stage.kubelet.fail(&job, r#"{"reason":"MissingPrivilege","message":"GRANT SELECT ON t TO r"}"#, "PodFailurePolicy").await;
        let State::Failed { reason, message: said, retry, times } = stage.ensure_at(minutes_after(0)).await else { panic!() };
        assert_eq!((reason, retry, times), (Reason::MissingPrivilege, minutes_after(expected), attempt));
        assert!(said.contains("GRANT SELECT ON t TO r") && said.contains("tried again at"), "{said}");
        let early = stage.ensure_at(minutes_after(expected) - SignedDuration::from_secs(1)).await;
        assert!(matches!(early, State::Failed { .. }));
        let again = stage.ensure_at(minutes_after(expected)).await;
        assert!(matches!(again, State::Running { failures, .. } if failures == attempt), "{again:?}");
        assert!(message(&again).contains("is tried again"));
        stage.kubelet.lose_pods().await;
        expected = (expected * 2).min(60);
    }
}

#[tokio::test]
async fn without_an_answer_nothing_is_made_and_nothing_is_believed() {
    for fault in [ReadFault::Refused(500), ReadFault::Refused(403), ReadFault::Cut] {
        let stage = Stage::new().await;
        let faults = KubeFaults::default();
        let client = faults.client(&apiserver().admin_config().await);
        faults.plan_reads(fault, 1_000);
        let refused = jobs::ensure(&client, &stage.job(), None, minutes_after(0)).await.unwrap_err();
        assert_eq!(refused.reason, Reason::KubernetesUnavailable, "{fault:?}");
        assert_eq!(faults.count(), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn a_job_that_the_past_does_not_show_is_not_made_twice() {
    let stage = Stage::new().await;
    let faults = KubeFaults::default();
    let client = faults.client(&apiserver().admin_config().await);
    jobs::ensure(&client, &stage.job(), None, minutes_after(0)).await.unwrap();
    let job = stage.kubelet.job().await;
    stage.kubelet.succeed(&job, r#"{"rows":3}"#).await;
    jobs::forget(&client, &stage.owner, &job.name_any()).await.unwrap();
    jobs::ensure(&client, &stage.job(), None, minutes_after(0)).await.unwrap();
    let second = stage.kubelet.job().await;
    // The same answer as before the second one was made: the first, which has succeeded.
    faults.plan_reads(ReadFault::Stale, 2);
    for _ in 0..3 {
        jobs::ensure(&client, &stage.job(), None, minutes_after(0)).await.unwrap();
    }
    assert_eq!(stage.kubelet.job().await.uid(), second.uid());
}

#[tokio::test]
async fn a_deadline_is_told_from_a_failure() {
    let stage = Stage::new().await;
    stage.ensure().await;
    let job = stage.kubelet.job().await;
    stage.kubelet.fail(&job, r#"{"reason":"JobFailed","message":"it was told to stop"}"#, "DeadlineExceeded").await;
    let state = stage.ensure().await;
    assert!(message(&state).contains("was ended at its job.activeDeadline"), "{}", message(&state));
}

#[tokio::test]
async fn an_evicted_pod_is_no_failure_of_the_job() {
    let stage = Stage::new().await;
    stage.ensure().await;
    let job = stage.kubelet.job().await;
    let disrupted = json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True",
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}]});
    stage.kubelet.pod(&job, "evicted", disrupted).await;
    let state = stage.ensure().await;
    assert!(matches!(state, State::Running { .. }) && message(&state).contains("begins again after: Eviction API"), "{state:?}");
}

#[tokio::test]
async fn a_pod_that_cannot_start_is_told_at_once_and_counts_as_a_failure_after_ten_minutes() {
    let stage = Stage::new().await;
    stage.ensure().await;
    let job = stage.kubelet.job().await;
    let mut status =
        container("Pending", json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}));
    status["conditions"] = json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": ENDED}]);
    stage.kubelet.pod(&job, "p", status).await;
    let state = stage.ensure_at(minutes_after(9)).await;
    assert!(
        matches!(state, State::Running { .. }) && message(&state).contains("waits for its Pod: ImagePullBackOff"),
        "{state:?}"
    );
    let State::Failed { reason, message: said, retry, .. } = stage.ensure_at(minutes_after(10)).await else { panic!() };
    assert_eq!((reason, retry), (Reason::JobFailed, minutes_after(11)));
    assert!(said.contains("cannot start its Pod: ImagePullBackOff"), "{said}");
    // By then the image may be another.
    assert!(message(&stage.ensure_at(minutes_after(11)).await).contains("is tried again"));
    assert_ne!(job.uid(), stage.kubelet.job().await.uid());
}

#[tokio::test]
async fn a_quota_that_forbids_the_job_is_quoted() {
    let stage = Stage::new().await;
    let quotas: Api<ResourceQuota> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let hard = json!({"count/jobs.batch": "0"});
    let quota = serde_json::from_value(json!({"metadata": {"name": "none"}, "spec": {"hard": hard}})).unwrap();
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    // What the controller that counts would write.
    let counted = json!({"status": {"hard": hard, "used": hard}});
    quotas.patch_status("none", &PatchParams::default(), &Patch::Merge(counted)).await.unwrap();
    let refused = crate::support::eventually("the quota is known", crate::world::PATIENCE, async || {
        let refused = jobs::ensure(&stage.client, &stage.job(), None, minutes_after(0)).await.err();
        if refused.is_none() {
            jobs::forget(&stage.client, &stage.owner, &stage.job().name_any()).await.unwrap();
        }
        refused
    })
    .await;
    assert!(refused.reason == Reason::JobFailed && refused.message.contains("exceeded quota: none"), "{}", refused.message);
}

#[tokio::test]
async fn no_job_begins_while_others_are_at_work() {
    let stage = Stage::new().await;
    let state = jobs::ensure(&stage.client, &stage.job(), Some("another is at work"), minutes_after(60)).await.unwrap();
    assert!(message(&state).ends_with("waits: another is at work"), "{state:?}");
    assert!(stage.kubelet.jobs.list(&Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_namespace_that_takes_only_restricted_pods_takes_those_of_a_job() {
    let stage = Stage::new().await;
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    let strict = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespaces.patch(&stage.namespace, &PatchParams::default(), &Patch::Merge(strict)).await.unwrap();
    let enforced = async || {
        let lax = json!({"metadata": {"name": "lax"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let refused = stage.kubelet.pods.create(&PostParams::default(), &serde_json::from_value(lax).unwrap()).await.err();
        stage.kubelet.lose_pods().await;
        refused.map(|error| assert!(error.to_string().contains("PodSecurity"), "{error}"))
    };
    crate::support::eventually("the standard is enforced", crate::world::PATIENCE, enforced).await;
    stage.ensure().await;
    let job = stage.kubelet.job().await;
    stage.kubelet.pod(&job, "p", container("Running", json!({"running": {"startedAt": ENDED}}))).await;
}
