//! How does a backup become a database again? `pg_restore` fills an empty one, and whoever has it filled compares it ([`super::compare`]).

use std::path::Path;

use tokio::sync::mpsc;

use super::child;
use super::patience;
use super::seal::{self, Identity};
use super::tools::{Service, Tools};
use super::verdict::Failure;
use super::verify::{feed, unpacked};
use crate::api::Reason;
use crate::api::backup::DumpFormat;
use crate::plan::action::Blocked;
use crate::plan::backup::Manifest;
use crate::plan::backup::manifest::Schema;
use crate::postgres::{Session, Target};
use crate::sql::quote::ident;
use crate::storage::Store;

/// A dump in a store, and what opens it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The store.
    pub store: &'a Store,
    /// Key of the backup's directory.
    pub directory: &'a str,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// What decrypts it.
    pub identity: Option<&'a Identity>,
}

/// Fills an empty database. `options` are those of `pg_restore` that depend on where.
///
/// # Errors
/// What `pg_restore` or the store said. Then the database holds part of the dump.
pub async fn fill(
    source: Source<'_>,
    target: &Target,
    (tools, scratch): (&Tools, &Path),
    options: &[&str],
    jobs: i32,
) -> Result<(), Blocked> {
    filled(source, target, (tools, scratch), options, jobs).await.map_err(Failure::blocked)
}

/// The same, for whom it matters who has failed.
///
/// # Errors
/// See [`fill`].
pub async fn filled(
    source: Source<'_>,
    target: &Target,
    (tools, scratch): (&Tools, &Path),
    options: &[&str],
    jobs: i32,
) -> Result<(), Failure> {
    let Source { store, directory, manifest, identity } = source;
    if !manifest.data.recipients.is_empty() && identity.is_none() {
        let message = "the backup is encrypted, and its identity is not given: name it in encryption.identitySecretRef, or identitySecretRef of the Restore's source";
        return Err(Blocked::new(Reason::SecretNotFound, message).into());
    }
    let service = Service::of(target)?;
    let key = format!("{directory}/{}", manifest.data.name);
    let mut command = tools.program("pg_restore");
    service.tell(&mut command).args(["--exit-on-error", "--no-password", "--dbname", &target.database]).args(options);
    if let Some(options) = patience::of_programs(target).await? {
        command.env("PGOPTIONS", options);
    }
    match manifest.format {
        DumpFormat::Plain => {
            let message =
                "a plain dump is a script, which pgreeve does not run: take it to psql yourself, or back up in format Custom";
            Err(Blocked::new(Reason::Unsupported, message).into())
        }
        DumpFormat::Custom => {
            command.arg("--format=custom").stdin(std::process::Stdio::piped());
            let mut running = child::start("pg_restore", &mut command)?;
            let stdin = running.child.stdin.take();
            let (into, chunks) = mpsc::channel(4);
            let (opened, ()) = tokio::join!(seal::open(store, &key, &manifest.data, identity, into), feed([stdin], chunks));
            let ended = running.end().await;
            // A damaged object explains why its archive cannot be read.
            opened?;
            ended.map(drop).map_err(Failure::Refused)
        }
        DumpFormat::Directory => {
            let unpacked = unpacked(store, &key, &manifest.data, scratch, identity).await?;
            command.arg("--format=directory").arg("--jobs").arg(jobs.to_string()).arg(unpacked.path().join("dump"));
            child::start("pg_restore", &mut command)?.end().await.map(drop).map_err(Failure::Refused)
        }
    }
}

/// Makes an empty database ready. A dump of chosen schemas creates the schema `public` too, which every database has; one of chosen tables
/// creates none of the schemas that they lie in.
///
/// # Errors
/// Where `public` is not empty, or may not be dropped, or a schema not be created.
pub async fn prepare(session: &Session, manifest: &Manifest) -> Result<(), Blocked> {
    if manifest.content.schemas.iter().any(|schema| schema == "public") {
        let dropped = session.client().batch_execute("DROP SCHEMA IF EXISTS public RESTRICT").await;
        dropped.map_err(|error| crate::pass::blocked("making room for the schema public of the backup", &error.into()))?;
    }
    let names: Vec<&str> = manifest.schemas.iter().map(|schema| schema.name.as_str()).collect();
    let query = "SELECT nspname::pg_catalog.text FROM pg_catalog.pg_namespace WHERE nspname = ANY($1::pg_catalog.text[])";
    let found = session.client().query(query, &[&names]).await;
    let found = found.map_err(|error| crate::pass::blocked("looking at the schemas", &error.into()))?;
    let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    for schema in manifest.schemas.iter().filter(|schema| !found.contains(&schema.name)) {
        create(session, schema).await?;
    }
    Ok(())
}

async fn create(session: &Session, schema: &Schema) -> Result<(), Blocked> {
    let create = format!("CREATE SCHEMA {}", ident(&schema.name));
    let owned = session.client().batch_execute(&format!("{create} AUTHORIZATION {}", ident(&schema.owner))).await;
    // Where that role is not here, or not ours to give things to, the schema is our own.
    if owned.is_ok() {
        return Ok(());
    }
    let created = session.client().batch_execute(&create).await;
    created.map_err(|error| crate::pass::blocked(&format!("creating the schema {} of the backup", schema.name), &error.into()))
}

/// What makes a database not empty, the weightiest first. What lies in the schema `public` depends on it, and what an extension brings comes with
/// that.
const SOMETHING: &str = "SELECT what FROM (
    SELECT 1 AS weight, c.oid AS number, c.oid::pg_catalog.regclass::pg_catalog.text AS what
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
    UNION ALL SELECT 2, n.oid, 'schema ' || n.nspname FROM pg_catalog.pg_namespace n
        WHERE n.nspname NOT IN ('public', 'information_schema') AND n.nspname !~ '^pg_'
    UNION ALL SELECT 3, e.oid, 'extension ' || e.extname FROM pg_catalog.pg_extension e WHERE e.extname <> 'plpgsql'
    UNION ALL SELECT 4, d.objid, pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_namespace n ON n.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
        WHERE n.nspname = 'public'
    UNION ALL SELECT 5, m.oid, 'large object ' || m.oid FROM pg_catalog.pg_largeobject_metadata m
    UNION ALL SELECT 6, p.oid, 'publication ' || p.pubname FROM pg_catalog.pg_publication p
) found ORDER BY weight, number LIMIT 1";

/// What a user has made in the database, be it a table, a schema or a function: then it is not empty.
///
/// # Errors
/// What the server said.
pub async fn something(session: &Session) -> Result<Option<String>, Blocked> {
    let row = session.client().query_opt(SOMETHING, &[]).await;
    let row = row.map_err(|error| crate::pass::blocked("looking whether the database is empty", &error.into()))?;
    Ok(row.map(|row| row.get(0)))
}
