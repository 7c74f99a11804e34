//! Who runs a Job where there is neither a controller nor a kubelet? The test: it makes the Pod and writes what they would write, and if
//! wished it runs the container too, as a process of this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use pgreeve::cluster::jobs::manifest::EXIT_FOR_GOOD;
use serde_json::{Value, json};

use super::eventually;
use super::postgres::programs;

/// The node, and the Job controller, of one namespace.
#[derive(Clone)]
pub struct Kubelet {
    pub jobs: Api<Job>,
    pub pods: Api<Pod>,
    secrets: Api<Secret>,
    /// When Jobs end, as their conditions say.
    ended: Option<Timestamp>,
    /// What containers find under these keys of their Secrets, whatever those say.
    instead: BTreeMap<String, String>,
    /// Programs that stand before PostgreSQL's own.
    standing_in: Option<PathBuf>,
}

impl Kubelet {
    /// Of this namespace.
    pub fn of(client: &Client, namespace: &str) -> Self {
        Self {
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            ended: Some("2026-11-21T09:00:00Z".parse().unwrap()),
            instead: BTreeMap::new(),
            standing_in: None,
        }
    }

    /// The same, but containers reach their server here, past the proxy that their Secret names.
    pub fn reaching(self, host: String, port: u16) -> Self {
        self.with_instead("host", &host).with_instead("port", &port.to_string())
    }

    /// The same, but containers find this under a key of their Secrets.
    pub fn with_instead(mut self, key: &str, value: &str) -> Self {
        self.instead.insert(key.into(), value.into());
        self
    }

    /// The same, but in containers the programs of this directory stand before PostgreSQL's own.
    pub fn with_programs(self, directory: PathBuf) -> Self {
        Self { standing_in: Some(directory), ..self }
    }

    /// The same, but Jobs end at this moment: one that failed long ago is tried again at once.
    pub fn ending_at(self, ended: Timestamp) -> Self {
        Self { ended: Some(ended), ..self }
    }

    /// The same, but Jobs end when they end.
    pub fn ending_now(self) -> Self {
        Self { ended: None, ..self }
    }

    fn ended(&self) -> Timestamp {
        self.ended.unwrap_or_else(|| pgreeve::clock::Clock::system().now())
    }

    /// The only Job there is, as soon as there is one.
    pub async fn first_job(&self) -> Job {
        let found = async || self.jobs.list(&Default::default()).await.unwrap().items.pop();
        eventually("a Job is made", Duration::from_secs(30), found).await;
        self.job().await
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
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let parameters = PostParams::default();
        match insisting(|| self.pods.create(&parameters, &pod)).await {
            Ok(_) => {}
            // By a request whose answer was lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => panic!("Pod {name}: {error}"),
        }
        let status = Patch::Merge(json!({"status": status}));
        let parameters = PatchParams::default();
        insisting(|| self.pods.patch_status(name, &parameters, &status)).await.unwrap();
    }

