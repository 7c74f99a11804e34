//! How does a Backup come about? It waits for its turn, has its database dumped by a Job, and takes down what the Job reports.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::record::{fill, key};
use super::{Backups, Passed, Said, is_under_way, of_database, strange};
use crate::api::backup::{BackupStatus, DIRECTORY_ANNOTATION, SCHEDULE_LABEL};
use crate::api::{Backup, Reason};
use crate::cluster::objects;
use crate::plan::action::{Action, Blocked};
use crate::plan::backup::{DumpDatabase, check, progress};
use crate::postgres::server;
use crate::{job, pass};

impl Backups {
    /// Has the database dumped, or the backup that a store holds confirmed.
    pub(super) async fn dump(&self, backup: &Backup, mut status: BackupStatus) -> Passed {
        let refused = |status, blocked| Passed { status, said: Said::Refused(blocked, 0), tasks: vec![], news: None };
        if let Some(wrong) = check::check_backup(&backup.spec).into_iter().next() {
            let blocked = Blocked::new(Reason::InvalidSpec, wrong.to_string());
            return Passed { status, said: Said::Hopeless(blocked), tasks: vec![], news: None };
        }
        match self.older(backup).await {
            Ok(None) => {}
            Ok(Some(older)) => {
                let message = format!("waits for Backup {older} of the same database");
                return Passed { status, said: Said::Queued(message), tasks: vec![], news: None };
            }
            Err(blocked) => return refused(status, blocked),
        }
        if status.started_at.is_none() {
            // Written down before anything is made, so that whoever deletes it finds what it may have left.
            status.started_at = Some(Time(self.now()));
            return Passed { status, said: Said::Runs("is about to begin".into()), tasks: vec![], news: None };
        }
        let (task, percent) = match self.task(backup).await {
            Ok(found) => found,
            Err(blocked) => return refused(status, blocked),
        };
        status.progress_percent = percent;
        status.directory.get_or_insert(task.directory.clone());
        let action = Action::DumpDatabase(Box::new(task.clone()));
        let done = if task.exists { self.confirm(backup, &task).await } else { Ok(None) };
        let progress = match done {
            Ok(Some(done)) => Ok(done),
            Ok(None) => self.run(backup, &action).await,
            Err(blocked) => Err(Said::Refused(blocked, 0)),
        };
        match progress {
            Ok(job::Report::BackedUp(done)) => {
                fill(&mut status, *done);
                let news = (Reason::Completed, "complete".to_owned());
                Passed { status, said: Said::Settled, tasks: vec![], news: Some(news) }
            }
            Ok(other) => refused(status, strange(&other)),
            Err(said) => Passed { status, said, tasks: vec![action], news: None },
        }
    }

    /// The Backup of the same database that goes first, if there is one.
    async fn older(&self, backup: &Backup) -> Result<Option<String>, Blocked> {
        let wanted = of_database(&backup.spec.database_ref.name);
        let namespace = backup.namespace().unwrap_or_default();
        let found = objects::list_whole::<Backup>(&self.context.client, &namespace, wanted).await;
        let found = found.map_err(|error| objects::unavailable("Backups", &error))?;
        let order = |backup: &Backup| (backup.creation_timestamp().map(|time| time.0), backup.name_any());
        let others = found.into_iter().filter_map(|fetched| fetched.typed.ok()).filter(is_under_way);
        let first = others.filter(|other| order(other) < order(backup)).min_by_key(order);
        Ok(first.map(|first| first.name_any()))
    }

    async fn task(&self, backup: &Backup) -> Result<(DumpDatabase, Option<i32>), Blocked> {
        let exists = backup.annotations().contains_key(DIRECTORY_ANNOTATION);
        let (major, percent) = if exists { (0, None) } else { self.server(backup).await? };
        let task = DumpDatabase {
            backup: backup.name_any(),
            schedule: backup.labels().get(SCHEDULE_LABEL).cloned(),
            directory: key(backup),
            major,
            settings: backup.spec.settings.clone(),
            exists,
            recipients: vec![],
        };
        Ok((task, percent))
    }

    /// The server's major version, asked anew each time, since it may have been upgraded; and how far a dump is, if one is under way.
    async fn server(&self, backup: &Backup) -> Result<(i32, Option<i32>), Blocked> {
        let (namespace, database) = (backup.namespace().unwrap_or_default(), &backup.spec.database_ref.name);
        let mut lease = self.context.databases.acquire(&namespace, database).await?;
        let session = lease.take()?;
        let blocked = |fault| pass::blocked(&format!("PostgresDatabase {database}"), &fault);
        let found = server::observe(&session).await.map_err(blocked)?;
        let dump = server::session_named(&session, &progress::prefix(&key(backup))).await.map_err(blocked)?;
        lease.put(session);
        Ok((found.version_num / 10_000, dump.and_then(|name| progress::percent(&name))))
    }

    /// What the store says of a backup that is there; `None` where only a Job can ask it.
    async fn confirm(&self, backup: &Backup, task: &DumpDatabase) -> Result<Option<job::Report>, Blocked> {
        let Some(store) = self.store(backup).await? else { return Ok(None) };
        match job::backup::confirm(&store, &task.directory).await {
            Ok(done) => Ok(Some(job::Report::BackedUp(Box::new(done)))),
            // The operator's network may be another one than the Jobs'.
            Err(blocked) if blocked.reason == Reason::DestinationUnavailable => Ok(None),
            Err(blocked) => Err(blocked),
        }
    }
}
