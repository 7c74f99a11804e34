//! Does a retention ever remove what nothing replaces? Tables of cases, and a property over random histories.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-21T08:00:00Z")
}

fn backup(date: &str, state: State) -> Known {
    let at = at(&format!("{date}T02:00:00Z"));
    Known { name: format!("b-{date}"), at, state, held: false, used_by: None, bytes: 1 }
}

fn restored(date: &str) -> Known {
    backup(date, State::Complete(VerifyLevel::Restore))
}

fn rules(value: Value) -> BackupRetention {
    serde_json::from_value(value).unwrap()
}

/// Names of those that go.
fn going(backups: &[Known], retention: &Value) -> Vec<String> {
    let fates = fates(backups, Some(&rules(retention.clone())), &TimeZone::UTC, now()).unwrap();
    let gone = backups.iter().zip(fates).filter(|(_, fate)| matches!(fate, Fate::Goes(_)));
    gone.map(|(backup, _)| backup.name.trim_start_matches("b-").to_owned()).collect()
}

#[test]
fn the_last_ones_and_the_newest_of_each_day_week_and_month_stay() {
    let days = [
        "2026-09-01",
        "2026-09-30",
        "2026-10-05",
        "2026-10-31",
        "2026-11-09",
        "2026-11-15",
        "2026-11-16",
        "2026-11-20",
        "2026-11-21",
    ];
    let backups: Vec<Known> = days.into_iter().map(restored).collect();
    assert_eq!(going(&backups, &json!({"keepLast": 2})), days[..7]);
    assert_eq!(going(&backups, &json!({"keepDaily": 3})), days[..6]);
    assert_eq!(
        going(&backups, &json!({"keepWeekly": 2})),
        ["2026-09-01", "2026-09-30", "2026-10-05", "2026-10-31", "2026-11-09", "2026-11-16", "2026-11-20"]
    );
    assert_eq!(
        going(&backups, &json!({"keepMonthly": 12})),
        ["2026-09-01", "2026-10-05", "2026-11-09", "2026-11-15", "2026-11-16", "2026-11-20"]
    );
    assert_eq!(going(&backups, &json!({"keepYearly": 1})), days[..8]);
}

#[test]
fn days_are_those_of_the_time_zone() {
    let late = Known { at: at("2026-11-20T23:30:00Z"), ..restored("2026-11-20") };
    let early = Known { at: at("2026-11-21T00:30:00Z"), ..restored("2026-11-21") };
    let backups = [late, early];
    assert_eq!(going(&backups, &json!({"keepDaily": 9})), [""; 0]);
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let fates = fates(&backups, Some(&rules(json!({"keepDaily": 9}))), &berlin, now()).unwrap();
    assert_eq!(fates[0], Fate::Goes(Why::NotKept), "both are of 21 November in Berlin");
}

#[test]
fn max_age_alone_keeps_what_is_younger_and_beside_others_bounds_them() {
    let days = ["2026-08-01", "2026-10-20", "2026-11-01", "2026-11-21"];
    let backups: Vec<Known> = days.into_iter().map(restored).collect();
    assert_eq!(going(&backups, &json!({"maxAge": "30 days"})), days[..2]);
    assert_eq!(going(&backups, &json!({"maxAge": "30 days", "keepMonthly": 12})), days[..3]);
}

#[test]
fn after_a_month_away_ages_are_counted_from_the_newest() {
    let backups = [restored("2026-06-20"), restored("2026-07-01"), restored("2026-07-02")];
    assert_eq!(going(&backups, &json!({"maxAge": "7 days"})), ["2026-06-20"]);
}

#[test]
fn a_clock_that_runs_ahead_lets_nothing_go() {
    let backups = ["2026-11-01", "2026-11-20", "2026-11-21"].map(restored);
    let retention = rules(json!({"maxAge": "30 days"}));
    for now in ["2026-11-21T03:00:00Z", "2027-02-01T00:00:00Z", "2036-11-21T03:00:00Z"] {
        let fates = fates(&backups, Some(&retention), &TimeZone::UTC, at(now)).unwrap();
        assert!(fates.iter().all(|fate| matches!(fate, Fate::Stays(_))), "{now}: {fates:?}");
    }
}

#[test]
fn a_newer_backup_replaces_an_older_one_only_if_it_is_as_well_proven() {
    let backups = [
        restored("2026-11-01"),
        backup("2026-11-10", State::Complete(VerifyLevel::Catalog)),
        backup("2026-11-20", State::Complete(VerifyLevel::None)),
    ];
    assert_eq!(going(&backups, &json!({"keepLast": 1})), [""; 0]);
    let mut more = backups.to_vec();
    more.push(restored("2026-11-21"));
    assert_eq!(going(&more, &json!({"keepLast": 1})), ["2026-11-01", "2026-11-10", "2026-11-20"]);
}

#[test]
fn while_the_last_backup_has_failed_nothing_goes() {
    let mut backups =
        vec![restored("2026-11-01"), restored("2026-11-10"), restored("2026-11-20"), backup("2026-11-21", State::Failed)];
    assert_eq!(going(&backups, &json!({"keepLast": 1})), [""; 0]);
    // One that is under way says nothing yet.
    backups.push(Known { at: at("2026-11-21T03:00:00Z"), ..backup("2026-11-22", State::UnderWay) });
    assert_eq!(going(&backups, &json!({"keepLast": 1})), [""; 0]);
}

