//! `pgreeve check`: is everything there that pgreeve needs? Connection, server, role, privileges, coverage.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::database::DatabaseArgs;
use super::exit::{Exit, Failure};
use super::policies::{Planned, PolicyArgs};
use super::terminal::Tone;
use super::{Globals, output};
use crate::api::Reason;
use crate::plan::snapshot::Server;
use crate::postgres::connect::{Target, Tls};
use crate::postgres::{Session, server};

/// Looks for what is missing, in the server, in the role's privileges, and in the tables of policies
#[derive(Args, Debug)]
pub struct Check {
    /// More files, directories or globs with policies; the server alone is looked at without any
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
    mark: Mark,
    subject: String,
    message: String,
}

impl Line {
    fn new(mark: Mark, subject: &str, message: impl Into<String>) -> Self {
        Self { mark, subject: subject.to_owned(), message: message.into() }
    }
}

/// The oldest minor of each major in which foreign keys survive DETACH and ATTACH (release notes of 14.14, 15.9, 16.5 and 17.1).
const FOREIGN_KEYS_SAFE: [(i32, i32); 4] = [(14, 14), (15, 9), (16, 5), (17, 1)];

impl Check {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let (session, target) = self.database.connect(globals).await?;
        let mut lines = of_server(&session, &target).await?;
        if !(self.paths.is_empty() && self.policies.files.is_empty()) {
            let policies = self.policies.policies(&self.paths, globals)?;
            let (_, planned) = policies.look(&session, self.policies.now(globals)).await?;
            lines.extend(planned.iter().flat_map(of_policy));
        }
        match self.output {
            Form::Json => output::json(&serde_json::json!({"formatVersion": output::VERSION, "checks": lines}))?,
            Form::Table => lines.iter().try_for_each(|line| output::line(&written(line, globals)))?,
        }
        Ok(exit(&lines))
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
    if !plan.actions.is_empty() {
        lines.push(Line::new(Mark::Warning, &name, format!("{}; pgreeve plan shows them", plan.summary())));
    }
    if planned.covered != Some(true) && plan.blocked.is_empty() {
        lines.push(Line::new(Mark::Problem, &name, "rows that are written now have no partition"));
    }
    if !planned.settled.is_empty() && planned.covered == Some(true) {
        lines.push(Line::new(Mark::Ok, &name, planned.settled.clone()));
    }
    lines
}
