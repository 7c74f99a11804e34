//! Which backups has a former cluster left in the store? Each gets a Backup: the catalog of an empty cluster.

use std::collections::BTreeSet;

use kube::ResourceExt as _;

use super::Schedules;
use super::acts::Found;
use crate::api::condition::shorten;
use crate::api::{BackupSchedule, Reason};
use crate::job::backup::catalog;
use crate::plan::action::Blocked;
use crate::stores;

/// What came of a look through the store.
pub(super) enum Catalog {
    /// Each backup of the schedule has a Backup. How many of them are new, and what somebody should know.
    Complete(usize, Option<String>),
    /// It could not be looked through, and why not.
    Unseen(String),
}

/// Longest list of manifests that cannot be read.
const SHOWN: usize = 500;

impl Schedules {
    /// Makes a Backup of each backup of this schedule that lies in the store and has none. One that was made for another PostgresDatabase may be
    /// that of a former cluster, or of one that lives and shares the place, such as staging: it is held.
    pub(super) async fn adopt(&self, schedule: &BackupSchedule, database: &str) -> Result<Catalog, Blocked> {
        let (namespace, name) = (schedule.namespace().unwrap_or_default(), schedule.name_any());
        let what = format!("BackupSchedule {name}");
        let Some(store) = stores::open(&self.context.client, &namespace, &what, &schedule.spec.backup.destination).await? else {
            let why = "only a Job can look into this store, so backups that a former cluster has left in it have no Backup; \
                       pgreeve backups lists them";
            return Ok(Catalog::Unseen(why.into()));
        };
        let (found, unreadable) = match catalog::list(&store, &schedule.spec.database_ref.name).await {
            Err(blocked) if blocked.reason == Reason::DestinationUnavailable => {
                return Ok(Catalog::Unseen(format!("the store was not looked through yet: {}", blocked.message)));
            }
            listed => listed?,
        };
        let (mut adopted, mut foreign) = (0, 0);
        let mut names = BTreeSet::new();
        // The newest first: of two with one name, it is the one that bears it.
        for (directory, manifest) in found.iter().rev().filter(|(_, manifest)| manifest.schedule.as_ref() == Some(&name)) {
            let last = directory.rsplit('/').next().unwrap_or_default();
            let name = if names.insert(&manifest.backup) { &manifest.backup } else { last };
            let made_for = manifest.made_for.as_deref().unwrap_or("unknown");
            let made_for = Some(made_for).filter(|uid| *uid != database);
            let found = Found { directory: Some(directory), made_for };
            adopted += usize::from(self.create(schedule, name, &found).await?);
            foreign += usize::from(made_for.is_some());
        }
        let notes: Vec<String> = [held(foreign), unread(&unreadable)].into_iter().flatten().collect();
        Ok(Catalog::Complete(adopted, (!notes.is_empty()).then(|| notes.join("; "))))
    }
}

/// What to say of backups that were made for another PostgresDatabase.
fn held(count: usize) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "{count} of the backups in the store were made for another PostgresDatabase, as of a former cluster or of one that shares the place: they are held, \
             and a Restore takes them only where there is none of this one's; spec.hold: false says that one is this one's"
        )
    })
}

/// What to say of manifests that cannot be read: whose they are is not known.
fn unread(urls: &[String]) -> Option<String> {
    let what = match urls {
        [] => return None,
        [url] => format!("a manifest cannot be read, and its backup has no Backup: {url}"),
        urls => format!("{} manifests cannot be read, and their backups have no Backup: {}", urls.len(), urls.join(", ")),
    };
    Some(shorten(&what, SHOWN))
}
