//! How does a database get into an object store? One snapshot is dumped and counted, the dump is read back, and only then a manifest says
//! that there is a backup.
//!
//! Flow of a run: where the manifest of this backup exists, its objects are read back once more; that is all. Otherwise a session takes
//! a snapshot ([`facts`]); `pg_dump` dumps it into an object of a name of its own ([`dump`], [`seal`]) while every table is counted in
//! the same snapshot; roles and tablespaces follow; all of it is read back ([`verify`]) if that is asked for; and the manifest is
//! created beside it, unless another run was faster.
//!
//! Guarantees: a backup exists exactly if its manifest does. No manifest exists of a `pg_dump` that did not end well, of an upload that was
//! not completed, or of counts from another snapshot. No manifest is ever replaced. A run that breaks off anywhere leaves at most
//! objects or unfinished uploads that no manifest names; the next run that succeeds takes them away.

mod child;
mod dump;
mod facts;
pub mod inspect;
pub mod into;
mod pack;
pub mod restore;
pub mod scratch;
pub mod seal;
pub mod tools;
pub mod verify;

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Access;
use crate::api::Reason;
use crate::api::backup::{Assertion, Content, VerifyLevel};
use crate::clock::Clock;
use crate::plan::action::Blocked;
use crate::plan::backup::manifest::{self, Manifest, Object, Verified};
use crate::plan::backup::{DumpDatabase, VerifyBackup};
use crate::postgres::Session;
use crate::storage::{Created, Store};
use facts::Facts;
use scratch::Scratch;
use seal::{Identity, Seal, damaged};
use tools::{Service, Tools};

/// What a Job works with besides its database and its store.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// Where PostgreSQL's programs are looked for first.
    pub programs: Vec<PathBuf>,
    /// A directory with room.
    pub scratch: PathBuf,
    /// The age recipients that backups are encrypted for, one a line.
    pub recipients: Option<Vec<u8>>,
    /// What decrypts a backup.
    pub identity: Option<Identity>,
}

impl Default for Workshop {
    fn default() -> Self {
        Self { programs: vec![], scratch: std::env::temp_dir(), recipients: None, identity: None }
    }
}

/// A backup that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackedUp {
    /// Key of its directory.
    pub directory: String,
    /// The manifest's URL.
    pub url: String,
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// When the manifest was written.
    pub completed_at: Timestamp,
    /// When the snapshot was taken.
    pub snapshot_at: Timestamp,
    /// Where in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// Bytes in the store.
    pub bytes: i64,
    /// Bytes of the dump before compression.
    pub raw_bytes: i64,
    /// SHA-256 of the data object.
    pub sha256: String,
    /// Version of the server.
    pub server_version: String,
    /// Its major.
    pub major: i32,
    /// Version of `pg_dump`.
    pub dump_version: String,
    /// Tables with rows of their own.
    pub tables: i32,
    /// Their rows.
    pub rows: i64,
    /// What the dump lacks; at most three lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
    /// What was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

/// Backs a database up, or confirms the backup that exists.
///
/// # Errors
/// Why there is no backup. The next run begins anew.
pub async fn run(task: &DumpDatabase, access: &Access) -> Result<BackedUp, Blocked> {
    run_in(task, access, &Store::open(&task.settings.destination, &access.storage)?).await
}

/// The same in a store of the caller's.
///
/// # Errors
/// See [`run`].
pub async fn run_in(task: &DumpDatabase, access: &Access, store: &Store) -> Result<BackedUp, Blocked> {
    let seal = seal(task, access)?;
    let manifest = match existing(store, &task.directory).await? {
        Some((manifest, _)) => manifest,
        None => anew(task, access, store, &seal).await?,
    };
    settled(task, store, &manifest).await
}

/// What objects are made with.
fn seal(task: &DumpDatabase, access: &Access) -> Result<Seal, Blocked> {
    let recipients = match &task.settings.encryption {
        None => vec![],
        Some(_) => seal::recipients(access.workshop.recipients.as_deref().unwrap_or_default())?,
    };
    Ok(Seal { compression: task.settings.compression.clone(), recipients })
}

