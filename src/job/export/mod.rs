//! How does a partition get into an object store? Close, export, read back, compare, and only then say so in a manifest.
//!
//! Flow of a run: [`closing`] closes the partition to writes or finds it closed, and with it the identifier of the export. Where a
//! manifest of that identifier exists, its object is read back and compared once more; that is all. Otherwise one snapshot is
//! written to an object of a name of its own, read back and compared with what was counted and summed up on the way out, and the
//! manifest is created beside it, unless another run was faster.
//!
//! Guarantees: an export exists exactly if its manifest does, and the manifest was created after its object had been read back. No
//! manifest is ever replaced. A run that breaks off anywhere leaves at most an object or an unfinished upload that no manifest names; the
//! next run that finds a manifest takes it away.

pub mod checksum;
pub mod closing;
pub mod column;
mod csv;
pub mod manifest;
mod parquet;
mod read;
pub mod restore;
mod rows;
mod snapshot;
mod table;
mod text;
pub mod verify;
mod write;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Access;
use crate::api::Reason;
use crate::clock::Clock;
use crate::plan::action::Blocked;
use crate::plan::removal::ExportPartition;
use crate::postgres::Session;
use crate::storage::{Created, Store, mismatch};
use checksum::Checksum;
use manifest::Manifest;

/// A partition that lies in an object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// The identifier in the comment of the constraint that closes the partition, and in the manifest.
    pub id: String,
    /// The manifest's URL.
    pub url: String,
    /// Rows.
    pub rows: i64,
    /// Size of the data object.
    pub bytes: i64,
    /// Checksum of the content, which does not depend on the order of the rows.
    pub checksum: Checksum,
    /// When the object was read back and matched.
    pub verified_at: Timestamp,
}

/// Exports a partition, or confirms the export that exists.
///
/// # Errors
/// Why it is not exported. The partition stays closed, and the next run goes on.
pub async fn run(task: &ExportPartition, access: &Access) -> Result<Export, Blocked> {
    let store = Store::open(&task.destination, &access.storage)?;
    let (session, mut export) = closing::close(task, access).await?;
    let session = Arc::new(session);
    if let Some(manifest) = existing(&store, task, &export).await? {
        match verify::verify(&store, &manifest::directory(task, &export), &manifest).await {
            Ok(()) => return Ok(settled(&store, task, &manifest).await),
            Err(blocked) if blocked.reason == Reason::ExportMismatch => {
                // What lies there does not hold, and the rows are all still here: they are exported anew. Not under the same
                // identifier: who trusted the former manifest finds that it is no longer the partition's.
                let former = std::mem::take(&mut export);
                export = closing::rename(&session, task, access, &former).await?;
                remove(&store, &manifest::directory(task, &former)).await;
            }
            Err(blocked) => return Err(blocked),
        }
    }
    let manifest = anew(task, &session, &store, &export).await?;
    Ok(settled(&store, task, &manifest).await)
}

/// The manifest of an export, if it exists.
async fn existing(store: &Store, task: &ExportPartition, export: &str) -> Result<Option<Manifest>, Blocked> {
    let key = manifest::key(task, export);
    let content = store.get(&key).await?;
    content.map(|content| Manifest::read(&store.url(&key), &content)).transpose()
}

/// Exports under this identifier, and answers the manifest that exists in the end: this run's, or that of one that was faster.
async fn anew(task: &ExportPartition, session: &Arc<Session>, store: &Store, export: &str) -> Result<Manifest, Blocked> {
    let refused = match attempt(task, session, store, export).await {
        Ok(manifest) => return Ok(manifest),
        Err(blocked) => blocked,
    };
    // A run that was faster has taken away what it did not know, this run's object too.
    match existing(store, task, export).await {
        Ok(Some(faster)) => verify::verify(store, &manifest::directory(task, export), &faster).await.map(|()| faster),
        _ => Err(refused),
    }
}

async fn attempt(task: &ExportPartition, session: &Arc<Session>, store: &Store, export: &str) -> Result<Manifest, Blocked> {
    let directory = manifest::directory(task, export);
    let manifest = snapshot::export(task, session, store, export).await?;
    let data = format!("{directory}/{}", manifest.data.name);
    if let Err(blocked) = still_good(task, session, store, &directory, &manifest).await {
        // No manifest names it, and none will.
        drop(store.delete(&data).await);
        return Err(blocked);
    }
    let key = manifest::key(task, export);
    let content = serde_json::to_vec_pretty(&manifest).map_err(|error| verify::broken(task, &error.to_string()))?;
    let created = store.create(&key, content).await;
    match (created, existing(store, task, export).await) {
        // Where the answer was lost or the store tried twice, the manifest itself says whose it is.
        (_, Ok(Some(found))) if found == manifest => verify::is_there(store, &directory, &manifest).await.map(|()| manifest),
        (_, Ok(Some(faster))) => {
            drop(store.delete(&data).await);
            verify::verify(store, &directory, &faster).await.map(|()| faster)
        }
        // The request may still be under way: the object stays, since a manifest may come to name it.
        (Err(blocked), _) | (_, Err(blocked)) => Err(blocked),
        (Ok(Created::Yes | Created::Existed), Ok(None)) => Err(mismatch(&store.url(&key), "it was written and is gone")),
    }
}

/// The object is what was written, and the partition is closed by this export as it was before.
async fn still_good(
    task: &ExportPartition,
    session: &Session,
    store: &Store,
    directory: &str,
    manifest: &Manifest,
) -> Result<(), Blocked> {
    verify::verify(store, directory, manifest).await?;
    closing::is_still_closed(session, task, &manifest.export).await
}

/// What is reported of an export that holds, after what other runs have left beside it has been taken away.
async fn settled(store: &Store, task: &ExportPartition, manifest: &Manifest) -> Export {
    let directory = manifest::directory(task, &manifest.export);
    sweep(store, &directory, &[&manifest.data.name, "manifest.json"]).await;
    Export {
        id: manifest.export.clone(),
        url: store.url(&manifest::key(task, &manifest.export)),
        rows: manifest.rows,
        bytes: manifest.data.bytes,
        checksum: manifest.checksum,
        verified_at: Clock::system().now(),
    }
}

/// Takes away what is not to be kept. What resists is left for the next run: it costs a little, and harms nobody.
async fn sweep(store: &Store, directory: &str, keep: &[&str]) {
    drop(store.end_uploads(directory).await);
    for entry in store.list(directory).await.unwrap_or_default() {
        let name = entry.key.rsplit('/').next().unwrap_or_default();
        if !keep.contains(&name) {
            drop(store.delete(&entry.key).await);
        }
    }
}

/// Takes an export away that does not hold, its manifest first.
async fn remove(store: &Store, directory: &str) {
    if store.delete(&format!("{directory}/manifest.json")).await.is_ok() {
        sweep(store, directory, &[]).await;
    }
}
