//! How does a Backup come about? It waits for its turn, has its database dumped by a Job, and takes down what the Job reports.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt as _};

use super::record::{fill, key};
use super::{Backups, Passed, Said, is_under_way, of_database, strange};
use crate::api::backup::{BackupStatus, DIRECTORY_ANNOTATION, SCHEDULE_LABEL};
use crate::api::{Backup, PostgresDatabase, Reason};
use crate::cluster::jobs::Owner;
use crate::cluster::{jobs, objects};
use crate::job::backup::BackedUp;
use crate::plan::action::{Action, Blocked};
use crate::plan::backup::course::{self, Turn};
use crate::plan::backup::{DumpDatabase, check, progress};
use crate::postgres::{Fault, Session, server};
use crate::{job, pass};

impl Backups {
    /// Has the database dumped, or the backup that a store holds confirmed.
    pub(super) async fn dump(&self, backup: &Backup, mut status: BackupStatus) -> Passed {
        if let Some(wrong) = check::check_backup(&backup.spec).into_iter().next() {
            let blocked = Blocked::new(Reason::InvalidSpec, wrong.to_string());
            return Passed { status, said: Said::Hopeless(blocked), tasks: None, news: None };
        }
        let mut task = None;
        // A Job that is at it needs no answer of anybody else, and one that has failed often enough no other try.
        let made = match self.begun(backup, &mut status, &mut task).await {
            Ok(Some(Err(Said::Refused(blocked, times)))) if self.is_over(&status, &blocked, times) => {
                Err(Said::Refused(blocked, times))
            }
            Ok(None | Some(Err(Said::Refused(..)))) => self.attempt(backup, &mut status, &mut task).await,
            Ok(Some(made)) => made,
            Err(blocked) => Err(Said::Refused(blocked, 0)),
        };
        match made {
            Ok(job::Report::BackedUp(done)) => complete(status, *done),
            Ok(other) => Passed { status, said: Said::Refused(strange(&other), 0), tasks: None, news: None },
            Err(Said::Refused(blocked, times)) if self.is_over(&status, &blocked, times) => {
                self.give_up(backup, status, blocked, times).await
            }
            Err(said) => Passed { status, said, tasks: task.map(|task| vec![task]), news: None },
        }
    }

    fn is_over(&self, status: &BackupStatus, blocked: &Blocked, times: u32) -> bool {
        course::is_over(status, blocked.reason, times, self.now())
    }

    /// What a Job of it is at, or has come to.
    async fn begun(
        &self,
        backup: &Backup,
        status: &mut BackupStatus,
        task: &mut Option<Action>,
    ) -> Result<Option<Result<job::Report, Said>>, Blocked> {
        let Some(owner) = Owner::of(backup).filter(|_| status.started_at.is_some()) else { return Ok(None) };
        let is_dump = |action: &Action| matches!(action, Action::DumpDatabase(_));
        let Some((action, progress)) = self.context.jobs.found(&owner, is_dump).await? else { return Ok(None) };
        let heard = self.heard(&owner, &backup.spec.database_ref.name, &action, progress);
        if matches!(heard, Err(Said::Runs(..)))
            && let Ok(percent) = self.percent(backup).await
        {
            status.progress_percent = percent;
        }
        *task = Some(action);
        Ok(Some(heard))
    }

    /// Begins when it is its turn, or tries again.
    async fn attempt(
        &self,
        backup: &Backup,
        status: &mut BackupStatus,
        action: &mut Option<Action>,
    ) -> Result<job::Report, Said> {
        let refused = |blocked| Said::Refused(blocked, 0);
        if let Some(older) = self.older(backup).await.map_err(refused)? {
            return Err(Said::Queued(format!("waits for Backup {older} of the same database")));
        }
        if status.started_at.is_none() {
            // Written down before anything is made, so that whoever deletes it finds what it may have left.
            status.started_at = Some(Time(self.now()));
            return Err(Said::Runs("is about to begin".into(), 0));
        }
        let task = self.task(backup).await.map_err(refused)?;
        status.directory.get_or_insert(task.directory.clone());
        if task.exists
            && let Some(done) = self.confirm(backup, &task).await.map_err(refused)?
        {
            return Ok(done);
        }
        let action = action.insert(Action::DumpDatabase(Box::new(task)));
        self.run(backup, action).await
    }

