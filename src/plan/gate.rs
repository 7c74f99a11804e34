//! May this plan be carried out now? Mode, approval, suspension and windows, in one answer.

use jiff::Timestamp;

use super::Plan;
use super::action::Blocked;
use super::window::{self, Opening};
use crate::api::{Approval, Mode, PolicySettings, Reason};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// There is nothing to carry out.
    Nothing,
    /// Carry it out.
    Go,
    /// Wait.
    Hold {
        /// Why.
        reason: Reason,
        /// Why, in a sentence with the next step.
        message: String,
        /// Until when, where the clock decides.
        until: Option<Timestamp>,
    },
}

/// Decides whether `plan` may be carried out at `now`. `approved` is the value of the approval annotation.
///
/// # Errors
/// [`Reason::InvalidSpec`] where a window cannot be read.
pub fn gate(settings: &PolicySettings, approved: Option<&str>, plan: &Plan, now: Timestamp) -> Result<Gate, Blocked> {
    let opening = window::opening(&settings.window, now)
        .map_err(|message| Blocked::new(Reason::InvalidSpec, format!("{}: {message}", plan.object)))?;
    if plan.actions.is_empty() {
        return Ok(Gate::Nothing);
    }
    if settings.mode == Mode::Observe {
        return Ok(hold(Reason::Planned, format!("{}; mode is Observe, so nothing is changed", plan.summary()), None));
    }
    let fingerprint = plan.fingerprint();
    let wants_approval = settings.approval == Approval::Manual || plan.wants_approval.is_some();
    if wants_approval && approved != Some(fingerprint.as_str()) {
        let why = plan.wants_approval.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let annotation = crate::api::APPROVE_ANNOTATION;
        let message = format!("{}{why}; waits for the annotation {annotation}={fingerprint}", plan.summary());
        return Ok(hold(Reason::ApprovalPending, message, None));
    }
    Ok(match opening {
        Opening::Open => Gate::Go,
        Opening::From(until) => {
            let when = until.map_or_else(|| "never: no window opens again".to_owned(), |at| format!("at {at}"));
            hold(Reason::OutsideWindow, format!("{}; the next window opens {when}", plan.summary()), until)
        }
    })
}

fn hold(reason: Reason, message: String, until: Option<Timestamp>) -> Gate {
    Gate::Hold { reason, message, until }
}
