//! What is observed for a policy that removes rows? Its tables, and what only a query on them tells.

use jiff::Timestamp;

use crate::api::RetentionPolicySpec;
use crate::plan::rows::{self, Answers, Facts, Held, Tables};
use crate::plan::snapshot::Server;
use crate::postgres::rows::{ask, observe};
use crate::postgres::{Fault, Session};

/// What was found for one policy.
#[derive(Clone, Debug, Default)]
pub struct RowsFound {
    /// The tables that exist.
    pub tables: Tables,
    /// What the server answered about the removal.
    pub answers: Answers,
}

impl RowsFound {
    /// Observes. Must run between [`Session::begin_reading`] and [`Session::end_reading`].
    ///
    /// # Errors
    /// What the server or the connection said.
    pub async fn observe(
        spec: &RetentionPolicySpec,
        session: &Session,
        server: &Server,
        held: &[Held],
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let tables = observe(session, server.version_num, &rows::request(spec)).await?;
        let answers = match rows::question(spec, server, &tables, held, now) {
            Some((task, names)) => ask(session, &task, &names).await?,
            None => Answers::default(),
        };
        Ok(Self { tables, answers })
    }

    /// As the planner takes it.
    pub fn facts<'a>(&'a self, server: &'a Server) -> Facts<'a> {
        Facts { server, tables: &self.tables, answers: &self.answers }
    }
}
