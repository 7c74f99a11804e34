//! `pgreeve apply`: carries out what `plan` shows, with the controller's engine and under its rules.

mod result;
pub mod rounds;
mod tasks;

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::Globals;
use super::credentials::{Keys, StorageArgs};
use super::database::DatabaseArgs;
use super::exit::{Exit, Failure};
use super::form::Form;
use super::plan::table::{self, Style};
use super::plan::view::{self, View};
use super::planned::Planned;
use super::policies::{Policies, PolicyArgs};
use super::source::{Opened, Scope, Source};
use super::terminal::can_ask;
use crate::pass;
use crate::plan::Outcome;
use crate::postgres::Session;
use result::{Applied, Results};
use rounds::Worker;

/// Carries out plans. A fingerprint approves its plan, and nothing but it
#[derive(Args, Debug)]
pub struct Apply {
    /// Beginnings of the fingerprints to apply, of at least four digits, as plan shows them; all plans without one. Also: more paths
    #[arg(value_name = "FINGERPRINT")]
    given: Vec<String>,
    #[command(flatten)]
    policies: PolicyArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    storage: StorageArgs,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    /// Does not ask
    #[arg(short, long)]
    yes: bool,
}

/// What to do instead where no file is named.
const NO_FILE: &str = "no policy is given: name files or directories with -f. The policies of a cluster are carried out by its operator; \
    one with approval: Manual waits until its plan is approved: kubectl annotate partitionpolicy NAME pgreeve.dev/approve=FINGERPRINT (or retentionpolicy NAME)";

impl Apply {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let (fingerprints, paths) = self.fingerprints_and_paths();
        if paths.is_empty() && self.policies.files.is_empty() {
            return Err(Failure::new(Exit::Usage, NO_FILE));
        }
        let now = self.policies.now(globals);
        let source = Source::open(&self.policies, &paths, &self.database, Scope::WithPolicies, globals).await?;
        let Opened { policies, session, target, cluster } = source.only(globals).await?;
        let (server, planned) = policies.look(&session, now).await?;
        let view = View::new(&policies, &server, &planned, &fingerprints, now);
        globals.say(table::render(&view, Style { look: globals.stderr(), wide: false }).trim_end());
        if let Some(blocked) = pass::unwritable(&server) {
            return Err(Failure::new(Exit::Blocked, blocked.message));
        }
        stale(&planned, &fingerprints)?;
        let chosen: Vec<&Planned> = planned.iter().filter(|one| goes(one, &fingerprints, now)).collect();
        if !chosen.is_empty() && !self.may_go(&view, &chosen, &fingerprints, globals)? {
            return Err(Failure::new(Exit::Error, "nothing was changed"));
        }
        let keys = Keys::new(&self.storage, cluster.as_ref(), &policies.namespace);
        let worker = Worker { session: &session, target: &target, policies: &policies, keys: &keys, globals, now };
        let applied = carry_out(&worker, &chosen).await?;
        let results = Results::new(&view, applied, self.left(&session, &policies, now).await?);
        self.print(&results, globals)?;
        Ok(results.exit())
    }

    /// What looks like a fingerprint and is no path is one.
    fn fingerprints_and_paths(&self) -> (Vec<String>, Vec<PathBuf>) {
        let is_fingerprint = |text: &&String| {
            (4..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) && !Path::new(text).exists()
        };
        let (fingerprints, paths): (Vec<&String>, Vec<&String>) = self.given.iter().partition(is_fingerprint);
        (fingerprints.iter().map(|text| text.to_lowercase()).collect(), paths.iter().map(PathBuf::from).collect())
    }

    /// A fingerprint is a person's word already; otherwise a person is asked, if there is one.
    fn may_go(&self, view: &View, chosen: &[&Planned], fingerprints: &[String], globals: &Globals) -> Result<bool, Failure> {
        if self.yes || !fingerprints.is_empty() {
            return Ok(true);
        }
        if !can_ask() {
            let named: Vec<String> = chosen.iter().map(|one| view.short(&one.plan.fingerprint()).to_owned()).collect();
            let message =
                format!("nobody can be asked here: give --yes, or the fingerprints: pgreeve apply {} …", named.join(" "));
            return Err(Failure::new(Exit::Usage, message));
        }
        let changes: usize = chosen.iter().map(|one| one.plan.actions.len()).sum();
        let plural = if changes == 1 { "" } else { "s" };
        globals.ask(&format!("Make {changes} change{plural} in database {}? [y/N] ", view.database.database))
    }

    /// What is left to do, by a new look at the database.
    async fn left(&self, session: &Session, policies: &Policies, now: Timestamp) -> Result<Vec<Planned>, Failure> {
        Ok(policies.look(session, now).await?.1)
    }

    fn print(&self, results: &Results, globals: &Globals) -> anyhow::Result<()> {
        self.output.write(results, || results.table(globals.stdout()))
    }
}

/// Carries the plans out one after the other. An interrupt cancels the statement that runs, and ends the rest.
///
/// # Errors
/// That it was interrupted.
pub async fn carry_out(worker: &Worker<'_>, chosen: &[&Planned]) -> Result<Vec<Applied>, Failure> {
    let interrupt = |error| Failure::new(Exit::Error, format!("interrupts cannot be listened to: {error}"));
    // Once for all plans: what comes between two of them counts too.
    let mut interrupts = signal(SignalKind::interrupt()).map_err(interrupt)?;
    let mut applied = Vec::new();
    for one in chosen {
        let outcome: Outcome = tokio::select! {
            outcome = worker.carry_out(one) => outcome,
            _ = interrupts.recv() => {
                worker.globals.say("interrupted: cancelling the statement that runs; the server rolls back what is not whole");
                // The session is closed next, which ends the statement too, if later.
                drop(worker.session.cancel().await);
                return Err(Failure::new(Exit::Error, format!("{} was interrupted; plan again to see what is left", one.plan.object)));
            }
        };
        applied.push(Applied { object: one.plan.object.clone(), outcome });
    }
    Ok(applied)
}

/// Whether a plan is to be carried out: it does something, it is named if any is, and nothing holds it back.
fn goes(planned: &Planned, fingerprints: &[String], now: Timestamp) -> bool {
    let fingerprint = planned.plan.fingerprint();
    let is_named = fingerprints.is_empty() || fingerprints.iter().any(|beginning| fingerprint.starts_with(beginning));
    !planned.plan.actions.is_empty() && is_named && view::hold(planned, fingerprints, now).is_none()
}

/// A fingerprint that no plan has is of a world that has moved on.
fn stale(planned: &[Planned], fingerprints: &[String]) -> Result<(), Failure> {
    for wanted in fingerprints {
        let fits =
            planned.iter().filter(|one| !one.plan.actions.is_empty() && one.plan.fingerprint().starts_with(wanted)).count();
        let message = match fits {
            1 => continue,
            0 => format!(
                "no plan has the fingerprint {wanted}: the database or a policy has changed since; look at the plan above and name it anew"
            ),
            _ => format!("several plans begin with {wanted}: give more digits"),
        };
        return Err(Failure::new(Exit::Blocked, message));
    }
    Ok(())
}

impl Globals {
    /// Asks a person; anything but a clear yes is a no.
    fn ask(&self, question: &str) -> Result<bool, Failure> {
        Ok(matches!(self.answer(question)?.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// What a person answers to a question.
    pub(super) fn answer(&self, question: &str) -> Result<String, Failure> {
        let mut stderr = std::io::stderr();
        write!(stderr, "{question}")?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(answer)
    }
}
