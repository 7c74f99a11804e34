//! What does a test of exports stand on? A database with a partitioned table, and a bucket of its own.

use std::path::PathBuf;
use std::time::Duration;

use pgreeve::api::destination::S3;
use pgreeve::api::job::JobSettings;
use pgreeve::api::retention_policy::{ExportCompression, ExportFormat};
use pgreeve::api::{Destination, TableName};
use pgreeve::job::backup::Workshop;
use pgreeve::job::export::Export;
use pgreeve::job::export::manifest::{Manifest, directory};
use pgreeve::job::{Access, Report, Task, run};
use pgreeve::plan::action::{Blocked, Relation};
use pgreeve::plan::removal::ExportPartition;
use pgreeve::postgres::Target;
use pgreeve::postgres::connect::Tls;
use pgreeve::postgres::execute::Budget;
use pgreeve::storage::{Credentials, Store};
use tokio_postgres::Client;

use crate::support::postgres::{Database, Roles};
use crate::support::versitygw::{ACCESS_KEY, S3 as Server, SECRET_KEY, s3};

/// A database, a bucket, and what a Job needs of both.
pub struct World {
    pub database: Database,
    pub roles: Roles,
    pub bucket: String,
    pub server: std::sync::Arc<Server>,
}

impl World {
    /// On the server of this major.
    pub async fn new(major: u32) -> Self {
        Self::with(major, s3()).await
    }

    /// The same, with buckets of this server.
    pub async fn with(major: u32, server: std::sync::Arc<Server>) -> Self {
        // The first to come decides; whoever comes later finds the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let database = Database::create(major).await;
        let roles = database.roles().await;
        Self { database, roles, bucket: server.bucket(), server }
    }

    /// Runs SQL as the owner.
    pub async fn owner(&self, sql: &str) {
        let client = self.client().await;
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// A session of the owner.
    pub async fn client(&self) -> Client {
        let client = self.database.superuser().await;
        client.batch_execute(&format!("set role {}", self.roles.owner)).await.unwrap();
        client
    }

    /// `public.events`, partitioned by `day`, with these columns beside it, and one partition for 2025.
    pub async fn events(&self, columns: &str) {
        let sql = format!(
            "create table events (day date not null {columns}) partition by range (day);
             create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01')"
        );
        self.owner(&sql).await;
    }

    /// The export of `public.events_2025`, as planned from the catalog.
    pub async fn task(&self, format: ExportFormat, compression: ExportCompression) -> ExportPartition {
        let row = self
            .client()
            .await
            .query_one(
                "select 'events'::regclass::oid, c.oid, pg_get_expr(c.relpartbound, c.oid) from pg_class c where c.oid = 'events_2025'::regclass",
                &[],
            )
            .await
            .unwrap();
        let relation = |oid: u32, name: &str| Relation { oid, table: TableName { schema: "public".into(), name: name.into() } };
        ExportPartition {
            parent: relation(row.get(0), "events"),
            partition: relation(row.get(1), "events_2025"),
            bound: row.get(2),
            role: self.roles.owner.clone(),
            destination: self.destination(),
            format,
            compression,
            job: JobSettings::default(),
        }
    }

    /// The usual one.
    pub async fn parquet(&self) -> ExportPartition {
        self.task(ExportFormat::Parquet, ExportCompression::Zstd).await
    }

    pub fn destination(&self) -> Destination {
        self.destination_at(&self.server.endpoint)
    }

    /// The bucket, reached by another way.
    pub fn destination_at(&self, endpoint: &str) -> Destination {
        let s3 = S3 {
            bucket: self.bucket.clone(),
            prefix: Some("archive/shop".into()),
            endpoint: Some(endpoint.into()),
            ..S3::default()
        };
        Destination { s3: Some(s3), ..Destination::default() }
    }

    pub fn target(&self) -> Target {
        Target {
            host: self.database.server().socket.display().to_string(),
            port: self.database.server().port,
            database: self.database.name.clone(),
            user: self.roles.operator.clone(),
            password: None,
            tls: Tls::Disable,
        }
    }

    pub fn access(&self) -> Access {
        let budget = Budget { locks: Duration::from_millis(500), ..Budget::default() };
        Access { target: Some(self.target()), budget, storage: credentials(), workshop: Workshop::default() }
    }

    pub async fn run(&self, task: &ExportPartition) -> Result<Export, Blocked> {
        self.run_with(task, credentials()).await
    }

    /// The same, where this opens the destination.
    pub async fn run_with(&self, task: &ExportPartition, storage: Credentials) -> Result<Export, Blocked> {
        self.run_by(task, &Access { storage, ..self.access() }).await
    }

    /// The same, where locks are waited for as long as it takes.
    pub async fn run_patiently(&self, task: &ExportPartition) -> Result<Export, Blocked> {
        let budget = Budget { locks: Duration::from_secs(30), ..Budget::default() };
        self.run_by(task, &Access { budget, ..self.access() }).await
    }

    async fn run_by(&self, task: &ExportPartition, access: &Access) -> Result<Export, Blocked> {
        match run(&Task::ExportPartition(Box::new(task.clone())), access).await? {
            Report::Exported(export) => Ok(export),
            report => panic!("{report:?} of an export"),
        }
    }

    /// The manifest of an export.
    pub async fn manifest(&self, task: &ExportPartition, export: &Export) -> Manifest {
        let store = Store::open(&task.destination, &credentials()).unwrap();
        let key = format!("{}/manifest.json", directory(task, &export.id));
        Manifest::read(&export.url, &store.get(&key).await.unwrap().expect("a manifest")).unwrap()
    }

    /// The data object as a file.
    pub fn data_file(&self, task: &ExportPartition, manifest: &Manifest) -> PathBuf {
        self.server.home.join(&self.bucket).join("archive/shop").join(directory(task, &manifest.export)).join(&manifest.data.name)
    }

    /// What lies in the bucket, unfinished uploads included.
    pub fn files(&self) -> Vec<String> {
        self.server.files(&self.bucket)
    }
}

pub fn credentials() -> Credentials {
    let secret = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let secret = secret.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
    Credentials { secret, patience: Duration::from_secs(10), ..Credentials::default() }
}
