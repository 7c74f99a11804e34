//! Which backup is meant?

use kube::api::ListParams;

use super::super::exit::{Exit, Failure};
use super::super::kubernetes::Cluster;
use super::super::location;
use super::in_cluster::{SourceArgs, StoreOfUrl};
use crate::api::policy::DatabaseRef;
use crate::api::postgres_database::SecretRef;
use crate::api::restore::{Pick, RestoreSource, ScheduleSource, Strategy};
use crate::api::{Backup, Destination};
use crate::plan::backup::manifest;
use crate::plan::backup::newest::Newest;

/// The source of the Restore. Without a schedule, the newest backup of the database is chosen here and named in the Restore.
///
/// # Errors
/// That none is meant, or none is there.
pub async fn source(
    args: &SourceArgs,
    strategy: Strategy,
    cluster: &Cluster,
    (namespace, database): (&str, &str),
) -> Result<RestoreSource, Failure> {
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
    let mut newest = Newest::new(pick, strategy);
    for backup in &backups {
        newest.note(backup);
    }
    newest.name().map(|name| of_backup(name.to_owned())).ok_or_else(|| none(pick, &newest, namespace, database))
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

fn none(pick: Pick, newest: &Newest, namespace: &str, database: &str) -> Failure {
    let hint = if pick == Pick::LatestVerified && newest.count > 0 { "; --latest takes one that is not verified" } else { "" };
    let message = format!("PostgresDatabase {namespace}/{database} has {} (of {}){hint}", newest.none(), newest.count);
    Failure::new(Exit::Blocked, message)
}
