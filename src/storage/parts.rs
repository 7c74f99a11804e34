//! How are the parts of a large object sent, so that somebody else can end what we began? By an identifier that is written down beside the
//! object before its first part is sent. Otherwise a killed run leaves parts that nobody sees and everybody pays for.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, MultipartId, MultipartUpload, ObjectStoreExt as _, PutPayload, Result};
use serde::{Deserialize, Serialize};

use super::Store;
use crate::plan::action::Blocked;

/// Behind the key of an object, what the note of its upload is called.
pub(super) const NOTE: &str = ".upload";

/// What is written down of an upload.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    /// As the store gave it.
    upload_id: MultipartId,
}

/// A part that has arrived, with its number from zero; nothing where the store keeps account itself.
pub(super) type Arrived = Option<(usize, PartId)>;

/// Parts under way.
pub(super) enum Parts {
    /// Of an upload that has a note.
    Noted { store: Arc<dyn MultipartStore>, path: Path, id: MultipartId, arrived: BTreeMap<usize, PartId> },
    /// Of a store that forgets what is not finished (Azure, after a week), or where it is a file that anybody can see.
    Kept(Box<dyn MultipartUpload>),
}

impl Parts {
    /// Begins an object that is written in parts.
    pub(super) async fn begin(of: &Store, key: &str) -> Result<Self, Blocked> {
        let path = of.path(key);
        let refused = |error| of.refused(key, "could not be begun", &error);
        let Some(store) = of.by_id.clone() else {
            return of.inner.put_multipart(&path).await.map(Self::Kept).map_err(refused);
        };
        let id = store.create_multipart(&path).await.map_err(refused)?;
        let note = serde_json::to_vec(&Note { upload_id: id.clone() }).unwrap_or_default();
        if let Err(blocked) = of.replace(&format!("{key}{NOTE}"), note).await {
            drop(store.abort_multipart(&path, &id).await);
            return Err(blocked);
        }
        Ok(Self::Noted { store, path, id, arrived: BTreeMap::new() })
    }

    /// Sends the part of this number.
    pub(super) fn put(&mut self, number: usize, payload: PutPayload) -> BoxFuture<'static, Result<Arrived>> {
        match self {
            Self::Kept(upload) => upload.put_part(payload).map_ok(|()| None).boxed(),
            Self::Noted { store, path, id, .. } => {
                let (store, path, id) = (Arc::clone(store), path.clone(), id.clone());
                async move { store.put_part(&path, &id, number, payload).await.map(|part| Some((number, part))) }.boxed()
            }
        }
    }

    /// A part is there.
    pub(super) fn has_arrived(&mut self, part: Arrived) {
        if let (Self::Noted { arrived, .. }, Some((number, part))) = (self, part) {
            arrived.insert(number, part);
        }
    }

    /// Makes the object exist.
    pub(super) async fn complete(&mut self, of: &Store, key: &str) -> Result<()> {
        match self {
            Self::Kept(upload) => upload.complete().await.map(drop),
            Self::Noted { store, path, id, arrived } => {
                store.complete_multipart(path, id, arrived.values().cloned().collect()).await?;
                // A note of an upload that is over misleads nobody, and goes with what else is left over.
                drop(of.delete(&format!("{key}{NOTE}")).await);
                Ok(())
            }
        }
    }

    /// Takes away what was sent. What cannot be ended keeps its note.
    pub(super) async fn abort(&mut self, of: &Store, key: &str) -> Result<()> {
        match self {
            Self::Kept(upload) => upload.abort().await,
            Self::Noted { store, path, id, .. } => end(store, path, id, of, key).await,
        }
    }
}

async fn end(store: &Arc<dyn MultipartStore>, path: &Path, id: &MultipartId, of: &Store, key: &str) -> Result<()> {
    match store.abort_multipart(path, id).await {
        Ok(()) | Err(Error::NotFound { .. }) => {
            drop(of.delete(&format!("{key}{NOTE}")).await);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Ends the uploads below a key that have a note. Answers how many.
pub(super) async fn end_noted(of: &Store, directory: &str) -> Result<usize, Blocked> {
    let Some(store) = &of.by_id else { return Ok(0) };
    let mut ended = 0;
    for entry in of.list_all(directory).await? {
        let Some(key) = entry.key.strip_suffix(NOTE) else { continue };
        let Some(note) = of.get(&entry.key).await? else { continue };
        match serde_json::from_slice(&note) {
            Ok(Note { upload_id }) => {
                let refused = |error| of.refused(key, "has an unfinished upload that could not be ended", &error);
                end(store, &of.path(key), &upload_id, of, key).await.map_err(refused)?;
                ended += 1;
            }
            // It leads nowhere.
            Err(_) => of.delete(&entry.key).await?,
        }
    }
    Ok(ended)
}
