//! How does an object become a stream again, and is it exactly what was written? Summed up as it comes, decrypted, decompressed and summed
//! up once more, in one pass and in bounded memory.

use std::io::{self, Read};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use zstd::stream::read::Decoder;

use super::keys::Identity;
use super::seal::{CHUNK, Sum, UNDER_WAY};
use crate::api::Reason;
use crate::api::backup::CompressionMethod;
use crate::plan::action::Blocked;
use crate::plan::backup::manifest::Object;
use crate::storage::{Store, mismatch};

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
    let (inlet, arriving) = mpsc::channel::<Bytes>(UNDER_WAY);
    let (expected, identity) = (object.clone(), identity.cloned());
    let opening = tokio::task::spawn_blocking(move || open_all(&expected, identity.as_ref(), arriving, into));
    let lost = arrive(store, key, object, inlet).await;
    let opened = opening.await.map_err(|error| Blocked::new(Reason::ActionFailed, format!("{url}: {error}")))?;
    match (lost, opened) {
        (Err(blocked), _) => Err(absent(blocked)),
        (Ok(()), Ok(())) => Ok(()),
        (Ok(()), Err(Wrong::Content(what))) => Err(damaged(&url, &what)),
        (Ok(()), Err(Wrong::Identity)) => {
            let message = format!("{url} is encrypted for {}, and no identity that was given opens it", recipients(object));
            Err(Blocked::new(Reason::SecretInvalid, message))
        }
    }
}

/// Hands on what comes of its objects, one after the other, until nobody takes it any more.
async fn arrive(store: &Store, key: &str, object: &Object, inlet: mpsc::Sender<Bytes>) -> Result<(), Blocked> {
    let directory = key.rsplit_once('/').map(|(directory, _)| format!("{directory}/")).unwrap_or_default();
    for (name, _) in object.segments() {
        let mut stream = store.stream(&format!("{directory}{name}")).await?;
        while let Some(chunk) = stream.next().await {
            if inlet.send(chunk?).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn recipients(object: &Object) -> String {
    object.recipients.join(", ")
}

/// Why there is nothing to be handed on.
enum Wrong {
    /// It is not what was written.
    Content(String),
    /// It may be; nobody here can tell.
    Identity,
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self::Content(what)
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
    identity: Option<&Identity>,
    arriving: mpsc::Receiver<Bytes>,
    into: mpsc::Sender<Vec<u8>>,
) -> Result<(), Wrong> {
    let mut inlet = Inlet { sum: Sum::default(), chunk: Bytes::new(), arriving };
    let is_readable = object.recipients.is_empty() || identity.is_some();
    let decoded = is_readable.then(|| decode(&mut inlet, object, identity, &into));
    // Its sum is told first: it says best what is wrong.
    io::copy(&mut inlet, &mut io::sink()).map_err(|error| error.to_string())?;
    compare("", inlet.sum, object.bytes, &object.sha256)?;
    match decoded.transpose()? {
        Some(sum) => Ok(compare(" decoded", sum, object.raw_bytes, &object.raw_sha256)?),
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
fn decode(inlet: &mut Inlet, object: &Object, identity: Option<&Identity>, into: &mpsc::Sender<Vec<u8>>) -> Result<Sum, Wrong> {
    let undecodable = |error: &dyn std::fmt::Display| Wrong::Content(format!("it cannot be decoded: {error}"));
    let decrypted: Box<dyn Read + '_> = match identity.filter(|_| !object.recipients.is_empty()) {
        None => Box::new(inlet),
        Some(identity) => {
            let decryptor = age::Decryptor::new(inlet).map_err(|error| undecodable(&error))?;
            Box::new(decryptor.decrypt(identity.each()).map_err(|error| match error {
                age::DecryptError::NoMatchingKeys => Wrong::Identity,
                error => undecodable(&error),
            })?)
        }
    };
    decompress(decrypted, object.compression, into).map_err(|error| undecodable(&error))
}

fn decompress(decrypted: Box<dyn Read + '_>, by: CompressionMethod, into: &mpsc::Sender<Vec<u8>>) -> io::Result<Sum> {
    let mut content: Box<dyn Read + '_> = match by {
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
