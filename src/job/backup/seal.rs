//! How does a stream become an object? Summed up, compressed, encrypted and summed up once more, in one pass and in memory that does not grow
//! with it. What becomes of it again is [`super::unseal`].

use std::io::{self, Write};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use zstd::stream::write::Encoder;

pub use super::keys::{Identity, recipients};
use super::progress::Tally;
pub use super::unseal::{damaged, open};
use crate::api::Reason;
use crate::api::backup::{Compression, CompressionMethod};
use crate::plan::action::Blocked;
use crate::plan::backup::manifest::Object;
use crate::plan::hex;
use crate::storage::{SEGMENT, Store};

/// Size of what is handed on at a time. Of each stage four are under way at most.
pub(super) const CHUNK: usize = 256 << 10;
pub(super) const UNDER_WAY: usize = 4;

/// What an object is made with.
#[derive(Clone, Debug)]
pub struct Seal {
    /// How it is compressed.
    pub compression: Compression,
    /// Whom it is encrypted for, as age recipients; nobody where empty.
    pub recipients: Vec<String>,
    /// What has come so far.
    pub tally: Tally,
    /// Largest object, in bytes; what is longer is divided into several.
    pub segment: u64,
}

impl Seal {
    /// For these, into objects of the usual size.
    pub fn new(compression: Compression, recipients: Vec<String>) -> Self {
        Self { compression, recipients, tally: Tally::default(), segment: SEGMENT }
    }
}

/// What a stream came to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    hash: Sha256,
    pub(super) bytes: i64,
}

impl Sum {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    }

    pub(super) fn digits(self) -> String {
        hex(&self.hash.finalize())
    }
}

/// Writes a stream to an object of this key; the key's last part is its name. The last of the objects that it takes exists only when `approve`
/// has agreed: a stream that ends is not yet a stream that is whole.
///
/// # Errors
/// What the source, `approve` or the store said. Then no object is left, as far as the store could be reached.
pub async fn store<R, F>(store: &Store, key: &str, seal: &Seal, source: R, approve: F) -> Result<Object, Blocked>
where
    R: AsyncRead + Unpin + Send + 'static,
    F: Future<Output = Result<(), Blocked>>,
{
    let (into, raw) = mpsc::channel(UNDER_WAY);
    let (out, mut sealed) = mpsc::channel::<Bytes>(UNDER_WAY);
    let reading = tokio::spawn(read(source, into));
    let making = seal.clone();
    let sealing = tokio::task::spawn_blocking(move || seal_all(&making, raw, out));
    let mut upload = store.upload_in_segments(key, seal.segment);
    let sent = async {
        while let Some(chunk) = sealed.recv().await {
            upload.write(&chunk).await?;
        }
        Ok(())
    };
    let sent: Result<(), Blocked> = sent.await;
    // What is not taken any more ends the threads before it.
    drop(sealed);
    let broken = |error: &dyn std::fmt::Display| Blocked::new(Reason::ActionFailed, format!("{}: {error}", store.url(key)));
    let read = reading.await.map_err(|error| broken(&error)).and_then(|read| read.map_err(|error| broken(&error)));
    let sums = sealing.await.map_err(|error| broken(&error)).and_then(|sums| sums.map_err(|error| broken(&error)));
    let approved = approve.await;
    let finished = match (sent, read, sums, approved) {
        (Ok(()), Ok(()), Ok(sums), Ok(())) => upload.finish().await.map(|()| (sums, upload.segments())),
        // What the store does not take ends the source, and a source that failed ends what was made of it.
        (Err(blocked), ..) | (_, _, _, Err(blocked)) | (_, Err(blocked), ..) | (_, _, Err(blocked), _) => Err(blocked),
    };
    let ((raw, stored), segments) = match finished {
        Ok(written) => written,
        Err(blocked) => {
            upload.give_up().await;
            return Err(blocked);
        }
    };
    Ok(Object {
        name: key.rsplit('/').next().unwrap_or_default().to_owned(),
        bytes: stored.bytes,
        sha256: stored.digits(),
        raw_bytes: raw.bytes,
        raw_sha256: raw.digits(),
        compression: seal.compression.method,
        recipients: seal.recipients.clone(),
        segment_bytes: (segments > 1).then(|| i64::try_from(seal.segment).unwrap_or(i64::MAX)),
    })
}

async fn read<R: AsyncRead + Unpin>(mut source: R, into: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        while chunk.len() < CHUNK && source.read_buf(&mut chunk).await? > 0 {}
        // Nobody takes it any more: what went wrong there is told there.
        if chunk.is_empty() || into.send(chunk).await.is_err() {
            return Ok(());
        }
    }
}

/// What is written goes on to the upload.
struct Outlet {
    sum: Sum,
    filling: Vec<u8>,
    out: mpsc::Sender<Bytes>,
}

impl Outlet {
    fn send(&mut self) -> io::Result<()> {
        if self.filling.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.filling, Vec::with_capacity(CHUNK));
        self.out.blocking_send(chunk.into()).map_err(|_| io::Error::other("the upload has ended"))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK - self.filling.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.sum.add(taken);
        self.filling.extend_from_slice(taken);
        if self.filling.len() == CHUNK {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Encryption, or none.
enum Envelope {
    Open(Outlet),
    Age(Box<age::stream::StreamWriter<Outlet>>),
}

impl Envelope {
    fn new(outlet: Outlet, recipients: &[String]) -> io::Result<Self> {
        if recipients.is_empty() {
            return Ok(Self::Open(outlet));
        }
        let parsed: Result<Vec<age::x25519::Recipient>, _> = recipients.iter().map(|text| text.parse()).collect();
        let parsed = parsed.map_err(io::Error::other)?;
        let encryptor = age::Encryptor::with_recipients(parsed.iter().map(|recipient| recipient as &dyn age::Recipient));
        Ok(Self::Age(Box::new(encryptor.map_err(io::Error::other)?.wrap_output(outlet)?)))
    }

    fn finish(self) -> io::Result<Sum> {
        let mut outlet = match self {
            Self::Open(outlet) => outlet,
            Self::Age(writer) => writer.finish()?,
        };
        outlet.send()?;
        Ok(outlet.sum)
    }
}

impl Write for Envelope {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Open(outlet) => outlet.write(bytes),
            Self::Age(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Open(outlet) => outlet.flush(),
            Self::Age(writer) => writer.flush(),
        }
    }
}

/// Sums of what came and of what went.
fn seal_all(seal: &Seal, mut raw: mpsc::Receiver<Vec<u8>>, out: mpsc::Sender<Bytes>) -> io::Result<(Sum, Sum)> {
    let outlet = Outlet { sum: Sum::default(), filling: Vec::with_capacity(CHUNK), out };
    let envelope = Envelope::new(outlet, &seal.recipients)?;
    let mut sum = Sum::default();
    let envelope = match seal.compression.method {
        CompressionMethod::None => {
            let mut envelope = envelope;
            while let Some(chunk) = raw.blocking_recv() {
                sum.add(&chunk);
                seal.tally.add(chunk.len());
                envelope.write_all(&chunk)?;
            }
            envelope
        }
        CompressionMethod::Zstd => {
            let mut encoder = Encoder::new(envelope, seal.compression.level)?;
            encoder.include_checksum(true)?;
            while let Some(chunk) = raw.blocking_recv() {
                sum.add(&chunk);
                seal.tally.add(chunk.len());
                encoder.write_all(&chunk)?;
            }
            encoder.finish()?
        }
    };
    Ok((sum, envelope.finish()?))
}

#[cfg(test)]
mod tests;
