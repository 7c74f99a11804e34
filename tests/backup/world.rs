//! What does a test of backups stand on? A database, a volume or a bucket, and PostgreSQL's own programs.

use std::path::PathBuf;
use std::time::Duration;

use pgreeve::api::BackupSettings;
use pgreeve::job::backup::{self, BackedUp, Workshop};
use pgreeve::job::{Access, Report, Task, run};
use pgreeve::plan::action::Blocked;
use pgreeve::plan::backup::manifest::Verified;
use pgreeve::plan::backup::{DumpDatabase, Manifest, Stored, VerifyBackup};
use pgreeve::postgres::Target;
use pgreeve::postgres::connect::Tls;
use pgreeve::postgres::execute::Budget;
use pgreeve::storage::{Credentials, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::support::postgres::Database;

/// The major whose `pg_dump` every machine that runs these tests has.
pub const MAJOR: u32 = 15;

/// A database, and a volume.
pub struct World {
    pub database: Database,
    pub admin: Client,
    pub volume: TempDir,
    pub workshop: Workshop,
}

/// Three tables, one of them partitioned, and what dumps are known to lose.
pub const SHOP: &str = "create table users (id bigint primary key, name text not null);
    insert into users select n, 'user ' || n from generate_series(1, 2000) n;
    create table events (at date not null, body text) partition by range (at);
    create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01');
    create table events_2 partition of events for values from ('2026-02-01') to ('2026-03-01');
    insert into events select date '2026-01-01' + n % 50, repeat(md5(n::text), 3) from generate_series(1, 20000) n;
    create table empty (n int);
    create sequence tickets start 1000;
    select nextval('tickets');
    create view recent as select * from events where at > '2026-02-01'";

impl World {
    /// A database in which this has run.
    pub async fn new(sql: &str) -> Self {
        Self::of_major(MAJOR, sql).await
    }

    pub async fn of_major(major: u32, sql: &str) -> Self {
        Self::on(Database::create(major).await, sql).await
    }

    pub async fn on(database: Database, sql: &str) -> Self {
        // The first to come decides; whoever comes later finds the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let admin = database.superuser().await;
        admin.batch_execute(sql).await.unwrap();
        Self { database, admin, volume: tempfile::tempdir().unwrap(), workshop: Workshop::default() }
    }

    pub fn target(&self) -> Target {
        Target {
            host: self.database.server().socket.display().to_string(),
            port: self.database.server().port,
            database: self.database.name.clone(),
            user: "postgres".into(),
            password: None,
            tls: Tls::Disable,
        }
    }

    pub fn access(&self) -> Access {
        let storage = Credentials { volume: self.volume.path().to_owned(), ..Credentials::default() };
        Access { target: Some(self.target()), budget: Budget::default(), storage, workshop: self.workshop.clone() }
    }

    /// A backup into the volume, with these settings beside.
    pub fn task(&self, more: Value) -> DumpDatabase {
        let mut settings = json!({"destination": {"pvc": {"claimName": "backups"}}});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        DumpDatabase {
            backup: "first".into(),
            schedule: Some("nightly".into()),
            made_for: None,
            directory: "shop/first-0d5d4a3c".into(),
            major: i32::try_from(self.database.server().major).unwrap(),
            settings: serde_json::from_value::<BackupSettings>(settings).unwrap(),
            exists: false,
            recipients: vec![],
        }
    }

    pub async fn back_up(&self, task: &DumpDatabase) -> Result<BackedUp, Blocked> {
        self.back_up_with(task, &self.access()).await
    }

    pub async fn back_up_with(&self, task: &DumpDatabase, access: &Access) -> Result<BackedUp, Blocked> {
        match tokio::time::timeout(Duration::from_secs(60), run(&Task::DumpDatabase(Box::new(task.clone())), access))
            .await
            .unwrap()?
        {
            Report::BackedUp(done) => Ok(*done),
            report => panic!("{report:?} of a backup"),
        }
    }

    /// Proves a backup.
    pub async fn verify(&self, task: &DumpDatabase, level: &str, assertions: Value) -> Result<Verified, Blocked> {
        let verify = VerifyBackup {
            backup: task.backup.clone(),
            stored: Stored { destination: task.settings.destination.clone(), directory: task.directory.clone(), identity: None },
            level: serde_json::from_value(json!(level)).unwrap(),
            assertions: serde_json::from_value(assertions).unwrap(),
            major: task.major,
            scratch: None,
            job: task.settings.job.clone(),
        };
        // Without the database: nothing of it is needed.
        backup::verify(&verify, &Access { target: None, ..self.access() }).await
    }

    pub async fn manifest(&self, task: &DumpDatabase) -> Option<Manifest> {
        let store = Store::open(&task.settings.destination, &self.access().storage).unwrap();
        backup::catalog::existing(&store, &task.directory).await.unwrap().map(|(manifest, _)| manifest)
    }

    /// Everything in the volume, by path.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = vec![];
        let mut left = vec![self.volume.path().to_owned()];
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { left.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}
