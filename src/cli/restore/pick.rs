//! Which backup is meant?

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::super::exit::{Exit, Failure};
use super::super::kubernetes::Cluster;
use super::in_cluster::SourceArgs;
use crate::api::Backup;
use crate::api::condition::find;
use crate::api::policy::DatabaseRef;
use crate::api::restore::{Pick, RestoreSource, ScheduleSource};

/// The source of the Restore. Without a schedule, the newest backup of the database is chosen here and named in the Restore.
///
/// # Errors
/// That none is meant, or none is there.
pub async fn source(args: &SourceArgs, cluster: &Cluster, namespace: &str, database: &str) -> Result<RestoreSource, Failure> {
    let pick = if args.latest { Pick::Latest } else { Pick::LatestVerified };
    if let Some(name) = &args.backup {
        return Ok(of_backup(name.clone()));
    }
    if let Some(name) = &args.schedule {
        let schedule_ref = Some(ScheduleSource { name: name.clone(), pick });
        return Ok(RestoreSource { schedule_ref, ..RestoreSource::default() });
    }
    let wanted = ListParams::default().fields(&format!("spec.databaseRef.name={database}"));
    let backups: Vec<Backup> = cluster.all(namespace, wanted).await?;
    let newest = backups.iter().filter_map(|backup| Some((serves(backup, pick)?, backup.name_any()))).max();
    newest.map(|(_, name)| of_backup(name)).ok_or_else(|| none(pick, backups.len(), namespace, database))
}

fn of_backup(name: String) -> RestoreSource {
    RestoreSource { backup_ref: Some(DatabaseRef { name }), ..RestoreSource::default() }
}

fn none(pick: Pick, others: usize, namespace: &str, database: &str) -> Failure {
    let kind = if pick == Pick::Latest { "complete" } else { "verified" };
    let hint = if pick == Pick::LatestVerified && others > 0 { "; --latest takes one that is not verified" } else { "" };
    let message = format!("PostgresDatabase {namespace}/{database} has no {kind} Backup (of {others}){hint}");
    Failure::new(Exit::Blocked, message)
}

/// The moment that a restore of it leads back to, if it is one to choose.
fn serves(backup: &Backup, pick: Pick) -> Option<Timestamp> {
    let status = backup.status.as_ref()?;
    let is_true = |kind: &str| find(&status.conditions, kind).is_some_and(|found| found.status == "True");
    let serves = is_true("Complete") && (pick == Pick::Latest || is_true("Verified"));
    let at = status.snapshot_at.as_ref().or(status.completed_at.as_ref())?.0;
    (serves && backup.metadata.deletion_timestamp.is_none()).then_some(at)
}