/// The manifest of a directory, if it exists.
///
/// # Errors
/// [`Reason::BackupDamaged`] where it is no manifest.
pub async fn existing(store: &Store, directory: &str) -> Result<Option<(Manifest, Vec<u8>)>, Blocked> {
    let key = format!("{directory}/{}", manifest::NAME);
    let Some(content) = store.get(&key).await? else { return Ok(None) };
    let read =
        Manifest::read(&content).map_err(|what| Blocked::new(Reason::BackupDamaged, format!("{} {what}", store.url(&key))))?;
    Ok(Some((read, content.to_vec())))
}

async fn anew(task: &DumpDatabase, access: &Access, store: &Store, seal: &Seal) -> Result<Manifest, Blocked> {
    let started_at = Clock::system().now();
    let written = match written(task, access, store, seal, started_at).await {
        Ok(written) => written,
        // A run that was faster has taken away what it did not know.
        Err(blocked) => return existing(store, &task.directory).await.ok().flatten().map(|(faster, _)| faster).ok_or(blocked),
    };
    let key = format!("{}/{}", task.directory, manifest::NAME);
    let content = serde_json::to_vec_pretty(&written)
        .map_err(|error| Blocked::new(Reason::ActionFailed, format!("the manifest cannot be written: {error}")))?;
    let created = store.create(&key, content).await;
    match (created, existing(store, &task.directory).await) {
        // Where the answer was lost or the store tried twice, the manifest itself says whose it is.
        (_, Ok(Some((found, _)))) => Ok(found),
        // The request may still be under way: the objects stay, since a manifest may come to name them.
        (Err(blocked), _) | (_, Err(blocked)) => Err(blocked),
        (Ok(Created::Yes | Created::Existed), Ok(None)) => Err(damaged(&store.url(&key), "it was written and is gone")),
    }
}

/// Everything but the manifest.
async fn written(
    task: &DumpDatabase,
    access: &Access,
    store: &Store,
    seal: &Seal,
    started_at: Timestamp,
) -> Result<Manifest, Blocked> {
    let target = access.target()?;
    let opened = Session::open(target).await;
    let session = opened.map_err(|fault| crate::pass::blocked(&target.to_string(), &fault))?;
    let content = &task.settings.content;
    let facts = facts::observe(&session, content).await?;
    let major = facts.database.version_num / 10_000;
    if major != task.major {
        let message =
            format!("the server is PostgreSQL {major} and was {} when the backup was planned; it is planned anew", task.major);
        return Err(Blocked::new(Reason::Stale, message));
    }
    let tools = Tools::find(major, &access.workshop.programs).await?;
    let service = Service::of(target, &access.workshop.scratch)?;
    let run = fastrand::u32(..);
    let data = format!("{}/{run:08x}.{}", task.directory, dump::data_name(task));
    let dumping = dump::data(task, &facts, (&tools, &service), (store, &data), (seal, &access.workshop.scratch));
    // At once, in one snapshot.
    let (dumped, counted) = tokio::join!(dumping, facts::count(&session, &facts.selection));
    let mut made = Made { store, keys: vec![] };
    let data = made.note(&data, dumped)?;
    let tables = made.or_undone(counted).await?;
    let globals = match content.globals {
        false => None,
        true => {
            let key = format!("{}/{run:08x}.{}", task.directory, dump::globals_name(task));
            let globals = dump::globals(&target.database, (&tools, &service), (store, &key), seal).await;
            let globals = made.or_undone(globals).await?;
            made.keys.push(key);
            Some(globals)
        }
    };
    let manifest = describe(task, facts, (data, globals), tables, &tools.version, started_at);
    if task.settings.verify > VerifyLevel::None {
        let workshop = &access.workshop;
        let proven =
            verify::read_back(store, &task.directory, &manifest, (&tools, &workshop.scratch), workshop.identity.as_ref()).await;
        made.or_undone(proven).await?;
    }
    Ok(manifest)
}

/// Objects that no manifest names yet.
struct Made<'a> {
    store: &'a Store,
    keys: Vec<String>,
}

