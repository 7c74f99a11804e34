//! How do rows come out of PostgreSQL? By COPY, gathered into batches that are encoded on their own.

use std::sync::Arc;

use futures::TryStreamExt as _;
use tokio::sync::mpsc;

use crate::postgres::{Fault, Session};

/// What binary COPY begins with (PostgreSQL, COPY, "Binary Format"): signature, flags, length of the header's extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with.
const TRAILER: &[u8] = &[0xff, 0xff];

/// Consecutive rows, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<u32>,
}

impl Batch {
    /// An empty batch with room for this many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes + bytes / 8), ends: vec![] }
    }

    /// Adds a row.
    pub fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start as usize..*end as usize])
    }
}

/// Size of the batch of this number. Files of many batches have larger ones, because a Parquet file's footer lists them all.
pub const fn batch_size(number: usize) -> usize {
    match number {
        0..1000 => 2 << 20,
        1000..4000 => 4 << 20,
        4000..10_000 => 8 << 20,
        _ => 32 << 20,
    }
}

/// Largest batch with one row more: an offset in it has 32 bits, and PostgreSQL's rows have less than 1 GiB.
const _: () = assert!((batch_size(usize::MAX) as u64) + (1 << 30) < u32::MAX as u64);

/// What `COPY … TO STDOUT` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `FORMAT binary`.
    Binary,
    /// `FORMAT csv`.
    Csv,
}

impl Form {
    /// The statement that copies a query's rows out.
    pub fn copy_out(self, select: &str) -> String {
        format!("COPY ({select}) TO STDOUT (FORMAT {})", if self == Self::Binary { "binary" } else { "csv" })
    }

    /// The row of a message, if it holds one.
    fn row(self, message: &[u8]) -> Option<&[u8]> {
        if self == Self::Csv {
            return Some(message);
        }
        let row = message.strip_prefix(HEADER).unwrap_or(message);
        (!row.is_empty() && row != TRAILER).then_some(row)
    }
}

/// Reads what a query gives and sends it on in batches, until it ends or nobody listens. The server sends each row as one message
/// (PostgreSQL, "COPY Operations": "always one per row").
///
/// # Errors
/// What the server or the connection said.
pub async fn copy(session: Arc<Session>, select: String, form: Form, into: mpsc::Sender<Batch>) -> Result<(), Fault> {
    let stream = session.client().copy_out(&form.copy_out(&select)).await?;
    let mut stream = std::pin::pin!(stream);
    let (mut number, mut batch) = (0, Batch::with_capacity(batch_size(0)));
    while let Some(message) = stream.try_next().await? {
        let Some(row) = form.row(&message) else { continue };
        batch.push(row);
        if batch.bytes.len() >= batch_size(number) {
            number += 1;
            let full = std::mem::replace(&mut batch, Batch::with_capacity(batch_size(number)));
            if into.send(full).await.is_err() {
                return Ok(());
            }
        }
    }
    if !batch.ends.is_empty() {
        // Nobody listens where the writer failed, and the writer says why.
        drop(into.send(batch).await);
    }
    Ok(())
}
