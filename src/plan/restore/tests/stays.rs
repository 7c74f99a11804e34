//! What does not go or come as it should: is it waited for no longer than allowed, and is nothing said that is not so?

use super::super::*;
use super::model::{Filling, Model, ORIGINAL, TARGET, database};
use crate::api::Reason;

/// Which of the two has the name is seen, not asked for.
#[test]
fn a_rollback_is_one_only_where_the_former_database_has_its_name() {
    let complete = || {
        let mut model = Model::new("Swap", Filling::Whole, None);
        model.run();
        model
    };
    let rolled_back = |model: &mut Model, rollback: bool| {
        model.spec.rollback = rollback;
        let end = model.run();
        (matches!(end, Act::Keep(..)), model.status.rolled_back)
    };
    assert_eq!(rolled_back(&mut complete(), true), (true, true));
    let mut to_and_fro = complete();
    to_and_fro.cut_before = Some(to_and_fro.effects + 4);
    assert_eq!((rolled_back(&mut to_and_fro, true), rolled_back(&mut to_and_fro, false)), ((true, true), (true, false)));
    let mut over = complete();
    assert_eq!((over.after(25).run(), rolled_back(&mut over, true)), (Act::Rest, (false, false)));
    let mut commented = complete();
    commented.databases[0].comment = Some("mine".into());
    assert_eq!(rolled_back(&mut commented, true), (false, false));
    // Another Restore has replaced what this one had restored.
    let mut replaced = complete();
    let restored = replaced.databases.iter_mut().find(|database| database.oid >= 100).unwrap();
    (restored.name, restored.comment) = ("shop__before_9".into(), Some("another".into()));
    replaced.databases.push(database(50, TARGET));
    assert_eq!((rolled_back(&mut replaced, true), replaced.live().oid), ((true, false), 50));
    // The last copy stays, whatever its time.
    let mut alone = complete();
    alone.databases.retain(|database| database.oid == ORIGINAL);
    assert!(matches!(alone.after(25).run(), Act::Refuse(blocked) if blocked.reason == Reason::DatabaseMissing));
    assert_eq!((rolled_back(&mut alone, true).1, alone.live().oid), (true, ORIGINAL));
}

#[test]
fn whoever_cannot_be_made_go_is_waited_for_before_anything_is_closed_and_no_longer_than_allowed() {
    for strategy in ["Swap", "Replace"] {
        let mut model = Model::new(strategy, Filling::Whole, None);
        while model.status.step != Step::Fencing {
            model.pass(model.decide()).unwrap();
        }
        model.databases[0].unendable = vec!["postgres, pid 7".into()];
        model.databases[0].prepared = vec!["x".into()];
        let Act::Wait(message) = model.run() else { panic!("{strategy}: {:#?}", model.status) };
        for who in ["postgres, pid 7", "prepared transactions (x)"] {
            assert!(message.contains(who), "{message}");
        }
        assert!(model.live().is_open);
        let begun = model.status.quiescing_since.clone();
        model.now += jiff::SignedDuration::from_mins(4);
        model.databases[0].unendable.clear();
        assert!(matches!(model.run(), Act::Wait(_)), "{strategy}");
        model.now += jiff::SignedDuration::from_secs(61);
        assert_eq!((model.run(), model.replicas, model.live().oid), (Act::Rest, 3, ORIGINAL), "{strategy}");
        assert_eq!(model.status.quiescing_since, begun, "all of it is counted from one moment");
        let failure = model.status.failure.as_ref().unwrap();
        assert!(failure.contains("within quiesceTimeout (5m): ") && failure.contains("(x)"), "{failure}");
    }
}

