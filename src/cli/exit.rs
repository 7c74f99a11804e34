//! How does a command end? The exit codes, and failures that carry one.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::postgres::Fault;
use crate::postgres::error::FaultKind;

/// The codes, with their meaning as `--help` prints it.
pub const CODES: [(Exit, &str); 6] = [
    (Exit::Ok, "done, or nothing to do"),
    (Exit::Error, "an error, or invalid input"),
    (Exit::Pending, "changes are pending (only with --exit-code)"),
    (Exit::Blocked, "a safety rule is in the way: stale or unapproved plan, window, blocked action"),
    (Exit::Connection, "no connection, or a missing privilege"),
    (Exit::Usage, "the command line is wrong"),
];

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Ok,
    /// An error, or invalid input.
    Error,
    /// Changes are pending.
    Pending,
    /// A safety rule is in the way.
    Blocked,
    /// No connection, or a missing privilege.
    Connection,
    /// The command line is wrong.
    Usage,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Pending => 2,
            Self::Blocked => 3,
            Self::Connection => 4,
            Self::Usage => 64,
        }
    }

    /// The one of two that matters more, where a command did several things.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let gravity = |exit: &Self| match exit {
            Self::Ok => 0,
            Self::Pending => 1,
            Self::Blocked => 2,
            Self::Error => 3,
            Self::Connection => 4,
            Self::Usage => 5,
        };
        std::cmp::max_by_key(self, other, gravity)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table of exit codes at the end of `--help`.
pub fn table() -> String {
    let mut text = String::from("Exit codes:");
    for (exit, meaning) in CODES {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {:<3} {meaning}", exit.code());
    }
    text
}

/// Why a command could not do its work.
#[derive(Debug)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// Why.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure that ends with this code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, error: anyhow::anyhow!(message.into()) }
    }

    /// A fault of the database while doing `what`.
    pub fn fault(what: &str, fault: &Fault) -> Self {
        let exit = match fault.kind {
            FaultKind::Statement | FaultKind::Lock | FaultKind::ReadOnly => Exit::Error,
            _ => Exit::Connection,
        };
        Self::new(exit, crate::pass::blocked(what, fault).message)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Error, error: error.into() }
    }
}
