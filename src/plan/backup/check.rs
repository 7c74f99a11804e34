//! Does the spec mean something that can be done? What a schema cannot know of a Backup and of a BackupSchedule.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::slots::distances;
use crate::api::backup::{Assertion, BackupSettings, Content, What};
use crate::api::backup_schedule::{BackupScheduleSpec, RestoreTest};
use crate::api::job::Scratch;
use crate::api::{BackupSpec, Span, TableName};
use crate::plan::schedule::Schedule;
use crate::plan::window;
use crate::plan::wrong::{self, Wrong, counted, fixed};

/// Less than this no operator is punctual enough to begin a backup in.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(60);

/// What is wrong with a Backup.
pub fn check_backup(spec: &BackupSpec) -> Vec<Wrong> {
    settings("", &spec.settings)
}

/// What is wrong with a BackupSchedule.
pub fn check(spec: &BackupScheduleSpec, now: Timestamp) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    match wrong::schedule("schedule", &spec.schedule, now) {
        Ok(schedule) => wrong.extend(jitter(spec.jitter, &schedule, now)),
        Err(why) => wrong.extend([why].into_iter().chain(fixed("jitter", spec.jitter))),
    }
    wrong.extend(window::zone(&spec.time_zone).err().map(|message| Wrong::split(&message, &["timeZone"])));
    wrong.extend(deadline(spec.starting_deadline));
    wrong.extend(settings("backup.", &spec.backup));
    let age = spec.retention.as_ref().and_then(|retention| retention.max_age);
    wrong.extend(age.and_then(|age| counted("retention.maxAge", age, &now.to_zoned(TimeZone::UTC), Span::subtract_from)));
    if let Some(test) = &spec.restore_test {
        wrong.extend(restore_test(test, &spec.backup.assertions, now));
    }
    wrong
}

fn deadline(span: Span) -> Option<Wrong> {
    let message = || format!("\"{span}\" is shorter than a minute, and a backup that begins later than that is missed");
    match span.to_std() {
        Ok(length) if length < SHORTEST_DEADLINE => Some(Wrong::new("startingDeadline", message(), "write at least 1m")),
        _ => fixed("startingDeadline", span),
    }
}

/// A backup that may begin after the next one's time has no time of its own.
fn jitter(span: Span, schedule: &Schedule, now: Timestamp) -> Option<Wrong> {
    let Ok(jitter) = span.to_std() else { return fixed("jitter", span) };
    let distances = distances(schedule, now).map(jiff::SignedDuration::unsigned_abs);
    let shortest = distances.min().filter(|shortest| *shortest <= jitter)?;
    let message = format!("\"{span}\" reaches to the schedule's next moment, which may be {} s later", shortest.as_secs());
    Some(Wrong::new("jitter", message, "write a shorter one"))
}

fn restore_test(test: &RestoreTest, others: &[Assertion], now: Timestamp) -> Vec<Wrong> {
    let mut wrong: Vec<Wrong> = wrong::schedule("restoreTest.schedule", &test.schedule, now).err().into_iter().collect();
    for (index, assertion) in test.assertions.iter().enumerate() {
        if others.iter().any(|other| other.name == assertion.name) {
            let message = format!("\"{}\" is the name of one of backup.assertions, which are tried too", assertion.name);
            wrong.push(Wrong::new(format!("restoreTest.assertions[{index}].name"), message, "give it another name"));
        }
    }
    wrong
}

fn settings(prefix: &str, settings: &BackupSettings) -> Vec<Wrong> {
    let mut wrong = content(&settings.content);
    wrong.extend(settings.scratch.as_ref().and_then(scratch));
    wrong.extend(fixed("job.activeDeadline", settings.job.active_deadline));
    wrong.into_iter().map(|wrong| Wrong { field: format!("{prefix}{}", wrong.field), ..wrong }).collect()
}

/// A volume without room.
pub fn scratch(scratch: &Scratch) -> Option<Wrong> {
    let size = scratch.ephemeral.as_ref().map(|volume| volume.size).filter(|size| size.bytes() == 0)?;
    Some(Wrong::new("scratch.ephemeral.size", format!("\"{size}\" is no room at all"), "write for example 50Gi"))
}

