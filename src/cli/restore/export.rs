//! `pgreeve restore export`: an exported partition becomes rows again.

use std::sync::Arc;

use clap::Args;

use super::super::database::DatabaseArgs;
use super::super::exit::{Exit, Failure};
use super::super::location::StoreArgs;
use super::super::{Globals, output};
use crate::api::{Reason, TableName};
use crate::job::export::restore::restore;
use crate::plan::action::Blocked;

/// Loads an exported partition into a table, and commits only if count and checksum are those of the export
///
/// Credentials come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN;
/// GOOGLE_APPLICATION_CREDENTIALS (a file); AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN.
#[derive(Args, Debug)]
pub struct Export {
    /// The export's manifest: s3://bucket/key, gs://bucket/key, az://account/container/key, or a file
    #[arg(value_name = "MANIFEST")]
    manifest: String,
    #[command(flatten)]
    store: StoreArgs,
    /// The table, as schema.name; public where no schema is given
    #[arg(long, value_name = "TABLE")]
    table: TableName,
    /// Creates the table first, with the columns of the export
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Export {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let (store, key) = self.store.object(&self.manifest).map_err(failure)?;
        let (session, _) = self.database.connect(globals).await?;
        let restored = restore(&store, &key, &Arc::new(session), &self.table, self.create).await.map_err(failure)?;
        output::write(&format!("{}: {} rows, checksum {}, as exported\n", restored.table, restored.rows, restored.checksum))?;
        Ok(Exit::Ok)
    }
}

pub(in super::super) fn failure(blocked: Blocked) -> Failure {
    let exit = match blocked.reason {
        Reason::ExportMismatch | Reason::BackupDamaged | Reason::VerificationFailed => Exit::Blocked,
        Reason::Unreachable
        | Reason::Starting
        | Reason::TooManyConnections
        | Reason::ConnectionLost
        | Reason::MissingPrivilege
        | Reason::DestinationUnavailable => Exit::Connection,
        _ => Exit::Error,
    };
    Failure::new(exit, blocked.message)
}
