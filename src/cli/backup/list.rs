//! `pgreeve backups`: which backups lie in a store?

use clap::Args;

use super::super::exit::{Exit, Failure};
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
pub struct Backups {
    /// Where: s3://bucket/prefix, gs://bucket/prefix, az://account/container/prefix, or a directory
    #[arg(value_name = "WHERE")]
    from: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Backups {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let Some(from) = &self.from else { return self.cluster.list(globals).await };
        let store = self.store.below(from).map_err(failure)?;
        let (found, unreadable) = list(&store, "").await.map_err(failure)?;
        if found.is_empty() && unreadable.is_empty() {
            output::line(&format!("no backups below {from}"))?;
            return Ok(Exit::Ok);
        }
        let mut lines = vec![["AS OF", "DATABASE", "VERSION", "SIZE", "ROWS", "PROVEN", "MANIFEST"].map(str::to_owned)];
        for (directory, manifest) in &found {
            let proven = proven(&store, directory, manifest).await.map_err(failure)?;
            lines.push(line(&store, directory, manifest, proven.as_ref()));
        }
        let mut text = aligned(&lines);
        for url in &unreadable {
            text.push_str(&format!("{url} cannot be read\n"));
        }
        output::write(&text)?;
        Ok(if unreadable.is_empty() { Exit::Ok } else { Exit::Blocked })
    }
}

fn line(store: &Store, directory: &str, manifest: &Manifest, proven: Option<&Verified>) -> [String; 7] {
    let key = if directory.is_empty() { manifest::NAME.to_owned() } else { format!("{directory}/{}", manifest::NAME) };
    [
        format!("{:.0}", manifest.snapshot.at),
        manifest.database.name.clone(),
        manifest.database.server_version.clone(),
        bytes(manifest.bytes()),
        manifest.rows().to_string(),
        proven.map_or("–".into(), |proven| proven.level.to_string()),
        store.url(&key),
    ]
}
