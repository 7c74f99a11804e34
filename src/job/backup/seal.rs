//! How does a stream become an object, and an object a stream again? Summed up, compressed, encrypted and summed up once more, in one
//! pass and in bounded memory.

use std::io::{self, Read, Write};
use std::iter;

use bytes::Bytes;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use zstd::stream::{read::Decoder, write::Encoder};

use super::progress::Tally;
use crate::api::Reason;
use crate::api::backup::{Compression, CompressionMethod};
use crate::plan::action::Blocked;
use crate::plan::backup::manifest::Object;
use crate::plan::hex;
use crate::storage::{Store, mismatch};

/// Size of what is handed on at a time. Of each stage four are under way at most.
const CHUNK: usize = 256 << 10;
const UNDER_WAY: usize = 4;

/// What an object is made with.
#[derive(Clone, Debug)]
pub struct Seal {
    /// How it is compressed.
    pub compression: Compression,
    /// Whom it is encrypted for, as age recipients; nobody where empty.
    pub recipients: Vec<String>,
    /// What has come so far.
    pub tally: Tally,
}

/// What opens an encrypted object: an age identity. It is printed nowhere.
#[derive(Clone)]
pub struct Identity(age::x25519::Identity);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl Identity {
    /// Reads the first identity of a file of them.
    ///
    /// # Errors
    /// [`Reason::SecretInvalid`] where there is none.
    pub fn read(text: &[u8]) -> Result<Self, Blocked> {
        let text = String::from_utf8_lossy(text);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identity = lines.find_map(|line| line.parse().ok()).map(Self);
        identity.ok_or_else(|| {
            let message =
                "the key identity of the Secret of encryption.identitySecretRef holds no age identity (AGE-SECRET-KEY-1…)";
            Blocked::new(Reason::SecretInvalid, message)
        })
    }
}

/// Reads age recipients, one a line.
///
/// # Errors
/// [`Reason::SecretInvalid`] where one is none, or there is none.
pub fn recipients(text: &[u8]) -> Result<Vec<String>, Blocked> {
    let invalid = |what: String| {
        Blocked::new(Reason::SecretInvalid, format!("the key recipients of the Secret of encryption.recipientsSecretRef {what}"))
    };
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    // An identity in its place would be a secret in the manifest.
    match lines.iter().position(|line| line.parse::<age::x25519::Recipient>().is_err()) {
        _ if lines.is_empty() => Err(invalid("is missing or empty: write one age recipient (age1…) a line".into())),
        Some(number) => Err(invalid(format!("holds on line {} something that is no age recipient (age1…)", number + 1))),
        None => Ok(lines.into_iter().map(str::to_owned).collect()),
    }
}

/// What a stream came to.
#[derive(Debug, Default)]
struct Sum {
    hash: Sha256,
    bytes: i64,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    }

    fn digits(self) -> String {
        hex(&self.hash.finalize())
    }
}

/// Writes a stream to an object of this key; its last part is the key's. The object exists only when `approve` has agreed: a stream
/// that ends is not yet a stream that is whole.
///
/// # Errors
/// What the source, `approve` or the store said. Then there is no object.
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
    let mut upload = store.upload(key).await?;
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
        (Ok(()), Ok(()), Ok(sums), Ok(())) => upload.finish().await.map(|()| sums),
        // A source that failed explains the rest.
        (_, _, _, Err(blocked)) | (Err(blocked), ..) | (_, Err(blocked), ..) | (_, _, Err(blocked), _) => Err(blocked),
    };
    let (raw, stored) = match finished {
        Ok(sums) => sums,
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

/// Reads an object to its end, checks both of its sums, and hands its content on to `into` as it comes; what is handed on is proven only
/// when this has answered. An encrypted object without an identity is only checked as it lies there, and nothing is handed on.
///
/// # Errors
/// [`Reason::BackupDamaged`] where it is not what was written, or what the store said.
pub async fn open(
    store: &Store,
    key: &str,
    object: &Object,
    identity: Option<&Identity>,
    into: mpsc::Sender<Vec<u8>>,
) -> Result<(), Blocked> {
    let url = store.url(key);
    let mut stream = store.stream(key).await.map_err(absent)?;
    let (inlet, arriving) = mpsc::channel::<Bytes>(UNDER_WAY);
    let (expected, identity) = (object.clone(), identity.cloned());
    let opening = tokio::task::spawn_blocking(move || open_all(&expected, identity, arriving, into));
    let mut lost = None;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                if inlet.send(chunk).await.is_err() {
                    break;
                }
            }
            Err(blocked) => {
                lost = Some(blocked);
                break;
            }
        }
    }
    drop(inlet);
    let opened = opening.await.map_err(|error| Blocked::new(Reason::ActionFailed, format!("{url}: {error}")))?;
    match (lost, opened) {
        (Some(blocked), _) => Err(absent(blocked)),
        (None, Ok(())) => Ok(()),
        (None, Err(what)) => Err(damaged(&url, &what)),
    }
}

