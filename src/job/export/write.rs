//! How is a snapshot written? Rows are read, encoded by two workers and uploaded, all at once and none ahead of the other by much.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::checksum::Content;
use super::parquet::{Encoded, Encoder, FileWriter};
use super::rows::{self, Batch, Form};
use super::table::Table;
use super::{closing, csv};
use crate::api::Reason;
use crate::api::retention_policy::ExportFormat;
use crate::plan::action::Blocked;
use crate::plan::hex;
use crate::plan::removal::ExportPartition;
use crate::postgres::Session;
use crate::storage::{Store, Upload};

/// Batches that are encoded at once.
pub const WORKERS: usize = 2;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The rows.
    pub content: Content,
    /// Size of the object.
    pub bytes: i64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Writes the rows that the session's transaction sees into an object. Where that fails, the object does not come into being.
///
/// # Errors
/// What the database, the encoder or the store said.
pub async fn write(
    task: &ExportPartition,
    session: &Arc<Session>,
    table: &Table,
    select: String,
    store: &Store,
    key: &str,
) -> Result<Written, Blocked> {
    let mut object = Object { upload: store.upload(key), sha256: Sha256::new(), bytes: 0 };
    let written = match fill(task, session, table, select, &mut object).await {
        Ok(content) => object.upload.finish().await.map(|()| content),
        Err(blocked) => Err(blocked),
    };
    match written {
        Ok(content) => Ok(Written { content, bytes: object.bytes, sha256: hex(&object.sha256.finalize()) }),
        Err(blocked) => {
            object.upload.give_up().await;
            Err(blocked)
        }
    }
}

/// An object under way, with what will be said of it.
struct Object {
    upload: Upload,
    sha256: Sha256,
    bytes: i64,
}

impl Object {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Blocked> {
        self.sha256.update(&bytes);
        self.bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.upload.write(&bytes).await
    }
}

async fn fill(
    task: &ExportPartition,
    session: &Arc<Session>,
    table: &Table,
    select: String,
    object: &mut Object,
) -> Result<Content, Blocked> {
    let form = form(task.format);
    let (into, batches) = mpsc::channel(1);
    let reading = tokio::spawn(rows::copy(Arc::clone(session), select, form, into));
    let batches =
        stream::unfold(batches, |mut batches| async move { batches.recv().await.map(|batch| (batch, batches)) }).boxed();
    let written = match task.format {
        ExportFormat::Parquet => parquet(task, table, batches, object).await,
        ExportFormat::Csv => records(task, table, batches, object).await,
    };
    // The stream of batches is gone by now, so that the reader ends even where the writer failed.
    let read = reading.await.map_err(|error| broken(task, &error.to_string()))?;
    let content = written?;
    read.map_err(|fault| closing::blocked(task, &fault))?;
    Ok(content)
}

/// How rows are copied out for a format.
pub const fn form(format: ExportFormat) -> Form {
    match format {
        ExportFormat::Parquet => Form::Binary,
        ExportFormat::Csv => Form::Csv,
    }
}

async fn parquet(
    task: &ExportPartition,
    table: &Table,
    batches: BoxStream<'static, Batch>,
    object: &mut Object,
) -> Result<Content, Blocked> {
    let encoder = Encoder::new(&table.columns, table.is_utf8).map_err(|error| broken(task, &error))?;
    let refused = |error: ::parquet::errors::ParquetError| broken(task, &error.to_string());
    let mut file = FileWriter::new(&encoder).map_err(refused)?;
    let mut content = Content::default();
    let encoded = batches.map(move |batch| {
        let encoder = encoder.clone();
        work(move || encoder.encode(batch))
    });
    let mut encoded = encoded.buffered(WORKERS);
    while let Some(encoded) = encoded.try_next().await.map_err(|error| unwritable(task, &error))? {
        let encoded: Encoded = encoded;
        content.merge(encoded.content);
        object.write(file.append(encoded).map_err(refused)?).await?;
    }
    object.write(file.finish().map_err(refused)?).await?;
    Ok(content)
}

async fn records(
    task: &ExportPartition,
    table: &Table,
    batches: BoxStream<'static, Batch>,
    object: &mut Object,
) -> Result<Content, Blocked> {
    let compression = task.compression;
    let header = csv::header(table.columns.iter().map(|column| column.name.as_str()));
    object.write(csv::compress(&header, compression).map_err(|error| broken(task, &error.to_string()))?).await?;
    let mut content = Content::default();
    let encoded = batches.map(move |batch| work(move || csv::encode(&batch, compression).map_err(|error| error.to_string())));
    let mut encoded = encoded.buffered(WORKERS);
    while let Some((bytes, part)) = encoded.try_next().await.map_err(|error| broken(task, &error))? {
        content.merge(part);
        object.write(bytes).await?;
    }
    Ok(content)
}

/// Runs on a thread where computing holds nobody up.
pub async fn work<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

fn broken(task: &ExportPartition, error: &str) -> Blocked {
    Blocked::new(Reason::ActionFailed, format!("exporting {}: {error}", task.partition.table))
}

/// A value that the format cannot hold.
fn unwritable(task: &ExportPartition, error: &str) -> Blocked {
    Blocked::new(Reason::Unsupported, format!("exporting {}: {error}", task.partition.table))
}
