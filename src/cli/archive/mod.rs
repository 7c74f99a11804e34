//! `pgreeve archive`: what has expired goes where the policies say, now and from here.

mod carry;
pub mod policies;
mod view;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::apply::rounds::Worker;
use super::credentials::{Keys, StorageArgs};
use super::database::DatabaseArgs;
use super::exit::{Exit, Failure};
use super::form::Form;
use super::plan::view::hold;
use super::planned::Planned;
use super::policies::Looked;
use super::source::Opened;
use super::{Globals, output};
use crate::api::Reason;
use crate::pass;
use crate::plan::action::Action;
use carry::Carrier;
use policies::{LeavingArgs, Which};
use view::{Row, View};

/// Archives, exports or deletes what has expired, as the RetentionPolicies of files say
///
/// Rows go in batches, at the pace of their policy; partitions go as with apply, by the same plan and under the same guards. It may be ended
/// at any time and run again: what has gone has its proof, and everything else is where it was.
#[derive(Args, Debug)]
pub struct Archive {
    /// Only part of it
    #[arg(value_enum, value_name = "STEP")]
    step: Option<Step>,
    #[command(flatten)]
    policies: LeavingArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    storage: StorageArgs,
    /// Shows what would go, and changes nothing
    #[arg(long)]
    dry_run: bool,
    /// Stands for the approval that a policy with approval: Manual, or one that would remove suddenly much, asks for
    #[arg(short, long)]
    yes: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Creates the archive tables of rows, or lets them follow their sources, and moves nothing
    CreateTables,
}

impl Archive {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let which = if self.step.is_some() { Which::Rows } else { Which::All };
        let Opened { mut policies, session, target, cluster } = self.policies.open(which, &self.database, globals).await?;
        if self.step.is_some() {
            // Nothing is removed, so that nothing guards it.
            policies.retention.iter_mut().for_each(|one| one.surroundings.backup_missing = None);
        }
        let now = self.policies.now(globals);
        let (server, looked) = policies.look_at_leaving(&session, now).await?;
        if let Some(blocked) = pass::unwritable(&server).filter(|_| !self.dry_run) {
            return Err(Failure::new(Exit::Blocked, blocked.message));
        }
        let keys = Keys::new(&self.storage, cluster.as_ref(), &policies.namespace);
        let worker = Worker { session: &session, target: &target, policies: &policies, keys: &keys, globals, now };
        let carrier = Carrier::new(&worker);
        let mut rows = Vec::with_capacity(looked.len());
        for one in &looked {
            let one = self.shortened(one);
            let mut row = Row::new(&one);
            let held_back = self.held_back(&one.planned, now);
            match held_back {
                _ if !row.blocked.is_empty() => {}
                why if self.dry_run => row.hold = why,
                Some(why) => row.blocked.push(why),
                None => carrier.carry_out(&one, &mut row).await?,
            }
            rows.push(row);
            if carrier.is_stopped() {
                break;
            }
        }
        let view = View { format_version: output::VERSION, database: server.database, dry_run: self.dry_run, policies: rows };
        self.output.write(&view, || view.table())?;
        Ok(view.exit())
    }

    /// Without what the step leaves out.
    fn shortened(&self, one: &Looked) -> Looked {
        let mut one = one.clone();
        if self.step.is_some() {
            let plan = &mut one.planned.plan;
            plan.actions.retain(|action| matches!(action, Action::CreateArchiveTable(_) | Action::ExtendArchiveTable(_)));
            plan.wants_approval = None;
        }
        one
    }

    /// Why a policy may not be carried out now, if so.
    fn held_back(&self, planned: &Planned, now: Timestamp) -> Option<String> {
        let approved: Vec<String> = self.yes.then(|| planned.plan.fingerprint()).into_iter().collect();
        let held = hold(planned, &approved, now)?;
        let asks = held.reason == Reason::ApprovalPending.as_str();
        Some(if asks { format!("{}, or for --yes here", held.message) } else { held.message })
    }
}