impl Made<'_> {
    fn note<T>(&mut self, key: &str, made: Result<T, Blocked>) -> Result<T, Blocked> {
        if made.is_ok() {
            self.keys.push(key.to_owned());
        }
        made
    }

    /// What was made goes where the rest failed, as far as the store can be reached.
    async fn or_undone<T>(&self, outcome: Result<T, Blocked>) -> Result<T, Blocked> {
        if outcome.is_err() {
            for key in &self.keys {
                drop(self.store.delete(key).await);
            }
        }
        outcome
    }
}

fn describe(
    task: &DumpDatabase,
    facts: Facts,
    (data, globals): (Object, Option<Object>),
    tables: Vec<manifest::TableRows>,
    dump_version: &str,
    started_at: Timestamp,
) -> Manifest {
    let now = Clock::system().now();
    let content: &Content = &task.settings.content;
    let read_back = (task.settings.verify > VerifyLevel::None).then_some(Verified {
        level: VerifyLevel::Catalog,
        at: now,
        rows_matched: None,
        assertions: 0,
        restore_seconds: None,
    });
    Manifest {
        version: manifest::VERSION,
        writer: concat!("pgreeve ", env!("CARGO_PKG_VERSION")).into(),
        backup: task.backup.clone(),
        schedule: task.schedule.clone(),
        started_at,
        completed_at: now,
        omitted: facts::omitted(&facts, content),
        database: facts.database,
        snapshot: facts.snapshot,
        content: content.clone(),
        format: task.settings.format,
        dump_version: dump_version.to_owned(),
        extensions: facts.extensions,
        roles: facts.roles,
        tables,
        large_objects: facts.large_objects,
        data,
        globals,
        read_back,
    }
}

/// What is reported of a backup that is there, after what other runs have left beside it has been taken away.
async fn settled(task: &DumpDatabase, store: &Store, manifest: &Manifest) -> Result<BackedUp, Blocked> {
    let directory = &task.directory;
    for object in [Some(&manifest.data), manifest.globals.as_ref()].into_iter().flatten() {
        let key = format!("{directory}/{}", object.name);
        match store.size(&key).await? {
            Some(size) if i64::try_from(size) == Ok(object.bytes) => {}
            Some(size) => {
                return Err(damaged(&store.url(&key), &format!("it is {size} bytes long, and {} were written", object.bytes)));
            }
            None => return Err(damaged(&store.url(&key), "it is gone, and its manifest is there")),
        }
    }
    sweep(store, directory, manifest).await;
    let (_, content) = verify::manifest(store, directory).await?;
    Ok(BackedUp {
        directory: directory.clone(),
        url: store.url(&format!("{directory}/{}", manifest::NAME)),
        manifest: Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect(),
        completed_at: manifest.completed_at,
        snapshot_at: manifest.snapshot.at,
        lsn: manifest.snapshot.lsn.clone(),
        bytes: manifest.bytes(),
        raw_bytes: manifest.data.raw_bytes,
        sha256: manifest.data.sha256.clone(),
        server_version: manifest.database.server_version.clone(),
        major: manifest.major(),
        dump_version: manifest.dump_version.clone(),
        tables: i32::try_from(manifest.tables.len()).unwrap_or(i32::MAX),
        rows: manifest.rows(),
        omitted: manifest.omitted.iter().take(3).map(|line| crate::api::condition::shorten(line, 200)).collect(),
        verified: proven(store, directory, manifest).await?,
    })
}

/// The backups below a store's prefix, by the keys of their directories: every manifest that can be read, the oldest first, and the URL of
/// each that cannot.
///
/// # Errors
/// What the store said.
pub async fn list(store: &Store) -> Result<(Vec<(String, Manifest)>, Vec<String>), Blocked> {
    let (mut found, mut unreadable) = (vec![], vec![]);
    for entry in store.list("").await? {
        let Some(directory) = entry.key.strip_suffix(manifest::NAME).map(|directory| directory.trim_end_matches('/')) else {
            continue;
        };
        match existing(store, directory).await {
            Ok(Some((manifest, _))) => found.push((directory.to_owned(), manifest)),
            // Removed meanwhile.
            Ok(None) => {}
            Err(blocked) if blocked.reason == Reason::BackupDamaged => unreadable.push(store.url(&entry.key)),
            Err(blocked) => return Err(blocked),
        }
    }
    found.sort_by_key(|(_, manifest)| manifest.snapshot.at);
    Ok((found, unreadable))
}

