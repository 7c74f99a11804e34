//! May changes start now? Windows: a cron schedule, a duration and a time zone.

use jiff::{Timestamp, tz::TimeZone};

use super::schedule::Schedule;
use crate::api::policy::Window;

/// Whether the windows allow a change to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Now.
    Open,
    /// From this moment on; `None` if never again.
    From(Option<Timestamp>),
}

/// Whether a change may start at `now`. No window at all means always.
///
/// # Errors
/// A message naming the field, the value and the remedy where a schedule, a duration or a time zone cannot be read.
pub fn opening(windows: &[Window], now: Timestamp) -> Result<Opening, String> {
    let mut next = None;
    for (index, window) in windows.iter().enumerate() {
        let schedule =
            Schedule::parse(&window.schedule, &window.time_zone).map_err(|error| format!("window[{index}].{error}"))?;
        let length = window.duration.to_std().map_err(|error| format!("window[{index}].duration: {error}"))?;
        let opened = schedule.last(now);
        if opened.is_some_and(|at| at.duration_until(now).unsigned_abs() < length) {
            return Ok(Opening::Open);
        }
        next = [next, schedule.next(now)].into_iter().flatten().min();
    }
    Ok(if windows.is_empty() { Opening::Open } else { Opening::From(next) })
}

/// The time zone of this IANA name.
///
/// # Errors
/// A message naming the field, the value and the remedy.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("timeZone \"{name}\" is not an IANA time zone: write a name such as Europe/Berlin or UTC"))
}
