//! How is a backup proven that is there? It is read back, or restored on a server of our own and compared; what was proven is written beside it.

use super::super::Access;
use super::Workshop;
use super::catalog::proven;
use super::compare::{self, Compared};
use super::into;
use super::patience;
use super::restore;
use super::scratch::Scratch;
use super::tools::Tools;
use super::verdict::{self, Failure};
use super::verify::{manifest as manifest_of, read_back};
use crate::api::backup::{Assertion, VerifyLevel};
use crate::api::condition::shorten;
use crate::clock::Clock;
use crate::plan::action::Blocked;
use crate::plan::backup::VerifyBackup;
use crate::plan::backup::manifest::{self, Manifest, Properties, Setting, Verified};
use crate::postgres::{Session, Target};
use crate::sql::restore as sql;
use crate::storage::Store;

/// Longest note of a proof: all of a report has to fit into 4096 bytes.
const NOTE: usize = 300;

/// Most notes of a proof.
const NOTES: usize = 3;

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
    what: (VerifyLevel, &[Assertion]),
    workshop: &Workshop,
) -> Result<Verified, Blocked> {
    let proof = prove(store, directory, what, workshop).await?;
    record(store, directory, &proof).await?;
    Ok(proof.verified)
}

/// What was proven of a backup, and of which.
#[derive(Debug)]
pub struct Proof {
    /// What was proven.
    pub verified: Verified,
    manifest: Manifest,
}

/// Writes a proof down beside the backup, unless more is known already.
///
/// # Errors
/// What the store said.
pub async fn record(store: &Store, directory: &str, proof: &Proof) -> Result<(), Blocked> {
    let before = proven(store, directory, &proof.manifest).await?;
    if before.is_some_and(|before| before.level > proof.verified.level) {
        return Ok(());
    }
    let content = serde_json::to_vec_pretty(&proof.verified).unwrap_or_default();
    store.replace(&format!("{directory}/{}", manifest::VERIFICATION), content).await
}

/// Proves a backup that is there, and writes nothing.
///
/// # Errors
/// See [`verify`].
pub async fn prove(
    store: &Store,
    directory: &str,
    (level, assertions): (VerifyLevel, &[Assertion]),
    workshop: &Workshop,
) -> Result<Proof, Blocked> {
    let (manifest, _) = manifest_of(store, directory).await?;
    let tools = Tools::find(manifest.major(), &workshop.programs).await?;
    let identity = workshop.identity.as_ref();
    let at = Clock::system().now();
    let mut verified = Verified { level, at, rows_matched: None, assertions: 0, restore_seconds: None, notes: vec![] };
    match level {
        VerifyLevel::None => {}
        VerifyLevel::Catalog => {
            read_back(store, directory, &manifest, (&tools, &workshop.scratch), identity).await?;
        }
        VerifyLevel::Restore => {
            let source = restore::Source { store, directory, manifest: &manifest, identity };
            let begun = std::time::Instant::now();
            let (compared, notes) = tried(assertions, source, (&tools, workshop)).await?;
            verified.notes = notes;
            verified.rows_matched = Some(compared.rows);
            verified.assertions = compared.assertions;
            verified.restore_seconds = Some(i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX));
        }
    }
    Ok(Proof { verified, manifest })
}

/// What was compared after a restore into a server of our own, and what of the original that server could not have.
async fn tried(
    assertions: &[Assertion],
    source: restore::Source<'_>,
    (tools, workshop): (&Tools, &Workshop),
) -> Result<(Compared, Vec<String>), Blocked> {
    let server = Scratch::start(tools, &workshop.scratch, source.manifest).await?;
    let target = server.database();
    let mut differs = server.differs.clone();
    let outcome: Result<Compared, Failure> = async {
        let opened = Session::open(&target).await;
        let session = opened.map_err(|fault| crate::pass::blocked("the server for the restore", &fault))?;
        restore::prepare(&session, source.manifest).await?;
        restore::filled(source, &target, (tools, &workshop.scratch), &["--no-tablespaces", "--no-subscriptions"], 2).await?;
        let mut compared = compare::compare(&session, source.manifest, true, &[]).await?;
        if !assertions.is_empty() {
            let (asking, refused) = settled(&session, &target, &source.manifest.database.properties).await?;
            differs.extend(refused);
            compared.assertions = compare::ask(&asking, assertions).await?;
        }
        Ok(compared)
    }
    .await;
    let witness = server.stop().await;
    let compared = outcome.map_err(|failure| verdict::of(failure, &witness, &workshop.scratch))?;
    let more = differs.len().saturating_sub(NOTES);
    let mut notes: Vec<String> = differs.iter().take(NOTES).map(|differs| shorten(differs, NOTE)).collect();
    notes.extend((more > 0).then(|| format!("and {more} more")));
    Ok((compared, notes))
}

/// A session that begins as everybody's does in the original, with the database's own settings, such as its search_path; and which of them this
/// server does not take. Libraries that only the original's server has would shut everybody out.
async fn settled(session: &Session, target: &Target, like: &Properties) -> Result<(Session, Vec<String>), Blocked> {
    let applies = |setting: &&Setting| setting.role.is_empty() && !setting.name.ends_with("preload_libraries");
    let settings = like.settings.iter().filter(applies).cloned().collect();
    let like = Properties { settings, ..Properties::default() };
    let refused = into::put_back(session, sql::settings(&target.database, &like)).await?;
    match patience::session(target).await {
        Ok(asking) => Ok((asking, refused)),
        Err(blocked) => {
            into::put_back(session, vec![sql::reset(&target.database)]).await?;
            let note =
                format!("asked without the settings of the database, with which this server lets nobody in: {}", blocked.message);
            Ok((patience::session(target).await?, vec![note]))
        }
    }
}
