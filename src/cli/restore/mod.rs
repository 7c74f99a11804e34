//! `pgreeve restore`: brings back what was put away.

mod backup;
pub(super) mod export;

use clap::{Args, Subcommand};

use super::Globals;
use super::exit::{Exit, Failure};

/// Brings back what was put away
#[derive(Args, Debug)]
pub struct Restore {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Backup(backup::Backup),
    Export(export::Export),
}

impl Restore {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        match &self.what {
            What::Backup(backup) => backup.run(globals).await,
            What::Export(export) => export.run(globals).await,
        }
    }
}
