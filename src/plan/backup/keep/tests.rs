//! Does a retention ever remove what nothing replaces? Tables of cases, and a property over random histories.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::Span;
use crate::api::span::SpanUnit;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-21T08:00:00Z")
}

fn backup(date: &str, state: State) -> Known {
    let at = at(&format!("{date}T02:00:00Z"));
    Known {
        name: format!("b-{date}"),
        at,
        state,
        held: false,
        used_by: None,
        bytes: 1,
        place: "s3://here".into(),
        foreign: false,
    }
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
    // One that did not hold is no less somebody's last hope.
    backups.insert(0, backup("2026-10-30", State::Doubtful));
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
fn a_newer_one_in_another_place_replaces_none() {
    let moved = |date: &str| Known { place: "s3://there".into(), ..restored(date) };
    let backups = [restored("2026-11-01"), restored("2026-11-10"), moved("2026-11-20"), moved("2026-11-21")];
    assert_eq!(going(&backups, &json!({"keepLast": 1})), ["2026-11-01", "2026-11-20"]);
    let fates = fates(&backups, Some(&rules(json!({"keepLast": 1}))), &TimeZone::UTC, now()).unwrap();
    let Fate::Stays(why) = &fates[1] else { panic!("{fates:?}") };
    assert_eq!(why[0].to_string(), "it is the last one in s3://here");
}

#[test]
fn what_was_made_for_another_database_never_goes_and_keeps_nothing_from_staying() {
    let foreign = |date: &str, state| Known { foreign: true, ..backup(date, state) };
    let proven = State::Complete(VerifyLevel::Restore);
    let mut backups =
        vec![foreign("2026-11-01", proven), restored("2026-11-10"), foreign("2026-11-20", proven), foreign("2026-11-21", proven)];
    assert_eq!(going(&backups, &json!({"keepLast": 1})), [""; 0], "the newest of ours is not the newest in the store");
    backups.push(restored("2026-11-11"));
    backups.push(foreign("2026-11-22", State::Doubtful));
    assert_eq!(going(&backups, &json!({"keepLast": 1})), ["2026-11-10"]);
}

#[test]
fn without_a_rule_everything_stays() {
    let backups = [restored("2020-01-01"), restored("2026-11-21")];
    let fates = fates(&backups, None, &TimeZone::UTC, now()).unwrap();
    assert!(fates.iter().all(|fate| *fate == Fate::Stays(vec![Why::NoRule])));
}

fn states() -> impl Strategy<Value = State> {
    prop_oneof![
        2 => Just(State::UnderWay),
        2 => Just(State::Failed),
        2 => Just(State::Doubtful),
        3 => Just(State::Complete(VerifyLevel::None)),
        3 => Just(State::Complete(VerifyLevel::Catalog)),
        3 => Just(State::Complete(VerifyLevel::Restore)),
    ]
}

fn any_rules() -> impl Strategy<Value = BackupRetention> {
    let count = || prop::option::of(1_i32..6);
    let unit = prop::sample::select(vec![SpanUnit::Hour, SpanUnit::Day, SpanUnit::Week, SpanUnit::Month, SpanUnit::Year]);
    let age = prop::option::of((1_u32..40, unit));
    (count(), count(), count(), count(), count(), age).prop_map(|(last, daily, weekly, monthly, yearly, age)| BackupRetention {
        keep_last: last,
        keep_daily: daily,
        keep_weekly: weekly,
        keep_monthly: monthly,
        keep_yearly: yearly,
        max_age: age.map(|(count, unit)| Span::new(count, unit)),
        mode: crate::api::Mode::Apply,
    })
}

fn zones() -> impl Strategy<Value = TimeZone> {
    let names = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"];
    prop::sample::select(names.map(|name| TimeZone::get(name).unwrap()).to_vec())
}

/// What happens between two looks.
#[derive(Clone, Debug)]
enum Event {
    /// Hours pass on the server, and a backup comes to this in one of two places. Some are found and were made for another database.
    Made(i64, State, bool, bool),
    /// What is known of one that is there changes: it ends, is proven, or does not hold.
    Becomes(prop::sample::Index, State),
    /// Somebody holds one, or lets it go.
    Held(prop::sample::Index, bool),
    /// A Restore needs one, or has ended.
    Used(prop::sample::Index, bool),
    /// The retention looks, by a clock that is so many hours off, and the operator dies before some of what it decided is done.
    Retires(i64, u64),
}

fn events() -> impl Strategy<Value = Event> {
    let off = prop_oneof![4 => -2_i64..2, 1 => -2000_i64..2000, 1 => 80_000_i64..100_000];
    prop_oneof![
        6 => (0_i64..24 * 20, states(), prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(hours, state, moved, foreign)| Event::Made(hours, state, moved, foreign)),
        2 => (any::<prop::sample::Index>(), states()).prop_map(|(which, state)| Event::Becomes(which, state)),
        1 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, held)| Event::Held(which, held)),
        1 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, used)| Event::Used(which, used)),
        4 => (off, prop_oneof![Just(u64::MAX), any::<u64>()]).prop_map(|(off, done)| Event::Retires(off, done)),
    ]
}

