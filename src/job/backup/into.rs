//! How does a backup get into the database that was made for it? It is filled, compared with the manifest, and given what its dump does not
//! carry; then its own comment says that it is whole.
//!
//! Guarantees: only a database of this name and OID with the witness of the restore is touched, and only an empty one is filled. A run that
//! finds it whole reports what was proven then. One that finds it half filled refuses it: the operator makes another one.

use std::time::Instant;

use super::super::Access;
use super::compare::{Compared, compare, visible};
use super::inspect::checksum;
use super::patience;
use super::restore::{Source, fill, prepare, something};
use super::tools::Tools;
use super::verify;
use crate::api::Reason;
use crate::api::condition::shorten;
use crate::api::restore::RowCounts;
use crate::clock::Clock;
use crate::plan::action::Blocked;
use crate::plan::backup::manifest::Manifest;
use crate::plan::backup::{RestoreDump, Stored};
use crate::plan::restore::names::{Failure, Proof, Witness};
use crate::postgres::{Fault, Session, Target, claim, databases};
use crate::sql::restore as sql;
use crate::storage::Store;

/// Longest part of an error that a comment keeps.
const QUOTED: usize = 500;

/// Most statements that were refused, and longest, that a report names.
const OMITTED: (usize, usize) = (5, 200);

/// Restores and compares.
///
/// # Errors
/// Why the database is not whole. Then it holds part of the backup, and says so in its comment.
pub async fn run(task: &RestoreDump, access: &Access) -> Result<Proof, Blocked> {
    let Stored { destination, directory, .. } = &task.stored;
    let store = Store::open(destination, &access.storage)?;
    let (manifest, content) = verify::manifest(&store, directory).await?;
    if checksum(&content) != task.manifest {
        let message =
            format!("the manifest in {destination}/{directory} is another one than was chosen: somebody has replaced it");
        return Err(Blocked::new(Reason::BackupDamaged, message));
    }
    let target = Target { database: task.database.clone(), ..access.target()?.clone() };
    let session = patience::session(&target).await?;
    let locked = claim::take(&session, &task.database).await;
    if !locked.map_err(|fault| crate::pass::blocked(&target.to_string(), &fault))? {
        let message = format!("another Pod is at work in database {}", task.database);
        return Err(Blocked::new(Reason::OtherOperator, message));
    }
    let witness = witness(&session, task).await?;
    if let Some(proof) = witness.proof {
        return Ok(proof);
    }
    if let Some(found) = left(&session, &witness).await? {
        let why = witness.failure.map(|failure| format!(": {}", failure.message)).unwrap_or_default();
        let message = format!("database {} holds {found}, and is made anew{why}", task.database);
        return Err(Blocked::new(Reason::NotEmpty, message));
    }
    let tools = Tools::find(task.major, &access.workshop.programs).await?;
    let witness = Witness { begun: true, ..witness };
    note(&session, &task.database, &witness).await?;
    let source = Source { store: &store, directory, manifest: &manifest, identity: access.workshop.identity.as_ref() };
    match restored(task, (access, &tools), source, (&session, &target)).await {
        // What is there is no database to use.
        Ok(proof) if task.rehearses => Ok(proof),
        Ok(proof) => {
            let whole = Witness { proof: Some(proof.clone()), comment: manifest.database.properties.comment.clone(), ..witness };
            note(&session, &task.database, &whole).await?;
            Ok(proof)
        }
        Err(blocked) => {
            // For the next one, who finds it half filled. Without an answer that one says only so.
            let for_good = matches!(blocked.reason, Reason::VerificationFailed | Reason::BackupDamaged | Reason::Unsupported);
            let message = shorten(&blocked.message, QUOTED);
            let failure = Some(Failure { message, at: Clock::system().now(), for_good });
            drop(note(&session, &task.database, &Witness { failure, ..witness }).await);
            Err(blocked)
        }
    }
}

/// What a former try has left: it may have broken off before anything is seen of it.
async fn left(session: &Session, witness: &Witness) -> Result<Option<String>, Blocked> {
    let found = something(session).await?.map(|found| format!("part of a former try ({found})"));
    Ok(found.or_else(|| witness.begun.then(|| "what a former try has left".into())))
}

/// The witness of the database that we are in, if that is the one which was meant.
async fn witness(session: &Session, task: &RestoreDump) -> Result<Witness, Blocked> {
    let query = "SELECT oid, pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";
    let row = session.client().query_one(query, &[]).await.map_err(refused)?;
    let (oid, comment): (u32, Option<String>) = (row.get(0), row.get(1));
    let (wanted, found) = (Witness::read(Some(&task.witness)), Witness::read(comment.as_deref()));
    match (wanted, found) {
        (Some(wanted), Some(found)) if oid == task.oid && wanted.restore == found.restore && wanted.role == found.role => {
            Ok(found)
        }
        _ => {
            let message = format!("database {} is not the one that was made for this restore, and is left alone", task.database);
            Err(Blocked::new(Reason::Stale, message))
        }
    }
}

