//! `pgreeve restore backup`: a backup fills an empty database, and is compared with its manifest.

use std::path::Path;

use clap::Args;

use super::super::backup::{WorkshopArgs, assertion, failure, manifest_directory};
use super::super::database::DatabaseArgs;
use super::super::exit::{Exit, Failure};
use super::super::location::StoreArgs;
use super::super::{Globals, output};
use crate::api::backup::Assertion;
use crate::job::backup::compare::compare;
use crate::job::backup::patience;
use crate::job::backup::restore::{Source, fill, prepare, something};
use crate::job::backup::tools::Tools;
use crate::job::backup::verify::manifest;
use crate::postgres::server;

/// Restores a backup into a database that is empty, and counts the rows of every table
///
/// Roles that the backup names must exist, unless --no-owner is given. It needs pg_restore of the server's major version. Exit code 3 says
/// that the database is not empty, or that what was restored is not what was backed up; then it must not be used.
#[derive(Args, Debug)]
pub struct Backup {
    /// The backup's manifest: s3://bucket/key, gs://bucket/key, az://account/container/key, or a file
    #[arg(value_name = "MANIFEST")]
    manifest: String,
    /// Everything belongs to the role that connects, and nothing is granted to others
    #[arg(long)]
    no_owner: bool,
    /// Tables and indexes that are restored at a time, of a backup of format directory
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=64), value_name = "NUMBER")]
    jobs: i32,
    /// A query that must answer at least this number, such as "select count(*) from users >= 1"; may be given again
    #[arg(long = "assert", value_name = "QUERY >= NUMBER", value_parser = assertion)]
    assertions: Vec<Assertion>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    workshop: WorkshopArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Backup {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let (store, key) = self.store.object(&self.manifest).map_err(failure)?;
        let directory = manifest_directory(&self.manifest, &key)?;
        let (manifest, _) = manifest(&store, directory).await.map_err(failure)?;
        let (session, target) = self.database.connect(globals).await?;
        patience::hold(&session).await.map_err(failure)?;
        let fault = |fault| Failure::fault(&target.to_string(), &fault);
        let found = server::observe(&session).await.map_err(fault)?;
        if let Some(something) = something(&session).await.map_err(failure)? {
            let message = format!(
                "database {} is not empty (it has {something}), and nothing is restored over what is there: create an empty one, such as `createdb {}_restored`",
                found.database, found.database
            );
            return Err(Failure::new(Exit::Blocked, message));
        }
        let workshop = self.workshop.workshop()?;
        let tools = Tools::find(found.version_num / 10_000, &workshop.programs).await.map_err(failure)?;
        let scratch: &Path = &workshop.scratch;
        let options: &[&str] = if self.no_owner { &["--no-owner", "--no-acl"] } else { &[] };
        let source = Source { store: &store, directory, manifest: &manifest, identity: workshop.identity.as_ref() };
        prepare(&session, &manifest).await.map_err(failure)?;
        fill(source, &target, (&tools, scratch), options, self.jobs).await.map_err(failure)?;
        let compared = compare(&session, &manifest, true, &self.assertions).await.map_err(failure)?;
        session.client().batch_execute("ANALYZE").await.map_err(|error| fault(error.into()))?;
        output::line(&format!(
            "{}: {} tables with {} rows, as they were at {:.0}; {} assertions hold",
            found.database,
            manifest.tables.len(),
            compared.rows,
            manifest.snapshot.at,
            compared.assertions
        ))?;
        Ok(Exit::Ok)
    }
}