/// A schedule's backups, as they come and go.
#[derive(Default)]
struct History {
    backups: Vec<Known>,
    hours: i64,
    made: usize,
}

impl History {
    fn now(&self) -> Timestamp {
        at("2025-01-01T00:30:00Z") + jiff::SignedDuration::from_hours(self.hours)
    }

    fn happens(&mut self, event: &Event) {
        let mut change = |which: &prop::sample::Index, change: &dyn Fn(&mut Known)| {
            if !self.backups.is_empty() {
                change(which.get_mut(&mut self.backups));
            }
        };
        match event {
            Event::Made(hours, state, moved, foreign) => {
                self.hours += hours;
                self.made += 1;
                let (name, at) = (format!("b{:04}", self.made), self.now());
                let place = if *moved { "s3://there" } else { "s3://here" }.to_owned();
                let known = Known { name, at, state: *state, held: false, used_by: None, bytes: 1, place, foreign: *foreign };
                self.backups.push(known);
            }
            Event::Becomes(which, state) => change(which, &|known| known.state = *state),
            Event::Held(which, held) => change(which, &|known| known.held = *held),
            Event::Used(which, used) => change(which, &|known| known.used_by = used.then(|| "disaster".into())),
            Event::Retires(..) => {}
        }
    }

    /// What the retention decides by a clock that is so many hours off, after a look at whether that breaks a law.
    fn goes(&self, retention: &BackupRetention, zone: &TimeZone, off: i64) -> Result<Vec<Known>, TestCaseError> {
        let now = self.now() + jiff::SignedDuration::from_hours(off);
        let fates = fates(&self.backups, Some(retention), zone, now).unwrap();
        let (gone, left): (Vec<_>, Vec<_>) = self.backups.iter().zip(&fates).partition(|(_, fate)| matches!(fate, Fate::Goes(_)));
        let known = |all: Vec<(&Known, &Fate)>| all.into_iter().map(|(known, _)| known.clone()).collect::<Vec<Known>>();
        let (gone, left) = (known(gone), known(left));
        holds(&self.backups, &gone, &left, retention)?;
        Ok(gone)
    }
}

/// The laws: of what goes, and of what is left.
fn holds(before: &[Known], gone: &[Known], left: &[Known], retention: &BackupRetention) -> Result<(), TestCaseError> {
    let order = |known: &&Known| (known.at, known.name.clone());
    let last = before.iter().filter(|known| known.state != State::UnderWay && !known.foreign).max_by_key(order);
    let has_failed = last.is_some_and(|last| matches!(last.state, State::Failed | State::Doubtful));
    for old in gone {
        prop_assert!(!old.held && !old.foreign && old.used_by.is_none() && old.state != State::UnderWay, "{old:?}");
        // Of a failed one there is nothing in the store that could go.
        prop_assert!(!has_failed || old.state == State::Failed, "{old:?} goes although {last:?} has failed");
        let is_better = |new: &&Known| new.level() >= Some(old.level().unwrap_or(VerifyLevel::None));
        let replaces = |new: &&Known| order(new) > order(&old) && new.place == old.place && is_better(new);
        prop_assert!(
            old.state == State::Failed || left.iter().any(|new| replaces(&new)),
            "nothing replaces {old:?} of {before:?}"
        );
    }
    for level in [VerifyLevel::None, VerifyLevel::Catalog, VerifyLevel::Restore] {
        let newest = before.iter().filter(|known| known.level() >= Some(level)).max_by_key(order);
        prop_assert!(newest.is_none_or(|newest| left.contains(newest)), "{newest:?} is the newest of its degree and goes");
    }
    if let Some(count) = retention.keep_last
        && retention.max_age.is_none()
    {
        let complete = |all: &[Known]| all.iter().filter(|known| known.level().is_some()).count();
        prop_assert!(complete(left) >= complete(before).min(usize::try_from(count).unwrap()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_nothing_goes_that_a_newer_one_as_well_proven_does_not_replace(
        events in prop::collection::vec(events(), 0..60), retention in any_rules(), zone in zones(),
    ) {
        let mut history = History::default();
        for event in &events {
            history.happens(event);
            let Event::Retires(off, done) = event else { continue };
            let gone = history.goes(&retention, &zone, *off)?;
            let is_done = |name: &str| gone.iter().position(|known| known.name == name).is_some_and(|number| done >> (number % 64) & 1 == 1);
            history.backups.retain(|known| !is_done(&known.name));
            // Whoever comes after a death decides alike: the same ones, without those that are gone.
            let rest: Vec<Known> = gone.iter().filter(|known| !is_done(&known.name)).cloned().collect();
            prop_assert_eq!(history.goes(&retention, &zone, *off)?, rest);
        }
    }
}