/// What was proven of a backup last, and best.
///
/// # Errors
/// What the store said.
pub async fn proven(store: &Store, directory: &str, manifest: &Manifest) -> Result<Option<Verified>, Blocked> {
    let later = store.get(&format!("{directory}/{}", manifest::VERIFICATION)).await?;
    let later: Option<Verified> = later.and_then(|content| serde_json::from_slice(&content).ok());
    Ok(later.or_else(|| manifest.read_back.clone()))
}

/// Takes away what the manifest does not name. What resists is left: it costs a little, and harms nobody.
async fn sweep(store: &Store, directory: &str, manifest: &Manifest) {
    drop(store.end_uploads(directory).await);
    let globals = manifest.globals.as_ref().map(|globals| globals.name.as_str());
    let keep = [Some(manifest.data.name.as_str()), globals, Some(manifest::NAME), Some(manifest::VERIFICATION)];
    for entry in store.list(directory).await.unwrap_or_default() {
        let name = entry.key.rsplit('/').next().unwrap_or_default();
        if !keep.contains(&Some(name)) {
            drop(store.delete(&entry.key).await);
        }
    }
}

/// Proves a backup that is there, and writes beside it what was proven.
///
/// # Errors
/// [`Reason::BackupDamaged`] or [`Reason::VerificationFailed`] with what is wrong, or why it could not be found out.
pub async fn verify(task: &VerifyBackup, access: &Access) -> Result<Verified, Blocked> {
    let store = Store::open(&task.stored.destination, &access.storage)?;
    verify_in(&store, &task.stored.directory, (task.level, &task.assertions), &access.workshop).await
}

/// The same in a store of the caller's.
///
/// # Errors
/// See [`verify`].
pub async fn verify_in(
    store: &Store,
    directory: &str,
    (level, assertions): (VerifyLevel, &[Assertion]),
    workshop: &Workshop,
) -> Result<Verified, Blocked> {
    let (manifest, _) = verify::manifest(store, directory).await?;
    let tools = Tools::find(manifest.major(), &workshop.programs).await?;
    let identity = workshop.identity.as_ref();
    let mut verified = Verified { level, at: Clock::system().now(), rows_matched: None, assertions: 0, restore_seconds: None };
    match level {
        VerifyLevel::None => {}
        VerifyLevel::Catalog => {
            verify::read_back(store, directory, &manifest, (&tools, &workshop.scratch), identity).await?;
        }
        VerifyLevel::Restore => {
            let source = restore::Source { store, directory, manifest: &manifest, identity };
            let begun = std::time::Instant::now();
            let compared = tried(assertions, source, (&tools, workshop)).await?;
            verified.rows_matched = Some(compared.rows);
            verified.assertions = compared.assertions;
            verified.restore_seconds = Some(i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX));
        }
    }
    note(store, directory, &manifest, &verified).await?;
    Ok(verified)
}

async fn tried(
    assertions: &[Assertion],
    source: restore::Source<'_>,
    (tools, workshop): (&Tools, &Workshop),
) -> Result<restore::Compared, Blocked> {
    let server = Scratch::start(tools, &workshop.scratch, source.manifest).await?;
    let target = server.database();
    let outcome = async {
        let opened = Session::open(&target).await;
        let session = opened.map_err(|fault| crate::pass::blocked("the server for the restore", &fault))?;
        restore::prepare(&session, source.manifest).await?;
        restore::fill(source, &target, (tools, &workshop.scratch), &["--no-tablespaces", "--no-subscriptions"], 2).await?;
        restore::compare(&session, source.manifest, true, assertions).await
    }
    .await;
    server.stop().await;
    outcome
}

/// Writes down what was proven, unless more is known already.
async fn note(store: &Store, directory: &str, manifest: &Manifest, verified: &Verified) -> Result<(), Blocked> {
    let before = proven(store, directory, manifest).await?;
    if before.is_some_and(|before| before.level > verified.level) {
        return Ok(());
    }
    let content = serde_json::to_vec_pretty(verified).unwrap_or_default();
    store.replace(&format!("{directory}/{}", manifest::VERIFICATION), content).await
}
