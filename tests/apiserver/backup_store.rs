//! What if any request to the store fails while a schedule makes backups and lets old ones go?
//!
//! There is a good backup; another one is asked for; one request to the store, whoever sends it, meets a fault. All the while, a backup whose
//! manifest and data agree is in the store, and every Backup that says Complete is such a one. In the end the new one is there and the old one is
//! not, since every fault passes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::ResourceExt as _;
use pgreeve::plan::backup::manifest::Manifest;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::backup::Stage;
use crate::support::eventually;
use crate::support::node::{Node, Pods};
use crate::support::s3faults::{Fault, Plan, Proxy};

/// How long a backup may take to come and another one to go: what is refused for good is tried again with growing delays.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a request meets. tests/backup plays all thirteen faults at the requests of a Job; these are one of each outcome: refused, carried out
/// without an answer, answered wrongly, and not carried out although it is said to be.
const FAULTS: [Fault; 4] = [Fault::Refuse(403, "AccessDenied"), Fault::CutAfter, Fault::Alter, Fault::FalseSuccess];

/// Schedules that are played side by side, each with its share of the requests.
const SHARES: usize = 4;

/// A manifest whose data is there, byte for byte.
pub fn is_good(manifest: &Path) -> bool {
    let read = || Manifest::read(&std::fs::read(manifest).ok()?).ok();
    let Some(found) = read() else { return false };
    let data = std::fs::read(manifest.with_file_name(&found.data.name)).unwrap_or_default();
    let digest: String = Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
    digest == found.data.sha256
}

struct Scene {
    stage: Stage,
    proxy: Proxy,
}

impl Scene {
    async fn begin() -> Self {
        let mut stage = Stage::idle().await;
        stage.node = Node::start(&stage.world.client, &stage.world.namespace, Pods::One);
        let proxy = Proxy::before(&stage.s3.endpoint, stage.s3.home.join(&stage.bucket)).await;
        let mut destination = stage.destination();
        destination["s3"]["endpoint"] = json!(proxy.endpoint);
        let spec = json!({
            "databaseRef": {"name": "db"}, "schedule": "0 0 1 1 *", "retention": {"keepLast": 1},
            "backup": {"destination": destination, "verify": "Catalog"},
        });
        stage.world.create("BackupSchedule", "s", spec).await;
        stage.start().await;
        let scene = Self { stage, proxy };
        scene.next("first", "").await.unwrap();
        scene
    }

    /// Backups that are neither gone nor going, by name, with whether each is complete and where it lies.
    async fn backups(&self) -> Vec<(String, bool, Option<String>)> {
        let found = self.stage.world.api("Backup").list(&Default::default()).await.unwrap();
        let stays = found.iter().filter(|backup| backup.metadata.deletion_timestamp.is_none());
        let is_true = |conditions: &serde_json::Value, type_: &str| {
            conditions.as_array().is_some_and(|all| all.iter().any(|found| found["type"] == type_ && found["status"] == "True"))
        };
        stays
            .map(|backup| {
                let status = &backup.data["status"];
                (backup.name_any(), is_true(&status["conditions"], "Complete"), status["directory"].as_str().map(str::to_owned))
            })
            .collect()
    }

    fn manifests(&self) -> Vec<PathBuf> {
        self.stage.objects("manifest.json").into_iter().map(PathBuf::from).collect()
    }

    /// What is wrong right now.
    async fn breach(&self) -> Option<String> {
        let home = self.stage.s3.home.join(&self.stage.bucket);
        for (name, is_complete, directory) in self.backups().await {
            let Some(directory) = directory.filter(|_| is_complete) else { continue };
            let manifest = home.join(directory).join("manifest.json");
            // What goes meanwhile has said so first.
            let still = async || self.backups().await.iter().any(|(found, ..)| *found == name);
            if !is_good(&manifest) && still().await {
                return Some(format!("Backup {name} says Complete and is not whole in the store"));
            }
        }
        // Between the list and the look one may go, if another one has come.
        let has_good = || self.manifests().iter().any(|manifest| is_good(manifest));
        (!has_good() && !has_good()).then(|| "no good backup is left".into())
    }

    /// Asks for a backup, waits until it has taken the place of the former one, and watches.
    async fn next(&self, request: &str, former: &str) -> Result<String, String> {
        let annotation = json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": request}}});
        self.stage.world.patch("BackupSchedule", "s", annotation).await;
        let over = Arc::new(AtomicBool::new(false));
        let watched = async {
            let mut breach = None;
            while !over.load(Ordering::Relaxed) && breach.is_none() {
                breach = if former.is_empty() { None } else { self.breach().await };
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            breach
        };
        let replaced = async {
            let name = eventually(&format!("{request}: a backup takes the place of {former}"), PATIENCE, async || {
                match &self.backups().await[..] {
                    [(name, true, _)] if name != former && self.manifests().len() == 1 => Some(name.clone()),
                    _ => None,
                }
            })
            .await;
            let done = async || self.stage.node.has_done_all().then_some(());
            eventually(&format!("{request}: no Job is left ({:?})", self.stage.node.broken()), PATIENCE, done).await;
            over.store(true, Ordering::Relaxed);
            name
        };
        let (breach, name) = tokio::join!(watched, replaced);
        breach.map_or(Ok(name), |breach| Err(format!("{request}: {breach}")))
    }
}

/// Plays a share of the requests; answers how many faults were played.
async fn share(share: usize) -> Result<usize, String> {
    let scene = Scene::begin().await;
    scene.proxy.play(None);
    let mut last = scene.next("clean", &scene.backups().await[0].0).await?;
    let requests = scene.proxy.requests().len();
    assert!(requests >= 12, "{:?}", scene.proxy.requests());
    let mut played = 0;
    for first in (share..requests).step_by(SHARES) {
        // Two of the four, in turn.
        for fault in FAULTS.into_iter().skip(first % 2).step_by(2) {
            scene.proxy.play(Some(Plan { first, lasting: false, fault }));
            last = scene.next(&format!("{fault:?} at request {first}"), &last).await?;
            played += 1;
        }
    }
    let broken = scene.stage.node.broken();
    if broken.is_empty() { Ok(played) } else { Err(broken.join("; ")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_request_to_the_store_fails_no_backup_is_false_and_no_good_one_goes_before_its_time() {
    let shares = futures::future::join_all((0..SHARES).map(share)).await;
    let played: Result<Vec<usize>, String> = shares.into_iter().collect();
    let played: usize = played.unwrap().into_iter().sum();
    println!("{played} faults at requests to the store, and a good backup at every moment");
    assert!(played >= 24, "{played}");
}
