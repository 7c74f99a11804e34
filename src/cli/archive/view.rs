//! What is shown of an archival? A line for each policy, and whatever stands in its way.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::amount;
use super::super::exit::Exit;
use super::super::policies::Looked;
use crate::api::retention_policy::Expired;
use crate::job::archive::Moved;
use crate::plan::action::{Action, Note};
use crate::plan::finding;
use crate::plan::outcome::{ActionResult, Outcome};
use crate::plan::rows::ROWS_COUNTED;
use crate::plan::status;

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
    /// What has expired of a partitioned table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Expired>,
    /// What was done with partitions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// Whether the archive tables are ready.
    pub prepared: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    pub blocked: Vec<String>,
    /// Why it would not be carried out now, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    pub notes: Vec<Note>,
    pub held: Vec<String>,
}

impl Row {
    pub fn new(one: &Looked) -> Self {
        let (answers, summary) = (&one.facts.rows.answers, &one.facts.summary);
        let plan = &one.planned.plan;
        let expired = match (answers.expired, answers.estimated) {
            (Some(counted), _) if counted < ROWS_COUNTED => Some(counted),
            (counted, estimated) => counted.max(estimated),
        };
        let is_preparation = |action: &Action| matches!(action, Action::CreateArchiveTable(_) | Action::ExtendArchiveTable(_));
        Self {
            policy: format!("{}/{}", plan.object.namespace, plan.object.name),
            table: one.policy.spec.table.to_string(),
            actions: plan.actions.iter().map(ToString::to_string).collect(),
            expired,
            expired_is_exact: answers.expired.is_some_and(|counted| counted < ROWS_COUNTED),
            partitions: (!one.is_of_rows()).then(|| summary.expired.clone()),
            done: vec![],
            oldest: answers.oldest.clone(),
            prepared: plan.blocked.is_empty() && !plan.actions.iter().any(is_preparation),
            moved: None,
            blocked: plan.blocked.iter().map(|blocked| blocked.message.clone()).collect(),
            hold: None,
            notes: plan.notes.clone(),
            held: one.planned.kept(),
        }
    }

    /// Notes what became of partitions.
    pub fn take(&mut self, outcome: &Outcome) {
        for (action, result) in &outcome.results {
            match result {
                ActionResult::Done { .. } => self.done.push(action.to_string()),
                result => self.blocked.push(status::problem(action, result).1),
            }
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
        // What partitions went through is known step by step; the plan tells only where the way begins.
        let planned = if row.done.is_empty() { row.actions.as_slice() } else { &[] };
        for action in planned {
            let sign = if row.blocked.is_empty() { mark } else { "!" };
            writeln!(text, "  {sign} {}{action}", if row.blocked.is_empty() { format!("{done} ") } else { String::new() })?;
        }
        row.done.iter().try_for_each(|action| writeln!(text, "  = done: {action}"))?;
        if let Some(expired) = row.partitions.as_ref().filter(|_| row.done.is_empty()) {
            writeln!(text, "  {}", partitions(expired))?;
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
        let is_hold = |note: &&Note| note.id == finding::ON_HOLD.id;
        let keep = |note: &Note, text: &mut String| writeln!(text, "  = keep {}   [{}]", note.message, note.id);
        row.notes.iter().filter(is_hold).try_for_each(|note| keep(note, text))?;
        let warn = |note: &Note, text: &mut String| writeln!(text, "  ! {}: {}   [{}]", note.object, note.message, note.id);
        row.notes.iter().filter(|note| !is_hold(note)).try_for_each(|note| warn(note, text))?;
        row.hold.iter().try_for_each(|why| writeln!(text, "  = hold {why}"))?;
        row.blocked.iter().try_for_each(|blocked| writeln!(text, "  ! blocked: {blocked}"))
    }
}

fn partitions(expired: &Expired) -> String {
    match expired.partitions {
        0 => "no partition has expired".into(),
        1 => format!("1 partition has expired, {}", amount::bytes(expired.bytes)),
        many => format!("{many} partitions have expired, {}", amount::bytes(expired.bytes)),
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
