//! Which backup does a Restore mean? A Backup, the newest one of a BackupSchedule, or what lies at a URL.

use kube::Client;
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::api::backup::{Encryption, SCHEDULE_LABEL};
use crate::api::condition::find;
use crate::api::restore::{RestoreSource, ScheduleSource, Strategy};
use crate::api::{Backup, Reason};
use crate::cluster::objects::{self, Fetched};
use crate::plan::action::Blocked;
use crate::plan::backup::newest::Newest;
use crate::plan::backup::{Stored, manifest};

/// A backup that was found.
pub struct Found {
    /// Its name or URL.
    pub backup: String,
    /// Where it lies.
    pub stored: Stored,
    /// How it is encrypted, where that is known.
    pub encryption: Option<Encryption>,
}

/// Finds the backup.
///
/// # Errors
/// Why there is none.
pub async fn find_source(client: &Client, namespace: &str, source: &RestoreSource, strategy: Strategy) -> Result<Found, Blocked> {
    match source {
        RestoreSource { backup_ref: Some(backup), .. } => {
            let found = objects::fetch::<Backup>(client, namespace, &backup.name).await;
            let what = format!("Backup {}", backup.name);
            let found = found.map_err(|error| objects::unavailable(&what, &error))?;
            let absent = || missing(format!("there is no {what} in namespace {namespace}; correct spec.source.backupRef"));
            of_backup(found.ok_or_else(absent)?)
        }
        RestoreSource { schedule_ref: Some(schedule), .. } => of_schedule(client, namespace, schedule, strategy).await,
        RestoreSource { url: Some(url), destination: Some(destination), identity_secret_ref, .. } => {
            let directory = url.strip_prefix(&format!("{destination}/")).and_then(|key| key.strip_suffix(manifest::NAME));
            let directory = directory.map(|key| key.trim_end_matches('/').to_owned()).filter(|key| !key.is_empty());
            let Some(directory) = directory else {
                let message =
                    format!("spec.source.url is {url}, which does not lie in its destination {destination}: correct one of them");
                return Err(Blocked::new(Reason::InvalidSpec, message));
            };
            let stored = Stored { destination: destination.clone(), directory, identity: identity_secret_ref.clone() };
            Ok(Found { backup: url.clone(), stored, encryption: None })
        }
        _ => Err(Blocked::new(Reason::InvalidSpec, "spec.source names no backup: give backupRef, scheduleRef or url")),
    }
}

fn missing(message: String) -> Blocked {
    Blocked::new(Reason::BackupMissing, message)
}

fn of_backup(found: Fetched<Backup>) -> Result<Found, Blocked> {
    let name = found.raw.name_any();
    let backup = found.typed.map_err(|error| Blocked::new(Reason::InvalidSpec, format!("Backup {name}: {error}")))?;
    let status = backup.status.unwrap_or_default();
    let is_complete = find(&status.conditions, "Complete").is_some_and(|complete| complete.status == "True");
    let Some(directory) = status.directory.filter(|_| is_complete) else {
        return Err(missing(format!("Backup {name} is not complete: wait for it, or choose another one")));
    };
    let settings = backup.spec.settings;
    let identity = settings.encryption.as_ref().and_then(|encryption| encryption.identity_secret_ref.clone());
    let stored = Stored { destination: settings.destination, directory, identity };
    Ok(Found { backup: name, stored, encryption: settings.encryption })
}

/// The newest by its snapshot, which is what a restore leads back to.
async fn of_schedule(client: &Client, namespace: &str, source: &ScheduleSource, strategy: Strategy) -> Result<Found, Blocked> {
    let schedule = &source.name;
    let listed = ListParams::default().labels(&format!("{SCHEDULE_LABEL}={schedule}"));
    let listed = objects::list::<Backup>(client, namespace, listed).await;
    let listed = listed.map_err(|error| objects::unavailable(&format!("Backups of BackupSchedule {schedule}"), &error))?;
    let (mut newest, mut best) = (Newest::new(source.pick, strategy), None);
    for name in listed.iter().map(|fetched| fetched.raw.name_any()) {
        // Lists come without statuses.
        let found = objects::fetch::<Backup>(client, namespace, &name).await;
        let found = found.map_err(|error| objects::unavailable(&format!("Backup {name}"), &error))?;
        best = found.filter(|found| found.typed.as_ref().is_ok_and(|backup| newest.note(backup))).or(best);
    }
    let none = || missing(format!("BackupSchedule {schedule} has {} in namespace {namespace}", newest.none()));
    best.ok_or_else(none).and_then(of_backup)
}
