//! What is shown of an archival? A line for each policy, and whatever stands in its way.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::amount;
use super::super::exit::Exit;
use super::policies::Looked;
use crate::job::archive::Moved;
use crate::plan::action::Note;
use crate::plan::rows::ROWS_COUNTED;

/// The whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    pub format_version: &'static str,
    pub database: String,
    pub dry_run: bool,
    pub policies: Vec<Row>,
}

/// One policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub policy: String,
    pub table: String,
    /// What would be done, or was.
    pub actions: Vec<String>,
    /// Rows that may go; more precise than a statistic up to a hundred thousand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<i64>,
    pub expired_is_exact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// Whether the archive tables are ready.
    pub prepared: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    pub blocked: Vec<String>,
    pub notes: Vec<Note>,
    pub held: Vec<String>,
}

/// Rows that may go, counted or estimated.
pub fn expired(one: &Looked) -> Option<i64> {
    let answers = &one.found.answers;
    match (answers.expired, answers.estimated) {
        (Some(counted), _) if counted < ROWS_COUNTED => Some(counted),
        (counted, estimated) => counted.max(estimated),
    }
}

/// Rows of the table, by PostgreSQL's statistics.
pub fn rows_of(one: &Looked) -> i64 {
    one.found.tables.get(&one.policy.spec.table).map_or(0, |table| table.tuples)
}

impl Row {
    pub fn new(one: &Looked) -> Self {
        let steps = &one.steps;
        Self {
            policy: one.name.clone(),
            table: one.policy.spec.table.to_string(),
            actions: super::plan(one).actions.iter().map(ToString::to_string).collect(),
            expired: expired(one),
            expired_is_exact: one.found.answers.expired.is_some_and(|counted| counted < ROWS_COUNTED),
            oldest: one.found.answers.oldest.clone(),
            prepared: steps.blocked.is_empty() && steps.prepare.is_empty(),
            moved: None,
            blocked: steps.blocked.iter().map(|blocked| blocked.message.clone()).collect(),
            notes: steps.notes.clone(),
            held: steps.held.clone(),
        }
    }
}

impl View {
    /// How the command ends.
    pub fn exit(&self) -> Exit {
        if self.policies.iter().any(|row| !row.blocked.is_empty()) { Exit::Blocked } else { Exit::Ok }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for row in &self.policies {
            // Writing to a String cannot fail.
            let _ = self.write(row, &mut text);
        }
        text
    }

    fn write(&self, row: &Row, text: &mut String) -> std::fmt::Result {
        writeln!(text, "RetentionPolicy {}   {}", row.policy, row.table)?;
        let (mark, done) = if self.dry_run { ("+", "would") } else { ("=", "done:") };
        for action in &row.actions {
            let sign = if row.blocked.is_empty() { mark } else { "!" };
            writeln!(text, "  {sign} {}{action}", if row.blocked.is_empty() { format!("{done} ") } else { String::new() })?;
        }
        match (&row.moved, row.expired) {
            (Some(moved), _) => moved_lines(moved, text)?,
            (None, Some(0)) => writeln!(text, "  no row has expired")?,
            (None, Some(expired)) => {
                let about = if row.expired_is_exact { "" } else { "about " };
                let oldest = row.oldest.as_deref().map(amount::bound).unwrap_or_default();
                writeln!(text, "  {about}{expired} rows have expired; the oldest is of {oldest}")?;
            }
            (None, None) => {}
        }
        row.held.iter().try_for_each(|held| writeln!(text, "  = keep {held}"))?;
        row.notes.iter().try_for_each(|note| writeln!(text, "  ! {}: {}   [{}]", note.object, note.message, note.id))?;
        row.blocked.iter().try_for_each(|blocked| writeln!(text, "  ! blocked: {blocked}"))
    }
}

fn moved_lines(moved: &Moved, text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "  {} rows, {} of dependents, {} rows/s; {} left",
        moved.rows, moved.dependents, moved.per_second, moved.left
    )?;
    if moved.busy > 0 {
        writeln!(text, "  {} rows were held by others; they go with the next run", moved.busy)?;
    }
    if let Some(why) = &moved.throttled_by {
        writeln!(text, "  slowed down by {why}")?;
    }
    if let Some(why) = &moved.ended_early {
        writeln!(text, "  ended early: {why}")?;
    }
    moved.suggestion.iter().try_for_each(|suggestion| writeln!(text, "  {suggestion}"))
}
