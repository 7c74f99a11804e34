//! What does a Job do? A function: a task in, a report out. It knows nothing of Kubernetes, and run twice it ends in the same state.

pub mod archive;
pub mod backup;
pub mod export;

use serde::{Deserialize, Serialize};

use crate::api::Reason;
use crate::plan::action::{Action, Blocked};
use crate::plan::backup::manifest::Verified;
use crate::plan::backup::{DumpDatabase, InspectBackup, RemoveBackup, RestoreDump, VerifyBackup};
use crate::plan::removal::{ArchiveRows, ExportPartition};
use crate::plan::restore::names::Proof;
use crate::postgres::Target;
use crate::postgres::execute::Budget;
use crate::storage::{Credentials, Store};

/// What a Job is to do: the payload of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "camelCase")]
pub enum Task {
    /// See [`ExportPartition`].
    ExportPartition(Box<ExportPartition>),
    /// See [`ArchiveRows`].
    ArchiveRows(Box<ArchiveRows>),
    /// See [`DumpDatabase`].
    DumpDatabase(Box<DumpDatabase>),
    /// See [`VerifyBackup`].
    VerifyBackup(Box<VerifyBackup>),
    /// See [`InspectBackup`].
    InspectBackup(Box<InspectBackup>),
    /// See [`RestoreDump`].
    RestoreDump(Box<RestoreDump>),
    /// See [`RemoveBackup`].
    RemoveBackup(Box<RemoveBackup>),
}

impl Task {
    /// The task that an action is, if it is one.
    pub fn of(action: &Action) -> Option<Self> {
        match action {
            Action::ExportPartition(export) => Some(Self::ExportPartition(export.clone())),
            Action::ArchiveRows(rows) => Some(Self::ArchiveRows(rows.clone())),
            Action::DumpDatabase(dump) => Some(Self::DumpDatabase(dump.clone())),
            Action::VerifyBackup(verify) => Some(Self::VerifyBackup(verify.clone())),
            Action::InspectBackup(inspect) => Some(Self::InspectBackup(inspect.clone())),
            Action::RestoreDump(restore) => Some(Self::RestoreDump(restore.clone())),
            Action::RemoveBackup(remove) => Some(Self::RemoveBackup(remove.clone())),
            _ => None,
        }
    }
}

/// What a Job may reach.
#[derive(Clone, Debug)]
pub struct Access {
    /// The database, where the task has one.
    pub target: Option<Target>,
    /// How long it waits for locks, and how long a statement of its scripts may run; what moves data takes the time that it takes.
    pub budget: Budget,
    /// What opens the destination, where the task has one.
    pub storage: Credentials,
    /// Programs, room and keys.
    pub workshop: backup::Workshop,
}

impl Access {
    /// The database.
    ///
    /// # Errors
    /// [`Reason::SecretNotFound`] where the task was given none.
    pub fn target(&self) -> Result<&Target, Blocked> {
        let none = || Blocked::new(Reason::SecretNotFound, "the task needs a database and was given no connection to one");
        self.target.as_ref().ok_or_else(none)
    }
}

/// What a Job did. As JSON it fits a termination message (4096 bytes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "camelCase")]
pub enum Report {
    /// A partition lies in the object store, and has been read back and compared.
    Exported(export::Export),
    /// Rows have been archived or deleted.
    RowsMoved(archive::Moved),
    /// A database lies in the object store.
    BackedUp(Box<backup::BackedUp>),
    /// A backup has been proven.
    Verified(Verified),
    /// A backup's manifest has been read.
    Inspected(Box<backup::inspect::Inspected>),
    /// A backup has been restored and compared.
    Restored(Proof),
    /// A backup's objects are gone.
    Removed(backup::catalog::Removed),
}

/// Carries out a task.
///
/// # Errors
/// Why it could not be done; what has been done stays, and the next run goes on from there.
pub async fn run(task: &Task, access: &Access) -> Result<Report, Blocked> {
    match task {
        Task::ExportPartition(task) => export::run(task, access).await.map(Report::Exported),
        Task::ArchiveRows(task) => archive::run(task, access).await.map(Report::RowsMoved),
        Task::DumpDatabase(task) => backup::run(task, access).await.map(|done| Report::BackedUp(Box::new(done))),
        Task::VerifyBackup(task) => backup::verify(task, access).await.map(Report::Verified),
        Task::InspectBackup(task) => backup::inspect::run(task, access).await.map(|found| Report::Inspected(Box::new(found))),
        Task::RestoreDump(task) => backup::into::run(task, access).await.map(Report::Restored),
        Task::RemoveBackup(task) => {
            let store = Store::open(&task.stored.destination, &access.storage)?;
            backup::catalog::remove(&store, task).await.map(Report::Removed)
        }
    }
}
