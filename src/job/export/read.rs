//! How is an object read back? As a stream that is hashed as it passes, while workers decode what has come.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::column::Column;
use super::csv;
use super::manifest::Data;
use super::parquet::{self, Columns, Footer};
use super::rows::Batch;
use super::write::{WORKERS, work};
use crate::api::retention_policy::{ExportCompression, ExportFormat};
use crate::plan::action::Blocked;
use crate::plan::hex;
use crate::storage::{Store, mismatch};

/// Consecutive rows of an object.
#[derive(Debug)]
pub enum Piece {
    /// A decoded row group.
    Columns(Columns),
    /// Records of CSV.
    Records(Batch),
}

/// An object that is being read: what `digest` made of each piece, in order.
pub struct Reading<T> {
    url: String,
    sha256: String,
    answers: BoxStream<'static, Result<T, String>>,
    hashing: JoinHandle<Result<String, Blocked>>,
}

impl<T> std::fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("url", &self.url).finish()
    }
}

/// Begins to read an object; each piece goes through `digest` on a worker.
///
/// # Errors
/// What the store said, or that the object has another size than the manifest says.
pub async fn open<T: Send + 'static>(
    store: &Store,
    key: &str,
    data: &Data,
    columns: &Arc<[Column]>,
    digest: fn(Piece) -> Result<T, String>,
) -> Result<Reading<T>, Blocked> {
    let url = store.url(key);
    let size = store.size(key).await?.ok_or_else(|| mismatch(&url, "it is gone; look at the bucket's lifecycle rules"))?;
    if i64::try_from(size) != Ok(data.bytes) {
        return Err(mismatch(&url, &format!("it has {size} bytes, and {} were written", data.bytes)));
    }
    let footer = match data.format {
        ExportFormat::Parquet => Some(footer(store, key, &url, size).await?),
        ExportFormat::Csv => None,
    };
    let (into, hashed) = mpsc::channel(2);
    let hashing = tokio::spawn(hash(store.stream(key).await?, into));
    let answers = match footer {
        Some(footer) => row_groups(footer, hashed, Arc::clone(columns), digest),
        None => records(data.compression, hashed, digest),
    };
    Ok(Reading { url, sha256: data.sha256.clone(), answers, hashing })
}

impl<T: Send + 'static> Reading<T> {
    /// What was made of the next piece; none after the last one, and then all of the object has been found to be as it was written.
    ///
    /// # Errors
    /// What the store said, or how the object differs from what was written.
    pub async fn next(&mut self) -> Result<Option<T>, Blocked> {
        let refused = match self.answers.try_next().await {
            Ok(Some(answer)) => return Ok(Some(answer)),
            Ok(None) => None,
            Err(error) => Some(mismatch(&self.url, &error)),
        };
        // Nobody listens any more, so that hashing comes to its end.
        self.answers = stream::empty().boxed();
        let found = (&mut self.hashing).await.map_err(|error| mismatch(&self.url, &error.to_string()))?;
        // What the store said about a stream that broke off tells more than the decoder does.
        let found = found?;
        if found != self.sha256 {
            let what = format!("its SHA-256 is {found}, and that of what was written {}", self.sha256);
            return Err(mismatch(&self.url, &what));
        }
        refused.map_or(Ok(None), Err)
    }
}

/// Passes on what comes, and answers its SHA-256.
async fn hash(mut stream: BoxStream<'static, Result<Bytes, Blocked>>, into: mpsc::Sender<Bytes>) -> Result<String, Blocked> {
    let mut sha256 = Sha256::new();
    while let Some(bytes) = stream.try_next().await? {
        sha256.update(&bytes);
        // Where the decoder has given up, the rest is still hashed: the digest says whether the object or the decoder is at fault.
        drop(into.send(bytes).await);
    }
    Ok(hex(&sha256.finalize()))
}

async fn footer(store: &Store, key: &str, url: &str, size: u64) -> Result<Footer, Blocked> {
    let tail = store.range(key, size.saturating_sub(8)..size).await?;
    let length = parquet::footer_length(&tail, size).map_err(|error| mismatch(url, &error))?;
    let footer = store.range(key, size - length..size).await?;
    parquet::footer(&footer).map_err(|error| mismatch(url, &error))
}

fn row_groups<T: Send + 'static>(
    footer: Footer,
    hashed: mpsc::Receiver<Bytes>,
    columns: Arc<[Column]>,
    digest: fn(Piece) -> Result<T, String>,
) -> BoxStream<'static, Result<T, String>> {
    let source = Source { hashed, waiting: BytesMut::new(), at: 0 };
    let groups = stream::try_unfold((source, footer, 0), |(mut source, footer, number)| async move {
        if number == footer.row_groups() {
            return Ok::<_, String>(None);
        }
        let range = footer.range(number)?;
        let bytes = source.until(range.end).await.ok_or("it ends within a row group")?;
        let skip = usize::try_from(range.start + bytes.len() as u64 - range.end).unwrap_or(0);
        Ok(Some((footer.row_group(number, range.start, bytes.slice(skip..)), (source, footer, number + 1))))
    });
    let decoded = groups.map(move |group| {
        let columns = Arc::clone(&columns);
        work(move || digest(Piece::Columns(Columns::decode(&group?, &columns)?)))
    });
    decoded.buffered(WORKERS).boxed()
}

/// A stream from which pieces are cut at known places.
struct Source {
    hashed: mpsc::Receiver<Bytes>,
    waiting: BytesMut,
    at: u64,
}

impl Source {
    /// What comes from where the last piece ended to this offset of the object.
    async fn until(&mut self, end: u64) -> Option<Bytes> {
        let length = usize::try_from(end.checked_sub(self.at)?).ok()?;
        while self.waiting.len() < length {
            let bytes = self.hashed.recv().await?;
            self.waiting.extend_from_slice(&bytes);
        }
        self.at = end;
        Some(self.waiting.split_to(length).freeze())
    }
}

fn records<T: Send + 'static>(
    compression: ExportCompression,
    hashed: mpsc::Receiver<Bytes>,
    digest: fn(Piece) -> Result<T, String>,
) -> BoxStream<'static, Result<T, String>> {
    let (into, decoded) = mpsc::channel::<Result<Batch, String>>(1);
    tokio::task::spawn_blocking(move || {
        let source = Blocking { hashed, waiting: Bytes::new() };
        // The header, which comes first, says nothing that the manifest does not.
        let mut is_header = true;
        let sent = csv::decode(source, compression, |batch| match std::mem::take(&mut is_header) {
            true => Ok(()),
            false => into.blocking_send(Ok(batch)).map_err(io::Error::other),
        });
        // Where nobody listens any more, nobody wants to know.
        drop(sent.map_err(|error| into.blocking_send(Err(error.to_string()))));
    });
    let batches = stream::unfold(decoded, |mut decoded| async move { decoded.recv().await.map(|batch| (batch, decoded)) });
    let answers = batches.map(move |batch| work(move || digest(Piece::Records(batch?))));
    answers.buffered(WORKERS).boxed()
}

/// A stream as a reader, on a thread that may wait.
struct Blocking {
    hashed: mpsc::Receiver<Bytes>,
    waiting: Bytes,
}

impl Read for Blocking {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.waiting.is_empty() {
            match self.hashed.blocking_recv() {
                Some(bytes) => self.waiting = bytes,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.waiting.len());
        into[..length].copy_from_slice(&self.waiting.split_to(length));
        Ok(length)
    }
}
