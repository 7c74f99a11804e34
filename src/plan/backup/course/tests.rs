//! Every state of a Backup, and what becomes of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::api::backup::{Tables, Verification};

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn spec(more: serde_json::Value) -> BackupSpec {
    let mut spec = json!({"databaseRef": {"name": "db"}, "destination": {"pvc": {"claimName": "backups"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn complete(level: Option<VerifyLevel>) -> BackupStatus {
    let verification =
        level.map(|level| Verification { level, at: Time(now()), rows_matched: None, assertions: 0, restore_seconds: None });
    BackupStatus {
        completed_at: Some(Time(now())),
        size_bytes: Some(2048),
        tables: Some(Tables { count: 2, rows: 10 }),
        verification,
        ..BackupStatus::default()
    }
}

fn after(status: BackupStatus, course: Course<'_>) -> (BackupStatus, State) {
    report(status, Some(1), None, course, now())
}

fn summary_of(status: &BackupStatus) -> String {
    let types = [COMPLETE, FAILED, VERIFIED, PROGRESSING, READY, RECONCILING, STALLED];
    types.map(|type_| if is_true(&status.conditions, type_) { type_ } else { "-" }).join(" ")
}

#[test]
fn conditions_say_what_a_pass_came_to() {
    let begun = BackupStatus { started_at: Some(Time(now())), ..BackupStatus::default() };
    let long_ago = BackupStatus { started_at: Some(Time(now() - PATIENCE)), ..BackupStatus::default() };
    let (broken, missing) = (Blocked::new(Reason::ToolFailed, "no"), Blocked::new(Reason::ToolsMissing, "no"));
    let damaged = Blocked::new(Reason::BackupDamaged, "altered");
    for (status, course, expected) in [
        (begun.clone(), Course::Queued("waits"), "- - - Progressing - Reconciling -"),
        (begun.clone(), Course::Runs("runs"), "- - - Progressing - Reconciling -"),
        (begun.clone(), Course::Refused(&broken, 1), "- - - - - Reconciling -"),
        (begun, Course::Refused(&missing, 1), "- - - - - - Stalled"),
        (long_ago.clone(), Course::Refused(&broken, TRIES - 1), "- - - - - Reconciling -"),
        (long_ago.clone(), Course::Refused(&broken, TRIES), "- Failed - - - - Stalled"),
        (long_ago, Course::Refused(&broken, 0), "- Failed - - - - Stalled"),
        (complete(None), Course::Settled, "Complete - - - Ready - -"),
        (complete(None), Course::Runs("is read back"), "Complete - - Progressing Ready Reconciling -"),
        (complete(Some(VerifyLevel::Catalog)), Course::Settled, "Complete - Verified - Ready - -"),
        (complete(Some(VerifyLevel::Catalog)), Course::Refused(&damaged, 1), "Complete - - - - - Stalled"),
        (complete(Some(VerifyLevel::Catalog)), Course::Refused(&broken, 1), "Complete - Verified - - Reconciling -"),
    ] {
        let (found, _) = after(status, course);
        assert_eq!(summary_of(&found), expected, "{course:?}");
    }
}

#[test]
fn what_has_failed_stays_so_whatever_a_later_pass_finds() {
    let long_ago = BackupStatus { started_at: Some(Time(now() - PATIENCE)), ..BackupStatus::default() };
    let broken = Blocked::new(Reason::Unreachable, "nobody listens");
    let (failed, _) = after(long_ago, Course::Refused(&broken, 0));
    assert_eq!(next(&spec(json!({})), &failed, Some("now")), Next::Settled);
    let (again, state) = after(failed.clone(), Course::Settled);
    assert_eq!((state.reason, again.conditions), (Reason::Unreachable, failed.conditions));
}

#[test]
fn a_doubt_stays_until_a_proof_answers_it() {
    let damaged = Blocked::new(Reason::BackupDamaged, "altered");
    let (doubtful, _) = after(complete(Some(VerifyLevel::Catalog)), Course::Refused(&damaged, PROOFS));
    assert!(is_doubtful(&doubtful));
    let (later, state) = after(doubtful, Course::Settled);
    assert_eq!((state.ready, state.reason), (false, Reason::BackupDamaged));
    assert_eq!(later.failures, i32::try_from(PROOFS).unwrap(), "how often it was tried is not forgotten");
    let wants = spec(json!({"verify": "Restore"}));
    assert_eq!(next(&wants, &later, None), Next::Settled, "it is not tried for ever");
    assert_eq!(next(&wants, &later, Some("again")), Next::Prove(VerifyLevel::Restore));
}

#[test]
fn a_backup_is_proven_as_far_as_it_says_and_tested_as_far_as_it_can_be() {
    let done = complete(Some(VerifyLevel::Catalog));
    assert_eq!(next(&spec(json!({})), &BackupStatus::default(), None), Next::Dump);
    assert_eq!(next(&spec(json!({"verify": "Restore"})), &done, None), Next::Prove(VerifyLevel::Restore));
    assert_eq!(next(&spec(json!({})), &done, None), Next::Settled);
    let answered = BackupStatus { last_restore_test: Some("1".into()), ..done.clone() };
    assert_eq!(next(&spec(json!({})), &answered, Some("1")), Next::Settled);
    assert_eq!(next(&spec(json!({})), &answered, Some("2")), Next::Prove(VerifyLevel::Restore));
    let closed = json!({"encryption": {"recipientsSecretRef": {"name": "age"}}});
    for cannot_be_restored in [json!({"format": "Plain"}), closed, json!({"content": {"what": "DataOnly"}})] {
        assert_eq!(next(&spec(cannot_be_restored), &done, Some("1")), Next::Prove(VerifyLevel::Catalog));
    }
}

#[test]
fn what_can_never_be_done_has_failed_at_once() {
    let blocked = Blocked::new(Reason::InvalidSpec, "spec.job.activeDeadline \"1 month\" has no fixed length");
    let (status, state) = after(BackupStatus::default(), Course::Hopeless(&blocked));
    assert!(is_true(&status.conditions, FAILED) && is_true(&status.conditions, STALLED));
    assert_eq!((state.reason, state.message), (Reason::InvalidSpec, blocked.message));
}