/// What one list says of a table and another one takes back.
fn content(content: &Content) -> Vec<Wrong> {
    let long = |(index, schema): (usize, &String)| {
        let what = format!("\"{schema}\" is longer than the 63 bytes of a PostgreSQL name");
        (schema.len() > 63).then(|| Wrong::new(format!("content.schemas[{index}]"), what, "write its name"))
    };
    let mut wrong: Vec<Wrong> = content.schemas.iter().enumerate().filter_map(long).collect();
    let left_out: BTreeMap<&TableName, usize> =
        content.exclude_tables.iter().enumerate().map(|(index, table)| (table, index)).collect();
    for (list, tables) in [("tables", &content.tables), ("excludeRows", &content.exclude_rows)] {
        for (index, table) in tables.iter().enumerate().filter(|(_, table)| left_out.contains_key(table)) {
            let message = format!("names {table}, which excludeTables[{}] leaves out altogether", left_out[table]);
            wrong.push(Wrong::new(format!("content.{list}[{index}]"), message, "name it once"));
        }
    }
    if content.what == What::SchemaOnly && !content.exclude_rows.is_empty() {
        wrong.push(Wrong::new("content.excludeRows", "leaves out rows, and what SchemaOnly dumps none", "remove it"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn schedule(more: &Value) -> BackupScheduleSpec {
        let mut spec = json!({"databaseRef": {"name": "shop"}, "schedule": "0 1 * * *", "backup": {"destination": {"s3": {"bucket": "backups"}}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn wrong(more: Value) -> Vec<String> {
        check(&schedule(&more), now()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_can_be_done_is_right() {
        assert_eq!(wrong(json!({})), Vec::<String>::new());
        assert_eq!(wrong(json!({"jitter": "23h", "startingDeadline": "1m", "timeZone": "Europe/Berlin"})), Vec::<String>::new());
        assert_eq!(wrong(json!({"schedule": "0 0 29 2 *"})), Vec::<String>::new(), "a leap day comes");
    }

    #[test]
    fn a_schedule_that_never_comes_is_wrong_wherever_it_stands() {
        assert_eq!(
            wrong(json!({"schedule": "0 0 31 2 *"})),
            ["spec.schedule \"0 0 31 2 *\" never comes: write a day that its month has"]
        );
        let test = wrong(json!({"restoreTest": {"schedule": "0 0 31 4 *"}}));
        assert_eq!(test, ["spec.restoreTest.schedule \"0 0 31 4 *\" never comes: write a day that its month has"]);
        assert!(wrong(json!({"schedule": "nightly at 1"}))[0].contains("is not a cron schedule"));
    }

    #[test]
    fn a_jitter_stays_within_the_shortest_distance_of_two_moments() {
        let too_long = wrong(json!({"schedule": "0 1,3 * * *", "jitter": "2h"}));
        assert_eq!(
            too_long,
            ["spec.jitter \"2h\" reaches to the schedule's next moment, which may be 7200 s later: write a shorter one"]
        );
        assert!(wrong(json!({"schedule": "0 1,3 * * *", "jitter": "119m"})).is_empty());
        assert!(wrong(json!({"jitter": "1 month"}))[0].contains("no fixed length"));
    }

    #[test]
    fn nothing_begins_within_no_time() {
        assert!(wrong(json!({"startingDeadline": "0s"}))[0].starts_with("spec.startingDeadline \"0s\" is shorter than a minute"));
        assert!(wrong(json!({"startingDeadline": "1 month"}))[0].contains("no fixed length"));
    }

    #[test]
    fn what_one_list_takes_another_does_not_give_back() {
        let content = |content: Value| wrong(json!({"backup": {"destination": {}, "content": content}}));
        let table = json!([{"name": "a"}, {"name": "b"}]);
        assert_eq!(
            content(json!({"tables": table, "excludeTables": [{"name": "b"}]})),
            ["spec.backup.content.tables[1] names public.b, which excludeTables[0] leaves out altogether: name it once"]
        );
        assert!(content(json!({"excludeRows": table, "excludeTables": [{"name": "a", "schema": "other"}]})).is_empty());
        assert!(content(json!({"excludeRows": table, "what": "SchemaOnly"}))[0].starts_with("spec.backup.content.excludeRows"));
        assert!(content(json!({"schemas": ["ä".repeat(32)]}))[0].contains("63 bytes"));
    }
}
