//! Does a restore end alike wherever it is cut off, and is what is in the way said before anything is touched?

mod lost;
mod model;
mod moved;
mod stays;

use super::names::beside;
use super::*;
use crate::api::Reason;
use crate::api::restore::Chosen;
use model::{Filling, Model, ORIGINAL, TARGET, UID, database, workload};

/// Every place where it can be cut off, and none.
fn cuts(strategy: &str, filling: Filling) -> impl Iterator<Item = Option<usize>> {
    let mut undisturbed = Model::new(strategy, filling, None);
    undisturbed.run();
    (1..=undisturbed.effects).map(Some).chain([None])
}

#[test]
fn a_swap_ends_alike_wherever_it_is_cut_off() {
    for filling in [Filling::Whole, Filling::BreaksOffOnce] {
        for cut in cuts("Swap", filling) {
            let mut model = Model::new("Swap", filling, cut);
            assert!(matches!(model.run(), Act::Keep(..)), "{cut:?}: {:#?}", model.status);
            assert!(model.live().oid >= 100 && model.live().comment.as_deref() == Some("the shop"), "{cut:?}");
            assert_eq!((model.databases.len(), model.replicas), (2, 3), "{cut:?}: {:#?}", model.databases);
            model.now += jiff::SignedDuration::from_hours(25);
            assert_eq!(model.run(), Act::Rest);
            assert_eq!((model.databases.len(), model.live().oid >= 100), (1, true), "{cut:?}");
        }
    }
}

#[test]
fn a_rollback_and_its_revocation_end_alike_wherever_they_are_cut_off() {
    let complete = || {
        let mut model = Model::new("Swap", Filling::Whole, None);
        model.run();
        model.effects = 0;
        model
    };
    for rollbacks in [1, 2] {
        for cut in 1..20 {
            let mut model = complete();
            for number in 1..=rollbacks {
                model.spec.rollback = number == 1;
                model.cut_before = (number == rollbacks).then_some(model.effects + cut);
                assert!(matches!(model.run(), Act::Keep(..)), "{cut}: {:#?}", model.status);
            }
            assert_eq!(model.live().oid == ORIGINAL, rollbacks == 1, "{cut}: {:#?}", model.databases);
            assert_eq!(
                (model.databases.len(), model.replicas, model.live().comment.as_deref()),
                (2, 3, Some("the shop")),
                "{cut}"
            );
        }
    }
}

#[test]
fn what_is_not_what_was_backed_up_leaves_all_as_it_was_wherever_it_is_cut_off() {
    for strategy in ["Swap", "New"] {
        for cut in cuts(strategy, Filling::IsNotWhatWasBackedUp) {
            let mut model = Model::new(strategy, Filling::IsNotWhatWasBackedUp, cut);
            assert_eq!(model.run(), Act::Rest, "{cut:?}");
            assert!(model.status.failure.is_some() && model.replicas == 3, "{cut:?}");
            let left: Vec<u32> = model.databases.iter().map(|database| database.oid).collect();
            assert_eq!(left, if strategy == "New" { vec![] } else { vec![ORIGINAL] }, "{cut:?}");
        }
    }
}

#[test]
fn a_replacement_ends_alike_wherever_it_is_cut_off_and_drops_nothing_that_is_not_proven() {
    for filling in [Filling::Whole, Filling::BreaksOffOnce] {
        for cut in cuts("Replace", filling) {
            let mut model = Model::new("Replace", filling, cut);
            assert_eq!(model.run(), Act::Rest, "{cut:?}: {:#?}", model.status);
            assert_eq!((model.databases.len(), model.live().oid >= 100, model.replicas), (1, true, 3), "{cut:?}");
        }
    }
}

#[test]
fn a_database_that_was_dropped_is_restored_again_and_again_while_workloads_stay_down() {
    let mut model = Model::new("Replace", Filling::IsNotWhatWasBackedUp, None);
    for _ in 0..3 {
        let Act::TryAgain(failure, at) = model.run() else { panic!("{:#?}", model.status) };
        assert!(failure.contains("workloads stay down") && at > model.now, "{failure}");
        assert_eq!((model.replicas, &model.status.failure), (0, &Some(failure)));
        model.now += jiff::SignedDuration::from_hours(2);
    }
    model.filling = Filling::Whole;
    assert_eq!(model.run(), Act::Rest);
    assert_eq!((model.live().oid >= 100, model.replicas, &model.status.failure), (true, 3, &None));
}

#[test]
fn a_new_database_ends_alike_wherever_it_is_cut_off() {
    for cut in cuts("New", Filling::Whole) {
        let mut model = Model::new("New", Filling::Whole, cut);
        assert_eq!(model.run(), Act::Rest, "{cut:?}");
        assert_eq!((model.databases.len(), model.live().oid >= 100), (1, true), "{cut:?}");
    }
}

#[test]
fn one_that_is_deleted_anywhere_leaves_a_whole_database_and_workloads_as_they_were() {
    for (strategy, cut) in
        ["Swap", "Replace"].into_iter().flat_map(|of| cuts(of, Filling::Whole).flatten().map(move |cut| (of, cut)))
    {
        let mut model = Model::new(strategy, Filling::Whole, Some(cut));
        while model.pass(model.decide()).is_ok() {}
        for _ in 0..10 {
            let act = model.decided(letting_go).1;
            model.pass(act).unwrap();
        }
        assert_eq!(model.replicas, 3, "{strategy} {cut}");
        let is_swapped = model.live().oid != ORIGINAL;
        let kept = usize::from(is_swapped && strategy == "Swap");
        assert_eq!(model.databases.len(), 1 + kept, "{strategy} {cut}: {:#?}", model.databases);
    }
}

