//! How does a database get into an object store? One snapshot is dumped and counted, the dump is read back, and only then a manifest says
//! that there is a backup.
//!
//! Flow of a run: where the manifest of this backup exists, its objects are read back once more; that is all. Otherwise a session takes
//! a snapshot ([`facts`]); `pg_dump` dumps it into an object of a name of its own ([`dump`], [`seal`]) while every table is counted in
//! the same snapshot, which is let go then; roles and tablespaces follow; all of it is read back ([`verify`]) if that is asked for; and the
//! manifest is created beside it, unless another run was faster.
//!
//! Guarantees: a backup exists exactly if its manifest does. No manifest exists of a `pg_dump` that did not end well, of an upload that was
//! not completed, or of counts from another snapshot. No manifest is ever replaced. A run that breaks off anywhere leaves at most
//! objects or unfinished uploads that no manifest names; the next run that succeeds takes them away.

pub mod catalog;
mod child;
pub mod compare;
mod contents;
mod database;
mod dump;
mod facts;
mod gather;
pub mod inspect;
pub mod into;
mod keys;
mod pack;
pub mod patience;
mod preload;
mod progress;
mod proof;
pub mod restore;
mod room;
pub mod scratch;
pub mod seal;
mod selection;
pub mod tools;
mod unseal;
pub mod verdict;
pub mod verify;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::Access;
use crate::api::Reason;
use crate::api::backup::{Content, VerifyLevel};
use crate::clock::Clock;
use crate::plan::action::Blocked;
use crate::plan::backup::DumpDatabase;
use crate::plan::backup::manifest::{self, Manifest, Object, Verified};
use crate::postgres::Session;
use crate::storage::{self, Created, Nameless, SEGMENT, Store};
pub use catalog::BackedUp;
use catalog::{existing, settled};
use facts::Facts;
pub use proof::{Proof, prove, record, verify, verify_in};
use seal::{Identity, Seal, damaged};
use tools::{Service, Tools};

/// How long is waited until what a broken dump had sent is taken away.
const SETTLE: Duration = Duration::from_secs(10);

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
    /// Largest object of a backup, in bytes; what is longer is divided into several.
    pub segment: u64,
}

impl Default for Workshop {
    fn default() -> Self {
        Self { programs: vec![], scratch: std::env::temp_dir(), recipients: None, identity: None, segment: SEGMENT }
    }
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
    if task.exists {
        return confirm(store, &task.directory).await;
    }
    let seal = seal(task, access)?;
    let manifest = match existing(store, &task.directory).await? {
        Some((manifest, _)) => manifest,
        None => anew(task, access, store, &seal).await?,
    };
    settled(store, &task.directory, &manifest).await
}

/// What is known of a backup that is there.
///
/// # Errors
/// [`Reason::BackupDamaged`] where it is not there or not whole, or what the store said.
pub async fn confirm(store: &Store, directory: &str) -> Result<BackedUp, Blocked> {
    let (manifest, _) = verify::manifest(store, directory).await?;
    settled(store, directory, &manifest).await
}

/// What objects are made with.
fn seal(task: &DumpDatabase, access: &Access) -> Result<Seal, Blocked> {
    let recipients = match &task.settings.encryption {
        None if task.recipients.is_empty() => vec![],
        None => seal::recipients(task.recipients.join("\n").as_bytes())?,
        Some(_) => seal::recipients(access.workshop.recipients.as_deref().unwrap_or_default())?,
    };
    let segment = access.workshop.segment;
    Ok(Seal { segment, ..Seal::new(task.settings.compression.clone(), recipients) })
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

/// Everything but the manifest. What was made goes where the rest fails, or is broken off.
async fn written(
    task: &DumpDatabase,
    access: &Access,
    store: &Store,
    seal: &Seal,
    started_at: Timestamp,
) -> Result<Manifest, Blocked> {
    let made = Nameless::new(store);
    match whole(task, access, (store, &made), seal, started_at).await {
        Ok(manifest) => {
            made.keep();
            Ok(manifest)
        }
        Err(blocked) => {
            made.take_away().await;
            // Of a dump that was broken off, since it was not counted.
            storage::settled(SETTLE).await;
            Err(blocked)
        }
    }
}

/// Snapshot, dump, counts and globals, read back.
async fn whole(
    task: &DumpDatabase,
    access: &Access,
    (store, made): (&Store, &Nameless),
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
    let service = Service::of(target)?;
    let run = fastrand::u32(..);
    let data = format!("{}/{run:08x}.{}", task.directory, dump::data_name(task));
    let dumping = async {
        let dumped = dump::data(task, &facts, (&tools, &service), (store, &data), (seal, &access.workshop.scratch)).await?;
        dumped.segments().into_iter().for_each(|(name, _)| made.add(format!("{}/{name}", task.directory)));
        Ok(dumped)
    };
    let (data, tables) = at_once(task, session, dumping, &facts, seal).await?;
    let globals = match content.globals {
        false => None,
        true => {
            let key = format!("{}/{run:08x}.{}", task.directory, dump::globals_name(task));
            let globals = dump::globals(&target.database, (&tools, &service), (store, &key), seal).await?;
            made.add(key);
            Some(globals)
        }
    };
    let manifest = describe(task, facts, (data, globals), tables, &tools.version, started_at);
    if task.settings.verify > VerifyLevel::None {
        let workshop = &access.workshop;
        verify::read_back(store, &task.directory, &manifest, (&tools, &workshop.scratch), workshop.identity.as_ref()).await?;
    }
    Ok(manifest)
}

/// The dump and the counts, in one snapshot; when one of them fails, the other is broken off. The snapshot is let go at once: an old one keeps
/// the server from clearing away dead rows, and what is still to be done may take as long as the dump did.
async fn at_once(
    task: &DumpDatabase,
    session: Session,
    dumping: impl Future<Output = Result<Object, Blocked>>,
    facts: &Facts,
    seal: &Seal,
) -> Result<(Object, Vec<manifest::TableRows>), Blocked> {
    facts::lock(&session, &facts.selection).await?;
    let total = facts::bytes(&session, &facts.selection).await?.saturating_mul(dump::ways(task.settings.format));
    let both = async { tokio::try_join!(dumping, facts::count(&session, &facts.selection)) };
    tokio::select! {
        both = both => both,
        never = progress::tell(&session, &task.directory, &seal.tally, total) => match never {},
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
        notes: vec![],
    });
    Manifest {
        version: manifest::VERSION,
        writer: concat!("pgreeve ", env!("CARGO_PKG_VERSION")).into(),
        backup: task.backup.clone(),
        schedule: task.schedule.clone(),
        made_for: task.made_for.clone(),
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
        definitions: facts.selection.definitions,
        schemas: facts.schemas,
        large_objects: facts.large_objects,
        data,
        globals,
        read_back,
    }
}
