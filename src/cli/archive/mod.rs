//! `pgreeve archive`: the old rows of plain tables go where the policies say, now and from here.

pub mod policies;
mod view;

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::database::DatabaseArgs;
use super::exit::{Exit, Failure};
use super::{Globals, output};
use crate::api::Reason;
use crate::job::archive::{Moved, Progress, Watch, carry_out};
use crate::pass;
use crate::plan::action::{Action, ObjectId, Plan};
use crate::plan::gate::{self, Gate};
use crate::plan::outcome::ActionResult;
use crate::plan::removal::ArchiveRows;
use crate::plan::rows::Preparation;
use crate::plan::status;
use crate::postgres::Session;
use crate::postgres::execute::{self, Budget};
use crate::sql;
use policies::{Looked, RowArgs, look};
use view::{Row, View};

/// Archives or deletes the old rows of plain tables, as the RetentionPolicies of files say
///
/// Rows go in batches, at the pace of their policy. It may be ended at any time and run again: what has gone is in the archive, and
/// everything else is where it was.
#[derive(Args, Debug)]
pub struct Archive {
    /// Only part of it
    #[arg(value_enum, value_name = "STEP")]
    step: Option<Step>,
    #[command(flatten)]
    policies: RowArgs,
    #[command(flatten)]
    database: DatabaseArgs,
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
    /// Creates the archive tables, or lets them follow their sources, and moves nothing
    CreateTables,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Table,
    Json,
    Yaml,
}

impl Archive {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let (policies, holds) = self.policies.read(globals)?;
        let (session, _) = self.database.connect(globals).await?;
        let now = self.policies.now(globals);
        let (server, looked) = look(policies, &holds, &session, now).await?;
        let changes = !self.dry_run;
        if let Some(blocked) = pass::unwritable(&server).filter(|_| changes) {
            return Err(Failure::new(Exit::Blocked, blocked.message));
        }
        let watch = self.watch(globals);
        let mut rows = Vec::with_capacity(looked.len());
        for one in &looked {
            let mut row = Row::new(one);
            if changes && row.blocked.is_empty() {
                self.carry_out(one, &session, &watch, &mut row, now).await?;
            }
            rows.push(row);
            if watch.stop.is_cancelled() {
                break;
            }
        }
        let view = View { format_version: output::VERSION, database: server.database, dry_run: self.dry_run, policies: rows };
        match self.output {
            Form::Table => output::write(&view.table())?,
            Form::Json => output::json(&view)?,
            Form::Yaml => output::write(&crate::yaml::text(&view)?)?,
        }
        Ok(view.exit())
    }

    async fn carry_out(
        &self,
        one: &Looked,
        session: &Session,
        watch: &Watch,
        row: &mut Row,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if let Some(why) = self.held_back(one, now) {
            row.blocked.push(why);
            return Ok(());
        }
        for preparation in &one.steps.prepare {
            if let Err(why) = prepare(session, preparation).await {
                row.blocked.push(why);
                return Ok(());
            }
        }
        row.prepared = true;
        let Some(task) = one.steps.remove.as_ref().filter(|_| self.step.is_none()) else { return Ok(()) };
        match remove(task, session, watch).await {
            Ok(moved) => row.moved = Some(moved),
            Err(why) => row.blocked.push(why),
        }
        Ok(())
    }

    /// Why a policy may not be carried out now, if so.
    fn held_back(&self, one: &Looked, now: Timestamp) -> Option<String> {
        let (spec, name) = (&one.policy.spec, &one.name);
        if spec.policy.suspend {
            return Some("spec.suspend is true, so nothing is changed".into());
        }
        let plan = plan(one);
        let fingerprint = plan.fingerprint();
        let held = match gate::gate(&spec.policy, self.yes.then_some(fingerprint.as_str()), &plan, now) {
            Err(blocked) => Some(blocked.message),
            Ok(Gate::Hold { message, reason: Reason::ApprovalPending, .. }) => Some(format!("{message}, or for --yes here")),
            Ok(Gate::Hold { message, .. }) => Some(message),
            Ok(Gate::Nothing | Gate::Go) => None,
        };
        if held.is_some() || self.step.is_some() || one.steps.remove.is_none() {
            return held;
        }
        if spec.guards.backup.is_some() {
            return Some(format!(
                "guards.backup of {name} asks for a backup, which only the operator can see: let it carry the policy out"
            ));
        }
        let (expired, all) = (view::expired(one).unwrap_or(0), view::rows_of(one).max(1));
        let percent = expired.saturating_mul(100) / all.max(expired);
        (percent > i64::from(spec.guards.approve_above_percent) && !self.yes).then(|| {
            format!(
                "about {percent} % of the rows would go, more than guards.approveAbovePercent ({}): look at --dry-run, then give --yes",
                spec.guards.approve_above_percent
            )
        })
    }

    /// A line on a terminal, and an interrupt that ends the run after its batch.
    fn watch(&self, globals: &Globals) -> Watch {
        let mut watch = Watch::default();
        let (stop, aside) = (watch.stop.clone(), globals.clone());
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                aside.say("interrupted: the batch that is under way is finished");
                stop.cancel();
            }
        });
        if std::io::stderr().is_terminal() {
            watch.progress = Some(Arc::new(show));
        }
        watch
    }
}

/// One line that is written again and again.
fn show(progress: &Progress) {
    let at = progress.at.as_ref().map(|at| format!(", up to {at}")).unwrap_or_default();
    let waits = progress.waits_for.as_ref().map(|what| format!(", waiting: {what}")).unwrap_or_default();
    // A terminal that has gone away is told nothing.
    drop(write!(std::io::stderr(), "\r\u{1b}[K{} rows, {} of dependents{at}{waits}", progress.rows, progress.dependents));
}

async fn remove(task: &ArchiveRows, session: &Session, watch: &Watch) -> Result<Moved, String> {
    let moved = carry_out(task, session, watch).await;
    if watch.progress.is_some() {
        drop(write!(std::io::stderr(), "\r\u{1b}[K"));
    }
    moved.map_err(|blocked| blocked.message)
}

async fn prepare(session: &Session, preparation: &Preparation) -> Result<(), String> {
    let action = action(preparation);
    match execute::carry_out(session, &sql::script(&action), Budget::default()).await {
        ActionResult::Done { .. } => Ok(()),
        result => Err(status::problem(&action, &result).1),
    }
}

fn action(preparation: &Preparation) -> Action {
    match preparation {
        Preparation::Create(create) => Action::CreateArchiveTable(Box::new(create.clone())),
        Preparation::Extend(extend) => Action::ExtendArchiveTable(Box::new(extend.clone())),
    }
}

/// What the policy does, as a plan.
fn plan(one: &Looked) -> Plan {
    let (namespace, name) = one.name.split_once('/').unwrap_or(("default", &one.name));
    let id = ObjectId { kind: "RetentionPolicy".into(), namespace: namespace.into(), name: name.into() };
    let mut plan = Plan::empty(id, one.policy.spec.table.to_string());
    plan.actions.extend(one.steps.prepare.iter().map(action));
    plan.actions.extend(one.steps.remove.clone().map(|task| Action::ArchiveRows(Box::new(task))));
    plan
}
