//! How does what has expired go from here? Rows of plain tables in batches that a person can watch; partitions as `apply` lets them go.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::apply::{self, rounds::Worker};
use super::super::exit::Failure;
use super::super::policies::Looked;
use super::view::Row;
use crate::job::archive::{self, Progress, Watch};
use crate::plan::action::Action;
use crate::plan::outcome::ActionResult;
use crate::plan::removal::ArchiveRows;
use crate::plan::status;
use crate::postgres::execute;
use crate::sql;

/// Carries policies out, one after the other.
pub struct Carrier<'a> {
    worker: &'a Worker<'a>,
    stop: CancellationToken,
}

impl<'a> Carrier<'a> {
    /// Nothing has been done yet.
    pub fn new(worker: &'a Worker<'a>) -> Self {
        Self { worker, stop: CancellationToken::new() }
    }

    /// Whether somebody has asked for the end.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Carries one policy out, and notes in its row what came of it.
    ///
    /// # Errors
    /// That it was interrupted in the middle of a statement.
    pub async fn carry_out(&self, one: &Looked, row: &mut Row) -> Result<(), Failure> {
        if one.is_of_rows() {
            let interrupted = self.listen();
            self.rows(one, row).await;
            interrupted.abort();
            return Ok(());
        }
        for applied in apply::carry_out(self.worker, &[&one.planned]).await? {
            row.take(&applied.outcome);
        }
        Ok(())
    }

    async fn rows(&self, one: &Looked, row: &mut Row) {
        for action in &one.planned.plan.actions {
            let done = match action {
                Action::ArchiveRows(task) => self.remove(task, row).await,
                action => self.prepare(action).await,
            };
            if let Err(why) = done {
                row.blocked.push(why);
                return;
            }
            row.prepared = true;
        }
    }

    async fn prepare(&self, action: &Action) -> Result<(), String> {
        match execute::carry_out(self.worker.session, &sql::script(action), self.worker.policies.budget).await {
            ActionResult::Done { .. } => Ok(()),
            result => Err(status::problem(action, &result).1),
        }
    }

    async fn remove(&self, task: &ArchiveRows, row: &mut Row) -> Result<(), String> {
        let is_watched = std::io::stderr().is_terminal();
        let mut watch = Watch { stop: self.stop.clone(), ..Watch::default() };
        if is_watched {
            watch.progress = Some(Arc::new(show));
        }
        let moved = archive::carry_out(task, self.worker.session, &watch).await;
        if is_watched {
            drop(write!(std::io::stderr(), "\r\u{1b}[K"));
        }
        row.moved = Some(moved.map_err(|blocked| blocked.message)?);
        Ok(())
    }

    /// An interrupt ends the run after its batch.
    fn listen(&self) -> tokio::task::JoinHandle<()> {
        let (stop, aside) = (self.stop.clone(), self.worker.globals.clone());
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                aside.say("interrupted: the batch that is under way is finished");
                stop.cancel();
            }
        })
    }
}

/// One line that is written again and again.
fn show(progress: &Progress) {
    let at = progress.at.as_ref().map(|at| format!(", up to {at}")).unwrap_or_default();
    let waits = progress.waits_for.as_ref().map(|what| format!(", waiting: {what}")).unwrap_or_default();
    // A terminal that has gone away is told nothing.
    drop(write!(std::io::stderr(), "\r\u{1b}[K{} rows, {} of dependents{at}{waits}", progress.rows, progress.dependents));
}
