//! What went wrong, in terms that a person can act on? `tokio_postgres::Error` prints "db error" and little else.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

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
    pub message: String,
}

impl Fault {
    /// A fault that did not come from the server.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, sqlstate: None, message: message.into() }
    }

    /// A fault while connecting.
    pub fn connecting(error: &tokio_postgres::Error) -> Self {
        let fault = Self::from(error);
        match fault.kind {
            FaultKind::ConnectionLost if is_tls(error) => Self { kind: FaultKind::Tls, ..fault },
            FaultKind::ConnectionLost | FaultKind::Statement if fault.sqlstate.is_none() => {
                Self { kind: FaultKind::Unreachable, ..fault }
            }
            _ => fault,
        }
    }
}

impl From<&tokio_postgres::Error> for Fault {
    fn from(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::new(FaultKind::ConnectionLost, chain(error));
        };
        let mut message = db.message().to_owned();
        for extra in [db.detail(), db.hint()].into_iter().flatten() {
            message.push_str("; ");
            message.push_str(extra);
        }
        Self { kind: kind(db.code()), sqlstate: Some(db.code().code().to_owned()), message }
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
        "55P03" | "40P01" | "40001" => FaultKind::Lock,
        "57P01" | "57P02" => FaultKind::ConnectionLost,
        code if code.starts_with("08") => FaultKind::ConnectionLost,
        _ => FaultKind::Statement,
    }
}

/// The error and its causes, each once.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn is_tls(error: &tokio_postgres::Error) -> bool {
    // The driver does not export its kinds; these two are the only ones that name TLS.
    let text = error.to_string();
    text.contains("TLS handshake") || text.contains("does not support TLS") || chain(error).contains("certificate")
}
