//! What a schedule does at which moment, and what it makes of its backups.

use serde_json::{Value, json};

use super::*;
use crate::api::backup::{Verification, VerifyLevel};
use crate::api::condition::{COMPLETE, Conditions, FAILED, READY, VERIFIED};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn spec(more: Value) -> BackupScheduleSpec {
    let mut spec = json!({
        "databaseRef": {"name": "db"}, "schedule": "0 2 * * *", "backup": {"destination": {"pvc": {"claimName": "backups"}}},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

const MADE: &str = "2026-11-18T12:00:00Z";

fn whose<'a>() -> Whose<'a> {
    Whose { namespace: "shop", name: "nightly", created: at(MADE), requested: None, hindrance: None }
}

fn seen(name: &str, created: &str, status: BackupStatus) -> Seen {
    Seen {
        name: name.into(),
        created: at(created),
        is_deleted: false,
        held: false,
        used_by: None,
        leaves_for: None,
        place: "s3://here".into(),
        foreign: false,
        status,
    }
}

/// One that is complete and was read back at this moment.
fn good(name: &str, when: &str) -> Seen {
    let conditions = Conditions::after(&[], None, at(when))
        .set(COMPLETE, true, Reason::Completed, "")
        .set(VERIFIED, true, Reason::Verified, "")
        .finish();
    let proof = Verification {
        level: VerifyLevel::Catalog,
        at: Time(at(when)),
        rows_matched: None,
        assertions: 0,
        restore_seconds: None,
    };
    let status = BackupStatus {
        conditions,
        completed_at: Some(Time(at(when))),
        directory: Some(format!("db/{name}")),
        verification: Some(proof),
        ..BackupStatus::default()
    };
    seen(name, when, status)
}

fn failed(name: &str, when: &str) -> Seen {
    let conditions = Conditions::after(&[], None, at(when)).set(FAILED, true, Reason::ToolFailed, "pg_dump said no").finish();
    seen(name, when, BackupStatus { conditions, ..BackupStatus::default() })
}

fn done(spec: &BackupScheduleSpec, before: &BackupScheduleStatus, backups: &[Seen], now: &str) -> Round {
    round(spec, whose(), before, backups, at(now)).unwrap()
}

fn answered(slot: &str) -> BackupScheduleStatus {
    BackupScheduleStatus { last_slot: Some(Time(at(slot))), ..BackupScheduleStatus::default() }
}

#[test]
fn a_backup_is_made_at_its_moment_once() {
    let spec = spec(json!({}));
    let before = done(&spec, &BackupScheduleStatus::default(), &[], "2026-11-18T23:00:00Z");
    assert_eq!((before.deeds.len(), before.due), (0, Some(at("2026-11-19T02:00:00Z"))));
    let due = done(&spec, &before.status, &[], "2026-11-19T02:00:01Z");
    let create = Deed::Create("nightly-20261119-0200".into());
    assert_eq!((&due.deeds, due.status.last_slot.clone()), (&vec![create], Some(Time(at("2026-11-19T02:00:00Z")))));
    // The answer was lost before the status was written: it is there already.
    let begun = seen("nightly-20261119-0200", "2026-11-19T02:00:01Z", BackupStatus::default());
    let again = done(&spec, &before.status, &[begun], "2026-11-19T02:00:05Z");
    assert_eq!((again.deeds, again.status.active), (vec![], Some("nightly-20261119-0200".into())));
}

#[test]
fn a_clock_that_was_years_ahead_is_forgotten_and_one_that_is_corrected_by_minutes_makes_no_second_backup() {
    let spec = spec(json!({"restoreTest": {"schedule": "0 4 * * *"}}));
    let mut wrong = answered("2036-11-21T02:00:00Z");
    wrong.last_test_slot = Some(Time(at("2036-11-21T04:00:00Z")));
    let corrected = done(&spec, &wrong, &[], "2026-11-21T03:00:00Z");
    assert_eq!((corrected.deeds.len(), corrected.due), (0, Some(at("2026-11-21T04:00:00Z"))));
    let next = done(&spec, &corrected.status, &[], "2026-11-22T02:00:01Z");
    assert_eq!((next.deeds, next.status.missed), (vec![Deed::Create("nightly-20261122-0200".into())], 0));
    let early = done(&spec, &answered("2026-11-21T02:00:00Z"), &[], "2026-11-21T01:59:30Z");
    assert_eq!((early.deeds.len(), early.status.last_slot), (0, Some(Time(at("2026-11-21T02:00:00Z")))));
}

#[test]
fn one_that_is_under_way_makes_the_next_one_wait_or_be_missed() {
    let spec = spec(json!({"schedule": "0 * * * *", "startingDeadline": "10m"}));
    let begun = BackupStatus { started_at: Some(Time(at("2026-11-19T01:00:02Z"))), ..BackupStatus::default() };
    let long = [seen("nightly-20261119-0100", "2026-11-19T01:00:00Z", begun)];
    let before = answered("2026-11-19T01:00:00Z");
    let waits = done(&spec, &before, &long, "2026-11-19T02:05:00Z");
    assert_eq!((waits.deeds.len(), waits.status.last_slot, waits.status.missed), (0, before.last_slot.clone(), 0));
    let missed = done(&spec, &before, &long, "2026-11-19T02:11:00Z");
    assert_eq!((missed.deeds.len(), missed.status.missed), (0, 1));
    assert_eq!(missed.trouble.unwrap().0, Reason::BackupMissed);
    let ended = [good("nightly-20261119-0100", "2026-11-19T02:06:00Z")];
    let begins = done(&spec, &before, &ended, "2026-11-19T02:06:00Z");
    assert_eq!(begins.deeds, [Deed::Create("nightly-20261119-0200".into())]);
}

#[test]
fn one_that_waits_behind_another_schedules_backup_for_longer_than_it_may_be_late_is_missed() {
    let spec = spec(json!({"startingDeadline": "30m"}));
    let before = answered("2026-11-19T02:00:00Z");
    let mut queued = seen("nightly-20261119-0200", "2026-11-19T02:00:01Z", BackupStatus::default());
    let waits = done(&spec, &before, &[queued.clone()], "2026-11-19T02:30:00Z");
    assert_eq!((waits.deeds, waits.due), (vec![], Some(at("2026-11-19T02:30:01Z"))));
    let mut late = done(&spec, &before, &[queued.clone()], "2026-11-19T02:30:01Z");
    let give_up = Deed::GiveUp(queued.name.clone());
    assert_eq!((&late.deeds, late.status.missed, &late.status.active), (&vec![give_up.clone()], 1, &None));
    assert_eq!(late.trouble.clone().unwrap().0, Reason::BackupMissed);
    late.undo(&give_up, &before);
    assert_eq!((late.status.missed, &late.status.last_missed, late.status.active), (0, &None, Some(queued.name.clone())));
    queued.status.started_at = Some(Time(at("2026-11-19T02:29:00Z")));
    assert_eq!(done(&spec, &before, &[queued.clone()], "2026-11-19T09:00:00Z").deeds, [], "it has begun in time");
    let by_hand = seen("nightly-now-12345678", "2026-11-19T02:00:01Z", BackupStatus::default());
    assert_eq!(done(&spec, &before, &[by_hand], "2026-11-19T09:00:00Z").deeds, [], "whoever asks for one waits for it");
}

#[test]
fn what_could_not_be_done_is_not_in_the_status() {
    let spec = spec(json!({"restoreTest": {"schedule": "0 4 * * *"}}));
    let before = BackupScheduleStatus { missed: 5, ..answered("2026-11-16T02:00:00Z") };
    let backups = [good("a", "2026-11-16T02:00:00Z")];
    let mut round = done(&spec, &before, &backups, "2026-11-19T02:00:01Z");
    assert_eq!((round.status.missed, round.status.last_slot.clone()), (7, Some(Time(at("2026-11-19T02:00:00Z")))));
    for deed in std::mem::take(&mut round.deeds) {
        round.undo(&deed, &before);
    }
    assert_eq!((round.status.missed, round.status.last_slot, round.is_answered), (5, before.last_slot.clone(), false));
    let mut round = done(&spec, &answered("2026-11-21T02:00:00Z"), &backups, "2026-11-21T04:00:00Z");
    for deed in std::mem::take(&mut round.deeds) {
        round.undo(&deed, &before);
    }
    assert_eq!(round.status.last_test_slot, None);
}

#[test]
fn a_missed_backup_is_trouble_until_the_next_one_is_complete() {
    let spec = spec(json!({}));
    let missed = done(&spec, &answered("2026-11-19T02:00:00Z"), &[], "2026-11-20T09:00:00Z");
    assert_eq!((missed.status.missed, missed.trouble.clone().unwrap().0), (1, Reason::BackupMissed));
    let next = done(&spec, &missed.status, &[good("b", "2026-11-21T02:03:00Z")], "2026-11-21T02:04:00Z");
    assert_eq!(next.trouble, None);
}

#[test]
fn what_has_failed_or_does_not_hold_is_trouble_and_counted() {
    let spec = spec(json!({}));
    let backups = [good("a", "2026-11-19T02:00:00Z"), failed("b", "2026-11-20T02:00:00Z"), failed("c", "2026-11-21T02:00:00Z")];
    let round = done(&spec, &answered("2026-11-21T02:00:00Z"), &backups, "2026-11-21T09:00:00Z");
    assert_eq!(round.trouble, Some((Reason::ToolFailed, "Backup c has failed: pg_dump said no".into())));
    assert_eq!((round.status.failures, round.status.backups.complete, round.status.backups.failed), (2, 1, 2));
    let mut doubtful = good("d", "2026-11-21T02:00:00Z");
    let doubt = Conditions::after(&[], None, at(MADE)).set(VERIFIED, false, Reason::BackupDamaged, "altered");
    doubtful.status.conditions = doubt.finish();
    let round = done(&spec, &answered("2026-11-21T02:00:00Z"), &[backups[0].clone(), doubtful], "2026-11-21T09:00:00Z");
    assert_eq!(round.trouble.unwrap().0, Reason::BackupDamaged);
    assert_eq!(round.status.last_verified.unwrap().name, "a", "a doubtful one proves nothing");
}

#[test]
fn a_suspended_schedule_does_nothing_and_lets_its_moments_pass() {
    let spec = spec(json!({"suspend": true, "retention": {"keepLast": 1}, "restoreTest": {"schedule": "0 4 * * *"}}));
    let backups = [good("a", "2026-11-19T02:00:00Z"), good("b", "2026-11-20T02:00:00Z")];
    let round = done(&spec, &BackupScheduleStatus::default(), &backups, "2026-11-21T09:00:00Z");
    assert!(round.deeds.is_empty() && round.status.next_run.is_none() && round.status.plan.is_none());
    assert_eq!(round.status.last_slot, Some(Time(at("2026-11-21T02:00:00Z"))));
    assert_eq!(round.status.last_test_slot, Some(Time(at("2026-11-21T04:00:00Z"))));
    assert_eq!(round.status.missed, 0);
}

#[test]
fn a_restore_test_takes_the_newest_good_backup_and_waits_for_one_that_is_under_way() {
    let spec = spec(json!({"restoreTest": {"schedule": "0 4 * * *"}}));
    let before = answered("2026-11-21T02:00:00Z");
    let backups = [good("a", "2026-11-20T02:00:00Z"), good("b", "2026-11-21T02:00:00Z")];
    let due = done(&spec, &before, &backups, "2026-11-21T04:00:00Z");
    assert_eq!(due.deeds, [Deed::Test { backup: "b".into(), request: "2026-11-21T04:00:00Z".into() }]);
    let again = done(&spec, &due.status, &backups, "2026-11-21T04:00:09Z");
    assert_eq!(again.deeds, []);
    let busy = [backups[0].clone(), seen("c", "2026-11-21T03:59:00Z", BackupStatus::default())];
    let waits = done(&spec, &before, &busy, "2026-11-21T04:00:00Z");
    assert_eq!((waits.deeds.len(), waits.status.last_test_slot), (0, None));
}

#[test]
fn a_request_is_answered_by_one_backup() {
    let spec = spec(json!({}));
    let asked = Whose { requested: Some("now"), ..whose() };
    let before = answered("2026-11-21T02:00:00Z");
    let first = round(&spec, asked, &before, &[], at("2026-11-21T09:00:00Z")).unwrap();
    let [Deed::Create(name)] = &first.deeds[..] else { panic!("{:?}", first.deeds) };
    assert!(name.starts_with("nightly-now-") && first.is_answered);
    let begun = [seen(name, "2026-11-21T09:00:00Z", BackupStatus::default())];
    let again = round(&spec, asked, &before, &begun, at("2026-11-21T09:00:01Z")).unwrap();
    assert!(again.deeds.is_empty() && again.is_answered);
    let busy = [seen("other", "2026-11-21T08:00:00Z", BackupStatus::default())];
    let waits = round(&spec, asked, &before, &busy, at("2026-11-21T09:00:01Z")).unwrap();
    assert!(waits.deeds.is_empty() && !waits.is_answered);
}

#[test]
fn what_goes_names_the_newer_backup_that_takes_its_place() {
    let spec = spec(json!({"retention": {"keepLast": 1}}));
    let mut backups =
        vec![good("a", "2026-11-19T02:00:00Z"), good("b", "2026-11-20T02:00:00Z"), good("c", "2026-11-21T02:00:00Z")];
    let before = answered("2026-11-21T02:00:00Z");
    let goes = |name: &str| Deed::Evict { backup: name.into(), replaced_by: Some("db/c".into()) };
    let round = done(&spec, &before, &backups, "2026-11-21T09:00:00Z");
    assert_eq!(round.deeds, [goes("a"), goes("b")]);
    assert_eq!(round.status.plan.unwrap().summary, "2 to remove");
    backups[0].is_deleted = true;
    backups[1].held = true;
    backups[1].leaves_for = Some("db/c".into());
    let round = done(&spec, &before, &backups, "2026-11-21T09:00:00Z");
    assert_eq!(round.deeds, [Deed::Spare("b".into())], "what is on its way is left alone, what is held now stays");
    backups[1].held = false;
    backups[2].status.directory = None;
    let round = done(&spec, &before, &backups, "2026-11-21T09:00:00Z");
    assert_eq!(round.deeds, [], "nobody could look whether the newer one is whole");
}

#[test]
fn what_could_not_go_for_a_while_names_one_that_is_still_there() {
    let spec = spec(json!({"retention": {"keepLast": 1}}));
    let mut backups = vec![good("a", "2026-11-19T02:00:00Z"), good("c", "2026-11-21T02:00:00Z")];
    backups[0].is_deleted = true;
    let relieves = |leaves_for: &str, backups: &[Seen]| {
        let mut backups = backups.to_vec();
        backups[0].leaves_for = Some(leaves_for.into());
        done(&spec, &answered("2026-11-21T02:00:00Z"), &backups, "2026-11-21T09:00:00Z").deeds
    };
    assert_eq!(relieves("db/c", &backups), []);
    assert_eq!(relieves("", &backups), [], "it held nothing");
    let relieved = Deed::Relieve { backup: "a".into(), replaced_by: "db/c".into() };
    assert_eq!(relieves("db/b", &backups), [relieved], "the one that it left for has gone itself");
    backups[1].place = "s3://there".into();
    assert_eq!(relieves("db/b", &backups), [], "nobody would find that one beside it");
}

#[test]
fn a_backup_that_was_made_for_another_database_is_none_of_the_schedules() {
    let spec = spec(json!({"retention": {"keepLast": 1}, "restoreTest": {"schedule": "0 4 * * *"}}));
    let mut foreign = good("f", "2026-11-20T12:00:00Z");
    (foreign.foreign, foreign.held) = (true, true);
    let round = done(&spec, &answered("2026-11-21T02:00:00Z"), &[foreign.clone()], "2026-11-21T09:00:00Z");
    assert_eq!((round.deeds, round.status.last_backup, round.status.backups.complete), (vec![], None, 0));
    let ours = good("a", "2026-11-20T02:00:00Z");
    let round = done(&spec, &answered("2026-11-21T02:00:00Z"), &[foreign, ours], "2026-11-21T09:00:00Z");
    let test = Deed::Test { backup: "a".into(), request: "2026-11-21T04:00:00Z".into() };
    assert_eq!((round.deeds, round.status.last_backup.unwrap().name), (vec![test], "a".into()));
}

#[test]
fn a_backup_of_a_server_whose_clock_was_ahead_is_not_the_newest_for_ever() {
    let spec = spec(json!({"retention": {"keepLast": 1}}));
    let mut odd = good("odd", "2026-11-19T02:00:00Z");
    odd.status.snapshot_at = Some(Time(at("2036-01-01T00:00:00Z")));
    let backups = [odd, good("b", "2026-11-20T02:00:00Z")];
    let round = done(&spec, &answered("2026-11-21T02:00:00Z"), &backups, "2026-11-21T09:00:00Z");
    assert_eq!(round.deeds, [Deed::Evict { backup: "odd".into(), replaced_by: Some("db/b".into()) }]);
    assert_eq!(round.status.last_backup.unwrap().name, "b");
}

#[test]
fn what_is_about_to_go_and_is_the_only_one_that_is_whole_is_trouble() {
    let spec = spec(json!({"retention": {"keepLast": 1}}));
    let mut old = good("a", "2026-11-20T02:00:00Z");
    old.is_deleted = true;
    old.leaves_for = Some("db/c".into());
    let refused = Conditions::after(&old.status.conditions, None, at(MADE)).set(READY, false, Reason::BackupDamaged, "c is gone");
    old.status.conditions = refused.finish();
    let backups = [old, good("c", "2026-11-21T02:00:00Z")];
    let round = done(&spec, &answered("2026-11-21T02:00:00Z"), &backups, "2026-11-21T09:00:00Z");
    assert_eq!(round.trouble, Some((Reason::BackupDamaged, "Backup a cannot go: c is gone".into())));
}

#[test]
fn what_keeps_the_retention_from_acting_is_trouble_and_stops_no_backup() {
    let spec = spec(json!({"retention": {"keepLast": 1}}));
    let whose = Whose { hindrance: Some("Restore odd cannot be read"), ..whose() };
    let round = round(&spec, whose, &answered("2026-11-20T02:00:00Z"), &[], at("2026-11-21T02:00:01Z")).unwrap();
    assert_eq!(round.trouble, Some((Reason::InvalidSpec, "Restore odd cannot be read".into())));
    assert_eq!(round.deeds, [Deed::Create("nightly-20261121-0200".into())]);
}

#[test]
fn the_status_says_when_the_newest_proven_one_was_proven() {
    let mut tried = good("a", "2026-11-20T02:00:00Z");
    let proof = tried.status.verification.as_mut().unwrap();
    (proof.level, proof.at) = (VerifyLevel::Restore, Time(at("2026-11-22T04:00:00Z")));
    let round = done(&spec(json!({})), &answered("2026-11-22T02:00:00Z"), &[tried], "2026-11-22T09:00:00Z");
    let restored = round.status.last_restored.unwrap();
    assert_eq!(
        (restored.completed_at.0, restored.proven_at),
        (at("2026-11-20T02:00:00Z"), Some(Time(at("2026-11-22T04:00:00Z"))))
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    let wrong = |more: Value| round(&spec(more), whose(), &BackupScheduleStatus::default(), &[], at(MADE)).unwrap_err();
    assert!(wrong(json!({"schedule": "nightly at two"})).contains("nightly at two"));
    assert!(wrong(json!({"timeZone": "Mars/Olympus"})).contains("Mars/Olympus"));
    assert!(wrong(json!({"restoreTest": {"schedule": "often enough"}})).starts_with("restoreTest."));
    assert!(wrong(json!({"jitter": "1 month"})).starts_with("jitter"));
}