#[test]
fn what_is_in_the_way_is_said_before_anything_is_touched() {
    let refusal = |change: &dyn Fn(&mut Model, &mut Sight)| {
        let mut model = Model::new("Swap", Filling::Whole, None);
        let mut sight = model.sight();
        change(&mut model, &mut sight);
        match model.decided(|facts| next(&Facts { sight: &sight, ..*facts })).1 {
            Act::Refuse(blocked) => blocked.reason,
            act => panic!("{act:?}"),
        }
    };
    assert_eq!(refusal(&|_, sight| sight.createdb = false), Reason::MissingPrivilege);
    assert_eq!(refusal(&|_, sight| sight.in_recovery = true), Reason::InRecovery);
    assert_eq!(refusal(&|_, sight| sight.databases[0].is_ours = false), Reason::MissingPrivilege);
    assert_eq!(refusal(&|_, sight| sight.databases[0].is_open = false), Reason::DatabaseInUse);
    assert_eq!(refusal(&|_, sight| sight.databases[0].prepared = vec!["x".into()]), Reason::DatabaseInUse);
    assert_eq!(refusal(&|_, sight| sight.databases[0].slots = vec![("s".into(), true)]), Reason::DatabaseInUse);
    assert_eq!(refusal(&|_, sight| sight.databases[0].unendable = vec!["postgres".into()]), Reason::DatabaseInUse);
    assert_eq!(refusal(&|_, sight| sight.databases[0].is_template = true), Reason::DatabaseInUse);
    let subscribed = |strategy| {
        move |model: &mut Model, sight: &mut Sight| {
            model.spec.strategy = strategy;
            sight.databases[0].subscriptions = vec!["news".into()];
        }
    };
    assert_eq!(refusal(&subscribed(Strategy::Replace)), Reason::DatabaseInUse);
    assert_eq!(refusal(&|_, sight| sight.databases.clear()), Reason::DatabaseMissing);
    assert_eq!(refusal(&|_, sight| sight.databases.push(database(9, &beside(TARGET, UID)))), Reason::NameTaken);
    assert_eq!(refusal(&|model, _| model.spec.strategy = Strategy::New), Reason::NameTaken);
    let replaces = |model: &mut Model, sight: &mut Sight| {
        model.spec.strategy = Strategy::Replace;
        sight.databases[0].slots = vec![("s".into(), false)];
    };
    assert_eq!(refusal(&replaces), Reason::DatabaseInUse);
}

#[test]
fn a_backup_of_a_part_of_a_database_becomes_one_of_its_own_and_takes_the_place_of_none() {
    for strategy in ["Swap", "Replace"] {
        let mut model = Model::new(strategy, Filling::Whole, None);
        model.lacks = vec!["leaves out the tables public.audit".into()];
        let Act::Refuse(Blocked { reason: Reason::Unsupported, message }) = model.run() else { panic!("{:#?}", model.status) };
        assert!(message.contains("leaves out the tables public.audit") && message.contains("strategy New"), "{message}");
        assert_eq!((model.status.step, model.databases.len(), model.lowered), (Step::Preflight, 1, 0), "{strategy}");
    }
    let mut new = Model::new("New", Filling::Whole, None);
    new.lacks = vec!["holds only the tables public.orders".into()];
    assert_eq!((new.run(), new.live().oid >= 100), (Act::Rest, true));
    let chosen = Chosen { omitted: vec!["3 large objects".into()], ..new.chosen() };
    let summary = new.decided(|facts| preflight::plan(facts, &chosen, &[])).1.summary;
    assert!(
        summary.ends_with("; the backup holds only the tables public.orders; not in the backup: 3 large objects"),
        "{summary}"
    );
}

#[test]
fn a_plan_says_all_that_becomes_of_the_database_and_is_another_one_where_that_differs() {
    let plan = |strategy: &str, workloads: usize| {
        let model = Model::new(strategy, Filling::Whole, None);
        model.decided(|facts| preflight::plan(facts, &model.chosen(), &vec![workload(3); workloads])).1
    };
    let (all, many) = (plan("Replace", 2), plan("Replace", 20));
    assert_eq!((all.actions.len(), all.more, many.actions.len(), many.more), (10, 0, 10, 18));
    let rest = |actions: &[String]| actions.iter().filter(|line| !line.starts_with("scale ")).cloned().collect::<Vec<_>>();
    assert_eq!(rest(&all.actions), rest(&many.actions));
    let fingerprints = [all, many, plan("Swap", 2), plan("New", 0)].map(|plan| plan.fingerprint);
    assert!(fingerprints.iter().all(|fingerprint| fingerprint.len() == 16), "{fingerprints:?}");
    assert_eq!(fingerprints.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{fingerprints:?}");
}

#[test]
fn a_database_that_somebody_else_has_put_there_is_left_alone() {
    let mut model = Model::new("Swap", Filling::Whole, None);
    while model.status.step != Step::Fencing {
        model.pass(model.decide()).unwrap();
    }
    model.databases[0].name = "elsewhere".into();
    model.databases.push(database(50, TARGET));
    assert_eq!(model.run(), Act::Rest);
    assert!(model.status.failure.as_ref().unwrap().contains("left alone"), "{:?}", model.status.failure);
    assert_eq!((model.live().oid, model.replicas), (50, 3));
}
