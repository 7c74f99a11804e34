//! What can a person type? The command line: each command in a file or folder of its own, with the engine of the controller.
//!
//! Data goes to stdout and everything else to stderr; nothing depends on colour; no secret is ever taken from a flag.

mod adopt;
mod amount;
mod apply;
mod archive;
mod backup;
mod check;
mod completion;
mod crds;
mod credentials;
mod database;
mod demo;
pub mod exit;
mod explain;
mod form;
mod input;
mod job;
mod kubernetes;
mod location;
mod operator;
mod output;
mod plan;
mod planned;
mod policies;
mod reference;
mod restore;
mod source;
mod stats;
mod terminal;
pub mod validate;

pub use crds::files as crd_files;
pub use reference::files as reference_files;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use jiff::Timestamp;

use exit::{Exit, Failure};
use terminal::{ColorChoice, Look, Tone};

/// Your PostgreSQL runbook, declared.
#[derive(Parser, Debug)]
#[command(name = "pgreeve", version, max_term_width = 110, propagate_version = true, after_help = exit::table(), after_long_help = exit::table())]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Globals {
    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: ColorChoice,
    /// Logging: a level, or a list such as info,kube=warn
    #[arg(long, global = true, env = "PGREEVE_LOG", hide_env_values = true, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Validate(validate::Validate),
    Plan(plan::Plan),
    Apply(apply::Apply),
    Archive(archive::Archive),
    Stats(stats::Stats),
    Adopt(adopt::Adopt),
    Check(check::Check),
    Backup(Box<backup::Backup>),
    Backups(backup::Backups),
    Verify(backup::Verify),
    Restore(Box<restore::Restore>),
    Explain(explain::Explain),
    Demo(demo::Demo),
    Crds(crds::Crds),
    Completion(completion::Completion),
    Operator(Box<operator::Operator>),
    #[command(hide = true)]
    Job(job::Job),
}

impl Globals {
    /// The present.
    fn now(&self) -> Timestamp {
        crate::clock::Clock::system().now()
    }

    fn stdout(&self) -> Look {
        Look::stdout(self.color)
    }

    fn stderr(&self) -> Look {
        Look::stderr(self.color)
    }

    /// Says why something could not be done.
    fn fail(&self, failure: &Failure) {
        let error = self.stderr().paint(Tone::Bad, "error");
        self.say(&format!("{error}: {:#}", failure.error));
    }

    /// Says something to the person, aside from the data.
    #[expect(clippy::print_stderr, reason = "this is the place")]
    fn say(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// Reads a command line; the first argument is the program's name.
///
/// # Errors
/// A text for the person (an error, a help, a version), and how the program ends.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = Cli::command();
    if args.first().is_some_and(is_plugin) {
        command = command.bin_name("kubectl pgreeve");
    }
    let matches = command.try_get_matches_from_mut(args);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        // A pipe that is closed cannot be told anything.
        drop(error.print());
        if error.use_stderr() { Exit::Usage } else { Exit::Ok }
    })
}

/// kubectl finds its plugins by their name and runs them under it.
fn is_plugin(program: &OsString) -> bool {
    let name = std::path::Path::new(program).file_stem();
    name.is_some_and(|name| name.to_string_lossy().starts_with("kubectl-"))
}

impl Cli {
    /// The filter and the form of the log. Commands say what matters themselves; the log of the operator, or of a Job, is all that it says.
    pub fn logging(&self) -> (&str, crate::telemetry::Format) {
        let (usual, format) = match &self.command {
            Command::Operator(operator) => ("info", operator.log_format()),
            Command::Job(_) => ("info", crate::telemetry::Format::Text),
            _ => ("warn", crate::telemetry::Format::Text),
        };
        (self.globals.log.as_deref().unwrap_or(usual), format)
    }

    /// Runs the command, and says why if it fails.
    pub fn run(self) -> Exit {
        let Self { globals, command } = self;
        match command.run(&globals) {
            Ok(exit) => exit,
            Err(failure) => {
                globals.fail(&failure);
                failure.exit
            }
        }
    }
}

impl Command {
    fn run(self, globals: &Globals) -> Result<Exit, Failure> {
        match self {
            Self::Validate(validate) => validate.run(globals),
            Self::Plan(plan) => block_on(plan.run(globals)),
            Self::Apply(apply) => block_on(apply.run(globals)),
            Self::Archive(archive) => block_on(archive.run(globals)),
            Self::Stats(stats) => block_on(stats.run(globals)),
            Self::Adopt(adopt) => block_on(adopt.run(globals)),
            Self::Backup(backup) => block_on(backup.run(globals)),
            Self::Backups(backups) => block_on(backups.run(globals)),
            Self::Verify(verify) => block_on(verify.run(globals)),
            Self::Restore(restore) => block_on(restore.run(globals)),
            Self::Explain(explain) => explain.run(globals),
            Self::Check(check) => block_on(check.run(globals)),
            Self::Demo(demo) => block_on(demo.run(globals)),
            Self::Crds(crds) => crds.run(globals),
            Self::Completion(completion) => completion.run(),
            Self::Operator(operator) => block_on(operator.run()),
            Self::Job(job) => block_on(job.run()),
        }
    }
}

fn block_on(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
