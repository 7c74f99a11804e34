//! `pgreeve backup`, `backups` and `verify`: backups without a cluster, by the engine of the Jobs; and those of a cluster.

mod create;
mod list;
mod listed;
mod scheduled;
mod verify;

pub use create::Backup;
pub use list::Backups;
pub use verify::Verify;

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Failure};
use crate::api::backup::Assertion;
use crate::job::backup::Workshop;
use crate::job::backup::seal::Identity;
use crate::plan::action::Blocked;
use crate::plan::backup::manifest;

/// What PostgreSQL's programs need here.
#[derive(Args, Clone, Debug)]
pub(super) struct WorkshopArgs {
    /// Directory with PostgreSQL's programs; without it those of the server's major where systems have them, or in PATH
    #[arg(long, value_name = "DIRECTORY")]
    programs: Option<PathBuf>,
    /// Directory with room for parallel dumps and for the server of a restore test; the system's temporary one without this
    #[arg(long, value_name = "DIRECTORY")]
    scratch: Option<PathBuf>,
    /// File with the age identity of an encrypted backup
    #[arg(long, value_name = "FILE")]
    identity_file: Option<PathBuf>,
}

impl WorkshopArgs {
    pub(super) fn workshop(&self) -> Result<Workshop, Failure> {
        let read = |file: &PathBuf| {
            std::fs::read(file).map_err(|error| Failure::new(Exit::Usage, format!("{} cannot be read: {error}", file.display())))
        };
        let identity = self.identity_file.as_ref().map(read).transpose()?;
        let identity = identity.map(|text| Identity::read(&text)).transpose().map_err(failure)?;
        let usual = Workshop::default();
        Ok(Workshop {
            programs: self.programs.clone().into_iter().collect(),
            scratch: self.scratch.clone().unwrap_or(usual.scratch.clone()),
            identity,
            ..usual
        })
    }
}

/// A query and the least that it must answer.
pub(super) fn assertion(text: &str) -> Result<Assertion, String> {
    let wrong = || "write a query, >= and a whole number".to_owned();
    let (sql, least) = text.rsplit_once(">=").ok_or_else(wrong)?;
    let least = least.trim().parse().map_err(|_| wrong())?;
    Ok(Assertion { name: text.to_owned(), sql: sql.trim().to_owned(), at_least: Some(least), at_most: None, equals: None })
}

/// The directory of the backup whose manifest has this key.
pub(super) fn manifest_directory<'a>(location: &str, key: &'a str) -> Result<&'a str, Failure> {
    match key.strip_suffix(manifest::NAME) {
        Some(directory) if directory.is_empty() || directory.ends_with('/') => Ok(directory.trim_end_matches('/')),
        _ => Err(Failure::new(Exit::Usage, format!("{location} is no manifest: name the backup's {}", manifest::NAME))),
    }
}

/// A refusal as this command ends with it.
pub(super) fn failure(blocked: Blocked) -> Failure {
    super::restore::export::failure(blocked)
}

/// Lines whose cells stand below each other.
fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_a_query_and_a_number() {
        let found = assertion("select count(*) from t where n >= 3 >= 10").unwrap();
        assert_eq!((found.sql.as_str(), found.at_least), ("select count(*) from t where n >= 3", Some(10)));
        assert!(assertion("select 1").is_err() && assertion("select 1 >= many").is_err());
    }

    #[test]
    fn a_manifest_is_named_by_its_file() {
        assert_eq!(manifest_directory("x", "a/b/manifest.json").ok(), Some("a/b"));
        assert_eq!(manifest_directory("x", "manifest.json").ok(), Some(""));
        assert!(manifest_directory("x", "a/data.dump").is_err() && manifest_directory("x", "a/notmanifest.json").is_err());
    }
}
