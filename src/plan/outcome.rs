//! How did it go? What carrying out a plan came to.

use super::action::{Action, Blocked};

/// A session that stands in the way of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Its process id on the server.
    pub pid: i32,
    /// Its state, such as `idle in transaction`.
    pub state: String,
    /// Who it is: user and application name.
    pub who: String,
    /// Seconds since its transaction began.
    pub seconds: i64,
    /// The table whose lock it holds.
    pub table: String,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {} ({}, {}, transaction open for {}s) holds {}", self.pid, self.who, self.state, self.seconds, self.table)
    }
}

/// What became of one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionResult {
    /// Carried out, after this many tries for its locks.
    Done {
        /// Tries, the successful one included.
        tries: u32,
    },
    /// Put off: a lock was not free within its budget.
    Deferred {
        /// Who held it, as far as that could be seen.
        blockers: Vec<Blocker>,
    },
    /// Another pgreeve works on this database.
    OtherOperator,
    /// The catalog is no longer what the plan was made from.
    Stale {
        /// What differs.
        message: String,
    },
    /// A Job is at it.
    Running {
        /// How far it is, as far as that is known.
        message: String,
    },
    /// A Job, or what it needs, refused.
    Refused(Blocked),
    /// PostgreSQL refused it, or the connection broke.
    Failed {
        /// SQLSTATE where the server gave one.
        sqlstate: Option<String>,
        /// The server's words, or the connection's.
        message: String,
    },
}

impl ActionResult {
    /// Its name in logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done { .. } => "Done",
            Self::Deferred { .. } => "Deferred",
            Self::OtherOperator => "OtherOperator",
            Self::Stale { .. } => "Stale",
            Self::Running { .. } => "Running",
            Self::Refused(_) => "Refused",
            Self::Failed { .. } => "Failed",
        }
    }
}

/// What became of a plan: its actions with their results, in order. After one that is stale or lost the connection, none follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Each attempted action with its result.
    pub results: Vec<(Action, ActionResult)>,
}

impl Outcome {
    /// How many actions were carried out.
    pub fn done(&self) -> usize {
        self.done_actions().count()
    }

    /// The actions that were carried out.
    pub fn done_actions(&self) -> impl Iterator<Item = &Action> {
        self.results.iter().filter(|(_, result)| matches!(result, ActionResult::Done { .. })).map(|(action, _)| action)
    }

    /// The first result that was not success, with its action.
    pub fn first_problem(&self) -> Option<(&Action, &ActionResult)> {
        self.results.iter().find(|(_, result)| !matches!(result, ActionResult::Done { .. })).map(|(a, r)| (a, r))
    }
}
