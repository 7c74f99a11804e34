//! Who sits before a cluster in which nobody acts? A person who types commands, beside a test that answers as the operator would.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::desk::Desk;
use crate::program::Ran;
use crate::support::apiserver::apiserver;
use crate::support::eventually;

const PATIENCE: Duration = Duration::from_secs(120);
pub const MANIFEST: &str = "s3://backups/shop/1/manifest.json";

/// A namespace with a person in front of it, and nobody who acts.
pub struct Office {
    pub client: Client,
    pub namespace: String,
    pub desk: Desk,
}

impl Office {
    /// With the PostgresDatabase `db`.
    pub async fn new() -> Self {
        let client = apiserver().admin().await;
        let namespace = apiserver().namespace(&client).await;
        let office = Self { desk: Desk::in_namespace(&namespace), client, namespace };
        office.database("db").await;
        office
    }

    pub async fn database(&self, name: &str) {
        self.create("PostgresDatabase", json!({"name": name}), json!({"connection": {"secretRef": {"name": name}}})).await;
    }

    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk(pgreeve::api::GROUP, pgreeve::api::VERSION, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &format!("{}s", kind.to_lowercase()));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    pub async fn create(&self, kind: &str, metadata: Value, spec: Value) {
        let object = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        self.api(kind).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// A Backup whose snapshot is of this hour, with these true conditions.
    pub async fn backup(&self, name: &str, database: &str, hour: u8, conditions: &[&str]) {
        let spec = json!({"databaseRef": {"name": database}, "destination": {"pvc": {"claimName": "backups"}}});
        self.create("Backup", json!({"name": name}), spec).await;
        let at = format!("2026-11-21T{hour:02}:00:00Z");
        let conditions: Vec<Value> = conditions.iter().map(|kind| condition(kind, "UpToDate", "as said")).collect();
        let proven = json!({"level": "Restore", "at": at});
        self.status(
            "Backup",
            name,
            json!({"conditions": conditions, "snapshotAt": at, "sizeBytes": 204_000_000,
            "tables": {"count": 3, "rows": 5000}, "verification": if conditions.len() > 1 { proven } else { Value::Null }}),
        )
        .await;
    }

    pub async fn status(&self, kind: &str, name: &str, status: Value) {
        let patch = json!({"status": status});
        self.api(kind).patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// The only object of a kind, once it is there and as wanted.
    pub async fn the(&self, kind: &str, wanted: impl Fn(&DynamicObject) -> bool) -> DynamicObject {
        eventually(&format!("a {kind}"), PATIENCE, async || {
            let found = self.api(kind).list(&Default::default()).await.unwrap().items;
            found.into_iter().find(|found| wanted(found))
        })
        .await
    }

    /// Runs the program beside what the test does, and no longer than the test.
    pub fn types(&self, arguments: &[&str]) -> Program {
        Program::start(self.desk.present(arguments), "")
    }

    /// The same on a terminal, with somebody who types this.
    pub fn types_on_a_terminal(&self, arguments: &[&str], typed: &'static str) -> Program {
        Program::start(self.on_a_terminal(arguments), typed)
    }

    /// The same, with somebody who waits before they type.
    pub fn waits_on_a_terminal(&self, arguments: &[&str]) -> Program {
        let (keys, pressed) = unbounded_channel();
        Program { keys: Some(keys), ..Program::started(self.on_a_terminal(arguments), "", Some(pressed)) }
    }

    fn on_a_terminal(&self, arguments: &[&str]) -> Command {
        let inner = self.desk.present(arguments);
        let words = std::iter::once(inner.get_program()).chain(inner.get_args()).map(|word| word.to_str().unwrap().to_owned());
        let mut script = Command::new("script");
        // In place of the shell, which would make an end of its own of Ctrl-C.
        script.args(["-qefc", &format!("exec {}", words.collect::<Vec<_>>().join(" ")), "/dev/null"]);
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        script
    }

    /// What a plan is answered with, once the program has told how far it is.
    pub async fn planned(&self, program: &Program) -> DynamicObject {
        let restore = self.the("Restore", |_| true).await;
        assert_eq!(restore.data["spec"]["dryRun"], true);
        assert_eq!(restore.data["spec"]["confirm"], Value::Null);
        let generation = restore.metadata.generation;
        self.status(
            "Restore",
            &restore.name_any(),
            json!({
            "observedGeneration": generation, "step": "Preflight",
            "conditions": [condition("Ready", "JobRunning", "Job inspect runs")]}),
        )
        .await;
        program.says("Job inspect runs").await;
        self.status("Restore", &restore.name_any(), json!({
            "observedGeneration": generation, "step": "AwaitingConfirmation", "backup": "old", "database": "shop",
            "conditions": [condition("Ready", "ApprovalPending", "the plan waits")],
            "plan": {"fingerprint": "0123456789abcdef", "summary": "database shop goes back to 08:00", "actions": ["restore it", "swap them"]},
            "chosen": {"url": MANIFEST, "manifest": "ab", "major": 15, "destination": {"pvc": {"claimName": "backups"}}, "directory": "shop/1",
                "systemIdentifier": "7000", "replaces": 5, "snapshotAt": "2026-11-21T08:00:00Z", "bytes": 1,
                "tables": {"count": 3, "rows": 5000},
                "like": {"owner": "shop", "encoding": "UTF8", "collate": "C", "ctype": "C", "provider": "libc"}}}))
            .await;
        restore
    }

    /// Whether no Restore is left.
    pub async fn is_tidy(&self) -> bool {
        self.api("Restore").list(&Default::default()).await.unwrap().items.is_empty()
    }
}

pub fn condition(kind: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": "2026-11-21T08:00:00Z"})
}

/// A program that runs, and ends with the test at the latest.
pub struct Program {
    task: JoinHandle<Ran>,
    said: Arc<Mutex<Said>>,
    /// What is typed later.
    keys: Option<UnboundedSender<&'static str>>,
}

/// What a program has said so far.
#[derive(Default)]
struct Said {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Program {
    /// Starts it with this on its stdin.
    fn start(command: Command, typed: &'static str) -> Self {
        Self::started(command, typed, None)
    }

    fn started(command: Command, typed: &'static str, keys: Option<UnboundedReceiver<&'static str>>) -> Self {
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = Arc::<Mutex<Said>>::default();
        let heard = Arc::clone(&said);
        let task = tokio::spawn(async move {
            let mut child = command.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(typed.as_bytes()).await.unwrap();
            let _typing = keys.map(|mut keys| {
                tokio::spawn(async move {
                    while let Some(key) = keys.recv().await {
                        stdin.write_all(key.as_bytes()).await.unwrap();
                    }
                })
            });
            let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
            tokio::join!(hear(out, &heard, |said| &mut said.out), hear(err, &heard, |said| &mut said.err));
            let code = child.wait().await.unwrap().code().unwrap_or(-1);
            let said = std::mem::take(&mut *heard.lock().unwrap());
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            Ran { code, stdout: text(said.out), stderr: text(said.err) }
        });
        Self { task, said, keys: None }
    }

    /// Somebody presses these keys.
    pub fn presses(&self, keys: &'static str) {
        self.keys.as_ref().unwrap().send(keys).unwrap();
    }

    /// Waits until it has said this, or has ended.
    pub async fn says(&self, words: &str) {
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(words);
        eventually(&format!("it says {words:?}"), PATIENCE, async || {
            let said = self.said.lock().unwrap();
            (self.task.is_finished() || holds(&said.out) || holds(&said.err)).then_some(())
        })
        .await;
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for its end.
    pub async fn ends(self) -> Ran {
        self.task.await.unwrap()
    }
}

/// Takes down what comes, as it comes.
async fn hear(mut from: impl AsyncRead + Unpin, said: &Mutex<Said>, part: fn(&mut Said) -> &mut Vec<u8>) {
    let mut piece = [0; 4096];
    loop {
        let count = from.read(&mut piece).await.unwrap();
        if count == 0 {
            return;
        }
        part(&mut said.lock().unwrap()).extend_from_slice(&piece[..count]);
    }
}
