//! Whatever the store does at whatever request: is a manifest only ever beside an object that holds, and does the next run succeed?

use std::time::Duration;

use pgreeve::api::Destination;
use pgreeve::api::retention_policy::{ExportCompression, ExportFormat};
use pgreeve::job::export::manifest::Manifest;
use pgreeve::job::export::verify::verify;
use pgreeve::job::{Access, Report, Task, run};
use pgreeve::plan::action::Blocked;
use pgreeve::plan::removal::ExportPartition;
use pgreeve::storage::{Credentials, Store};

use crate::support::s3faults::{ALL, Fault, Plan, Proxy};
use crate::support::versitygw::SECRET_KEY;
use crate::world::{World, credentials};

struct Play {
    world: World,
    proxy: Proxy,
    task: ExportPartition,
    rows: i64,
}

impl Play {
    async fn new(format: ExportFormat, rows: &str) -> Self {
        let world = World::new(16).await;
        world.events(", n int, note text").await;
        world.owner(rows).await;
        let rows = world.client().await.query_one("select count(*) from events", &[]).await.unwrap().get(0);
        let proxy = Proxy::before(&world.server.endpoint, world.server.home.join(&world.bucket)).await;
        let task = world.task(format, ExportCompression::Zstd).await;
        Self { world, proxy, task, rows }
    }

    async fn run(&self, destination: Destination) -> Result<String, Blocked> {
        let storage = Credentials { patience: Duration::from_millis(300), ..credentials() };
        let task = ExportPartition { destination, ..self.task.clone() };
        match run(&Task::ExportPartition(Box::new(task)), &Access { storage, ..self.world.access() }).await? {
            Report::Exported(export) => Ok(export.id),
            report => panic!("{report:?} of an export"),
        }
    }

    /// How many requests an undisturbed run makes.
    async fn requests(&self) -> usize {
        self.proxy.play(None);
        self.run(self.world.destination_at(&self.proxy.endpoint)).await.unwrap();
        let requests = self.proxy.requests();
        self.reset().await;
        assert!(requests.len() >= 10, "{requests:?}");
        requests.len()
    }

    /// As before the first run.
    async fn reset(&self) {
        self.world.owner("alter table events_2025 drop constraint if exists pgreeve_closed").await;
        let bucket = self.world.server.home.join(&self.world.bucket);
        drop(std::fs::remove_dir_all(bucket.join("archive")));
    }

    /// The directories in which there is a manifest, and whether its object holds.
    async fn manifests(&self) -> Vec<(String, bool)> {
        let store = Store::open(&self.world.destination(), &credentials()).unwrap();
        let mut found = vec![];
        for entry in store.list("public.events").await.unwrap() {
            if let Some(directory) = entry.key.strip_suffix("/manifest.json") {
                let manifest = Manifest::read("", &store.get(&entry.key).await.unwrap().unwrap()).unwrap();
                found.push((manifest.export.clone(), verify(&store, directory, &manifest).await.is_ok()));
            }
        }
        found
    }

    async fn is_untouched(&self, plan: Plan) {
        let client = self.world.client().await;
        assert_eq!(client.query_one("select count(*) from events", &[]).await.unwrap().get::<_, i64>(0), self.rows, "{plan:?}");
        let refused = client.execute("insert into events values ('2025-01-01')", &[]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "23514", "{plan:?}");
    }

    /// Plays one fault; answers whether the run succeeded in spite of it.
    async fn play(&self, plan: Plan) -> bool {
        self.proxy.play(Some(plan));
        let disturbed = self.run(self.world.destination_at(&self.proxy.endpoint)).await;
        self.is_untouched(plan).await;
        let manifests = self.manifests().await;
        match &disturbed {
            Ok(export) => assert!(manifests.contains(&(export.clone(), true)) || strikes_later(plan), "{plan:?}: {manifests:?}"),
            Err(blocked) => {
                assert!(!blocked.message.contains(SECRET_KEY) && blocked.message.len() < 900, "{plan:?}: {}", blocked.message)
            }
        }
        assert!(manifests.iter().all(|(_, holds)| *holds) || strikes_later(plan), "{plan:?}: {disturbed:?} {manifests:?}");
        let later =
            self.run(self.world.destination()).await.unwrap_or_else(|blocked| panic!("{plan:?}, undisturbed: {blocked:?}"));
        let manifests = self.manifests().await;
        assert_eq!(manifests, [(later, true)], "{plan:?}");
        assert_eq!(self.world.files().len(), 2, "{plan:?}: {:?}", self.world.files());
        self.reset().await;
        disturbed.is_ok()
    }
}

/// A store that removes or changes objects after they were read cannot be kept from it; the next run finds out.
fn strikes_later(plan: Plan) -> bool {
    matches!(plan.fault, Fault::Vanish | Fault::Rot)
}

const FEW: &str = "insert into events select '2025-05-05', i, md5(i::text) from generate_series(1, 2000) i";

/// More than two parts of an upload, and nothing that could be compressed.
const MANY: &str = "insert into events select '2025-05-05', i, (select string_agg(md5(random()::text || i || j), '') from generate_series(1, 32) j)
    from generate_series(1, 22000) i";

/// At every request, each fault once, and some from there on for good.
async fn all(format: ExportFormat, once: &[Fault], lasting: &[Fault]) {
    let play = Play::new(format, FEW).await;
    let requests = play.requests().await;
    let (mut played, mut overcome) = (0, 0);
    for first in 0..requests {
        let once = once.iter().map(|fault| Plan { first, lasting: false, fault: *fault });
        let lasting = lasting.iter().map(|fault| Plan { first, lasting: true, fault: *fault });
        for plan in once.chain(lasting) {
            played += 1;
            overcome += i32::from(play.play(plan).await);
        }
    }
    println!("{format:?}: {played} faults played at {requests} requests, {overcome} overcome at once, all by the next run");
    assert!(overcome > 0 && overcome < played);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_at_any_request_of_a_parquet_export_does_harm() {
    all(ExportFormat::Parquet, &ALL, &[Fault::Refuse(503, "SlowDown"), Fault::CutAfter]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_at_any_request_of_a_csv_export_does_harm() {
    all(ExportFormat::Csv, &[Fault::CutAfter, Fault::Truncate, Fault::Alter, Fault::Vanish], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_between_the_parts_of_an_upload_does_harm() {
    let play = Play::new(ExportFormat::Csv, MANY).await;
    play.proxy.play(None);
    play.run(play.world.destination_at(&play.proxy.endpoint)).await.unwrap();
    let requests = play.proxy.requests();
    play.reset().await;
    let parts: Vec<usize> = (0..requests.len()).filter(|number| requests[*number].contains("uploadId")).collect();
    assert!(parts.len() >= 4, "three parts and their completion: {requests:?}");
    for first in parts {
        for fault in [Fault::Refuse(503, "SlowDown"), Fault::CutBefore, Fault::CutAfter, Fault::WrongTag, Fault::FalseSuccess] {
            play.play(Plan { first, lasting: false, fault }).await;
        }
    }
}
