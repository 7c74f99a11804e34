//! How is a stream of unknown length written in constant memory? In parts, two of them in flight; in one request where it fits into one part;
//! and, where it is divided into segments, into as many objects as it takes.

use std::time::Duration;

use object_store::{ObjectStoreExt as _, PutPayload};
use tokio::task::JoinSet;

use super::Store;
use super::leaving::aside;
use super::parts::{Arrived, Parts};
use crate::api::Reason;
use crate::plan::action::Blocked;
use crate::plan::backup::segments;

/// Smallest part that S3 takes, except for the last one.
const PART: usize = 5 << 20;

/// Parts of the smallest size; after these, every thousand doubles it. S3 takes 10,000 parts, which is 680 GiB in all.
const SMALL_PARTS: usize = 4000;

/// Largest segment whose parts are all of the smallest size: about 19.5 GiB. Three parts, 15 MiB, are in memory at most.
pub const SEGMENT: u64 = (SMALL_PARTS * PART) as u64;

/// Parts on their way at once.
const IN_FLIGHT: usize = 2;

/// How long parts on their way are waited for before what was sent is taken away.
const SETTLE: Duration = Duration::from_secs(5);

/// Size of the part of this number, from zero.
pub const fn part_size(number: usize) -> usize {
    if number < SMALL_PARTS { PART } else { PART << ((number - SMALL_PARTS) / 1000 + 1) }
}

/// A stream that is being written. Its last object exists when [`Upload::finish`] has answered; what was written before of one that is
/// given up, or dropped, is taken away.
pub struct Upload {
    store: Store,
    key: String,
    /// Largest object.
    segment: u64,
    /// The object that is being written, from zero.
    number: usize,
    /// Bytes of it.
    written: u64,
    /// None before the first part is full.
    parts: Option<Parts>,
    /// Tasks of their own: a part that were only sent while somebody waits for it would keep whoever makes the next one waiting too.
    on_their_way: JoinSet<object_store::Result<Arrived>>,
    begun: usize,
    /// The part that is being filled. Its room is taken at once: what is written comes from buffers with more room than content, which
    /// would stay as long as the part does.
    filling: Vec<u8>,
    is_over: bool,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("key", &self.object()).field("parts", &self.begun).finish()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(leaving) = self.leave() {
            aside(leaving);
        }
    }
}

impl Upload {
    pub(super) fn new(store: Store, key: String, segment: u64) -> Self {
        Self {
            store,
            key,
            segment,
            number: 0,
            written: 0,
            parts: None,
            on_their_way: JoinSet::new(),
            begun: 0,
            filling: vec![],
            is_over: false,
        }
    }

    /// How many objects there are of it.
    pub const fn segments(&self) -> usize {
        self.number + 1
    }

    /// The key of the object that is being written.
    fn object(&self) -> String {
        segments::key(&self.key, self.number)
    }

