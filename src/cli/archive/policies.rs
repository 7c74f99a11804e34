//! Which policies archive rows, and what do they say of their database at this moment?

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};
use kube::ResourceExt as _;

use super::super::Globals;
use super::super::exit::{Exit, Failure};
use super::super::policies::{moment, read};
use super::super::validate::valid_objects;
use crate::api::span::SpanUnit;
use crate::api::{RetentionHold, RetentionPolicy, Span};
use crate::pass::{self, RowsFound};
use crate::plan::rows::{self, Held, Steps};
use crate::plan::snapshot::Server;
use crate::postgres::{Session, server};

/// Which policies, of which files.
#[derive(Args, Clone, Debug)]
pub struct RowArgs {
    /// Files, directories or globs with RetentionPolicies, and the RetentionHolds that bind them, or - for stdin
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// The PostgresDatabase whose policies are meant, where there are those of several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Namespace of objects that name none
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Only this table, as name or schema.name
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Keeps rows for so many days, instead of what the policies say
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    retention_days: Option<u32>,
    /// Counts ages from this moment instead of now: a date, or a time with its offset
    #[arg(long, value_name = "DATE", value_parser = moment)]
    as_of: Option<Timestamp>,
}

/// A policy and what it says of its database.
pub struct Looked {
    /// The policy, with the age of the command line.
    pub policy: RetentionPolicy,
    /// Its name in outputs.
    pub name: String,
    /// What was found.
    pub found: RowsFound,
    /// What is to be done.
    pub steps: Steps,
}

/// A hold that is in force, with the name of its PostgresDatabase.
pub type HeldIn = (String, Held);

impl RowArgs {
    /// The moment to count ages from.
    pub fn now(&self, globals: &Globals) -> Timestamp {
        self.as_of.unwrap_or_else(|| globals.now())
    }

    /// Reads the policies of rows, and the holds that are in force.
    ///
    /// # Errors
    /// If an object is not valid, none is meant, or those of several databases are.
    pub fn read(&self, globals: &Globals) -> Result<(Vec<RetentionPolicy>, Vec<HeldIn>), Failure> {
        let objects = valid_objects(&self.files, globals)?;
        let mut policies: Vec<RetentionPolicy> = read(&objects, "RetentionPolicy", &self.namespace)?;
        policies.retain(|policy| self.database.as_ref().is_none_or(|name| policy.spec.policy.database_ref.name == *name));
        let databases: BTreeSet<String> = policies
            .iter()
            .map(|p| format!("{}/{}", p.namespace().unwrap_or_default(), p.spec.policy.database_ref.name))
            .collect();
        if databases.len() > 1 {
            let names: Vec<String> = databases.into_iter().collect();
            let message =
                format!("the files hold policies of several databases ({}): choose one with --database NAME", names.join(", "));
            return Err(Failure::new(Exit::Usage, message));
        }
        policies.retain(|policy| policy.spec.rows.is_some() && self.is_meant(policy));
        if policies.is_empty() {
            let which = self.table.as_ref().map(|table| format!(" for table {table}")).unwrap_or_default();
            return Err(Failure::new(Exit::Usage, format!("the files hold no RetentionPolicy with rows{which}")));
        }
        for policy in &mut policies {
            if let Some(days) = self.retention_days {
                policy.spec.keep.age = Some(Span::new(days, SpanUnit::Day));
            }
        }
        let holds: Vec<RetentionHold> = read(&objects, "RetentionHold", &self.namespace)?;
        let now = self.now(globals);
        Ok((policies, holds.into_iter().filter(|hold| !is_over(hold, now)).map(held).collect()))
    }

    fn is_meant(&self, policy: &RetentionPolicy) -> bool {
        let table = &policy.spec.table;
        self.table.as_ref().is_none_or(|wanted| *wanted == table.name || *wanted == table.to_string())
    }
}

/// The database of a hold, and the hold.
fn held(hold: RetentionHold) -> HeldIn {
    let name = hold.name_any();
    (hold.spec.database_ref.name, Held { name, table: hold.spec.table, range: hold.spec.range })
}

/// An end that cannot be read never comes.
fn is_over(hold: &RetentionHold, now: Timestamp) -> bool {
    let until = hold.spec.until.as_ref().and_then(|until| until.parse::<Date>().ok());
    let ends = until.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    ends.is_some_and(|ends| ends.timestamp() <= now)
}

/// Looks at the database for each policy. Reads only.
///
/// # Errors
/// What the server or the connection said.
pub async fn look(
    policies: Vec<RetentionPolicy>,
    holds: &[HeldIn],
    session: &Session,
    now: Timestamp,
) -> Result<(Server, Vec<Looked>), Failure> {
    let failed = |fault| Failure::fault("looking at the database", &fault);
    session.begin_reading().await.map_err(failed)?;
    let server = server::observe(session).await.map_err(failed)?;
    if server.major() < 14 {
        let why = pass::unwritable(&server).map(|blocked| blocked.message).unwrap_or_default();
        return Err(Failure::new(Exit::Error, why));
    }
    let mut looked = Vec::with_capacity(policies.len());
    for policy in policies {
        let database = &policy.spec.policy.database_ref.name;
        let held: Vec<Held> = holds.iter().filter(|(of, _)| of == database).map(|(_, held)| held.clone()).collect();
        let found = RowsFound::observe(&policy.spec, session, &server, &held, now).await.map_err(failed)?;
        let steps = rows::plan(&policy.spec, &found.facts(&server), &held, now);
        let name = format!("{}/{}", policy.namespace().unwrap_or_default(), policy.name_any());
        looked.push(Looked { policy, name, found, steps });
    }
    session.end_reading().await.map_err(failed)?;
    Ok((server, looked))
}
