//! What went wrong, in terms that a person can act on? `tokio_postgres::Error` prints "db error" and little else.

use std::error::Error as StdError;
use std::io;

use tokio_postgres::error::{DbError, SqlState};

use super::tls;

/// The kind of a fault, which decides the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No connection could be made.
    Unreachable,
    /// 57P03: starting up, shutting down, or recovering without hot standby.
    Starting,
    /// 53300: no free slot.
    TooManyConnections,
    /// 28P01, 28000: user or password refused, or no line in `pg_hba.conf`.
    Authentication,
    /// The TLS handshake failed, or the server has no TLS.
    Tls,
    /// 3D000: no such database.
    DatabaseMissing,
    /// 25006: the session or server is read-only.
    ReadOnly,
    /// 42501: a privilege lacks.
    Privilege,
    /// 42P05, 26000: a prepared statement is gone, or another session's: a pooler gives out one server connection to many.
    Pooled,
    /// 55P03, 40P01, 40001: a lock was not free, or a deadlock or conflict was resolved against us.
    Lock,
    /// The connection broke, or the server ended it.
    ConnectionLost,
    /// Any other error of a statement.
    Statement,
}

/// A fault with the server's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// SQLSTATE, where the server gave one.
    pub sqlstate: Option<String>,
    /// What the server or the network said. Never holds a password: neither the protocol nor the driver puts one into an error.
    /// The same fault gives the same message every time, or a status would be written on every pass.
    pub message: String,
    /// What to do, where it is known better than the kind alone tells; a sentence without its full stop.
    pub advice: Option<String>,
}

impl Fault {
    /// A fault that did not come from the server.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, sqlstate: None, message: message.into(), advice: None }
    }

    /// The same, with advice.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// A fault while logging in to `database` as `user`.
    pub fn connecting(error: &tokio_postgres::Error, user: &str, database: &str) -> Self {
        if let Some(db) = error.as_db_error() {
            return refused(db, user, database);
        }
        if let Some(fault) = tls::fault_of(error) {
            return fault;
        }
        let text = chain(error);
        // The driver exports no kinds; these are the words of its Authentication and Config kinds.
        if text.starts_with("authentication error") || text.starts_with("invalid configuration") {
            return Self::new(FaultKind::Authentication, text);
        }
        let fault = Self::new(FaultKind::Unreachable, text);
        match fault.message.contains("failed to lookup") {
            true => fault.advise("Check the host's name; a Service is reached as <name>.<namespace>"),
            false => fault,
        }
    }
}

/// A log-in that the server, or a pooler, answered with an error.
fn refused(db: &DbError, user: &str, database: &str) -> Fault {
    let fault = Fault::from(db);
    match fault.kind {
        FaultKind::Privilege => {
            let grant = format!("Run GRANT CONNECT ON DATABASE {} TO {}", quoted(database), quoted(user));
            fault.advise(grant)
        }
        FaultKind::ConnectionLost if db.code().code().starts_with("57") => Fault { kind: FaultKind::Starting, ..fault },
        FaultKind::ConnectionLost => Fault { kind: pooler_kind(db.message()), ..fault },
        FaultKind::Authentication if db.message().contains("no encryption") => fault.advise(
            "The server has no pg_hba.conf line for connections without TLS: remove spec.connection.tls.mode Disable, or add one",
        ),
        _ => fault,
    }
}

/// PgBouncer answers every refused log-in with 08P01; only its words tell what it means.
fn pooler_kind(message: &str) -> FaultKind {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["no more connections allowed", "too many clients", "too many connections", "client_login_timeout"]) {
        FaultKind::TooManyConnections
    } else if says(&["no such database", "does not exist"]) {
        FaultKind::DatabaseMissing
    } else if says(&["authentication failed", "no such user", "login failed", "auth failed", "password"]) {
        FaultKind::Authentication
    } else {
        FaultKind::Unreachable
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl From<&DbError> for Fault {
    fn from(db: &DbError) -> Self {
        let mut message = db.message().to_owned();
        for extra in [db.detail(), db.hint()].into_iter().flatten() {
            message.push_str("; ");
            message.push_str(extra);
        }
        Self { kind: kind(db.code()), sqlstate: Some(db.code().code().to_owned()), message, advice: None }
    }
}

impl From<&tokio_postgres::Error> for Fault {
    fn from(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self::from(db),
            None => Self::new(FaultKind::ConnectionLost, chain(error)),
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::from(&error)
    }
}

fn kind(code: &SqlState) -> FaultKind {
    match code.code() {
        "57P03" => FaultKind::Starting,
        "53300" => FaultKind::TooManyConnections,
        "28P01" | "28000" => FaultKind::Authentication,
        "3D000" => FaultKind::DatabaseMissing,
        "25006" => FaultKind::ReadOnly,
        "42501" => FaultKind::Privilege,
        "42P05" | "26000" => FaultKind::Pooled,
        "55P03" | "40P01" | "40001" => FaultKind::Lock,
        "57P01" | "57P02" => FaultKind::ConnectionLost,
        code if code.starts_with("08") => FaultKind::ConnectionLost,
        _ => FaultKind::Statement,
    }
}

/// The error and its causes, each once.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// The error and what caused it. An `io::Error` hides the error that it wraps from `source()`.
pub(super) fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}
