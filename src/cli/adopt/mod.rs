//! `pgreeve adopt`: policies for a database as it is, that change nothing until somebody says so.

mod partman;
mod write;

use std::collections::BTreeSet;

use clap::Args;

use super::database::DatabaseArgs;
use super::exit::{Exit, Failure};
use super::{Globals, output};
use crate::plan::adopt::{self, Proposal};
use crate::plan::snapshot::{TableName, Tree};
use crate::postgres::catalog::{self, Request};
use crate::postgres::{Fault, Session, server, survey};
use partman::Partman;
use write::Names;

/// Writes a policy for every partitioned table of a database, in mode Observe, from the partitions that exist
#[derive(Args, Debug)]
pub struct Adopt {
    /// Only these tables: schema.name, or a name in schema public
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Name of the PostgresDatabase that the policies refer to; the database's own name without this
    #[arg(long = "database", value_name = "NAME")]
    database_name: Option<String>,
    /// Namespace of the policies
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

/// Time zones that are tried before all others, after UTC and the server's own.
const LIKELY: [&str; 14] = [
    "Europe/London",
    "Europe/Berlin",
    "Europe/Paris",
    "Europe/Kyiv",
    "Europe/Moscow",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Asia/Singapore",
    "Australia/Sydney",
];

struct Survey {
    database: String,
    trees: Vec<Tree>,
    partman: Vec<(String, serde_json::Value)>,
    zones: Vec<String>,
}

impl Adopt {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let (session, target) = self.database.connect(globals).await?;
        let failure = |fault: Fault| Failure::fault(&target.to_string(), &fault);
        let survey = self.survey(&session).await.map_err(failure)?;
        let names = Names {
            database: self.database_name.clone().unwrap_or_else(|| write::kubernetes_name(&survey.database)),
            namespace: self.namespace.clone(),
        };
        let mut taken = BTreeSet::new();
        for tree in &survey.trees {
            match adopt::propose(tree, &survey.zones) {
                Ok(proposal) => {
                    let partman = Partman::of(&proposal.table, &survey.partman);
                    output::write(&write::policy(&proposal, partman.as_ref(), &names, &mut taken))?;
                    globals.say(&said(&proposal));
                }
                Err(why) => globals.say(&format!("{}: left out: {why}", tree.table)),
            }
        }
        if survey.trees.is_empty() {
            globals.say(&format!("database {} has no such partitioned table", survey.database));
        }
        Ok(Exit::Ok)
    }

    async fn survey(&self, session: &Session) -> Result<Survey, Fault> {
        let zone = survey::time_zone(session).await?;
        session.begin_reading().await?;
        let server = server::observe(session).await?;
        let tables = survey::partitioned_tables(session).await?.into_iter().filter(|table| self.wants(table));
        let requests: Vec<Request> = tables.map(|table| Request { table, blocks: false }).collect();
        let trees = catalog::observe(session, server.version_num, &requests).await?.into_iter().flatten().collect();
        let partman = survey::partman(session).await?;
        session.end_reading().await?;
        Ok(Survey { database: server.database, trees, partman, zones: zones(&zone) })
    }

    fn wants(&self, table: &TableName) -> bool {
        let full = table.to_string();
        self.tables.is_empty()
            || self.tables.iter().any(|wanted| *wanted == full || (table.schema == "public" && *wanted == table.name))
    }
}

/// Every time zone, the likeliest first. Names such as Etc/GMT+1 and those of old come last of all.
fn zones(own: &str) -> Vec<String> {
    let mut zones: Vec<String> = ["UTC", own].into_iter().chain(LIKELY).map(str::to_owned).collect();
    let all: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    zones.extend(all.into_iter().filter(|name| name.contains('/') && !name.starts_with("Etc/")));
    let mut seen = BTreeSet::new();
    zones.retain(|zone| seen.insert(zone.clone()));
    zones
}

fn said(proposal: &Proposal) -> String {
    let off = proposal.partitions - proposal.aligned;
    let rest = if off == 0 { String::new() } else { format!(", {off} off the grid and left alone") };
    format!(
        "{}: every {} by {}, {} of {} partitions on the grid{rest}",
        proposal.table, proposal.interval, proposal.column, proposal.aligned, proposal.partitions
    )
}
