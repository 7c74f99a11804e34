//! Which reason does a fault of the database amount to?

use crate::api::Reason;
use crate::plan::action::Blocked;
use crate::postgres::Fault;
use crate::postgres::error::FaultKind;

/// The reason of a fault.
pub fn reason(kind: FaultKind) -> Reason {
    match kind {
        FaultKind::Unreachable => Reason::Unreachable,
        FaultKind::Starting => Reason::Starting,
        FaultKind::TooManyConnections => Reason::TooManyConnections,
        FaultKind::Authentication => Reason::AuthenticationFailed,
        FaultKind::Tls => Reason::TlsFailed,
        FaultKind::DatabaseMissing => Reason::DatabaseMissing,
        FaultKind::ReadOnly => Reason::ReadOnly,
        FaultKind::Privilege => Reason::MissingPrivilege,
        FaultKind::Pooled => Reason::TransactionPooling,
        FaultKind::Lock => Reason::Deferred,
        FaultKind::ConnectionLost => Reason::ConnectionLost,
        FaultKind::Statement => Reason::ActionFailed,
    }
}

/// The refusal that a fault amounts to: what was done, what the server said, and what to do.
pub fn blocked(what: &str, fault: &Fault) -> Blocked {
    let reason = reason(fault.kind);
    let state = fault.sqlstate.as_ref().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
    let advice = fault.advice.as_deref().unwrap_or_else(|| reason.remedy());
    Blocked::new(reason, format!("{what}: {}{state}. {}.", fault.message.trim_end_matches('.'), advice.trim_end_matches('.')))
}
