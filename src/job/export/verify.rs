//! Does an object hold what its manifest says? It is read to its end, decoded, counted and summed up.

use std::sync::Arc;

use super::checksum::Content;
use super::column::Column;
use super::manifest::Manifest;
use super::read::{self, Piece};
use crate::api::Reason;
use crate::plan::action::Blocked;
use crate::plan::removal::ExportPartition;
use crate::storage::{Store, mismatch};

/// Reads an export's object back and compares it with its manifest: size, SHA-256, number of rows, checksum of the content.
///
/// # Errors
/// [`Reason::ExportMismatch`] where they differ, or what the store said.
pub async fn verify(store: &Store, directory: &str, manifest: &Manifest) -> Result<(), Blocked> {
    let key = format!("{directory}/{}", manifest.data.name);
    let columns: Arc<[Column]> = manifest.columns.clone().into();
    let mut found = Content::default();
    let mut reading = read::open(store, &key, &manifest.data, &columns, content).await?;
    while let Some(part) = reading.next().await? {
        found.merge(part);
    }
    if found.rows != manifest.rows || found.checksum != manifest.checksum {
        let what = format!(
            "it holds {} rows of checksum {}, and {} of {} were written",
            found.rows, found.checksum, manifest.rows, manifest.checksum
        );
        return Err(mismatch(&store.url(&key), &what));
    }
    Ok(())
}

/// Whether the object that has been verified is still there: between the reading and the manifest something may have removed it.
///
/// # Errors
/// [`Reason::ExportMismatch`] where it is gone, or what the store said.
pub async fn is_there(store: &Store, directory: &str, manifest: &Manifest) -> Result<(), Blocked> {
    let key = format!("{directory}/{}", manifest.data.name);
    match store.size(&key).await? {
        Some(size) if i64::try_from(size) == Ok(manifest.data.bytes) => Ok(()),
        _ => Err(mismatch(&store.url(&key), "it was removed while its manifest was written")),
    }
}

/// What the rows of a piece come to.
fn content(piece: Piece) -> Result<Content, String> {
    match piece {
        Piece::Columns(columns) => columns.content(),
        Piece::Records(batch) => {
            let mut content = Content::default();
            batch.rows().for_each(|record| content.add(record.strip_suffix(b"\n").unwrap_or(record)));
            Ok(content)
        }
    }
}

/// A failure that concerns neither the database nor the store.
pub fn broken(task: &ExportPartition, error: &str) -> Blocked {
    Blocked::new(Reason::ActionFailed, format!("exporting {}: {error}", task.partition.table))
}