#[test]
fn what_is_held_used_or_under_way_stays() {
    let mut backups = vec![restored("2026-11-01"), restored("2026-11-02"), restored("2026-11-03"), restored("2026-11-21")];
    backups[0].held = true;
    backups[1].used_by = Some("disaster".into());
    assert_eq!(going(&backups, &json!({"keepLast": 1})), ["2026-11-03"]);
}

#[test]
fn of_failed_ones_the_last_three_stay_listed() {
    let mut backups: Vec<Known> = (1..=5).map(|day| backup(&format!("2026-11-0{day}"), State::Failed)).collect();
    backups.push(restored("2026-11-21"));
    assert_eq!(going(&backups, &json!({"keepLast": 1})), ["2026-11-01", "2026-11-02"]);
}

#[test]
fn one_that_proved_wrong_replaces_nothing_and_stays_until_a_newer_one_is_better() {
    let mut backups = vec![restored("2026-11-01"), restored("2026-11-10"), backup("2026-11-20", State::Doubtful)];
    assert_eq!(going(&backups, &json!({"keepLast": 1})), [""; 0]);
    backups.push(restored("2026-11-21"));
    assert_eq!(going(&backups, &json!({"keepLast": 1})), ["2026-11-01", "2026-11-10", "2026-11-20"]);
    assert_eq!(going(&backups, &json!({"keepLast": 2})), ["2026-11-01", "2026-11-20"], "it takes nobody's place");
}

#[test]
fn without_a_rule_everything_stays() {
    let backups = [restored("2020-01-01"), restored("2026-11-21")];
    let fates = fates(&backups, None, &TimeZone::UTC, now()).unwrap();
    assert!(fates.iter().all(|fate| *fate == Fate::Stays(vec![Why::NoRule])));
}

fn histories() -> impl Strategy<Value = Vec<Known>> {
    let state = prop_oneof![
        Just(State::UnderWay),
        Just(State::Failed),
        Just(State::Doubtful),
        Just(State::Complete(VerifyLevel::None)),
        Just(State::Complete(VerifyLevel::Catalog)),
        Just(State::Complete(VerifyLevel::Restore)),
    ];
    let one = (0_i64..400 * 24, state, prop::bool::weighted(0.05));
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let known = |(number, (hours, state, held)): (usize, (i64, State, bool))| Known {
            name: format!("b{number}"),
            at: now() - jiff::SignedDuration::from_hours(hours),
            state,
            held,
            used_by: None,
            bytes: 1,
        };
        all.into_iter().enumerate().map(known).collect()
    })
}

fn any_rules() -> impl Strategy<Value = BackupRetention> {
    let count = || prop::option::of(1_i32..6);
    (count(), count(), count(), count(), count(), prop::option::of(1_u32..400)).prop_map(
        |(last, daily, weekly, monthly, yearly, age)| BackupRetention {
            keep_last: last,
            keep_daily: daily,
            keep_weekly: weekly,
            keep_monthly: monthly,
            keep_yearly: yearly,
            max_age: age.map(|days| crate::api::Span::new(days, crate::api::span::SpanUnit::Day)),
            mode: crate::api::Mode::Apply,
        },
    )
}

proptest! {
    #[test]
    fn nothing_goes_that_a_newer_one_as_well_proven_does_not_replace(mut backups in histories(), retention in any_rules()) {
        // Again and again, as the operator does it, until nothing goes any more.
        for round in 0..50 {
            let fates = fates(&backups, Some(&retention), &TimeZone::UTC, now()).unwrap();
            let gone: Vec<Known> = backups.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Goes(_))).map(|(known, _)| known.clone()).collect();
            let left: Vec<Known> = backups.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Stays(_))).map(|(known, _)| known.clone()).collect();
            let last = backups.iter().filter(|known| known.state != State::UnderWay).max_by_key(|known| (known.at, &known.name));
            for old in &gone {
                prop_assert!(!old.held && old.state != State::UnderWay);
                if old.state == State::Doubtful {
                    prop_assert!(left.iter().any(|new| new.at >= old.at && new.level().is_some()), "{old:?} of {backups:?}");
                }
                if let Some(level) = old.level() {
                    prop_assert!(left.iter().any(|new| new.at >= old.at && new.level().is_some_and(|proven| proven >= level)), "{old:?} of {backups:?}");
                    prop_assert!(last.is_none_or(|last| !matches!(last.state, State::Failed | State::Doubtful)));
                }
            }
            if let Some(count) = retention.keep_last && retention.max_age.is_none() {
                let complete = |all: &[Known]| all.iter().filter(|known| known.level().is_some()).count();
                prop_assert!(complete(&left) >= complete(&backups).min(usize::try_from(count).unwrap()));
            }
            if gone.is_empty() {
                return Ok(());
            }
            prop_assert!(round < 5, "a removal that is repeated comes to an end");
            backups = left;
        }
    }
}
