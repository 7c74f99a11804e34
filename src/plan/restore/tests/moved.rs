//! Somebody else, or a drop that broke off, changes databases under a restore: is the wrong one ever used, dropped or spoken of?

use super::super::farewell::farewell;
use super::super::names::{Role, Witness, previous};
use super::super::*;
use super::model::{Filling, Model, ORIGINAL, TARGET, UID, database};
use crate::api::Reason;

/// A replacement whose database has another name, and is not dropped yet.
fn away() -> Model {
    let mut model = Model::new("Replace", Filling::Whole, None);
    while !model.databases.iter().any(|found| found.name == previous(TARGET, UID)) {
        model.pass(model.decide()).unwrap();
    }
    model
}

fn refused(model: &mut Model) -> String {
    match model.run() {
        Act::Refuse(Blocked { reason: Reason::NameTaken, message }) => message,
        act => panic!("{act:?}: {:#?}", model.status),
    }
}

fn let_go(model: &mut Model) {
    for _ in 0..10 {
        let act = model.decided(letting_go).1;
        let _cut = model.pass(act);
    }
    assert_eq!(model.decided(letting_go).1, Act::Rest);
}

/// What is said of the databases, and whether it is a warning.
fn said(model: &Model) -> (String, bool) {
    model.decided(farewell).1.map(|said| (said.message, said.is_warning)).unwrap()
}

#[test]
fn workloads_do_not_come_back_to_a_database_that_somebody_has_made_while_the_former_one_is_there() {
    let mut model = away();
    model.databases.push(database(50, TARGET));
    let message = refused(&mut model);
    assert!(message.contains("(OID 50)") && message.contains(&previous(TARGET, UID)), "{message}");
    assert_eq!((model.replicas, &model.status.failure), (0, &None));
    model.databases.retain(|found| found.oid != 50);
    assert_eq!((model.run(), model.live().oid >= 100, model.replicas), (Act::Rest, true, 3));
    // It has failed before.
    let mut failed = away();
    failed.status.failure = Some("the store is full".into());
    failed.databases.push(database(50, TARGET));
    refused(&mut failed);
    assert_eq!(failed.replicas, 0);
    failed.databases[1].name = "elsewhere".into();
    assert_eq!((failed.run(), failed.live().oid, failed.replicas), (Act::Rest, ORIGINAL, 3));
}

#[test]
fn a_database_that_has_its_name_back_is_not_dropped_for_a_backup_of_what_it_was() {
    let mut model = away();
    while model.status.safety_backup.is_none() {
        model.pass(model.decide()).unwrap();
    }
    let found = &mut model.databases[0];
    (found.name, found.comment) = (TARGET.into(), Some("the shop".into()));
    assert_eq!((model.run(), model.live().oid, model.databases.len(), model.replicas), (Act::Rest, ORIGINAL, 1, 3));
    let failure = model.status.failure.as_ref().unwrap();
    assert!(failure.starts_with("database shop has its name back") && model.status.dropped_at.is_none(), "{failure}");
}

#[test]
fn a_database_that_another_restore_has_renamed_counts_as_dropped_by_nobody() {
    for step in [Step::Verifying, Step::Quiescing, Step::Fencing] {
        let mut model = Model::new("Replace", Filling::Whole, None);
        while model.status.step != step {
            model.pass(model.decide()).unwrap();
        }
        let found = &mut model.databases[0];
        found.name = "shop__before_9".into();
        found.comment = Some(Witness::new("9", Role::Previous, None).text());
        assert_eq!((model.run(), model.databases.len(), model.replicas), (Act::Rest, 1, 3), "{step:?}");
        assert!(model.status.dropped_at.is_none(), "{step:?}: {:#?}", model.status);
        assert!(model.status.failure.as_ref().is_some_and(|failure| failure.contains("shop__before_9")), "{step:?}");
    }
}

