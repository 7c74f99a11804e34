//! How is long work done without a cluster? Here, in this process, by the function that a Job is.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::rounds::Worker;
use crate::api::Reason;
use crate::job::backup::Workshop;
use crate::job::{self, Access, Report};
use crate::pass::{Retention, Tasks};
use crate::plan::action::{Action, Blocked};
use crate::plan::outcome::ActionResult;
use crate::plan::retention::Proof;
use crate::storage::Credentials;

/// Does tasks here, and keeps what they report.
pub struct InProcess<'a> {
    worker: &'a Worker<'a>,
    reports: Mutex<Vec<(Action, Report)>>,
}

impl<'a> InProcess<'a> {
    /// Nothing has been done yet.
    pub fn new(worker: &'a Worker<'a>) -> Self {
        Self { worker, reports: Mutex::default() }
    }

    /// The policy takes note of what was reported: of proofs, and that its rows have gone.
    pub fn teach(&self, policy: &mut Retention, now: Timestamp) {
        for (action, report) in std::mem::take(&mut *self.reports()) {
            match (action, report) {
                (Action::ExportPartition(task), Report::Exported(export)) => {
                    // By the clock of the plan, which may run ahead.
                    let proof = Proof { export: export.id, verified_at: export.verified_at.max(now) };
                    policy.surroundings.proofs.insert(task.partition.oid, proof);
                }
                _ => {
                    policy.surroundings.run = None;
                    policy.surroundings.is_due = false;
                }
            }
        }
    }

    fn reports(&self) -> std::sync::MutexGuard<'_, Vec<(Action, Report)>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn access(&self, action: &Action) -> Result<Access, Blocked> {
        let storage = match action {
            Action::ExportPartition(export) => self.worker.keys.credentials(&export.destination).await?,
            _ => Credentials::default(),
        };
        Ok(Access {
            target: Some(self.worker.target.clone()),
            budget: self.worker.policies.budget,
            storage,
            workshop: Workshop::default(),
        })
    }

    async fn work(&self, action: &Action) -> Result<(), Blocked> {
        let task = job::Task::of(action);
        let task = task.ok_or_else(|| Blocked::new(Reason::InvalidSpec, format!("{action} is no task")))?;
        let access = self.access(action).await?;
        self.worker.globals.say(&format!("{action} …"));
        let report = job::run(&task, &access).await?;
        if let Report::Exported(export) = &report {
            self.worker.globals.say(&format!("exported {} rows: {}", export.rows, export.url));
        }
        self.reports().push((action.clone(), report));
        Ok(())
    }
}

impl Tasks for InProcess<'_> {
    async fn run(&self, action: &Action) -> ActionResult {
        match self.work(action).await {
            Ok(()) => ActionResult::Done { tries: 1 },
            Err(blocked) => ActionResult::Refused(blocked),
        }
    }
}
