//! What does a BackupSchedule's status say of the whole? That backups come as they should, or what keeps them from it.

use jiff::Timestamp;

use super::round::Round;
use crate::api::condition::{READY, RECONCILING, STALLED};
use crate::api::reason::Class;
use crate::api::{BackupScheduleStatus, Conditions, Reason};
use crate::plan::action::Blocked;
use crate::plan::size::bytes;
use crate::plan::status::State;

/// What a pass came to.
#[derive(Clone, Copy, Debug)]
pub enum Tidings<'a> {
    /// Nothing could be looked at.
    Refused(&'a Blocked),
    /// Something could not be done.
    Hindered(&'a Round, &'a Blocked),
    /// Everything was done.
    Rounded(&'a Round),
}

/// The status after a pass, and what it amounts to.
pub fn report(
    before: &BackupScheduleStatus,
    generation: Option<i64>,
    requested: Option<&str>,
    tidings: Tidings<'_>,
    suspended: bool,
    now: Timestamp,
) -> (BackupScheduleStatus, State) {
    let round = match tidings {
        Tidings::Refused(_) => None,
        Tidings::Hindered(round, _) | Tidings::Rounded(round) => Some(round),
    };
    let (is_ready, reason, message) = match tidings {
        Tidings::Refused(blocked) | Tidings::Hindered(_, blocked) => (false, blocked.reason, blocked.message.clone()),
        Tidings::Rounded(_) if suspended => {
            (true, Reason::Suspended, "suspended: no backup begins and none goes until spec.suspend is false".into())
        }
        Tidings::Rounded(Round { trouble: Some((reason, message)), .. }) => (false, *reason, message.clone()),
        Tidings::Rounded(round) => (true, Reason::UpToDate, settled(&round.status)),
    };
    let class = if is_ready { Class::Fine } else { reason.class() };
    let conditions = Conditions::after(&before.conditions, generation, now)
        .set(READY, is_ready, reason, &message)
        .set(RECONCILING, class == Class::Waiting, reason, if class == Class::Waiting { &message } else { "" })
        .set(STALLED, class == Class::Stalled, reason, if class == Class::Stalled { &message } else { "" })
        .finish();
    let facts = round.map_or_else(|| before.clone(), |round| round.status.clone());
    let handled = requested.filter(|_| round.is_some_and(|round| round.is_answered)).map(str::to_owned);
    let last_handled_reconcile_at = handled.or_else(|| before.last_handled_reconcile_at.clone());
    let state = State { ready: is_ready, reason, message, drifted: false };
    (BackupScheduleStatus { observed_generation: generation, conditions, last_handled_reconcile_at, ..facts }, state)
}

fn settled(status: &BackupScheduleStatus) -> String {
    let counts = &status.backups;
    let there = match counts.complete {
        0 => "no backup yet".into(),
        1 => format!("1 backup in {}", bytes(counts.bytes)),
        many => format!("{many} backups in {}", bytes(counts.bytes)),
    };
    let last = status.last_backup.as_ref().map(|fact| format!(", the last of {:.0}", fact.completed_at.0)).unwrap_or_default();
    let active = status.active.as_ref().map(|name| format!("; {name} is under way")).unwrap_or_default();
    format!("{there}{last}{active}")
}
