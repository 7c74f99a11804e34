//! How does an object say what state it is in? Conditions as kstatus reads them.
//!
//! `Ready`, and the abnormal-true `Reconciling`, `Stalled` and `Drifted`, are all set on the first visit, so that nobody
//! has to guess what an absent one means. A time changes only when a status does: an unchanged state writes nothing.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Reason;

/// The object is as its spec says.
pub const READY: &str = "Ready";
/// Work is under way or will be tried again by itself.
pub const RECONCILING: &str = "Reconciling";
/// A person must act before it can go on.
pub const STALLED: &str = "Stalled";
/// The database differs from the policy and the difference is not being removed now.
pub const DRIFTED: &str = "Drifted";

/// What runs once has ended well.
pub const COMPLETE: &str = "Complete";
/// What runs once has ended, and not well.
pub const FAILED: &str = "Failed";
/// A backup is proven as far as its spec says, and no later proof has failed.
pub const VERIFIED: &str = "Verified";
/// A Job is at work for it, or is about to be.
pub const PROGRESSING: &str = "Progressing";

/// Longest message that a condition or an event carries, in bytes (events are limited to 1 kB by the API server).
pub const MESSAGE_LIMIT: usize = 1000;

/// A set of conditions that keeps the transition times of the previous one.
pub struct Conditions<'a> {
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    set: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Starts from the conditions that the object carries now.
    pub fn after(previous: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { previous, generation, now, set: Vec::new() }
    }

    /// States one condition. `None` is `Unknown`.
    #[must_use]
    pub fn set(mut self, type_: &str, status: impl Into<Option<bool>>, reason: Reason, message: &str) -> Self {
        let status = match status.into() {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let before = self.previous.iter().find(|c| c.type_ == type_ && c.status == status);
        self.set.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.as_str().into(),
            message: shorten(message, MESSAGE_LIMIT),
            observed_generation: self.generation,
            last_transition_time: before.map_or(Time(self.now), |c| c.last_transition_time.clone()),
        });
        self
    }

    /// The conditions, in the order in which they were stated.
    pub fn finish(self) -> Vec<Condition> {
        self.set
    }
}

/// The condition of this type, if stated.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether the condition of this type is stated and true.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// The text cut to at most `limit` bytes, at a character, with an ellipsis where something is missing.
pub fn shorten(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_changes_only_with_the_status() {
        let first = Conditions::after(&[], Some(1), at(1)).set(READY, true, Reason::UpToDate, "a").finish();
        let same = Conditions::after(&first, Some(2), at(2)).set(READY, true, Reason::Planned, "b").finish();
        assert_eq!(same[0].last_transition_time, Time(at(1)));
        let other = Conditions::after(&same, Some(2), at(3)).set(READY, false, Reason::Deferred, "c").finish();
        assert_eq!(other[0].last_transition_time, Time(at(3)));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let cut = shorten(&"ü".repeat(800), MESSAGE_LIMIT);
        assert!(cut.len() <= MESSAGE_LIMIT && cut.ends_with("ü…"), "{cut}");
        assert_eq!(shorten("short", 10), "short");
    }
}
