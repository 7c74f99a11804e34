//! Where do objects lie, and how are they written so that a broken run leaves nothing that looks whole?
//!
//! A [`Store`] is a bucket, a container or a directory, with the prefix under which everything of one destination lies. Objects come
//! into being whole or not at all: an [`upload`](Store::upload) in parts counts from its last call on, and
//! [`create`](Store::create) refuses to replace. A stream may fill several of them ([`segments`](crate::plan::backup::segments)).

mod leaving;
mod open;
mod parts;
mod place;
mod refuse;
mod uploads;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};

use crate::plan::action::Blocked;
pub use leaving::{Nameless, settled};
pub use place::Place;
pub use refuse::mismatch;
pub use writer::{SEGMENT, Upload};

/// What opens a destination. It is printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The data of the Secret that the destination names, or what the environment holds under the same names.
    pub secret: BTreeMap<String, Vec<u8>>,
    /// The certificate authority of a store with a private one, as PEM.
    pub ca: Option<Vec<u8>>,
    /// Where the volume of a `pvc` destination is mounted.
    pub volume: PathBuf,
    /// How long a request that fails is tried again.
    pub patience: Duration,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { secret: BTreeMap::new(), ca: None, volume: PathBuf::new(), patience: Duration::from_secs(120) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// An object by its key, with its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key below the store's prefix.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
}

/// An open destination.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    /// The same, where an upload has an identifier by which anybody can end it.
    by_id: Option<Arc<dyn MultipartStore>>,
    place: Place,
    uploads: Option<uploads::Uploads>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.place.url("")).finish()
    }
}

/// Whether a new object came into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It did.
    Yes,
    /// There was one of that key already; it stays as it is.
    Existed,
}

impl Store {
    /// The URL of an object, as reports and manifests show it.
    pub fn url(&self, key: &str) -> String {
        self.place.url(key)
    }

    fn path(&self, key: &str) -> Path {
        Path::from(self.place.key(key))
    }

    fn refused(&self, key: &str, doing: &str, error: &Error) -> Blocked {
        refuse::blocked(&self.place, &self.url(key), doing, error)
    }

    /// Writes an object unless there is one of that key.
    ///
    /// # Errors
    /// Why it is not known to be there. It may be there all the same, where the answer was lost.
    pub async fn create(&self, key: &str, content: Vec<u8>) -> Result<Created, Blocked> {
        match self.inner.put_opts(&self.path(key), PutPayload::from(content), PutMode::Create.into()).await {
            Ok(_) => Ok(Created::Yes),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Created::Existed),
            Err(error) => Err(self.refused(key, "was not written", &error)),
        }
    }

    /// Writes an object, in the place of one of that key if there is one.
    ///
    /// # Errors
    /// Why it is not known to be there.
    pub async fn replace(&self, key: &str, content: Vec<u8>) -> Result<(), Blocked> {
        let put = self.inner.put(&self.path(key), PutPayload::from(content)).await;
        put.map(drop).map_err(|error| self.refused(key, "was not written", &error))
    }

    /// The content of a small object, if it is there.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, Blocked> {
        let read = async { self.inner.get(&self.path(key)).await?.bytes().await };
        match read.await {
            Ok(content) => Ok(Some(content)),
            Err(error) if refuse::is_absent(&error) => Ok(None),
            Err(error) => Err(self.refused(key, "could not be read", &error)),
        }
    }

    /// Size of an object, if it is there.
    ///
    /// # Errors
    /// Why it could not be asked for.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Blocked> {
        match self.inner.head(&self.path(key)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(error) if refuse::is_absent(&error) => Ok(None),
            Err(error) => Err(self.refused(key, "could not be read", &error)),
        }
    }

    /// A part of an object.
    ///
    /// # Errors
    /// Why it could not be read; that it is gone is [`Reason::ExportMismatch`](crate::api::Reason::ExportMismatch).
    pub async fn range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Blocked> {
        let read = self.inner.get_range(&self.path(key), range).await;
        read.map_err(|error| self.refused(key, "could not be read", &error))
    }

    /// An object from its beginning to its end, as it comes.
    ///
    /// # Errors
    /// As for [`Store::range`]; what breaks later comes as an item.
    pub async fn stream(&self, key: &str) -> Result<BoxStream<'static, Result<Bytes, Blocked>>, Blocked> {
        let answer = self.inner.get_opts(&self.path(key), GetOptions::default()).await;
        let stream = answer.map_err(|error| self.refused(key, "could not be read", &error))?.into_stream();
        let (store, key) = (self.clone(), key.to_owned());
        Ok(stream.map_err(move |error| store.refused(&key, "could not be read to its end", &error)).boxed())
    }

    /// The objects below a key, which is taken as a directory. Notes of uploads are none.
    ///
    /// # Errors
    /// Why they could not be listed.
    pub async fn list(&self, directory: &str) -> Result<Vec<Entry>, Blocked> {
        let all = self.list_all(directory).await?;
        Ok(all.into_iter().filter(|entry| !entry.key.ends_with(parts::NOTE)).collect())
    }

    async fn list_all(&self, directory: &str) -> Result<Vec<Entry>, Blocked> {
        let root = self.place.key("");
        let listed: Result<Vec<_>, _> = self.inner.list(Some(&self.path(directory))).try_collect().await;
        let listed = listed.map_err(|error| self.refused(directory, "could not be listed", &error))?;
        let below = |path: Path| path.as_ref().strip_prefix(&root).map(|key| key.trim_start_matches('/').to_owned());
        Ok(listed.into_iter().filter_map(|meta| Some(Entry { key: below(meta.location)?, size: meta.size })).collect())
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// Why it may still be there.
    pub async fn delete(&self, key: &str) -> Result<(), Blocked> {
        match self.inner.delete(&self.path(key)).await {
            Ok(()) => Ok(()),
            Err(error) if refuse::is_absent(&error) => Ok(()),
            Err(error) => Err(self.refused(key, "was not removed", &error)),
        }
    }

    /// Begins an object of unknown length. Nothing is sent before its first part is full.
    pub fn upload(&self, key: &str) -> Upload {
        Upload::new(self.clone(), key.to_owned(), u64::MAX)
    }

    /// Begins a stream of unknown length, in objects of this size; see [`segments`](crate::plan::backup::segments). All but the last one exist before the stream has ended.
    pub fn upload_in_segments(&self, key: &str, segment: u64) -> Upload {
        Upload::new(self.clone(), key.to_owned(), segment)
    }

    /// Ends the uploads below a key that were begun and never finished: a run that was killed could not end its own. They are known by their
    /// notes, and where the store can be asked for them (S3, a directory), by asking, which finds one whose note was not written any
    /// more. Answers how many. Azure forgets them by itself after a week.
    ///
    /// # Errors
    /// Why they could not be found or ended.
    pub async fn end_uploads(&self, directory: &str) -> Result<usize, Blocked> {
        let noted = parts::end_noted(self, directory).await?;
        let Some(uploads) = &self.uploads else { return Ok(noted) };
        let prefix = format!("{}/", self.place.key(directory));
        let found = uploads.end_all(&prefix).await;
        let refused = |error| self.refused(directory, "unfinished uploads could not be ended", &error);
        found.map(|found| noted + found).map_err(refused)
    }
}