    /// What is tried no more has failed, unless the store has it after all. No Job is left that could finish it later.
    async fn give_up(&self, backup: &Backup, mut status: BackupStatus, blocked: Blocked, times: u32) -> Passed {
        if let Some(owner) = Owner::of(backup)
            && let Err(blocked) = self.context.jobs.stop(&owner).await
        {
            return Passed { status, said: Said::Refused(blocked, 0), tasks: None, news: None };
        }
        if let Some(done) = self.found(backup).await {
            return complete(status, done);
        }
        status.failures = status.failures.max(i32::try_from(times).unwrap_or(i32::MAX));
        let message = format!("given up: {}", jobs::last_words(&blocked.message));
        Passed { status, said: Said::Hopeless(Blocked::new(blocked.reason, message)), tasks: Some(vec![]), news: None }
    }

    /// What the store holds of it, where that can be opened from here: a Job that was killed may have written its manifest and said nothing.
    async fn found(&self, backup: &Backup) -> Option<BackedUp> {
        let store = self.store(backup).await.ok()??;
        job::backup::confirm(&store, &key(backup)).await.ok()
    }

    /// The Backup of the same database that goes first, if there is one.
    async fn older(&self, backup: &Backup) -> Result<Option<String>, Blocked> {
        let wanted = of_database(&backup.spec.database_ref.name);
        let namespace = backup.namespace().unwrap_or_default();
        let found = objects::list_whole::<Backup>(&self.context.client, &namespace, wanted).await;
        let found = found.map_err(|error| objects::unavailable("Backups", &error))?;
        let others = found.into_iter().filter_map(|fetched| fetched.typed.ok()).filter(is_under_way);
        let first = others.map(|other| turn(&other)).filter(|other| *other < turn(backup)).min();
        Ok(first.map(|first| first.name))
    }

    async fn task(&self, backup: &Backup) -> Result<DumpDatabase, Blocked> {
        let exists = backup.annotations().contains_key(DIRECTORY_ANNOTATION);
        Ok(DumpDatabase {
            backup: backup.name_any(),
            schedule: backup.labels().get(SCHEDULE_LABEL).cloned(),
            made_for: if exists { None } else { self.database_uid(backup).await? },
            directory: key(backup),
            major: if exists { 0 } else { self.major(backup).await? },
            settings: backup.spec.settings.clone(),
            exists,
            recipients: vec![],
        })
    }

    /// Which PostgresDatabase it is made for.
    async fn database_uid(&self, backup: &Backup) -> Result<Option<String>, Blocked> {
        let name = &backup.spec.database_ref.name;
        let api: Api<PostgresDatabase> = Api::namespaced(self.context.client.clone(), &backup.namespace().unwrap_or_default());
        let found = api.get_metadata_opt(name).await;
        let found = found.map_err(|error| objects::unavailable(&format!("PostgresDatabase {name}"), &error))?;
        Ok(found.and_then(|database| database.uid()))
    }

    /// The server's major version, asked anew each time, since it may have been upgraded.
    async fn major(&self, backup: &Backup) -> Result<i32, Blocked> {
        let found = self.ask(backup, async |session| server::observe(session).await).await?;
        Ok(found.version_num / 10_000)
    }

    /// How far a dump is, as its session says.
    async fn percent(&self, backup: &Backup) -> Result<Option<i32>, Blocked> {
        let prefix = progress::prefix(&key(backup));
        let dump = self.ask(backup, async |session| server::session_named(session, &prefix).await).await?;
        Ok(dump.and_then(|name| progress::percent(&name)))
    }

    async fn ask<T>(&self, backup: &Backup, question: impl AsyncFnOnce(&Session) -> Result<T, Fault>) -> Result<T, Blocked> {
        let (namespace, database) = (backup.namespace().unwrap_or_default(), &backup.spec.database_ref.name);
        let mut lease = self.context.databases.acquire(&namespace, database).await?;
        let session = lease.take()?;
        let answer = question(&session).await;
        let answer = answer.map_err(|fault| pass::blocked(&format!("PostgresDatabase {database}"), &fault))?;
        lease.put(session);
        Ok(answer)
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

fn turn(backup: &Backup) -> Turn {
    let waits = backup.status.as_ref().is_none_or(|status| status.started_at.is_none());
    Turn { waits, made: backup.creation_timestamp().map(|time| time.0), name: backup.name_any() }
}

fn complete(mut status: BackupStatus, done: BackedUp) -> Passed {
    fill(&mut status, done);
    let news = (Reason::Completed, "complete".to_owned());
    Passed { status, said: Said::Settled, tasks: Some(vec![]), news: Some(news) }
}