    /// Writes on.
    ///
    /// # Errors
    /// Why a part was not taken. The upload can then only be [given up](Upload::give_up).
    pub async fn write(&mut self, mut content: &[u8]) -> Result<(), Blocked> {
        while !content.is_empty() {
            // An object is closed when more comes: the last one is finished by whoever knows that all is well.
            if self.written == self.segment {
                self.close().await?;
                (self.number, self.written, self.begun, self.parts) = (self.number + 1, 0, 0, None);
            }
            let size = part_size(self.begun);
            if self.filling.capacity() == 0 {
                self.filling = Vec::with_capacity(size);
            }
            let room = usize::try_from(self.segment - self.written).unwrap_or(usize::MAX).min(size - self.filling.len());
            let (now, rest) = content.split_at(content.len().min(room));
            self.filling.extend_from_slice(now);
            self.written += now.len() as u64;
            content = rest;
            if self.filling.len() == size {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Blocked> {
        let object = self.object();
        if self.begun == 10_000 {
            let message = format!(
                "{} grew beyond the 10,000 parts that a store takes; use a shorter partition interval",
                self.store.url(&object)
            );
            return Err(Blocked::new(Reason::Unsupported, message));
        }
        while self.on_their_way.len() >= IN_FLIGHT {
            self.arrived().await?;
        }
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(Parts::begin(&self.store, &object).await?),
        };
        let payload = PutPayload::from(std::mem::take(&mut self.filling));
        self.on_their_way.spawn(parts.put(self.begun, payload));
        self.begun += 1;
        Ok(())
    }

    async fn arrived(&mut self) -> Result<(), Blocked> {
        match self.on_their_way.join_next().await {
            None => Ok(()),
            Some(Ok(Ok(part))) => {
                if let Some(parts) = &mut self.parts {
                    parts.has_arrived(part);
                }
                Ok(())
            }
            Some(Ok(Err(error))) => Err(self.store.refused(&self.object(), "was not written", &error)),
            Some(Err(error)) => {
                let message = format!("{}: a part was not written: {error}", self.store.url(&self.object()));
                Err(Blocked::new(Reason::ActionFailed, message))
            }
        }
    }

    /// Sends what is left of an object, and makes it exist.
    async fn close(&mut self) -> Result<(), Blocked> {
        if self.begun > 0 && !self.filling.is_empty() {
            self.send().await?;
        }
        while !self.on_their_way.is_empty() {
            self.arrived().await?;
        }
        let object = self.object();
        let closed = match &mut self.parts {
            Some(parts) => parts.complete(&self.store, &object).await,
            None => {
                let payload = PutPayload::from(std::mem::take(&mut self.filling));
                self.store.inner.put(&self.store.path(&object), payload).await.map(drop)
            }
        };
        closed.map_err(|error| self.store.refused(&object, "was not completed", &error))
    }

    /// Sends what is left, and makes the last object exist.
    ///
    /// # Errors
    /// Why it is not known to exist. It may all the same, where the answer was lost.
    pub async fn finish(&mut self) -> Result<(), Blocked> {
        self.close().await?;
        self.is_over = true;
        Ok(())
    }

    /// Takes away what was sent, as far as the store can be reached.
    pub async fn give_up(mut self) {
        if let Some(leaving) = self.leave() {
            leaving.await;
        }
    }

    /// What is left to be done where it is not to exist; nothing where nothing was sent.
    fn leave(&mut self) -> Option<impl Future<Output = ()> + Send + 'static> {
        if std::mem::replace(&mut self.is_over, true) || (self.number == 0 && self.parts.is_none()) {
            return None;
        }
        let (store, key, number) = (self.store.clone(), self.key.clone(), self.number);
        let mut on_their_way = std::mem::take(&mut self.on_their_way);
        let parts = self.parts.take();
        Some(async move {
            // A part that arrives after the end of its upload would stay for ever (S3, AbortMultipartUpload), so they come in first.
            let settled = async { while on_their_way.join_next().await.is_some() {} };
            drop(tokio::time::timeout(SETTLE, settled).await);
            // Whoever comes next ends what could not be ended here.
            if let Some(mut parts) = parts {
                drop(parts.abort(&store, &segments::key(&key, number)).await);
            }
            for number in 0..number {
                drop(store.delete(&segments::key(&key, number)).await);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::settled;
    use super::*;

    #[test]
    fn ten_thousand_parts_hold_more_than_any_partition() {
        let total: u64 = (0..10_000).map(|number| part_size(number) as u64).sum();
        assert!(total > 600 << 30, "{total}");
        assert_eq!((part_size(0), part_size(3999), part_size(4000), part_size(5000)), (PART, PART, PART * 2, PART * 4));
    }

    #[test]
    fn the_parts_of_a_segment_that_are_in_memory_take_15_mib_whatever_its_size() {
        let parts = usize::try_from(SEGMENT).unwrap().div_ceil(PART);
        assert!(parts <= SMALL_PARTS && (0..parts).all(|number| part_size(number) * (IN_FLIGHT + 1) == 15 << 20));
    }

    /// What lies in the store, in order.
    async fn content(store: &Store) -> Vec<(String, usize)> {
        let mut found: Vec<_> =
            store.list("a").await.unwrap().into_iter().map(|entry| (entry.key, entry.size as usize)).collect();
        found.sort();
        found
    }

    #[tokio::test]
    async fn a_stream_is_divided_into_objects_and_given_up_whole() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open_directory(directory.path()).unwrap();
        for (bytes, sizes) in [(0, vec![0]), (10, vec![10]), (20, vec![10, 10]), (25, vec![10, 10, 5])] {
            let mut upload = Upload::new(store.clone(), "a/b".into(), 10);
            for chunk in vec![7; bytes].chunks(7) {
                upload.write(chunk).await.unwrap();
            }
            upload.finish().await.unwrap();
            let expected = segments::of("a/b", bytes as u64, Some(10));
            assert_eq!(upload.segments(), expected.len());
            let found = content(&store).await;
            assert_eq!(found, expected.into_iter().map(|(key, size)| (key, size as usize)).collect::<Vec<_>>());
            assert_eq!(found.iter().map(|(_, size)| *size).collect::<Vec<_>>(), sizes);
            drop(std::fs::remove_dir_all(directory.path().join("a")));
        }
        let mut upload = Upload::new(store.clone(), "a/b".into(), 10);
        upload.write(&[7; 25]).await.unwrap();
        assert_eq!(content(&store).await.len(), 2);
        upload.give_up().await;
        assert_eq!(content(&store).await, []);
    }

    #[tokio::test]
    async fn what_a_dropped_upload_had_sent_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open_directory(directory.path()).unwrap();
        let mut upload = Upload::new(store.clone(), "a/b".into(), 10);
        upload.write(&[7; 25]).await.unwrap();
        drop(upload);
        settled(Duration::from_secs(30)).await;
        assert_eq!(content(&store).await, []);
    }
}
