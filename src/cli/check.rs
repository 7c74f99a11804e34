//! `pgreeve check`: is everything there that pgreeve needs? Connection, server, role, privileges, coverage.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::amount;
use super::database::DatabaseArgs;
use super::exit::{Exit, Failure};
use super::planned::{Planned, State};
use super::policies::{Policies, PolicyArgs};
use super::source::{Scope, Source};
use super::terminal::Tone;
use super::{Globals, output};
use crate::api::Reason;
use crate::plan::retention::Summary;
use crate::plan::snapshot::Server;
use crate::postgres::connect::{Target, Tls};
use crate::postgres::{Session, server};

/// Looks for what is missing, in the server, in the role's privileges, and in the tables of policies; of files or of a cluster
#[derive(Args, Debug)]
pub struct Check {
    /// More files, directories or globs with policies. Without any, a URL means the server alone; without a URL too, the databases
    /// of the cluster and their policies are looked at
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    policies: PolicyArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Table,
    Json,
}

/// How good a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Mark {
    Ok,
    Warning,
    Problem,
    Privilege,
}

/// What was looked at, and what is so.
#[derive(Debug, Serialize)]
struct Line {
    /// Namespace and name of the PostgresDatabase, in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    mark: Mark,
    subject: String,
    message: String,
}

impl Line {
    fn new(mark: Mark, subject: &str, message: impl Into<String>) -> Self {
        Self { database: None, mark, subject: subject.to_owned(), message: message.into() }
    }
}

/// The oldest minor of each major in which foreign keys survive DETACH and ATTACH (release notes of 14.14, 15.9, 16.5 and 17.1).
const FOREIGN_KEYS_SAFE: [(i32, i32); 4] = [(14, 14), (15, 9), (16, 5), (17, 1)];

impl Check {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let mut lines = Vec::new();
        let exit = if self.is_of_the_server_alone() {
            let (session, target) = self.database.connect(globals).await?;
            lines = of_server(&session, &target).await?;
            exit(&lines)
        } else {
            self.of_databases(&mut lines, globals).await?
        };
        match self.output {
            Form::Json => output::json(&serde_json::json!({"formatVersion": output::VERSION, "checks": lines}))?,
            Form::Table => print(&lines, globals)?,
        }
        Ok(exit)
    }

    /// Whether no policy is meant: there is a URL, and nothing that leads to policies.
    fn is_of_the_server_alone(&self) -> bool {
        let policies = &self.policies;
        let names_files = !(self.paths.is_empty() && policies.files.is_empty());
        let names_policies = policies.context.is_some() || policies.namespace.is_some() || policies.database.is_some();
        self.database.is_given() && !names_files && !names_policies
    }

    async fn of_databases(&self, lines: &mut Vec<Line>, globals: &Globals) -> Result<Exit, Failure> {
        let source = Source::open(&self.policies, &self.paths, &self.database, Scope::All, globals).await?;
        let now = self.policies.now(globals);
        let work = async |policies: &Policies, session: &Session, target: &Target| {
            let mut found = of_server(session, target).await?;
            let (_, planned) = policies.look(session, now).await?;
            found.extend(planned.iter().flat_map(of_policy));
            if policies.live {
                let database = format!("{}/{}", policies.namespace, policies.database);
                found.iter_mut().for_each(|line| line.database = Some(database.clone()));
            }
            let exit = exit(&found);
            lines.extend(found);
            Ok(exit)
        };
        source.each(globals, work).await
    }
}

fn exit(lines: &[Line]) -> Exit {
    let has = |mark: Mark| lines.iter().any(|line| line.mark == mark);
    match () {
        () if has(Mark::Privilege) => Exit::Connection,
        () if has(Mark::Problem) => Exit::Blocked,
        () => Exit::Ok,
    }
}

/// The lines, those of each database of a cluster under its name.
fn print(lines: &[Line], globals: &Globals) -> anyhow::Result<()> {
    for of_one in lines.chunk_by(|one, other| one.database == other.database) {
        if let Some(database) = of_one.first().and_then(|line| line.database.as_ref()) {
            output::line(&format!("{} {database}", globals.stdout().paint(Tone::Strong, "Database")))?;
        }
        of_one.iter().try_for_each(|line| output::line(&written(line, globals)))?;
    }
    Ok(())
}

fn written(line: &Line, globals: &Globals) -> String {
    let (word, tone) = match line.mark {
        Mark::Ok => ("ok     ", Tone::Add),
        Mark::Warning => ("warning", Tone::Note),
        Mark::Problem | Mark::Privilege => ("problem", Tone::Bad),
    };
    format!("{}  {:<12} {}", globals.stdout().paint(tone, word), line.subject, line.message)
}

