//! Every state of a Backup, and what becomes of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::api::backup::{Tables, Unproven, Verification};

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
    report(VerifyLevel::Catalog, status, Some(1), None, course, now())
}

/// The same of one whose proof was given up for this reason.
fn given_up(mut status: BackupStatus, level: VerifyLevel, reason: Reason) -> BackupStatus {
    let failures = i32::try_from(PROOFS).unwrap();
    status.unproven = Some(Unproven { level, at: Time(now()), reason: reason.to_string(), message: "no".into() });
    BackupStatus { failures, ..status }
}

fn summary_of(status: &BackupStatus) -> String {
    let types = [COMPLETE, FAILED, VERIFIED, PROGRESSING, READY, RECONCILING, STALLED];
    types.map(|type_| if is_true(&status.conditions, type_) { type_ } else { "-" }).join(" ")
}

#[test]
fn conditions_say_what_a_pass_came_to() {
    let begun = BackupStatus { started_at: Some(Time(now())), ..BackupStatus::default() };
    let (broken, missing) = (Blocked::new(Reason::ToolFailed, "no"), Blocked::new(Reason::ToolsMissing, "no"));
    let damaged = Blocked::new(Reason::BackupDamaged, "altered");
    let read_back = complete(Some(VerifyLevel::Catalog));
    for (status, course, expected) in [
        (begun.clone(), Course::Queued("waits"), "- - - Progressing - Reconciling -"),
        (begun.clone(), Course::Runs("runs", 0), "- - - Progressing - Reconciling -"),
        (begun.clone(), Course::Refused(&broken, 1), "- - - - - Reconciling -"),
        (begun.clone(), Course::Refused(&missing, 1), "- - - - - - Stalled"),
        (begun, Course::Hopeless(&broken), "- Failed - - - - Stalled"),
        (complete(None), Course::Settled, "Complete - - - Ready - -"),
        (complete(None), Course::Runs("is read back", 0), "Complete - - Progressing Ready Reconciling -"),
        (read_back.clone(), Course::Settled, "Complete - Verified - Ready - -"),
        (read_back.clone(), Course::Refused(&damaged, 1), "Complete - - - - - Stalled"),
        (read_back.clone(), Course::Refused(&broken, 1), "Complete - Verified - - Reconciling -"),
        (
            given_up(read_back.clone(), VerifyLevel::Restore, Reason::ToolFailed),
            Course::Settled,
            "Complete - Verified - - - Stalled",
        ),
        (given_up(complete(None), VerifyLevel::Catalog, Reason::ToolFailed), Course::Settled, "Complete - - - - - Stalled"),
        (given_up(read_back, VerifyLevel::Restore, Reason::VerificationFailed), Course::Settled, "Complete - - - - - Stalled"),
    ] {
        let (found, _) = after(status, course);
        assert_eq!(summary_of(&found), expected, "{course:?}");
    }
}

#[test]
fn a_backup_is_given_up_after_half_an_hour_of_refusals_or_four_tries_and_not_while_a_job_is_at_it() {
    let ago = |minutes: i64| now() - SignedDuration::from_mins(minutes);
    let refused = Blocked::new(Reason::Unreachable, "nobody listens");
    let of = |course: Course<'_>, before: BackupStatus, minutes: i64| {
        let status = BackupStatus { started_at: Some(Time(ago(120))), ..before };
        report(VerifyLevel::Catalog, status, Some(1), None, course, ago(minutes)).0
    };
    let new = BackupStatus::default;
    let since = |minutes| of(Course::Refused(&refused, 0), new(), minutes);
    let anew = |minutes| of(Course::Refused(&refused, 0), of(Course::Runs("runs", 0), since(60), 40), minutes);
    for (status, reason, times, is_given_up) in [
        (new(), Reason::Unreachable, 0, false),
        (since(29), Reason::Unreachable, 0, false),
        (since(30), Reason::Unreachable, 0, true),
        (anew(29), Reason::Unreachable, 0, false),
        (anew(30), Reason::Unreachable, 0, true),
        (of(Course::Runs("runs", 0), new(), 60), Reason::Unreachable, 0, false),
        (since(60), Reason::KubernetesUnavailable, 0, false),
        (since(30), Reason::ToolFailed, TRIES - 1, false),
        (since(1), Reason::ToolFailed, TRIES, true),
        (BackupStatus { started_at: Some(Time(ago(29))), ..new() }, Reason::ToolFailed, TRIES, false),
    ] {
        assert_eq!(is_over(&status, reason, times, now()), is_given_up, "{reason}, {times}: {:?}", status.conditions);
    }
    for (times, is_given_up) in [(0, false), (PROOFS - 1, false), (PROOFS, true)] {
        assert_eq!(is_proof_over(&since(1), Reason::ToolFailed, times, now()), is_given_up, "{times}");
    }
    assert!(is_proof_over(&since(30), Reason::InvalidSpec, 0, now()));
}

