//! Does the spec mean something that can be done? What a schema cannot know: calendars, time zones, schedules, lengths.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::flaw::{By, Flaw};
use crate::api::policy::Window;
use crate::api::{Backup, BackupSchedule, PartitionPolicy, PostgresDatabase, Restore, RetentionHold, RetentionPolicy, Span};
use crate::plan::wrong::Wrong;
use crate::plan::{backup, partition, restore, retention, window};

/// What is wrong with an object that has the right form.
pub fn check(kind: &str, object: &Value, now: Timestamp) -> Vec<Flaw> {
    match kind {
        "PartitionPolicy" => judge(object, |policy: PartitionPolicy| policy_flaws(&policy, now)),
        "PostgresDatabase" => judge(object, |database: PostgresDatabase| database_flaws(&database)),
        "RetentionPolicy" => judge(object, |policy: RetentionPolicy| retention_flaws(&policy, now)),
        "RetentionHold" => judge(object, |hold: RetentionHold| flaws(&retention::check_hold(&hold.spec))),
        "BackupSchedule" => judge(object, |schedule: BackupSchedule| flaws(&backup::check::check(&schedule.spec, now))),
        "Backup" => judge(object, |one: Backup| flaws(&backup::check::check_backup(&one.spec))),
        "Restore" => judge(object, |one: Restore| flaws(&restore::check::check(&one.spec, now))),
        _ => vec![],
    }
}

fn judge<T: DeserializeOwned>(object: &Value, check: impl FnOnce(T) -> Vec<Flaw>) -> Vec<Flaw> {
    read(object).map_or_else(|flaw| vec![flaw], check)
}

fn read<T: DeserializeOwned>(object: &Value) -> Result<T, Flaw> {
    serde_json::from_value(object.clone()).map_err(|error| {
        Flaw::at("spec", By::Meaning, format!("cannot be read: {error}"), "change the value that the message names")
    })
}

fn policy_flaws(policy: &PartitionPolicy, now: Timestamp) -> Vec<Flaw> {
    let spec = &policy.spec;
    let mut flaws = Vec::new();
    if let Err(blocked) = partition::check(spec) {
        flaws.push(from_message(&blocked.message, &["timeZone", "anchor", "naming", "create.from", "interval"]));
    }
    flaws.extend(window_flaws(&spec.policy.window, now));
    if let Some(horizon) = spec.create.horizon
        && let Err(error) = horizon.add_to(&now.to_zoned(jiff::tz::TimeZone::UTC))
    {
        flaws.push(Flaw::at("spec.create.horizon", By::Meaning, error.to_string(), "write a shorter horizon"));
    }
    flaws
}

fn retention_flaws(policy: &RetentionPolicy, now: Timestamp) -> Vec<Flaw> {
    let mut flaws = flaws(&retention::check(&policy.spec, now));
    flaws.extend(window_flaws(&policy.spec.policy.window, now));
    flaws
}

fn flaws(wrong: &[Wrong]) -> Vec<Flaw> {
    let of = |wrong: &Wrong| Flaw::at(&format!("spec.{}", wrong.field), By::Meaning, wrong.message.clone(), wrong.remedy.clone());
    wrong.iter().map(of).collect()
}

fn window_flaws(windows: &[Window], now: Timestamp) -> Vec<Flaw> {
    let of_one = |(index, one): (usize, &Window)| {
        let message = window::opening(std::slice::from_ref(one), now).err()?;
        let message = message.replacen("window[0]", &format!("window[{index}]"), 1);
        let fields = ["schedule", "duration", "timeZone"].map(|field| format!("window[{index}].{field}"));
        Some(from_message(&message, &fields.each_ref().map(String::as_str)))
    };
    windows.iter().enumerate().filter_map(of_one).collect()
}

fn database_flaws(database: &PostgresDatabase) -> Vec<Flaw> {
    let limits = &database.spec.limits;
    let lengths: [(&str, Span); 2] =
        [("spec.limits.lockTimeout", limits.lock_timeout), ("spec.limits.statementTimeout", limits.statement_timeout)];
    let mut flaws: Vec<Flaw> = lengths
        .into_iter()
        .filter_map(|(field, span)| {
            span.to_std().err().map(|error| Flaw::at(field, By::Meaning, error.to_string(), "write for example 2s or 10m"))
        })
        .collect();
    let tls = &database.spec.connection.tls;
    if tls.mode == crate::api::postgres_database::TlsMode::VerifyCa && tls.ca_secret_ref.is_none() {
        let message = "VerifyCa without a CA of one's own would trust any certificate of any public CA";
        flaws.push(Flaw::at("spec.connection.tls.mode", By::Meaning, message, "add caSecretRef, or use VerifyFull"));
    }
    flaws
}

/// The planner's messages name the field in their text; the field that comes first in it is the one.
fn from_message(message: &str, fields: &[&str]) -> Flaw {
    let named = fields.iter().filter_map(|field| message.find(field).map(|at| (at, *field))).min();
    let field = named.map_or("spec".to_owned(), |(_, field)| format!("spec.{field}"));
    // The report begins with the field already.
    let message = field.strip_prefix("spec.").and_then(|field| message.strip_prefix(field)).map_or(message, str::trim_start);
    let (what, help) = message.rsplit_once(": ").unwrap_or((message, "change it"));
    Flaw::at(&field, By::Meaning, what, help)
}
