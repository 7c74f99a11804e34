//! `pgreeve backups`: which backups lie in a store?

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::super::exit::{Exit, Failure};
use super::super::form::Form;
use super::super::location::StoreArgs;
use super::super::{Globals, output};
use super::listed::ClusterArgs;
use super::{aligned, failure};
use crate::job::backup::catalog::{list, proven};
use crate::plan::backup::manifest::{self, Manifest, Verified};
use crate::plan::size::bytes;
use crate::storage::Store;

/// Lists the backups in an object store or a directory: every manifest below it, the oldest first. Without one, the Backups of a cluster
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Backups {
    #[command(subcommand)]
    command: Option<Subcommand>,
    #[command(flatten)]
    list: List,
}

/// What is done with them; without a word, they are listed.
#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    List(List),
}

/// Lists them; the same as without this word
#[derive(Args, Debug)]
struct List {
    /// Where: s3://bucket/prefix, gs://bucket/prefix, az://account/container/prefix, or a directory
    #[arg(value_name = "WHERE")]
    from: Option<String>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Backups {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        match &self.command {
            Some(Subcommand::List(list)) => list.run(globals).await,
            None => self.list.run(globals).await,
        }
    }
}

/// A backup of a store.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    manifest: String,
    snapshot_at: Timestamp,
    database: String,
    server_version: String,
    bytes: i64,
    rows: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Verified>,
}

/// All of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    format_version: &'static str,
    backups: Vec<Found>,
    /// Manifests that cannot be read.
    unreadable: Vec<String>,
}

impl List {
    async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let Some(from) = &self.from else { return self.cluster.list(self.output, globals).await };
        let store = self.store.below(from).map_err(failure)?;
        let (found, unreadable) = list(&store, "").await.map_err(failure)?;
        let mut backups = Vec::new();
        for (directory, manifest) in &found {
            let verified = proven(&store, directory, manifest).await.map_err(failure)?;
            backups.push(told(&store, directory, manifest, verified));
        }
        let view = View { format_version: output::VERSION, backups, unreadable };
        self.output.write(&view, || view.table(from))?;
        Ok(if view.unreadable.is_empty() { Exit::Ok } else { Exit::Blocked })
    }
}

impl View {
    fn table(&self, from: &str) -> String {
        if self.backups.is_empty() && self.unreadable.is_empty() {
            return format!("no backups below {from}\n");
        }
        let mut lines = vec![["AS OF", "DATABASE", "VERSION", "SIZE", "ROWS", "PROVEN", "MANIFEST"].map(str::to_owned)];
        lines.extend(self.backups.iter().map(Found::line));
        let unreadable = self.unreadable.iter().map(|url| format!("{url} cannot be read\n"));
        aligned(&lines) + &unreadable.collect::<String>()
    }
}

fn told(store: &Store, directory: &str, manifest: &Manifest, verified: Option<Verified>) -> Found {
    let key = if directory.is_empty() { manifest::NAME.to_owned() } else { format!("{directory}/{}", manifest::NAME) };
    Found {
        manifest: store.url(&key),
        snapshot_at: manifest.snapshot.at,
        database: manifest.database.name.clone(),
        server_version: manifest.database.server_version.clone(),
        bytes: manifest.bytes(),
        rows: manifest.rows(),
        verified,
    }
}

impl Found {
    fn line(&self) -> [String; 7] {
        [
            format!("{:.0}", self.snapshot_at),
            self.database.clone(),
            self.server_version.clone(),
            bytes(self.bytes),
            self.rows.to_string(),
            self.verified.as_ref().map_or("–".into(), |proven| proven.level.to_string()),
            self.manifest.clone(),
        ]
    }
}
