//! `pgreeve restore`: brings back what was put away.

mod backup;
mod confirm;
pub(super) mod export;
mod follow;
mod in_cluster;
mod pick;
mod workload;

use clap::{Args, Subcommand};

use super::Globals;
use super::exit::{Exit, Failure};

/// Restores a database of a cluster from its backup, or brings back what was put away without one
///
/// Without a subcommand it writes a Restore into the cluster, shows its plan, has the database's name typed, and follows the restore to its
/// end. Exit code 3 says that something is in the way, and nothing was touched.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Restore {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    in_cluster: in_cluster::InCluster,
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
            Some(What::Backup(backup)) => backup.run(globals).await,
            Some(What::Export(export)) => export.run(globals).await,
            None => self.in_cluster.run(globals).await,
        }
    }
}