#[test]
fn failures_are_those_before_the_try_that_runs() {
    let broken = Blocked::new(Reason::ToolFailed, "no");
    let mut status = BackupStatus::default();
    for (course, expected) in [
        (Course::Runs("runs", 0), 0),
        (Course::Refused(&broken, 1), 1),
        (Course::Runs("runs again", 1), 1),
        (Course::Refused(&broken, 2), 2),
        (Course::Refused(&broken, 0), 2),
        (Course::Hopeless(&broken), 2),
    ] {
        status = after(status, course).0;
        assert_eq!(status.failures, expected, "{course:?}");
    }
}

#[test]
fn who_has_begun_is_not_held_up_by_another_of_the_same_second() {
    let turn = |waits, second, name: &str| Turn { waits, made: Timestamp::from_second(second).ok(), name: name.into() };
    assert!(turn(false, 5, "z") < turn(true, 5, "a"), "it has begun");
    assert!(turn(true, 4, "z") < turn(true, 5, "a"), "it is older");
    assert!(turn(true, 5, "a") < turn(true, 5, "z"), "of one second, the name decides");
}

#[test]
fn what_has_failed_stays_so_whatever_a_later_pass_finds() {
    let broken = Blocked::new(Reason::Unreachable, "nobody listens");
    let (failed, _) = after(BackupStatus::default(), Course::Hopeless(&broken));
    assert_eq!(next(&spec(json!({})), &failed, Some("now")), Next::Settled);
    let (again, state) = after(failed.clone(), Course::Settled);
    assert_eq!((state.reason, again.conditions), (Reason::Unreachable, failed.conditions));
}

#[test]
fn a_doubt_stays_until_a_proof_answers_it() {
    let damaged = Blocked::new(Reason::BackupDamaged, "altered");
    let (doubtful, _) = after(complete(Some(VerifyLevel::Catalog)), Course::Refused(&damaged, 1));
    assert!(is_doubtful(&doubtful));
    let wants = spec(json!({"verify": "Restore"}));
    assert_eq!(next(&wants, &doubtful, None), Next::Prove(VerifyLevel::Restore), "it is tried again");
    let (again, _) = after(doubtful, Course::Runs("is tried again", 1));
    assert!(is_doubtful(&again), "a doubt is none less while it is looked into");
    let (later, state) = after(given_up(again, VerifyLevel::Restore, Reason::BackupDamaged), Course::Settled);
    assert_eq!((state.ready, state.reason), (false, Reason::BackupDamaged));
    assert_eq!(later.failures, i32::try_from(PROOFS).unwrap(), "how often it was tried is not forgotten");
    assert_eq!(next(&wants, &later, None), Next::Settled, "it is not tried for ever");
    assert_eq!(next(&wants, &later, Some("again")), Next::Prove(VerifyLevel::Restore));
}

#[test]
fn a_backup_is_verified_once_it_is_proven_as_far_as_it_says() {
    let of = |wanted, proven: Option<VerifyLevel>, unproven: Option<Reason>| {
        let mut status = complete(proven);
        if let Some(reason) = unproven {
            status = given_up(status, VerifyLevel::Restore, reason);
        }
        let (status, state) = report(wanted, status, None, None, Course::Settled, now());
        let verified = find(&status.conditions, VERIFIED).unwrap();
        (verified.status == "True", verified.reason.clone(), verified.message.clone(), state)
    };
    use VerifyLevel::{Catalog, Restore};
    for (wanted, proven, unproven, (verified, reason, says), ready) in [
        (Catalog, None, None, (false, "NotVerified", "it is still to be read back"), true),
        (Catalog, Some(Catalog), None, (true, "Verified", "read back whole, at"), true),
        (
            Restore,
            Some(Catalog),
            None,
            (false, "NotVerified", "read back whole, at 2026-11-21T08:00:00Z; a restore is still to come"),
            true,
        ),
        (Restore, Some(Restore), None, (true, "Verified", "restored"), true),
        (VerifyLevel::None, None, None, (false, "NotVerified", "no proof beyond its manifest"), true),
        (Restore, Some(Catalog), Some(Reason::ScratchFull), (false, "ScratchFull", "read back whole"), false),
        (Catalog, Some(Catalog), Some(Reason::ScratchFull), (true, "Verified", "read back whole"), false),
        (Catalog, Some(Catalog), Some(Reason::VerificationFailed), (false, "VerificationFailed", "no"), false),
    ] {
        let found = of(wanted, proven, unproven);
        assert_eq!((found.0, found.1.as_str()), (verified, reason), "{wanted} {proven:?} {unproven:?}");
        assert!(found.2.contains(says), "{}", found.2);
        assert_eq!(found.3.ready, ready, "{wanted} {proven:?} {unproven:?}");
    }
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
