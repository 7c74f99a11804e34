//! What must be so at every moment, not only in the end? No partition goes before its export can be read, and no row before it is elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::support::node::{Breaches, Node};
use crate::support::pgproxy::PgProxy;
use crate::support::postgres::Database;

/// What the Jobs of a scenario must never break.
#[derive(Clone, Copy, Debug)]
pub enum Law {
    /// This partition, with so many rows, is neither detached nor dropped before a manifest names an object with all of them.
    ExportedFirst {
        /// Its name.
        partition: &'static str,
        /// Its rows.
        rows: i64,
    },
    /// This query, which counts rows wherever they lie, gives one answer at any time.
    Conserved {
        /// The query.
        query: &'static str,
        /// The answer.
        rows: i64,
    },
}

/// How often rows are counted.
const OFTEN: Duration = Duration::from_millis(40);

/// Watches over a law for as long as the result lives.
pub async fn watch(law: Law, node: &Node, proxy: &PgProxy, database: &Database) -> JoinSet<()> {
    let (breaches, mut watching) = (node.breaches(), JoinSet::new());
    match law {
        Law::ExportedFirst { partition, rows } => {
            let volume = node.volume.path().to_owned();
            proxy.show(move |sql| {
                let goes = ["DETACH PARTITION", "DROP TABLE"].iter().any(|words| sql.contains(words)) && sql.contains(partition);
                if let Some(why) = goes.then(|| exported(&volume, partition, rows).err()).flatten() {
                    breaches.add(format!("{partition} was to go although {why}: {sql}"));
                }
            });
        }
        Law::Conserved { query, rows } => {
            let client = database.superuser().await;
            watching.spawn(async move {
                // Until the playing is over and its database is dropped.
                while let Ok(row) = client.query_one(query, &[]).await {
                    let found: i64 = row.get(0);
                    if found != rows {
                        breaches.add(format!("{found} rows instead of {rows}"));
                    }
                    tokio::time::sleep(OFTEN).await;
                }
            });
        }
    }
    watching
}

impl Breaches {
    fn add(&self, what: String) {
        Node::breaks(self, what);
    }
}

/// Whether the law held in the end too: one manifest, and an object that is as it says.
///
/// # Errors
/// What is otherwise.
pub fn holds_in_the_end(law: Law, node: &Node) -> Result<(), String> {
    let mut broken = node.broken();
    if let Law::ExportedFirst { partition, rows } = law {
        broken.extend(exported(node.volume.path(), partition, rows).err());
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

/// Whether exactly one manifest in this directory is of this partition, and its object is as it says. Read by no code of the product.
fn exported(volume: &Path, partition: &str, rows: i64) -> Result<(), String> {
    let manifests = manifests(volume);
    let of_it = |(_, manifest): &&(PathBuf, Value)| manifest["source"]["partition"]["name"] == partition;
    let found: Vec<&(PathBuf, Value)> = manifests.iter().filter(of_it).collect();
    let [(path, manifest)] = found[..] else {
        return Err(format!("it has {} manifests", found.len()));
    };
    if manifest["rows"] != rows {
        return Err(format!("the manifest says {} rows", manifest["rows"]));
    }
    let data = path.with_file_name(manifest["data"]["name"].as_str().unwrap());
    let content = std::fs::read(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    let sha256: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    if manifest["data"]["sha256"] != sha256 {
        return Err(format!("{} is not what was written", data.display()));
    }
    Ok(())
}

/// All manifests below a directory.
fn manifests(directory: &Path) -> Vec<(PathBuf, Value)> {
    // What is written beside may come and go meanwhile.
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |path: PathBuf| {
        if path.is_dir() {
            return manifests(&path);
        }
        let is_manifest = path.file_name().is_some_and(|name| name == "manifest.json");
        let content = is_manifest.then(|| std::fs::read(&path).ok()).flatten();
        content.and_then(|content| Some((path, serde_json::from_slice(&content).ok()?))).into_iter().collect()
    };
    entries.flat_map(read).collect()
}
