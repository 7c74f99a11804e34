//! Which backup is meant?

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::super::exit::{Exit, Failure};
use super::super::kubernetes::Cluster;
use super::super::location;
use super::in_cluster::{SourceArgs, StoreOfUrl};
use crate::api::condition::find;
use crate::api::policy::DatabaseRef;
use crate::api::postgres_database::SecretRef;
use crate::api::restore::{Pick, RestoreSource, ScheduleSource};
use crate::api::{Backup, Destination};
use crate::plan::backup::manifest;

/// The source of the Restore. Without a schedule, the newest backup of the database is chosen here and named in the Restore.
///
/// # Errors
/// That none is meant, or none is there.
pub async fn source(args: &SourceArgs, cluster: &Cluster, namespace: &str, database: &str) -> Result<RestoreSource, Failure> {
    let pick = if args.latest { Pick::Latest } else { Pick::LatestVerified };
    if let Some(name) = &args.backup {
        return Ok(of_backup(name.clone()));
    }
    if let Some(url) = &args.url {
        return of_url(url, &args.store);
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

/// The store is that of the URL, down to its bucket, container or claim.
fn of_url(url: &str, how: &StoreOfUrl) -> Result<RestoreSource, Failure> {
    let is_manifest = url.ends_with(&format!("/{}", manifest::NAME));
    if !is_manifest {
        return Err(Failure::new(Exit::Usage, format!("--url {url} names no {}: `pgreeve backups` lists them", manifest::NAME)));
    }
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let unused = match scheme {
        "s3" => None,
        "gs" | "az" => how.region.as_ref().map(|_| "--region"),
        "pvc" => how.region.as_ref().map(|_| "--region").or(how.endpoint.as_ref().map(|_| "--endpoint")),
        _ => {
            let message = format!("--url {url}: {scheme}:// is not known: write s3://, gs://, az:// or pvc://");
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    if let Some(option) = unused {
        return Err(Failure::new(Exit::Usage, format!("{option} has no effect on {scheme}://: leave it out")));
    }
    let mut destination = location::destination(url, how.endpoint.clone(), how.region.clone())
        .map_err(|blocked| Failure::new(Exit::Usage, format!("--url: {}", blocked.message)))?;
    let secret = how.store_secret.clone().map(|name| SecretRef { name });
    let Destination { s3, gcs, azure, pvc } = &mut destination;
    let places = [
        s3.as_mut().map(|s3| &mut s3.credentials_secret_ref),
        gcs.as_mut().map(|gcs| &mut gcs.credentials_secret_ref),
        azure.as_mut().map(|azure| &mut azure.credentials_secret_ref),
    ];
    places.into_iter().flatten().for_each(|place| place.clone_from(&secret));
    if pvc.is_some() && secret.is_some() {
        return Err(Failure::new(Exit::Usage, "--store-secret opens a store, and a volume needs none: leave it out"));
    }
    let identity_secret_ref = how.identity_secret.clone().map(|name| SecretRef { name });
    Ok(RestoreSource {
        url: Some(url.to_owned()),
        destination: Some(destination),
        identity_secret_ref,
        ..RestoreSource::default()
    })
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
