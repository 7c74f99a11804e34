//! How is an object of unknown length written in constant memory? In parts, two of them in flight.

use std::time::Duration;

use object_store::{MultipartUpload, PutPayload};
use tokio::task::JoinSet;

use super::Store;
use crate::api::Reason;
use crate::plan::action::Blocked;

/// Smallest part that S3 takes, except for the last one.
const PART: usize = 5 << 20;

/// Parts of the smallest size; after these, every thousand doubles it. S3 takes 10,000 parts, which is 680 GiB in all.
const SMALL_PARTS: usize = 4000;

/// Parts on their way at once.
const IN_FLIGHT: usize = 2;

/// How long parts on their way are waited for before what was sent is taken away.
const SETTLE: Duration = Duration::from_secs(30);

/// Size of the part of this number, from zero.
pub const fn part_size(number: usize) -> usize {
    if number < SMALL_PARTS { PART } else { PART << ((number - SMALL_PARTS) / 1000 + 1) }
}

/// An object that is being written. Until [`Upload::finish`] has answered, there is none.
pub struct Upload {
    store: Store,
    key: String,
    parts: Box<dyn MultipartUpload>,
    /// Tasks of their own: a part that were only sent while somebody waits for it would keep whoever makes the next one waiting too.
    on_their_way: JoinSet<object_store::Result<()>>,
    begun: usize,
    /// The part that is being filled. Its room is taken at once: what is written comes from buffers with more room than content, which
    /// would stay as long as the part does.
    filling: Vec<u8>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("key", &self.key).field("parts", &self.begun).finish()
    }
}

impl Upload {
    pub(super) fn new(store: Store, key: String, parts: Box<dyn MultipartUpload>) -> Self {
        Self { store, key, parts, on_their_way: JoinSet::new(), begun: 0, filling: vec![] }
    }

    /// Writes on.
    ///
    /// # Errors
    /// Why a part was not taken. The upload can then only be [given up](Upload::give_up).
    pub async fn write(&mut self, mut content: &[u8]) -> Result<(), Blocked> {
        while !content.is_empty() {
            let size = part_size(self.begun);
            if self.filling.capacity() == 0 {
                self.filling = Vec::with_capacity(size);
            }
            let (now, rest) = content.split_at(content.len().min(size - self.filling.len()));
            self.filling.extend_from_slice(now);
            content = rest;
            if self.filling.len() == size {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Blocked> {
        if self.begun == 10_000 {
            let message =
                format!("{} grew beyond the 10,000 parts that a store takes; use a shorter partition interval", self.url());
            return Err(Blocked::new(Reason::Unsupported, message));
        }
        while self.on_their_way.len() >= IN_FLIGHT {
            self.arrived().await?;
        }
        let payload = PutPayload::from(std::mem::take(&mut self.filling));
        self.begun += 1;
        self.on_their_way.spawn(self.parts.put_part(payload));
        Ok(())
    }

    async fn arrived(&mut self) -> Result<(), Blocked> {
        match self.on_their_way.join_next().await {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(self.store.refused(&self.key, "was not written", &error)),
            Some(Err(error)) => {
                Err(Blocked::new(Reason::ActionFailed, format!("{}: a part was not written: {error}", self.url())))
            }
        }
    }

    /// Sends what is left, and makes the object exist.
    ///
    /// # Errors
    /// Why it is not known to exist. It may all the same, where the answer was lost.
    pub async fn finish(&mut self) -> Result<(), Blocked> {
        if !self.filling.is_empty() || self.begun == 0 {
            self.send().await?;
        }
        while !self.on_their_way.is_empty() {
            self.arrived().await?;
        }
        let finished = self.parts.complete().await;
        finished.map(drop).map_err(|error| self.store.refused(&self.key, "was not completed", &error))
    }

    /// Takes away what was sent, as far as the store can be reached.
    pub async fn give_up(mut self) {
        // A part that arrives after the end of its upload would stay for ever (S3, AbortMultipartUpload), so they come in first.
        let settled = async { while self.on_their_way.join_next().await.is_some() {} };
        drop(tokio::time::timeout(SETTLE, settled).await);
        // Whoever exports next ends what could not be ended here.
        drop(self.parts.abort().await);
    }

    fn url(&self) -> String {
        self.store.url(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_hold_more_than_any_partition() {
        let total: u64 = (0..10_000).map(|number| part_size(number) as u64).sum();
        assert!(total > 600 << 30, "{total}");
        assert_eq!((part_size(0), part_size(3999), part_size(4000), part_size(5000)), (PART, PART, PART * 2, PART * 4));
    }
}
