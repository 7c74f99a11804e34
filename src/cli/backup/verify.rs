//! `pgreeve verify`: is a backup what its manifest says?

use clap::Args;
use serde::Serialize;

use super::super::Globals;
use super::super::exit::{Exit, Failure};
use super::super::form::Form;
use super::super::location::StoreArgs;
use super::super::output;
use super::{WorkshopArgs, assertion, failure, manifest_directory};
use crate::api::backup::{Assertion, VerifyLevel};
use crate::job::backup::{prove, record};
use crate::plan::backup::manifest::Verified;

/// Reads a backup back whole, or restores it into a server made for that and counts every table
///
/// What was proven is written beside the manifest, where that may be written. It needs PostgreSQL's programs of the server's major version, and with --restore the
/// server itself; the database is not asked. Exit code 3 says that the backup is not what was written.
#[derive(Args, Debug)]
pub struct Verify {
    /// The backup's manifest: s3://bucket/key, gs://bucket/key, az://account/container/key, or a file
    #[arg(value_name = "MANIFEST")]
    manifest: String,
    /// Restores it, and compares the rows of every table with those that were dumped
    #[arg(long)]
    restore: bool,
    /// With --restore: a query that must answer at least this number, such as "select count(*) from users >= 1"; may be given again
    #[arg(long = "assert", value_name = "QUERY >= NUMBER", value_parser = assertion, requires = "restore")]
    assertions: Vec<Assertion>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    workshop: WorkshopArgs,
}

impl Verify {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let (store, key) = self.store.object(&self.manifest).map_err(failure)?;
        let directory = manifest_directory(&self.manifest, &key)?;
        let level = if self.restore { VerifyLevel::Restore } else { VerifyLevel::Catalog };
        let workshop = self.workshop.workshop()?;
        let proof = prove(&store, directory, (level, &self.assertions), &workshop).await.map_err(failure)?;
        // Whoever may only read has an answer too.
        if let Err(blocked) = record(&store, directory, &proof).await {
            globals.say(&format!("the proof is not written down beside the backup: {}", blocked.message));
        }
        let verified = &proof.verified;
        let view = View { format_version: output::VERSION, manifest: &self.manifest, verified };
        self.output.write(&view, || format!("{}: {}\n", self.manifest, proven(verified)))?;
        Ok(Exit::Ok)
    }
}

/// What is told of a proof.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    format_version: &'static str,
    manifest: &'a str,
    #[serde(flatten)]
    verified: &'a Verified,
}

/// What was proven, in a line.
pub(super) fn proven(verified: &Verified) -> String {
    match verified.level {
        VerifyLevel::None => "nothing is proven".into(),
        VerifyLevel::Catalog => "read back: sizes, checksums, and the archive to its end".into(),
        VerifyLevel::Restore => format!(
            "restored in {} s: {} rows as they were dumped, {} assertions hold",
            verified.restore_seconds.unwrap_or(0),
            verified.rows_matched.unwrap_or(0),
            verified.assertions
        ),
    }
}
