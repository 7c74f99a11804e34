//! `pgreeve backups` without a store: which Backups does a namespace of a cluster have?

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde::Serialize;

use super::super::exit::{Exit, Failure};
use super::super::form::Form;
use super::super::kubernetes::Cluster;
use super::super::{Globals, output};
use super::aligned;
use crate::api::Backup;
use crate::api::condition::find;
use crate::plan::size::bytes;

/// Which Backups.
#[derive(Args, Debug)]
pub struct ClusterArgs {
    /// Only Backups of this PostgresDatabase
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    database: Option<String>,
    /// Namespace of the Backups [default: the context's]
    #[arg(short, long, value_name = "NAME", conflicts_with = "from")]
    namespace: Option<String>,
    /// Kube context of the cluster [default: the present context]
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    context: Option<String>,
}

/// What to type where no cluster is at hand.
const NO_STORE: &str = "no store is named: give its URL or a directory, such as pgreeve backups s3://bucket/prefix";

impl ClusterArgs {
    /// Lists them, the oldest first.
    pub async fn list(&self, output: Form, globals: &Globals) -> Result<Exit, Failure> {
        let cluster = Cluster::find(self.context.as_deref(), NO_STORE).await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| cluster.namespace.clone());
        let wanted = match &self.database {
            Some(name) => ListParams::default().fields(&format!("spec.databaseRef.name={name}")),
            None => ListParams::default(),
        };
        let mut found: Vec<Backup> = cluster.all(&namespace, wanted).await?;
        found.sort_by_key(|backup| (as_of(backup), backup.name_any()));
        let view = View { format_version: output::VERSION, backups: found };
        output.write(&view, || match view.backups.is_empty() {
            true => format!("no Backups in namespace {namespace} of {}\n", cluster.name()),
            false => view.table(globals.now()),
        })?;
        Ok(Exit::Ok)
    }
}

/// All of them, as they are in the cluster.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    format_version: &'static str,
    backups: Vec<Backup>,
}

impl View {
    fn table(&self, now: Timestamp) -> String {
        let mut lines = vec![["NAME", "DATABASE", "STATE", "AS OF", "AGE", "SIZE", "ROWS", "PROVEN"].map(str::to_owned)];
        lines.extend(self.backups.iter().map(|backup| line(backup, now)));
        aligned(&lines)
    }
}

/// The moment that a restore leads back to; for one that is not there yet, that of the Backup itself.
fn as_of(backup: &Backup) -> Option<Timestamp> {
    let status = backup.status.as_ref();
    let snapshot = status.and_then(|status| status.snapshot_at.as_ref().or(status.started_at.as_ref()));
    snapshot.or(backup.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

fn line(backup: &Backup, now: Timestamp) -> [String; 8] {
    let lacks = || "–".to_owned();
    let status = backup.status.clone().unwrap_or_default();
    let is_true = |kind: &str| find(&status.conditions, kind).is_some_and(|found| found.status == "True");
    let state = match (is_true("Complete"), is_true("Failed")) {
        (true, _) if backup.spec.hold => "Complete, held",
        (true, _) => "Complete",
        (_, true) => "Failed",
        _ => "Running",
    };
    [
        backup.name_any(),
        backup.spec.database_ref.name.clone(),
        state.to_owned(),
        status.snapshot_at.as_ref().map_or_else(lacks, |at| format!("{:.0}", at.0)),
        as_of(backup).map_or_else(lacks, |at| age(now.duration_since(at).as_secs())),
        status.size_bytes.map_or_else(lacks, bytes),
        status.tables.as_ref().map_or_else(lacks, |tables| tables.rows.to_string()),
        status.verification.as_ref().map_or_else(lacks, |proven| proven.level.to_string()),
    ]
}

/// As kubectl tells ages, such as `4d`.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        assert_eq!([-3, 119, 120, 7200, 172_800].map(age), ["0s", "119s", "2m", "2h", "2d"]);
    }
}
