//! How does a directory become one stream, and a stream a directory again? As a tar archive, through the Job's scratch volume.

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncRead, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::io::SyncIoBridge;

use super::room::unusable;
use crate::api::Reason;
use crate::plan::action::Blocked;

/// Bytes between the packer and the pipeline.
const BETWEEN: usize = 1 << 20;

/// The files of a directory as a stream, and how the packing ended.
pub fn pack(directory: PathBuf) -> (impl AsyncRead + Send + Unpin + 'static, impl Future<Output = Result<(), Blocked>>) {
    let (reader, writer): (DuplexStream, DuplexStream) = tokio::io::duplex(BETWEEN);
    let packing: JoinHandle<io::Result<()>> = tokio::task::spawn_blocking(move || {
        let mut archive = tar::Builder::new(SyncIoBridge::new(writer));
        archive.append_dir_all("dump", &directory)?;
        archive.into_inner().map(drop)
    });
    let ended = async {
        match packing.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Blocked::new(Reason::ActionFailed, format!("the dump cannot be packed: {error}"))),
            Err(error) => Err(Blocked::new(Reason::ActionFailed, format!("the dump cannot be packed: {error}"))),
        }
    };
    (reader, ended)
}

/// Writes a packed directory below `into`, where it is called `dump`.
///
/// # Errors
/// Where it is no archive, or there is no room.
pub async fn unpack(chunks: mpsc::Receiver<Vec<u8>>, into: PathBuf) -> Result<(), Blocked> {
    let named = into.clone();
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut archive = tar::Archive::new(Chunks { chunks, chunk: vec![], at: 0 });
        archive.unpack(&into)?;
        // What follows the archive is read too, so that whoever sums it up comes to its end.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
    });
    match unpacking.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(unusable(&named, &error)),
        Err(error) => Err(Blocked::new(Reason::ActionFailed, format!("the dump cannot be unpacked: {error}"))),
    }
}

/// What comes through a channel, as a stream.
struct Chunks {
    chunks: mpsc::Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl io::Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.chunks.blocking_recv() {
                Some(chunk) => (self.chunk, self.at) = (chunk, 0),
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.chunk.len() - self.at);
        into[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