#[test]
fn a_rollback_that_cannot_come_about_lets_workloads_be_until_the_spec_is_another_one_or_long_after() {
    let mut model = Model::new("Swap", Filling::Whole, None);
    model.run();
    model.spec.rollback = true;
    for found in &mut model.databases {
        found.prepared = vec!["x".into()];
    }
    assert!(matches!(model.run(), Act::Wait(_)) && model.replicas == 0);
    model.now += jiff::SignedDuration::from_mins(6);
    let refused = |model: &mut Model| match model.run() {
        Act::Refuse(Blocked { reason: Reason::DatabaseInUse, message }) => message,
        act => panic!("{act:?}: {:#?}", model.status),
    };
    assert!(refused(&mut model).contains("the rollback has not come about"), "{:#?}", model.status);
    assert_eq!((model.replicas, model.lowered, model.live().oid >= 100), (3, 2, true));
    // Nor after an hour, as long as it could not come about, nor when the other one's time is over.
    refused(model.after(30));
    assert_eq!((model.replicas, model.lowered, model.databases.len()), (3, 2, 2));
    model.generation += 1;
    assert!(matches!(model.run(), Act::Wait(_)) && model.lowered == 3);
    model.now += jiff::SignedDuration::from_mins(6);
    refused(&mut model);
    for found in &mut model.databases {
        found.prepared.clear();
    }
    refused(&mut model);
    assert_eq!((model.replicas, model.lowered), (3, 3));
    model.after(2).spec.keep_previous = serde_json::from_value(serde_json::json!("1 year")).unwrap();
    assert!(matches!(model.run(), Act::Keep(..)), "{:#?}", model.status);
    assert_eq!((model.live().oid, model.status.rolled_back, model.status.setback.is_none()), (ORIGINAL, true, true));
}

#[test]
fn a_replacement_that_cannot_be_made_safe_gives_the_name_back() {
    let mut model = Model::new("Replace", Filling::Whole, None);
    let fails = |reason| Some(Blocked::new(reason, "the store is full"));
    model.no_safety = fails(Reason::DestinationInvalid);
    let safeguards = |model: &mut Model, minutes| {
        model.now += jiff::SignedDuration::from_mins(minutes);
        while !matches!(model.decide(), Act::Safeguard(_)) {
            model.pass(model.decide()).unwrap();
        }
        model.pass(model.decide()).unwrap();
        model.status.failure.clone()
    };
    // A backup may take its time.
    assert_eq!((safeguards(&mut model, 0), safeguards(&mut model, 4)), (None, None));
    model.no_safety = fails(Reason::KubernetesUnavailable);
    assert_eq!(safeguards(&mut model, 4), None);
    model.no_safety = fails(Reason::JobFailed);
    let failure = safeguards(&mut model, 0).unwrap();
    assert!(failure.ends_with("for longer than quiesceTimeout (5m): the store is full"), "{failure}");
    assert_eq!((model.run(), model.replicas, model.live().oid, model.databases.len()), (Act::Rest, 3, ORIGINAL, 1));
}

#[test]
fn a_database_that_was_dropped_may_be_made_by_another_restore() {
    let dropped = || {
        let mut model = Model::new("Replace", Filling::IsNotWhatWasBackedUp, None);
        assert!(matches!(model.run(), Act::TryAgain(..)));
        assert!(replace::gives_way(&model.status), "{:#?}", model.status);
        model.databases.push(database(50, TARGET));
        model
    };
    let mut known = dropped();
    known.successor = Some("after");
    assert_eq!((known.run(), known.replicas, known.live().oid, known.databases.len()), (Act::Rest, 3, 50, 1));
    assert!(known.status.failure.as_ref().is_some_and(|failure| failure.starts_with("Restore after has restored")));
    // Who has made it, and what is in it, nobody knows.
    let mut unknown = dropped();
    assert!(matches!(unknown.run(), Act::Refuse(blocked) if blocked.reason == Reason::NameTaken));
    assert_eq!((unknown.replicas, unknown.live().oid), (0, 50));
    for _ in 0..5 {
        let act = unknown.decided(letting_go).1;
        unknown.pass(act).unwrap();
    }
    assert_eq!((unknown.replicas, unknown.live().oid, unknown.databases.len()), (3, 50, 1));
}

#[test]
fn workloads_that_stay_down_come_back_when_that_is_wanted_or_the_restore_is_deleted() {
    let failed = || {
        let mut model = Model::new("Swap", Filling::Whole, None);
        model.spec.on_failure = OnFailure::StayDown;
        while model.status.step != Step::Fencing {
            model.pass(model.decide()).unwrap();
        }
        assert_eq!((model.after(1).run(), model.status.step, model.replicas), (Act::Rest, Step::Done, 0));
        model
    };
    let mut wanted = failed();
    wanted.spec.on_failure = OnFailure::ScaleUp;
    assert_eq!((wanted.run(), wanted.replicas), (Act::Rest, 3));
    let mut deleted = failed();
    assert_eq!(deleted.decided(letting_go).1, Act::Raise);
    deleted.pass(Act::Raise).unwrap();
    assert_eq!((deleted.decided(letting_go).1, deleted.replicas), (Act::Rest, 3));
}
