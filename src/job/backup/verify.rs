//! Does a backup hold what its manifest says? It is read back whole, and its archive to the end; or it is restored.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio::sync::mpsc;

use super::child::{self, Ended};
use super::room::Room;
use super::seal::{self, Identity, damaged};
use super::tools::Tools;
use super::{contents, pack};
use crate::api::Reason;
use crate::api::backup::DumpFormat;
use crate::plan::action::Blocked;
use crate::plan::backup::Manifest;
use crate::plan::backup::manifest::Object;
use crate::storage::Store;

/// How a plain dump ends. A dump that was cut off does not.
const COMPLETE: &[u8] = b"PostgreSQL database dump complete";

/// Chunks under way from the store to a program.
const UNDER_WAY: usize = 4;

/// Reads all of a backup back: sizes, checksums, and the archive to its end. Of an encrypted one without its identity, the objects as
/// they lie in the store.
///
/// # Errors
/// [`Reason::BackupDamaged`] with what differs, or what the store said.
pub async fn read_back(
    store: &Store,
    directory: &str,
    manifest: &Manifest,
    (tools, scratch): (&Tools, &Path),
    identity: Option<&Identity>,
) -> Result<(), Blocked> {
    if let Some(globals) = &manifest.globals {
        discard(store, &format!("{directory}/{}", globals.name), globals, identity).await?;
    }
    let key = format!("{directory}/{}", manifest.data.name);
    if !manifest.data.recipients.is_empty() && identity.is_none() {
        return discard(store, &key, &manifest.data, None).await;
    }
    match manifest.format {
        DumpFormat::Custom => to_program(store, &key, manifest, tools, identity).await,
        DumpFormat::Plain => to_its_last_line(store, &key, &manifest.data, identity).await,
        DumpFormat::Directory => {
            let unpacked = unpacked(store, &key, &manifest.data, scratch, identity).await?;
            let mut command = tools.program("pg_restore");
            command.args(["--format=directory", "--file=/dev/null"]).arg(unpacked.path().join("dump"));
            child::start("pg_restore", &mut command)?.end().await.map_err(|ended| unreadable(&store.url(&key), ended))?;
            let mut list = tools.program("pg_restore");
            list.args(["--format=directory", "--list"]).arg(unpacked.path().join("dump"));
            contents::of(&mut list, manifest)?.complete(&store.url(&key)).await
        }
    }
}

/// The dump is what was written, and no dump; unless the program was kept from reading it, which says nothing of it.
fn unreadable(url: &str, ended: Ended) -> Blocked {
    if !ended.is_verdict() {
        return ended.blocked;
    }
    damaged(url, &format!("it cannot be read to its end: {}", ended.blocked.message))
}

async fn discard(store: &Store, key: &str, object: &Object, identity: Option<&Identity>) -> Result<(), Blocked> {
    let (into, mut chunks) = mpsc::channel(UNDER_WAY);
    let (opened, ()) =
        tokio::join!(seal::open(store, key, object, identity, into), async { while chunks.recv().await.is_some() {} });
    opened
}

/// `pg_restore` reads the archive and writes it nowhere. That it ends well says that the archive is whole; `--list` would not
/// (a dump cut off by one byte passes it). Another one lists what it holds, and takes no more than its beginning.
async fn to_program(
    store: &Store,
    key: &str,
    manifest: &Manifest,
    tools: &Tools,
    identity: Option<&Identity>,
) -> Result<(), Blocked> {
    let mut command = tools.program("pg_restore");
    command.args(["--format=custom", "--file=/dev/null"]).stdin(Stdio::piped());
    let mut running = child::start("pg_restore", &mut command)?;
    let mut list = tools.program("pg_restore");
    let mut listing = contents::of(list.args(["--format=custom", "--list"]).stdin(Stdio::piped()), manifest)?;
    let stdins = [running.child.stdin.take(), listing.stdin()];
    let (into, chunks) = mpsc::channel(UNDER_WAY);
    let opened = seal::open(store, key, &manifest.data, identity, into);
    let url = store.url(key);
    let (opened, (), listed) = tokio::join!(opened, feed(stdins, chunks), listing.complete(&url));
    let ended = running.end().await;
    opened?;
    ended.map_err(|ended| unreadable(&url, ended))?;
    listed
}

/// Writes what comes to programs, and closes their inputs. Where one takes no more, it says why itself; the rest is read all the same.
pub async fn feed<const N: usize>(mut stdins: [Option<ChildStdin>; N], mut chunks: mpsc::Receiver<Vec<u8>>) {
    while let Some(chunk) = chunks.recv().await {
        for stdin in &mut stdins {
            if let Some(open) = stdin
                && open.write_all(&chunk).await.is_err()
            {
                *stdin = None;
            }
        }
    }
    for mut open in stdins.into_iter().flatten() {
        drop(open.shutdown().await);
    }
}

async fn to_its_last_line(store: &Store, key: &str, object: &Object, identity: Option<&Identity>) -> Result<(), Blocked> {
    let (into, mut chunks) = mpsc::channel::<Vec<u8>>(UNDER_WAY);
    let tail = async {
        let mut tail: Vec<u8> = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            tail.extend_from_slice(&chunk[chunk.len().saturating_sub(400)..]);
            drop(tail.drain(..tail.len().saturating_sub(400)));
        }
        tail
    };
    let (opened, tail) = tokio::join!(seal::open(store, key, object, identity, into), tail);
    opened?;
    if tail.windows(COMPLETE.len()).any(|window| window == COMPLETE) {
        Ok(())
    } else {
        Err(damaged(&store.url(key), "it does not end as a dump does"))
    }
}

/// A directory of our own, with the files of a dump of format Directory in `dump`.
///
/// # Errors
/// What the store said, or where there is no room.
pub async fn unpacked(
    store: &Store,
    key: &str,
    object: &Object,
    scratch: &Path,
    identity: Option<&Identity>,
) -> Result<Room, Blocked> {
    let directory = Room::on(scratch).await?;
    let (into, chunks) = mpsc::channel(UNDER_WAY);
    let unpacking = pack::unpack(chunks, directory.path().to_owned());
    let (opened, unpacked) = tokio::join!(seal::open(store, key, object, identity, into), unpacking);
    match (opened, unpacked) {
        (Err(blocked), _) | (Ok(()), Err(blocked)) => Err(blocked),
        (Ok(()), Ok(())) => Ok(directory),
    }
}

/// Reads a manifest that must be there, and what it is, byte by byte.
///
/// # Errors
/// [`Reason::BackupDamaged`] where it is gone or no manifest.
pub async fn manifest(store: &Store, directory: &str) -> Result<(Manifest, Vec<u8>), Blocked> {
    let key = format!("{directory}/{}", crate::plan::backup::manifest::NAME);
    let url = store.url(&key);
    let content = store.get(&key).await?.ok_or_else(|| {
        Blocked::new(
            Reason::BackupDamaged,
            format!("{url} is not there, and a backup exists only with its manifest: look at the bucket's lifecycle rules"),
        )
    })?;
    let manifest = Manifest::read(&content).map_err(|what| Blocked::new(Reason::BackupDamaged, format!("{url} {what}")))?;
    Ok((manifest, content.to_vec()))
}