/// What a manifest names and a store does not have is damage too.
fn absent(blocked: Blocked) -> Blocked {
    match blocked.reason {
        Reason::ExportMismatch => Blocked::new(Reason::BackupDamaged, blocked.message),
        _ => blocked,
    }
}

/// An object is not what its manifest says.
pub fn damaged(url: &str, what: &str) -> Blocked {
    Blocked::new(Reason::BackupDamaged, mismatch(url, what).message)
}

/// What arrives of the store, summed up on the way.
struct Inlet {
    sum: Sum,
    chunk: Bytes,
    arriving: mpsc::Receiver<Bytes>,
}

impl Read for Inlet {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.arriving.blocking_recv() {
                Some(chunk) => {
                    self.sum.add(&chunk);
                    self.chunk = chunk;
                }
                None => return Ok(0),
            }
        }
        let count = self.chunk.len().min(into.len());
        into[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

fn open_all(
    object: &Object,
    identity: Option<Identity>,
    arriving: mpsc::Receiver<Bytes>,
    into: mpsc::Sender<Vec<u8>>,
) -> Result<(), String> {
    let mut inlet = Inlet { sum: Sum::default(), chunk: Bytes::new(), arriving };
    let content = if object.recipients.is_empty() || identity.is_some() {
        Some(decode(&mut inlet, object, identity, &into).map_err(|error| format!("it cannot be decoded: {error}")))
    } else {
        None
    };
    let decoded = content.transpose();
    // Its sum is told first: it says best what is wrong.
    io::copy(&mut inlet, &mut io::sink()).map_err(|error| error.to_string())?;
    compare("", inlet.sum, object.bytes, &object.sha256)?;
    match decoded? {
        Some(sum) => compare(" decoded", sum, object.raw_bytes, &object.raw_sha256),
        None => Ok(()),
    }
}

fn compare(what: &str, found: Sum, bytes: i64, sha256: &str) -> Result<(), String> {
    if found.bytes != bytes {
        return Err(format!("it is {} bytes long{what}, and {bytes} were written", found.bytes));
    }
    let digits = found.digits();
    if digits == sha256 { Ok(()) } else { Err(format!("its SHA-256{what} is {digits}, and {sha256} was written")) }
}

/// Hands the content on, and answers what it came to.
fn decode(inlet: &mut Inlet, object: &Object, identity: Option<Identity>, into: &mpsc::Sender<Vec<u8>>) -> io::Result<Sum> {
    let decrypted: Box<dyn Read + '_> = match identity.filter(|_| !object.recipients.is_empty()) {
        None => Box::new(inlet),
        Some(Identity(identity)) => {
            let decryptor = age::Decryptor::new(inlet).map_err(io::Error::other)?;
            Box::new(decryptor.decrypt(iter::once(&identity as &dyn age::Identity)).map_err(io::Error::other)?)
        }
    };
    let mut content: Box<dyn Read + '_> = match object.compression {
        CompressionMethod::None => decrypted,
        CompressionMethod::Zstd => Box::new(Decoder::new(decrypted)?),
    };
    let mut sum = Sum::default();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        (&mut content).take(CHUNK as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(sum);
        }
        sum.add(&chunk);
        // Whoever does not want the rest has said why elsewhere; the sums are still checked.
        drop(into.blocking_send(chunk));
    }
}

#[cfg(test)]
mod tests;