async fn of_server(session: &Session, target: &Target) -> Result<Vec<Line>, Failure> {
    let failure = |fault| Failure::fault(&target.to_string(), &fault);
    let facts = server::observe(session).await.map_err(failure)?;
    // Otherwise no connection would have been made.
    let pooling = Line::new(Mark::Ok, "pooling", "every session keeps its state");
    Ok(vec![connection(target), version(&facts), role(&facts), writable(&facts), pooling])
}

fn connection(target: &Target) -> Line {
    match &target.tls {
        Tls::VerifyFull { .. } => Line::new(Mark::Ok, "connection", format!("{target}, TLS, certificate and name verified")),
        Tls::VerifyCa { .. } => Line::new(Mark::Ok, "connection", format!("{target}, TLS, certificate verified, its name not")),
        Tls::Disable if target.host.starts_with('/') => {
            Line::new(Mark::Ok, "connection", format!("{target}, a socket of this machine"))
        }
        Tls::Disable => {
            Line::new(Mark::Warning, "connection", format!("{target}, without TLS: what is sent can be read on the way"))
        }
    }
}

fn version(server: &Server) -> Line {
    let (major, minor) = (server.major(), server.version_num % 10_000);
    let safe = FOREIGN_KEYS_SAFE.iter().find(|(known, _)| *known == major).map_or(0, |(_, minor)| *minor);
    match major {
        ..14 => Line::new(Mark::Problem, "version", format!("PostgreSQL {}: upgrade; 14 to 18 are supported", server.version)),
        19.. => Line::new(
            Mark::Warning,
            "version",
            format!("PostgreSQL {}: newer than the versions that were tested, 14 to 18", server.version),
        ),
        _ if minor < safe => {
            let message = format!(
                "PostgreSQL {}: update to {major}.{safe} or later; before it, detached partitions could lose foreign keys",
                server.version
            );
            Line::new(Mark::Warning, "version", message)
        }
        _ => Line::new(Mark::Ok, "version", format!("PostgreSQL {}", server.version)),
    }
}

fn role(server: &Server) -> Line {
    if server.superuser {
        let message = format!(
            "{} is a superuser, which is more than is needed: make a role that is a member of the tables' owner",
            server.role
        );
        return Line::new(Mark::Warning, "role", message);
    }
    Line::new(Mark::Ok, "role", format!("{}, not a superuser", server.role))
}

fn writable(server: &Server) -> Line {
    match crate::pass::unwritable(server).filter(|blocked| blocked.reason != Reason::VersionUnsupported) {
        Some(blocked) => Line::new(Mark::Problem, "writable", blocked.message),
        None => Line::new(Mark::Ok, "writable", format!("database {}", server.database)),
    }
}

fn of_policy(planned: &Planned) -> Vec<Line> {
    let plan = &planned.plan;
    let name = format!("{}/{}", plan.object.namespace, plan.object.name);
    let mark = |reason: Reason| if reason == Reason::MissingPrivilege { Mark::Privilege } else { Mark::Problem };
    let mut lines: Vec<Line> =
        plan.blocked.iter().map(|blocked| Line::new(mark(blocked.reason), &name, blocked.message.clone())).collect();
    lines.extend(
        plan.notes
            .iter()
            .map(|note| Line::new(Mark::Warning, &name, format!("{}: {}   [{}]", note.object, note.message, note.id))),
    );
    lines.extend(planned.suspended.iter().map(|why| Line::new(Mark::Warning, &name, why.clone())));
    if !plan.actions.is_empty() {
        lines.push(Line::new(Mark::Warning, &name, format!("{}; pgreeve plan shows them", plan.summary())));
    }
    match &planned.state {
        State::Unknown => {}
        State::Coverage(covered) => lines.extend(of_coverage(planned, *covered, &name)),
        State::Retention(summary) => lines.extend(of_retention(planned, summary, &name)),
    }
    lines
}

fn of_coverage(planned: &Planned, covered: Option<bool>, name: &str) -> Option<Line> {
    if covered != Some(true) {
        let is_news = planned.plan.blocked.is_empty();
        return is_news.then(|| Line::new(Mark::Problem, name, "rows that are written now have no partition"));
    }
    (!planned.settled.is_empty()).then(|| Line::new(Mark::Ok, name, planned.settled.clone()))
}

/// What has expired and is still there, what is held, and what waits for the end of its grace.
fn of_retention(planned: &Planned, summary: &Summary, name: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    if summary.backlog_bytes > 0 {
        let message = format!("{} have expired and are still there", amount::bytes(summary.backlog_bytes));
        lines.push(Line::new(Mark::Warning, name, message));
    }
    lines.extend(planned.kept().into_iter().map(|kept| Line::new(Mark::Ok, name, format!("kept: {kept}"))));
    if planned.plan.blocked.is_empty() {
        lines.push(Line::new(Mark::Ok, name, planned.settled.clone()));
    }
    lines
}