    /// So many Pods of this Job are at work.
    pub async fn at_work(&self, job: &Job, ready: i32) {
        let status = json!({"status": {"active": 1, "ready": ready, "startTime": "2026-11-21T08:00:00Z"}});
        self.jobs.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// The Job's Pod succeeds with this termination message, and so does the Job.
    pub async fn succeed(&self, job: &Job, report: &str) {
        self.pod(job, &last_pod(job), ended("Succeeded", 0, report)).await;
        let status = json!({"succeeded": 1, "completionTime": self.ended()});
        self.finish(job, status, ["SuccessCriteriaMet", "Complete"], "").await;
    }

    /// The Job's Pod fails with this termination message, and so does the Job, for this reason, at this moment.
    pub async fn fail(&self, job: &Job, message: &str, reason: &str) {
        self.pod(job, &last_pod(job), ended("Failed", 1, message)).await;
        self.finish(job, json!({"failed": 1}), ["FailureTarget", "Failed"], reason).await;
    }

    /// A Job that was deleted meanwhile, or made anew, needs no end.
    async fn finish(&self, job: &Job, mut status: Value, conditions: [&str; 2], reason: &str) {
        let ended = self.ended();
        status["startTime"] = json!(ended - SignedDuration::from_hours(1));
        status["conditions"] = conditions
            .map(|type_| {
                json!({"type": type_, "status": "True", "reason": reason, "message": "in Kubernetes' words",
                    "lastTransitionTime": ended, "lastProbeTime": ended})
            })
            .into();
        let patch = Patch::Merge(json!({"metadata": {"uid": job.uid()}, "status": status}));
        let (name, parameters) = (job.name_any(), PatchParams::default());
        match insisting(|| self.jobs.patch_status(&name, &parameters, &patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() || is_of_a_namesake(&status) => {}
            Err(error) => panic!("{}: {error}", job.name_any()),
        }
    }

    /// Runs the container of this Job to its end and writes what became of it: `program`, with the Secrets and the task that the Job names, and
    /// with this directory in place of every volume. A Pod that fails is followed by another as often as the Job says, within the time that
    /// it says. Returns the exit code, that of SIGKILL where the time was over.
    pub async fn run(&self, job: &Job, program: &Path, volume: &Path) -> i32 {
        let deadline = u64::try_from(job.spec.as_ref().unwrap().active_deadline_seconds.unwrap()).unwrap();
        let Ok((code, message)) = tokio::time::timeout(Duration::from_secs(deadline), self.run_pods(job, program, volume)).await
        else {
            self.fail(job, "", "DeadlineExceeded").await;
            return 137;
        };
        match code {
            0 => self.succeed(job, &message).await,
            EXIT_FOR_GOOD => self.fail(job, &message, "PodFailurePolicy").await,
            _ => self.fail(job, &message, "BackoffLimitExceeded").await,
        }
        code
    }

    /// The same, but at first two Pods do the work side by side, as Kubernetes may let it happen.
    pub async fn run_twice(&self, job: &Job, program: &Path, volume: &Path) -> i32 {
        let (one, other) = tokio::join!(self.run_pod(job, program, volume), self.run_pod(job, program, volume));
        match [one, other].into_iter().find(|(code, _)| *code == 0) {
            Some((code, message)) => {
                self.succeed(job, &message).await;
                code
            }
            None => self.run(job, program, volume).await,
        }
    }

    /// What the last Pod came to.
    async fn run_pods(&self, job: &Job, program: &Path, volume: &Path) -> (i32, String) {
        let retries = job.spec.as_ref().unwrap().backoff_limit.unwrap();
        let mut last = self.run_pod(job, program, volume).await;
        for _ in 0..retries {
            if [0, EXIT_FOR_GOOD].contains(&last.0) {
                break;
            }
            // Kubernetes waits for ten seconds and more (Job, "Pod backoff failure policy").
            tokio::time::sleep(Duration::from_millis(300)).await;
            last = self.run_pod(job, program, volume).await;
        }
        last
    }

    /// Exit code and termination message of one Pod's container.
    async fn run_pod(&self, job: &Job, program: &Path, volume: &Path) -> (i32, String) {
        self.start_pod(job, program, volume).await.end().await
    }

    /// Starts the container of one Pod of this Job; the API server hears nothing of it.
    pub async fn start_pod(&self, job: &Job, program: &Path, volume: &Path) -> Container {
        let root = tempfile::tempdir().unwrap();
        let pod = job.spec.as_ref().unwrap().template.spec.clone().unwrap();
        let container = &pod.containers[0];
        self.provide_secrets(&pod, &root.path().join("secrets")).await;
        let mut command = tokio::process::Command::new(program);
        command.args(container.args.as_deref().unwrap_or_default()).env_clear().kill_on_drop(true);
        for variable in container.env.iter().flatten() {
            // As Kubernetes expands it.
            command.env(&variable.name, variable.value.as_deref().unwrap_or_default().replace("$$", "$"));
        }
        let report = root.path().join("report");
        // As if the image were that of the server's major.
        let path = self.standing_in.iter().cloned().chain([16, 18].map(programs));
        command.env("PATH", std::env::join_paths(path).unwrap());
        command.arg("--secrets").arg(root.path().join("secrets")).arg("--volume").arg(volume).arg("--report").arg(&report);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Container { process, root }
    }

    /// The projected Secrets of a Pod, as files.
    async fn provide_secrets(&self, pod: &PodSpec, root: &Path) {
        let projected = pod.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
        let sources =
            projected.flat_map(|projected| projected.sources.iter().flatten()).filter_map(|source| source.secret.as_ref());
        for source in sources {
            let found = insisting(|| self.secrets.get_opt(&source.name)).await;
            let Some(secret) = found.unwrap() else { continue };
            let data = secret.data.unwrap_or_default();
            for item in source.items.iter().flatten() {
                let other = self.instead.get(&item.key).map(|text| k8s_openapi::ByteString(text.clone().into_bytes()));
                if let Some(value) = data.get(&item.key).map(|value| other.as_ref().unwrap_or(value)) {
                    let path = root.join(&item.path);
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, &value.0).unwrap();
                }
            }
        }
    }

    /// Runs every Job that appears, one after the other, for as long as it is awaited.
    pub async fn serve(&self, program: &Path, volume: &Path) {
        let all = ListParams::default();
        loop {
            for job in insisting(|| self.jobs.list(&all)).await.unwrap() {
                let status = job.status.clone().unwrap_or_default();
                if status.conditions.unwrap_or_default().is_empty() {
                    self.run(&job, program, volume).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Removes all Pods, as a node that is gone does.
    pub async fn lose_pods(&self) {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        for pod in self.pods.list(&Default::default()).await.unwrap() {
            self.pods.delete(&pod.name_any(), &now).await.unwrap();
        }
    }
}

/// Asks again where the connection broke: the API server closes one that has lain idle for ninety seconds, and the client takes it for a new
/// request until then.
async fn insisting<T, F: Future<Output = kube::Result<T>>>(mut ask: impl FnMut() -> F) -> kube::Result<T> {
    for _ in 0..5 {
        match ask().await {
            Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => return answer,
        }
    }
    ask().await
}

/// Whether a change was refused only because the object bears another UID now.
fn is_of_a_namesake(status: &kube::core::Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes).peekable();
    status.is_invalid() && causes.peek().is_some() && causes.all(|cause| cause.field == "metadata.uid")
}

/// A container that runs as a process of this machine, and ends with this value.
pub struct Container {
    pub process: tokio::process::Child,
    root: tempfile::TempDir,
}

impl Container {
    /// Waits for its end. Returns its exit code and its termination message.
    pub async fn end(self) -> (i32, String) {
        let output = self.process.wait_with_output().await.unwrap();
        // Without a report, the end of the log (FallbackToLogsOnError).
        let report = std::fs::read_to_string(self.root.path().join("report"));
        let message = report.unwrap_or_else(|_| String::from_utf8_lossy(&output.stderr).into_owned());
        (output.status.code().unwrap_or(137), message)
    }
}

/// The name of the Pod that ends this very Job.
fn last_pod(job: &Job) -> String {
    let mut name = format!("{}-{}", job.name_any(), job.uid().unwrap());
    name.truncate(63);
    name.trim_end_matches('-').to_owned()
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
