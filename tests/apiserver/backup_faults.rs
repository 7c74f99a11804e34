//! What if any request of the operator is lost, or the operator dies at it, while backups come and go?
//!
//! The story has two backups, of which the second lets the first one go. It is played once undisturbed to count the writes, and once more for
//! each write and each fault. In the end there is one complete backup with its objects, nothing else in the bucket, no Job, and silence.

use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::json;

use crate::backup::Stage;
use crate::support::Patience;
use crate::support::apiserver::apiserver;
use crate::support::kubefault::{KubeFaults, WriteFault};

/// How long a playing may take: a lost answer costs a pass, and passes follow each other with growing delays.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a death is waited for. A playing with fewer writes before its first backup than the undisturbed one had has nothing to survive.
const AWAITED: Duration = Duration::from_secs(30);

/// How many deaths of ten may come to nothing that way.
const SPARED: usize = 3;

/// Stories at a time.
const AT_A_TIME: usize = 4;

/// What happens at a write.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    Fault(WriteFault),
    /// It is carried out, and the operator is dead before it hears so. Another one goes on.
    Death,
}

struct Story {
    stage: Stage,
    faults: KubeFaults,
}

impl Story {
    async fn begin() -> Self {
        let mut stage = Stage::idle().await;
        let spec = json!({
            "databaseRef": {"name": "db"}, "schedule": "0 0 1 1 *", "retention": {"keepLast": 1},
            "backup": {"destination": stage.destination(), "verify": "Catalog"},
        });
        stage.world.create("BackupSchedule", "s", spec).await;
        let faults = KubeFaults::default();
        stage.start_with(faults.client(&apiserver().admin_config().await)).await;
        Self { stage, faults }
    }

    /// One that dies at the write that is planned.
    async fn survive(&mut self) {
        while !self.faults.all_met() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.stage.world.kill();
        self.stage.start().await;
    }

    async fn ask(&self, request: &str) {
        let annotation = json!({"metadata": {"annotations": {"pgreeve.dev/requestedAt": request}}});
        self.stage.world.patch("BackupSchedule", "s", annotation).await;
    }

    /// Backups that are there, by name, with whether each is complete.
    async fn backups(&self) -> Vec<(String, bool)> {
        let found = self.stage.world.api("Backup").list(&Default::default()).await.unwrap();
        found.iter().map(|backup| (backup.name_any(), backup.data["status"]["completedAt"].is_string())).collect()
    }

