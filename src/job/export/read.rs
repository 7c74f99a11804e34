//! How is an object read back? As a stream that is hashed as it passes, while workers decode what has come.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::column::Column;
use super::manifest::Data;
use super::parquet::{self, Columns, Footer};
use super::rows::Batch;
use super::write::{WORKERS, hex, work};
use super::csv;
use crate::api::retention_policy::ExportFormat;
use crate::plan::action::Blocked;
use crate::storage::{Store, mismatch};

/// Consecutive rows of an object.
#[derive(Debug)]
pub enum Piece {
    /// A decoded row group.
    Columns(Columns),
    /// Records of CSV.
    Records(Batch),
}

/// Reads an object to its end and compares its size and digest with what the manifest says. Each piece goes through `digest` on a
/// worker, and what that answers to `take`, in order.
///
/// # Errors
/// What the store said, that the object is not what was written, or what `take` refused.
pub async fn read<T: Send + 'static>(
    store: &Store,
    key: &str,
    data: &Data,
    columns: &Arc<[Column]>,
    digest: impl Fn(Piece) -> Result<T, String> + Send + Sync + Clone + 'static,
    take: impl AsyncFnMut(T) -> Result<(), Blocked>,
) -> Result<(), Blocked> {
    let url = store.url(key);
    let size = store.size(key).await?.ok_or_else(|| mismatch(&url, "it is gone; look at the bucket's lifecycle rules"))?;
    if i64::try_from(size) != Ok(data.bytes) {
        return Err(mismatch(&url, &format!("it has {size} bytes, and {} were written", data.bytes)));
    }
    let (into, hashed) = mpsc::channel(2);
    let stream = store.stream(key).await?;
    let hashing = tokio::spawn(hash(stream, into));
    let taken = match data.format {
        ExportFormat::Parquet => {
            let footer = footer(store, key, &url, size).await?;
            row_groups(&url, footer, hashed, columns, digest, take).await
        }
        ExportFormat::Csv => records(&url, data, hashed, digest, take).await,
    };
    let sha256 = hashing.await.map_err(|error| mismatch(&url, &error.to_string()))?;
    // What the store said about a stream that broke off tells more than the decoder does.
    let sha256 = match (sha256, taken) {
        (Err(blocked), _) | (_, Err(blocked)) => return Err(blocked),
        (Ok(sha256), Ok(())) => sha256,
    };
    if sha256 == data.sha256 { Ok(()) } else { Err(mismatch(&url, &format!("its SHA-256 is {sha256}, and that of what was written {}", data.sha256))) }
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

async fn row_groups<T: Send + 'static>(
    url: &str,
    footer: Footer,
    hashed: mpsc::Receiver<Bytes>,
    columns: &Arc<[Column]>,
    digest: impl Fn(Piece) -> Result<T, String> + Send + Sync + Clone + 'static,
    mut take: impl AsyncFnMut(T) -> Result<(), Blocked>,
) -> Result<(), Blocked> {
    let source = Source { hashed, waiting: BytesMut::new(), at: 0 };
    let groups = stream::try_unfold((source, footer, 0), async |(mut source, footer, number)| {
        if number == footer.row_groups() {
            return Ok::<_, String>(None);
        }
        let range = footer.range(number)?;
        let bytes = source.until(range.end).await.ok_or("it ends within a row group")?;
        let skip = usize::try_from(range.start + bytes.len() as u64 - range.end).unwrap_or(0);
        Ok(Some((footer.row_group(number, range.start, bytes.slice(skip..)), (source, footer, number + 1))))
    });
    let decoded = groups.map(|group| {
        let (digest, columns) = (digest.clone(), Arc::clone(columns));
        work(move || digest(Piece::Columns(Columns::decode(&group?, &columns)?)))
    });
    let mut decoded = std::pin::pin!(decoded.buffered(WORKERS));
    while let Some(answer) = decoded.try_next().await.map_err(|error| mismatch(url, &error))? {
        take(answer).await?;
    }
    Ok(())
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

async fn records<T: Send + 'static>(
    url: &str,
    data: &Data,
    hashed: mpsc::Receiver<Bytes>,
    digest: impl Fn(Piece) -> Result<T, String> + Send + Sync + Clone + 'static,
    mut take: impl AsyncFnMut(T) -> Result<(), Blocked>,
) -> Result<(), Blocked> {
    let compression = data.compression;
    let (into, mut decoded) = mpsc::channel::<Batch>(1);
    let decoding = tokio::task::spawn_blocking(move || {
        let source = Blocking { hashed, waiting: Bytes::new() };
        csv::decode(source, compression, |batch| into.blocking_send(batch).map_err(io::Error::other))
    });
    // The header says nothing that the manifest does not.
    drop(decoded.recv().await);
    let batches = stream::unfold(decoded, |mut decoded| async move { decoded.recv().await.map(|batch| (batch, decoded)) });
    let answers = batches.map(|batch| {
        let digest = digest.clone();
        work(move || digest(Piece::Records(batch)))
    });
    let mut answers = std::pin::pin!(answers.buffered(WORKERS));
    while let Some(answer) = answers.try_next().await.map_err(|error| mismatch(url, &error))? {
        take(answer).await?;
    }
    let decoded = decoding.await.map_err(|error| mismatch(url, &error.to_string()))?;
    decoded.map_err(|error| mismatch(url, &error.to_string()))
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
