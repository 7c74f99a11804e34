//! Who runs a Job where there is neither a controller nor a kubelet? The test: it makes the Pod and writes what they would write.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// The node, and the Job controller, of one namespace.
pub struct Kubelet {
    pub jobs: Api<Job>,
    pub pods: Api<Pod>,
}

impl Kubelet {
    /// Of this namespace.
    pub fn of(client: &Client, namespace: &str) -> Self {
        Self { jobs: Api::namespaced(client.clone(), namespace), pods: Api::namespaced(client.clone(), namespace) }
    }

    /// The only Job there is.
    pub async fn job(&self) -> Job {
        let mut jobs = self.jobs.list(&Default::default()).await.unwrap().items;
        assert_eq!(jobs.len(), 1, "{:?}", jobs.iter().map(|job| job.name_any()).collect::<Vec<_>>());
        jobs.remove(0)
    }

    /// Makes a Pod of this Job, as the Job controller would, and gives it this status.
    pub async fn pod(&self, job: &Job, name: &str, status: Value) {
        let template = job.spec.as_ref().unwrap().template.clone();
        let mut labels = template.metadata.unwrap().labels.unwrap();
        labels.insert("batch.kubernetes.io/job-name".into(), job.name_any());
        let pod = json!({
            "metadata": {"name": name, "labels": labels, "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job",
                "name": job.name_any(), "uid": job.uid(), "controller": true}]},
            "spec": template.spec,
        });
        self.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        self.pods.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
    }

    /// The Job's Pod succeeds with this termination message, and so does the Job.
    pub async fn succeed(&self, job: &Job, report: &str) {
        let name = format!("{}-pod", job.name_any());
        self.pod(job, &name, ended("Succeeded", 0, report)).await;
        self.finish(
            job,
            json!({"succeeded": 1, "completionTime": "2026-11-21T09:00:00Z"}),
            ["SuccessCriteriaMet", "Complete"],
            "",
        )
        .await;
    }

    /// The Job's Pod fails with this termination message, and so does the Job, for this reason, at this moment.
    pub async fn fail(&self, job: &Job, message: &str, reason: &str) {
        let name = format!("{}-{}", job.name_any(), job.uid().unwrap());
        self.pod(job, &name[..63], ended("Failed", 1, message)).await;
        self.finish(job, json!({"failed": 1}), ["FailureTarget", "Failed"], reason).await;
    }

    async fn finish(&self, job: &Job, mut status: Value, conditions: [&str; 2], reason: &str) {
        status["startTime"] = json!("2026-11-21T08:00:00Z");
        status["conditions"] = conditions
            .map(|type_| {
                json!({"type": type_, "status": "True", "reason": reason, "message": "in Kubernetes' words",
                    "lastTransitionTime": "2026-11-21T09:00:00Z", "lastProbeTime": "2026-11-21T09:00:00Z"})
            })
            .into();
        self.jobs.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
    }

    /// Removes all Pods, as a node that is gone does.
    pub async fn lose_pods(&self) {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        for pod in self.pods.list(&Default::default()).await.unwrap() {
            self.pods.delete(&pod.name_any(), &now).await.unwrap();
        }
    }
}

fn ended(phase: &str, exit_code: i32, message: &str) -> Value {
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    container(phase, json!({"terminated": {"exitCode": exit_code, "reason": reason, "message": message}}))
}

/// The status of a Pod whose container is in this state.
pub fn container(phase: &str, state: Value) -> Value {
    json!({"phase": phase, "containerStatuses": [{"name": "job", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": state}]})
}