    /// Waits until exactly one backup is there, is complete and is not this one.
    async fn one_but(&self, former: &str) -> String {
        let mut patience = Patience::of(PATIENCE);
        while !patience.is_over() {
            match &self.backups().await[..] {
                [(name, true)] if name != former => return name.clone(),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("it does not come to one backup beside {former:?}: {}", self.told().await);
    }

    /// What there is, in few words: the log of a test is often read shortened.
    async fn told(&self) -> String {
        let schedule = self.stage.world.api("BackupSchedule").get("s").await.unwrap();
        let backups = self.stage.world.api("Backup").list(&Default::default()).await.unwrap();
        let told = |object: &DynamicObject| {
            let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
            format!("{} {:?} {ready:?}", object.name_any(), object.metadata.deletion_timestamp)
        };
        let backups: Vec<String> = backups.iter().map(told).collect();
        let writes = self.faults.writes();
        let last: Vec<&str> = writes.iter().rev().take(12).map(|write| write.what.as_str()).collect();
        format!(
            "{backups:?}; {:?}; {}; annotations {:?}; the last writes of {} {last:?}; {}",
            self.stage.node.broken(),
            told(&schedule),
            schedule.annotations(),
            writes.len(),
            schedule.data["status"],
        )
    }

    async fn play(&self) -> String {
        self.ask("first").await;
        let first = self.one_but("").await;
        self.ask("second").await;
        self.one_but(&first).await
    }

    async fn holds(&self, last: &str) -> Result<(), String> {
        let quiet = async || {
            let jobs = self.stage.node.has_done_all();
            let status = self.stage.world.api("BackupSchedule").get("s").await.unwrap().data["status"].clone();
            (jobs && status["active"].is_null() && status["lastVerified"]["name"] == last).then_some(())
        };
        let mut patience = Patience::of(PATIENCE);
        while quiet().await.is_none() {
            if patience.is_over() {
                return Err(format!("it does not settle: {}", self.told().await));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let manifests = self.stage.objects("manifest.json");
        let objects = self.stage.objects("");
        let foreign: Vec<_> = objects.iter().filter(|path| !path.contains(&format!("/{last}-"))).collect();
        if manifests.len() != 1 || !foreign.is_empty() {
            return Err(format!("{manifests:?} beside {foreign:?}"));
        }
        let broken = self.stage.node.broken();
        if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
    }
}

/// Plays it with a disturbance, and says whether that came about.
async fn disturbed(number: usize, disturbance: Disturbance) -> Result<bool, String> {
    let mut story = Story::begin().await;
    match disturbance {
        Disturbance::Fault(fault) => story.faults.plan(number, fault),
        Disturbance::Death => story.faults.plan(number, WriteFault::CutAfter),
    }
    let mut has_died = true;
    if let Disturbance::Death = disturbance {
        story.ask("first").await;
        has_died = tokio::time::timeout(AWAITED, story.survive()).await.is_ok();
    }
    let last = story.play().await;
    story.holds(&last).await.map_err(|broken| format!("{disturbance:?} at write {number}: {broken}"))?;
    Ok(has_died)
}

#[tokio::test]
async fn whichever_write_is_lost_one_good_backup_is_left_and_nothing_else() {
    let clean = Story::begin().await;
    let last = clean.play().await;
    clean.holds(&last).await.unwrap();
    let is_event = |what: &str| what.contains("/events");
    let writes: Vec<usize> =
        clean.faults.writes().iter().filter(|write| !is_event(&write.what)).map(|write| write.number).collect();
    assert!(writes.len() >= 15, "{:?}", clean.faults.writes());
    let (mut plays, mut deaths) = (Vec::new(), 0);
    for (index, number) in writes.iter().copied().enumerate() {
        // A death is only told apart from a lost answer while the first backup is under way: later, who plays has asked already.
        let is_early = index < writes.len() / 3;
        let other = if is_early && index % 2 == 0 { Disturbance::Death } else { Disturbance::Fault(WriteFault::CutBefore) };
        // Each write is lost or unanswered, in turn: a playing takes seconds, and the layer below cuts every write of tests/faults both ways.
        let lost = if index % 3 == 2 { other } else { Disturbance::Fault(WriteFault::CutAfter) };
        deaths += usize::from(matches!(lost, Disturbance::Death));
        plays.push(disturbed(number, lost));
    }
    let count = plays.len();
    let ended: Vec<Result<bool, String>> = futures::stream::iter(plays).buffer_unordered(AT_A_TIME).collect().await;
    let spared = ended.iter().filter(|ended| matches!(ended, Ok(false))).count();
    let broken: Vec<String> = ended.into_iter().filter_map(Result::err).collect();
    assert!(broken.is_empty(), "{} of {count}: {}", broken.len(), broken.join("\n"));
    println!("{count} playings; {spared} of {deaths} operators had nothing to die of");
    assert!(spared * 10 <= deaths * SPARED + 9, "{spared} of {deaths}");
}

#[tokio::test]
async fn two_operators_make_one_backup_of_one_moment() {
    let mut story = Story::begin().await;
    // The second one lives as long as this does; a world ends the last that it was given.
    let stop = tokio_util::sync::CancellationToken::new();
    let (client, stopped) = (story.stage.world.client.clone(), stop.clone());
    let config = story.stage.config();
    let other = tokio::spawn(async move {
        pgreeve::controller::run(client, config, async move { stopped.cancelled().await }).await.unwrap();
    });
    let last = story.play().await;
    story.holds(&last).await.unwrap();
    // Both find that a moment of the schedule has come.
    let next = story.stage.world.api("BackupSchedule").get("s").await.unwrap().data["status"]["nextRun"].clone();
    let next: jiff::Timestamp = next.as_str().unwrap().parse().unwrap();
    story.stage.go_ahead(next.duration_since(pgreeve::clock::Clock::system().now()).as_secs() + 60);
    let timely = story.one_but(&last).await;
    assert_eq!(timely, format!("s-{}", next.strftime("%Y%m%d-%H%M")));
    story.holds(&timely).await.unwrap();
    assert_eq!(story.stage.world.api("BackupSchedule").get("s").await.unwrap().data["status"]["missed"], 0);
    stop.cancel();
    other.await.unwrap();
    story.stage.world.stop().await;
}
