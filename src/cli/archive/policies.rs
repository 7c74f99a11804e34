//! Which policies let data leave, and what do they say of their database at this moment?

use clap::Args;
use jiff::Timestamp;

use super::super::Globals;
use super::super::database::DatabaseArgs;
use super::super::exit::{Exit, Failure};
use super::super::policies::{Policies, PolicyArgs};
use super::super::source::{Opened, Scope, Source};
use crate::api::span::SpanUnit;
use crate::api::{RetentionPolicy, Span};

/// Which policies, of which files.
#[derive(Args, Clone, Debug)]
pub struct LeavingArgs {
    #[command(flatten)]
    policies: PolicyArgs,
    /// Only this table, as name or schema.name
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Keeps data for so many days, instead of the age that the policies say; count and totalSize stand beside it
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    retention_days: Option<u32>,
}

/// Which policies a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All by which data leaves.
    All,
    /// Those with rows.
    Rows,
}

/// What to do instead where no file is named.
const NO_FILE: &str = "no policy is given: name files or directories with -f. The policies of a cluster are carried out by its operator; \
    pgreeve plan shows what it would do";

impl LeavingArgs {
    /// The moment to count ages from.
    pub fn now(&self, globals: &Globals) -> Timestamp {
        self.policies.now(globals)
    }

    /// Reads the policies, and opens a session on their database.
    ///
    /// # Errors
    /// If an object is not valid, none is meant, those of several databases are, or no connection can be made.
    pub async fn open(&self, which: Which, database: &DatabaseArgs, globals: &Globals) -> Result<Opened, Failure> {
        if self.policies.files.is_empty() {
            return Err(Failure::new(Exit::Usage, NO_FILE));
        }
        let mut source = Source::open(&self.policies, &[], database, Scope::WithPolicies, globals).await?;
        source.narrow(|policies| self.narrow(policies, which))?;
        source.only(globals).await
    }

    fn narrow(&self, policies: &mut Policies, which: Which) -> Result<(), Failure> {
        policies.partition.clear();
        let is_meant = |policy: &RetentionPolicy| self.is_meant(policy) && (which == Which::All || policy.spec.rows.is_some());
        policies.retention.retain(|one| is_meant(&one.policy));
        if policies.retention.is_empty() {
            let kind = if which == Which::Rows { " with rows" } else { "" };
            let table = self.table.as_ref().map(|table| format!(" for table {table}")).unwrap_or_default();
            return Err(Failure::new(Exit::Usage, format!("the files hold no RetentionPolicy{kind}{table}")));
        }
        for one in &mut policies.retention {
            if let Some(days) = self.retention_days {
                one.policy.spec.keep.age = Some(Span::new(days, SpanUnit::Day));
            }
            // A run that would remove suddenly much waits for a word here as it does in a cluster.
            one.surroundings.attended = false;
        }
        Ok(())
    }

    fn is_meant(&self, policy: &RetentionPolicy) -> bool {
        let table = &policy.spec.table;
        self.table.as_ref().is_none_or(|wanted| *wanted == table.name || *wanted == table.to_string())
    }
}
