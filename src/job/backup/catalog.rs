//! Which backups does a store hold, and what is known of them? A backup exists exactly if its manifest does.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::seal::damaged;
use super::verify;
use crate::api::Reason;
use crate::plan::action::Blocked;
use crate::plan::backup::RemoveBackup;
use crate::plan::backup::manifest::{self, Manifest, Object, Verified};
use crate::plan::hex;
use crate::storage::Store;

/// A backup that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackedUp {
    /// Key of its directory.
    pub directory: String,
    /// The manifest's URL.
    pub url: String,
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// When the manifest was written.
    pub completed_at: Timestamp,
    /// When the snapshot was taken.
    pub snapshot_at: Timestamp,
    /// Where in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// Bytes in the store.
    pub bytes: i64,
    /// Bytes of the dump before compression.
    pub raw_bytes: i64,
    /// SHA-256 of the data object.
    pub sha256: String,
    /// Version of the server.
    pub server_version: String,
    /// Its major.
    pub major: i32,
    /// Version of `pg_dump`.
    pub dump_version: String,
    /// Tables with rows of their own.
    pub tables: i32,
    /// Their rows.
    pub rows: i64,
    /// What the dump lacks; at most three lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
    /// What was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

/// The manifest of a directory, if it exists.
///
/// # Errors
/// [`Reason::BackupDamaged`] where it is no manifest.
pub async fn existing(store: &Store, directory: &str) -> Result<Option<(Manifest, Vec<u8>)>, Blocked> {
    let key = format!("{directory}/{}", manifest::NAME);
    let Some(content) = store.get(&key).await? else { return Ok(None) };
    let read =
        Manifest::read(&content).map_err(|what| Blocked::new(Reason::BackupDamaged, format!("{} {what}", store.url(&key))))?;
    Ok(Some((read, content.to_vec())))
}

/// The backups below a key of a store, by the keys of their directories: every manifest that can be read, the oldest first, and the URL of
/// each that cannot.
///
/// # Errors
/// What the store said.
pub async fn list(store: &Store, below: &str) -> Result<(Vec<(String, Manifest)>, Vec<String>), Blocked> {
    let (mut found, mut unreadable) = (vec![], vec![]);
    for entry in store.list(below).await? {
        let Some(directory) = entry.key.strip_suffix(manifest::NAME).map(|directory| directory.trim_end_matches('/')) else {
            continue;
        };
        match existing(store, directory).await {
            Ok(Some((manifest, _))) => found.push((directory.to_owned(), manifest)),
            // Removed meanwhile.
            Ok(None) => {}
            Err(blocked) if blocked.reason == Reason::BackupDamaged => unreadable.push(store.url(&entry.key)),
            Err(blocked) => return Err(blocked),
        }
    }
    found.sort_by_key(|(_, manifest)| manifest.snapshot.at);
    Ok((found, unreadable))
}

/// What was proven of a backup last, and best.
///
/// # Errors
/// What the store said.
pub async fn proven(store: &Store, directory: &str, manifest: &Manifest) -> Result<Option<Verified>, Blocked> {
    let later = store.get(&format!("{directory}/{}", manifest::VERIFICATION)).await?;
    let later: Option<Verified> = later.and_then(|content| serde_json::from_slice(&content).ok());
    Ok(later.or_else(|| manifest.read_back.clone()))
}

/// What is reported of a backup that is there, after what other runs have left beside it has been taken away.
pub(super) async fn settled(store: &Store, directory: &str, manifest: &Manifest) -> Result<BackedUp, Blocked> {
    whole(store, directory, manifest).await?;
    sweep(store, directory, manifest).await;
    let (_, content) = verify::manifest(store, directory).await?;
    Ok(BackedUp {
        directory: directory.to_owned(),
        url: store.url(&format!("{directory}/{}", manifest::NAME)),
        manifest: hex(&Sha256::digest(&content)),
        completed_at: manifest.completed_at,
        snapshot_at: manifest.snapshot.at,
        lsn: manifest.snapshot.lsn.clone(),
        bytes: manifest.bytes(),
        raw_bytes: manifest.data.raw_bytes,
        sha256: manifest.data.sha256.clone(),
        server_version: manifest.database.server_version.clone(),
        major: manifest.major(),
        dump_version: manifest.dump_version.clone(),
        tables: i32::try_from(manifest.tables.len()).unwrap_or(i32::MAX),
        rows: manifest.rows(),
        omitted: manifest.omitted.iter().take(3).map(|line| crate::api::condition::shorten(line, 200)).collect(),
        verified: proven(store, directory, manifest).await?,
    })
}

/// Looks whether the objects of a backup are there, in their size.
///
/// # Errors
/// [`Reason::BackupDamaged`] with the one that is not, or what the store said.
pub async fn whole(store: &Store, directory: &str, manifest: &Manifest) -> Result<(), Blocked> {
    for object in [Some(&manifest.data), manifest.globals.as_ref()].into_iter().flatten() {
        for (name, bytes) in object.segments() {
            let key = format!("{directory}/{name}");
            match store.size(&key).await? {
                Some(size) if i64::try_from(size) == Ok(bytes) => {}
                Some(size) => {
                    return Err(damaged(&store.url(&key), &format!("it is {size} bytes long, and {bytes} were written")));
                }
                None => return Err(damaged(&store.url(&key), "it is gone, and its manifest is there")),
            }
        }
    }
    Ok(())
}

/// Takes away what the manifest does not name. What resists is left: it costs a little, and harms nobody.
async fn sweep(store: &Store, directory: &str, manifest: &Manifest) {
    drop(store.end_uploads(directory).await);
    let objects = [Some(&manifest.data), manifest.globals.as_ref()].into_iter().flatten();
    let mut keep: Vec<String> = objects.flat_map(Object::segments).map(|(name, _)| name).collect();
    keep.extend([manifest::NAME.to_owned(), manifest::VERIFICATION.to_owned()]);
    for entry in store.list(directory).await.unwrap_or_default() {
        let name = entry.key.rsplit('/').next().unwrap_or_default();
        if !keep.iter().any(|kept| kept == name) {
            drop(store.delete(&entry.key).await);
        }
    }
}

/// Removes a backup: its manifest first, so that nobody takes what is left for one, then all that lies beside it. Where there is neither,
/// there is nothing to do.
///
/// # Errors
/// Why something may still be there; [`Reason::BackupDamaged`] where the backup that takes its place is not whole, and nothing was removed.
pub async fn remove(store: &Store, task: &RemoveBackup) -> Result<Removed, Blocked> {
    if let Some(newer) = &task.replaced_by {
        let (manifest, _) = verify::manifest(store, newer).await?;
        whole(store, newer, &manifest).await?;
    }
    let directory = &task.stored.directory;
    let mut removed = Removed { objects: 0, bytes: 0 };
    if task.leftovers && existing(store, directory).await?.is_some() {
        return Ok(removed);
    }
    store.delete(&format!("{directory}/{}", manifest::NAME)).await?;
    store.end_uploads(directory).await?;
    for entry in store.list(directory).await? {
        store.delete(&entry.key).await?;
        removed.objects += 1;
        removed.bytes += i64::try_from(entry.size).unwrap_or(0);
    }
    Ok(removed)
}

/// What was removed beside the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Objects.
    pub objects: i64,
    /// Their bytes.
    pub bytes: i64,
}
