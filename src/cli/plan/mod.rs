//! `pgreeve plan`: exactly what `apply` or the operator would do, read in a transaction that cannot write.

mod forms;
mod next;
pub mod table;
pub mod view;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::database::DatabaseArgs;
use super::exit::{Exit, Failure};
use super::policies::{Policies, PolicyArgs};
use super::source::{Scope, Source};
use super::{Globals, output};
use crate::api::Reason;
use crate::postgres::Session;
use crate::postgres::connect::Target;
use table::Style;
use view::View;

/// Shows what would change, by files or in a cluster: locks, time, undo, and what is in the way. Changes nothing
#[derive(Args, Debug)]
pub struct Plan {
    /// More files, directories or globs with policies
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    policies: PolicyArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    /// Ends with 2 if changes are pending
    #[arg(long)]
    exit_code: bool,
}

/// The form of a plan on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    #[default]
    Table,
    /// The same with every line, and what takes it back.
    Wide,
    /// For programs; one object for each database.
    Json,
    /// For programs; one document for each database.
    Yaml,
    /// The statements.
    Sql,
    /// For pull requests.
    Markdown,
}

impl Plan {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let now = self.policies.now(globals);
        let source = Source::open(&self.policies, &self.paths, &self.database, Scope::WithPolicies, globals).await?;
        let work = async |policies: &Policies, session: &Session, _: &Target| {
            let (server, planned) = policies.look(session, now).await?;
            let view = View::new(policies, &server, &planned, &[], now);
            if policies.live && self.output == Form::Yaml {
                output::line("---")?;
            }
            print(&view, self.output, globals)?;
            if matches!(self.output, Form::Table | Form::Wide) {
                self.say_next(&view, policies.live, globals);
            }
            Ok(exit(&view, self.exit_code))
        };
        source.each(globals, work).await
    }

    fn say_next(&self, view: &View, live: bool, globals: &Globals) {
        let next = if live { next::live(view, &self.typed_live()) } else { next::of_files(view, &self.typed()) };
        if let Some(next) = next {
            globals.say(&next);
        }
    }

    /// The options that lead kubectl to the same cluster.
    fn typed_live(&self) -> String {
        self.policies.context.iter().map(|context| format!(" --context {context}")).collect()
    }

    /// The options that lead `apply` to the same plan.
    fn typed(&self) -> String {
        let paths = self.policies.files.iter().chain(&self.paths);
        let mut typed: String = paths.map(|path| format!(" -f {}", path.display())).collect();
        if let Some(database) = &self.policies.database {
            typed.push_str(&format!(" --database {database}"));
        }
        if let Some(moment) = self.policies.as_of {
            typed.push_str(&format!(" --as-of {moment}"));
        }
        if let Some(namespace) = &self.policies.namespace {
            typed.push_str(&format!(" -n {namespace}"));
        }
        if let Some(context) = &self.policies.context {
            typed.push_str(&format!(" --context {context}"));
        }
        typed + &self.database.typed()
    }
}

/// Writes the view in a form.
///
/// # Errors
/// If stdout cannot be written to.
pub fn print(view: &View, form: Form, globals: &Globals) -> anyhow::Result<()> {
    match form {
        Form::Table | Form::Wide => {
            output::write(&table::render(view, Style { look: globals.stdout(), wide: form == Form::Wide }))
        }
        Form::Json => output::json(view),
        Form::Yaml => output::write(&crate::yaml::text(view)?),
        Form::Sql => output::write(&forms::sql(view)),
        Form::Markdown => output::write(&forms::markdown(view)),
    }
}

/// A missing privilege and a refusal always show in the code, pending changes where they are asked for.
pub fn exit(view: &View, wants_pending: bool) -> Exit {
    match () {
        () if view.is_blocked_by(Reason::MissingPrivilege) => Exit::Connection,
        () if view.blocked > 0 || view.database.unwritable.is_some() => Exit::Blocked,
        () if view.changes > 0 && wants_pending => Exit::Pending,
        () => Exit::Ok,
    }
}