async fn restored(
    task: &RestoreDump,
    (access, tools): (&Access, &Tools),
    source: Source<'_>,
    (session, target): (&Session, &Target),
) -> Result<Proof, Blocked> {
    let begun = Instant::now();
    let properties = &source.manifest.database.properties;
    let (options, mut omitted) = elsewhere(session, source.manifest).await?;
    let options: Vec<&str> = options.into_iter().chain(task.rehearses.then_some("--schema-only")).collect();
    prepare(session, source.manifest).await?;
    fill(source, target, (tools, &access.workshop.scratch), &options, 2).await?;
    if task.row_counts == RowCounts::Exact {
        visible(session, source.manifest).await?;
    }
    omitted.extend(put_back(session, sql::settings(&task.database, properties)).await?);
    let counts = task.row_counts == RowCounts::Exact && !task.rehearses;
    let compared = match task.rehearses {
        true => Compared::default(),
        // In a session that begins as everybody's will.
        false => compare(&patience::session(target).await?, source.manifest, counts, &task.assertions).await?,
    };
    session.client().batch_execute("ANALYZE").await.map_err(refused)?;
    omitted.extend(put_back(session, sql::access(&task.database, properties)).await?);
    Ok(Proof {
        at: Clock::system().now(),
        rows: counts.then_some(compared.rows),
        assertions: compared.assertions,
        seconds: i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX),
        omitted: first_of(omitted),
    })
}

/// As many as a report has room for, and how many more there are.
fn first_of(mut omitted: Vec<String>) -> Vec<String> {
    let more = omitted.len().saturating_sub(OMITTED.0);
    omitted.truncate(OMITTED.0);
    omitted.extend((more > 0).then(|| format!("and {more} more")));
    omitted
}

/// What of a dump depends on another place and is left out, as options of `pg_restore` and for people. A subscription would take the place of the
/// one that it was dumped from, and a database that has one cannot be dropped.
async fn elsewhere(session: &Session, manifest: &Manifest) -> Result<(Vec<&'static str>, Vec<String>), Blocked> {
    let database = &manifest.database;
    let mut options = vec!["--no-subscriptions"];
    let mut omitted: Vec<String> =
        database.subscriptions.iter().map(|name| format!("subscription {name}: create it anew")).collect();
    let here = databases::tablespaces(session).await.map_err(|fault| crate::pass::blocked("its tablespaces", &fault))?;
    let lacking: Vec<&String> = database.tablespaces.iter().filter(|name| !here.contains(name)).collect();
    if here.is_empty() || !lacking.is_empty() {
        options.push("--no-tablespaces");
    }
    let usual = |name| {
        format!(
            "tablespace {name}: the server has none of that name in which the role may create, and everything lies in the usual one"
        )
    };
    omitted.extend(lacking.iter().map(usual));
    let query = "SELECT t.spcname::pg_catalog.text FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace \
        WHERE d.datname = pg_catalog.current_database()";
    let lies: String = session.client().query_one(query, &[]).await.map_err(refused)?.get(0);
    // Made before the role might use it.
    let wanted = database.properties.tablespace.as_ref().filter(|wanted| **wanted != lies && !lacking.contains(wanted));
    omitted.extend(wanted.map(|wanted| format!("tablespace {wanted} of the database: it lies in {lies}")));
    Ok((options, omitted))
}

/// What the dump does not carry. What our role may not put back is told.
pub(super) async fn put_back(session: &Session, statements: Vec<String>) -> Result<Vec<String>, Blocked> {
    let mut omitted = Vec::new();
    for statement in statements {
        let Err(error) = session.client().batch_execute(&statement).await else { continue };
        let fault = Fault::from(error);
        // A refusal leaves the session as it was.
        if session.is_closed() || fault.sqlstate.is_none() {
            return Err(crate::pass::blocked(&statement, &fault));
        }
        omitted.push(shorten(&format!("{statement}: {}", fault.message), OMITTED.1));
    }
    Ok(omitted)
}

async fn note(session: &Session, database: &str, witness: &Witness) -> Result<(), Blocked> {
    session.client().batch_execute(&sql::comment(database, Some(&witness.text()))).await.map_err(refused)
}

fn refused(error: tokio_postgres::Error) -> Blocked {
    crate::pass::blocked("the database that is restored into", &error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_report_has_no_room_for_is_counted() {
        let lines = |count: usize| (1..=count).map(|number| format!("line {number}")).collect::<Vec<_>>();
        assert_eq!(first_of(lines(5)), lines(5));
        assert_eq!(first_of(lines(7)).last().map(String::as_str), Some("and 2 more"));
        assert_eq!(first_of(lines(7)).len(), 6);
    }
}
