//! Which field means nothing, and what is to be written instead? What a schema cannot know, said in one way for every kind.

use jiff::{Timestamp, Zoned};

use super::schedule::Schedule;
use crate::api::Span;
use crate::api::span::SpanError;

/// A field whose value cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field below `spec`, such as `keep.age`.
    pub field: String,
    /// What is so, with the value.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Wrong {
    /// What is wrong with a field, and what to do about it.
    pub fn new(field: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), remedy: remedy.into() }
    }

    /// From a message of the form `field "value" is so: remedy`, where `field` is one of these.
    pub fn split(message: &str, fields: &[&str]) -> Self {
        let field = fields.iter().find(|field| message.starts_with(**field)).copied().unwrap_or_default();
        let text = message.strip_prefix(field).unwrap_or(message).trim_start();
        let (what, remedy) = text.rsplit_once(": ").unwrap_or((text, "change it"));
        Self::new(field, what, remedy)
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "spec.{} {}: {}", self.field, self.message, self.remedy)
    }
}

/// A length of time that must be as long on every day.
pub fn fixed(field: &str, span: Span) -> Option<Wrong> {
    span.to_std().err().map(|error| of_span(field, &error))
}

/// A length of time that is counted from a date.
pub fn counted(field: &str, span: Span, from: &Zoned, count: fn(Span, &Zoned) -> Result<Zoned, SpanError>) -> Option<Wrong> {
    count(span, from).err().map(|error| of_span(field, &error))
}

fn of_span(field: &str, error: &SpanError) -> Wrong {
    let text = error.to_string();
    let (what, remedy) = text.split_once(": ").unwrap_or((&text, "write another length"));
    Wrong::new(field, what, remedy)
}

/// A schedule that must name a moment some day: `0 0 31 2 *` is five cron fields and never comes.
///
/// # Errors
/// What is wrong with it. Its time zone is another field's concern, so it is read in UTC.
pub fn schedule(field: &str, text: &str, now: Timestamp) -> Result<Schedule, Wrong> {
    let wrong = |message: String| Wrong { field: field.to_owned(), ..Wrong::split(&message, &["schedule"]) };
    let schedule = Schedule::parse(text, "UTC").map_err(wrong)?;
    if schedule.next(now).is_none() {
        return Err(Wrong::new(field, format!("\"{text}\" never comes"), "write a day that its month has"));
    }
    Ok(schedule)
}
