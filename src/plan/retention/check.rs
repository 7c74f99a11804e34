//! Does the spec mean something that can be done? What a schema cannot know of a RetentionPolicy and of a RetentionHold.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::expiry::midnight;
use crate::api::retention_hold::RetentionHoldSpec;
use crate::api::row_retention::RowRetention;
use crate::api::{RetentionPolicySpec, Span, TableName};
use crate::plan::rows;
use crate::plan::window;
use crate::plan::wrong::{self, Wrong, counted, fixed};

/// What is wrong with a policy, its windows left aside.
pub fn check(spec: &RetentionPolicySpec, now: Timestamp) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    wrong.extend(wrong::schedule("schedule", &spec.schedule, now).err());
    let zone = window::zone(&spec.time_zone);
    wrong.extend(zone.err().map(|message| Wrong::split(&message, &["timeZone"])));
    let now = now.to_zoned(TimeZone::UTC);
    wrong.extend(spec.keep.age.and_then(|age| counted("keep.age", age, &now, Span::subtract_from)));
    if let Some(partitions) = &spec.partitions {
        wrong.extend(counted("partitions.grace", partitions.grace, &now, Span::add_to));
        wrong.extend(itself("partitions.archiveTable", partitions.archive_table.as_ref(), &spec.table));
    }
    if let Some(export) = &spec.export {
        wrong.extend(fixed("export.job.activeDeadline", export.job.active_deadline));
    }
    if let Some(backup) = &spec.guards.backup {
        wrong.extend(fixed("guards.backup.within", backup.within));
    }
    if let Some(rows) = &spec.rows {
        wrong.extend(of_rows(rows, &spec.table));
    }
    wrong
}

fn of_rows(rows: &RowRetention, table: &TableName) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    wrong.extend(itself("rows.archiveTable", rows.archive_table.as_ref(), table));
    wrong.extend(fixed("rows.batch.pause", rows.batch.pause));
    wrong.extend(fixed("rows.batch.maxReplicationLag", rows.batch.max_replication_lag));
    wrong.extend(fixed("rows.job.activeDeadline", rows.job.active_deadline));
    if let Some(condition) = &rows.condition
        && let Err(why) = rows::read_condition(condition)
    {
        let (what, remedy) = why.split_once(": ").unwrap_or((&why, "write a condition over the table's own columns"));
        wrong.push(Wrong::new("rows.where", format!("({condition}) {what}"), remedy));
    }
    for (index, dependent) in rows.dependents.iter().enumerate() {
        let schema = dependent.schema.clone().unwrap_or_else(|| table.schema.clone());
        let source = TableName { schema, name: dependent.table.clone() };
        wrong.extend(itself(&format!("rows.dependents[{index}].archiveTable"), dependent.archive_table.as_ref(), &source));
    }
    wrong
}

/// A table cannot be its own archive.
fn itself(field: &str, archive: Option<&TableName>, table: &TableName) -> Option<Wrong> {
    let message = format!("{table} is the table itself, which cannot be its own archive");
    archive.filter(|archive| *archive == table).map(|_| Wrong::new(field, message, "name another table"))
}

/// What is wrong with a hold: dates must exist, and its range must hold something.
pub fn check_hold(spec: &RetentionHoldSpec) -> Vec<Wrong> {
    let ends = [("range.from", &spec.range.from), ("range.to", &spec.range.to), ("until", &spec.until)];
    let mut wrong: Vec<Wrong> = ends
        .into_iter()
        .filter_map(|(field, text)| {
            let text = text.as_deref()?;
            let what = match End::read(text) {
                None if is_dated(text) => "is not a date that exists",
                None => "is no whole number of 64 bits",
                Some(_) => return None,
            };
            Some(Wrong::new(field, format!("\"{text}\" {what}"), "write another; until then the whole table is kept"))
        })
        .collect();
    let [from, to] = [&spec.range.from, &spec.range.to].map(|text| text.as_deref().and_then(End::read));
    if let (Some(from), Some(to)) = (from, to) {
        let (lower, upper) = (spec.range.from.as_deref().unwrap_or_default(), spec.range.to.as_deref().unwrap_or_default());
        let what = match (from, to) {
            (End::Date(from), End::Date(to)) if from >= to => Some("does not lie after"),
            (End::Number(from), End::Number(to)) if from >= to => Some("does not lie after"),
            (End::Date(_), End::Number(_)) | (End::Number(_), End::Date(_)) => Some("is of another kind than"),
            _ => None,
        };
        let message = |what| format!("\"{upper}\" {what} range.from \"{lower}\", so the range holds nothing");
        wrong.extend(what.map(|what| Wrong::new("range.to", message(what), "write a later end of the same kind")));
    }
    wrong
}

/// An end of a hold's range.
enum End {
    Date(Timestamp),
    Number(i64),
}

impl End {
    fn read(text: &str) -> Option<Self> {
        if is_dated(text) { midnight(text).map(Self::Date) } else { text.parse().ok().map(Self::Number) }
    }
}

/// The schema knows two forms only: `2026-01-31` and whole numbers.
fn is_dated(text: &str) -> bool {
    text.get(1..).is_some_and(|rest| rest.contains('-'))
}