#[test]
fn a_drop_that_breaks_off_is_made_again_and_what_it_leaves_is_no_database() {
    let mut replaced = Model::new("Replace", Filling::Whole, None);
    replaced.breaks_drop = Some(ORIGINAL);
    assert_eq!((replaced.run(), replaced.databases.len(), replaced.replicas), (Act::Rest, 1, 3), "{:#?}", replaced.status);
    assert!(replaced.breaks_drop.is_none() && replaced.live().oid >= 100);
    // What follows fails as well: nothing can be put back.
    let mut failing = Model::new("Replace", Filling::IsNotWhatWasBackedUp, None);
    failing.breaks_drop = Some(ORIGINAL);
    assert!(matches!(failing.run(), Act::TryAgain(..)) && failing.replicas == 0, "{:#?}", failing.status);
    // Deleted then, it goes on to its end.
    let mut deleted = away();
    deleted.breaks_drop = Some(ORIGINAL);
    while deleted.breaks_drop.is_some() {
        let _cut = deleted.pass(deleted.decide());
    }
    let_go(&mut deleted);
    assert_eq!((deleted.live().oid >= 100, deleted.databases.len(), deleted.replicas), (true, 1, 3));
    // What was restored and is to be made anew.
    for strategy in ["Swap", "New"] {
        let mut restored = Model::new(strategy, Filling::BreaksOffOnce, None);
        restored.breaks_drop = Some(100);
        restored.run();
        assert!(restored.breaks_drop.is_none() && restored.live().oid > 100 && restored.replicas == 3, "{strategy}");
    }
    // What was kept until its time was over is not wanted back any more.
    let mut kept = Model::new("Swap", Filling::Whole, None);
    kept.run();
    kept.breaks_drop = Some(ORIGINAL);
    kept.after(25);
    while kept.breaks_drop.is_some() {
        let _cut = kept.pass(kept.decide());
    }
    (kept.spec.rollback, kept.spec.keep_previous) = (true, serde_json::from_value(serde_json::json!("1 year")).unwrap());
    assert_eq!((kept.run(), kept.databases.len(), kept.status.rolled_back), (Act::Rest, 1, false));
    assert!(kept.live().oid >= 100 && kept.lowered == 1);
}

#[test]
fn what_keeps_a_database_that_is_half_dropped_from_being_replaced_is_said() {
    let mut model = Model::new("Swap", Filling::Whole, None);
    model.databases[0].is_invalid = true;
    let Act::Refuse(Blocked { reason: Reason::DatabaseInUse, message }) = model.run() else { panic!("{:#?}", model.status) };
    assert!(message.starts_with("a drop of database shop broke off"), "{message}");
}

#[test]
fn the_time_of_giving_up_begins_with_what_says_something_of_the_backup() {
    let mut model = away();
    let fails = |model: &mut Model, reason, minutes| {
        model.now += jiff::SignedDuration::from_mins(minutes);
        model.no_safety = Some(Blocked::new(reason, "it fails"));
        model.pass(model.decide()).unwrap();
        (model.status.setback.is_some(), model.status.failure.is_some())
    };
    for reason in [Reason::KubernetesUnavailable, Reason::OtherOperator, Reason::Stale] {
        assert_eq!(fails(&mut model, reason, 4), (false, false), "{reason}");
    }
    assert_eq!(fails(&mut model, Reason::JobFailed, 4), (true, false));
    assert_eq!(fails(&mut model, Reason::JobFailed, 6), (false, true));
}

#[test]
fn the_last_words_are_of_what_was_seen() {
    let as_it_was = ("deleted before it was complete: database shop is as it was".to_owned(), false);
    let mut early = Model::new("Swap", Filling::Whole, None);
    while early.status.step != Step::Quiescing {
        early.pass(early.decide()).unwrap();
    }
    let_go(&mut early);
    assert_eq!(said(&early), as_it_was);
    // The operator has died after the names had changed, and before it had written so.
    let mut died = Model::new("Swap", Filling::Whole, None);
    while !died.databases.iter().any(|found| found.name == previous(TARGET, UID)) {
        died.cut_before = (died.status.step == Step::Fencing).then_some(died.effects + 3);
        let _cut = died.pass(died.decide());
    }
    assert!(died.status.completed_at.is_none(), "{:#?}", died.status);
    let_go(&mut died);
    let stays =
        format!("database {}, which shop had replaced, stays: drop it when nobody needs it any more", previous(TARGET, UID));
    assert_eq!(said(&died), (stays.clone(), true));
    // The same where the status says so, and workloads were on their way.
    let mut scaling = Model::new("Swap", Filling::Whole, None);
    while scaling.status.step != Step::ScalingUp {
        scaling.pass(scaling.decide()).unwrap();
    }
    let_go(&mut scaling);
    assert_eq!(said(&scaling), (stays, true));
    let mut rolled_back = Model::new("Swap", Filling::Whole, None);
    rolled_back.run();
    rolled_back.spec.rollback = true;
    rolled_back.run();
    let_go(&mut rolled_back);
    let (message, is_warning) = said(&rolled_back);
    assert!(is_warning && message.starts_with("database shop is the one that was there before; shop__restore_"), "{message}");
    // Somebody has made another one.
    let mut taken = away();
    taken.databases.push(database(50, TARGET));
    let_go(&mut taken);
    let (message, is_warning) = said(&taken);
    assert!(is_warning && message.contains("(OID 50)") && message.ends_with(&previous(TARGET, UID)), "{message}");
    assert_eq!(taken.replicas, 3);
    let mut back = away();
    let_go(&mut back);
    assert_eq!((said(&back), back.live().oid), (as_it_was, ORIGINAL));
}
