//! A server fails over before its standby has heard of all: is what is lost ever taken for what was restored?

use super::super::*;
use super::model::{Filling, Loss, Model, ORIGINAL};

/// A server that fails over may have lost what was restored there, or the end of it, at any moment.
#[test]
fn what_the_server_loses_is_never_taken_for_what_was_restored() {
    for (strategy, loss) in ["Swap", "Replace", "New"].into_iter().flat_map(|of| [(of, Loss::Database), (of, Loss::Tail)]) {
        for pass in 1..25 {
            let mut model = Model::new(strategy, Filling::Whole, None);
            model.loses = Some((pass, loss));
            let end = model.run();
            let context = format!("{strategy} {loss:?} {pass}: {:#?} {:#?}", model.status, model.databases);
            assert_eq!(model.replicas, 3, "{context}");
            let is_complete = model.status.completed_at.is_some();
            assert_eq!(is_complete, model.status.failure.is_none(), "{context}");
            assert!(
                is_complete || model.status.failure.as_deref().is_some_and(|failure| failure.contains("the server has lost")),
                "{context}"
            );
            assert!(strategy != "Replace" || is_complete, "{context}");
            match (strategy, is_complete) {
                ("New", false) => assert_eq!((end, model.databases.len()), (Act::Rest, 0), "{context}"),
                (_, false) => assert_eq!((end, model.databases.len(), model.live().oid), (Act::Rest, 1, ORIGINAL), "{context}"),
                (_, true) => assert!(model.live().oid >= 100, "{context}"),
            }
        }
    }
}

#[test]
fn a_change_of_names_that_the_server_loses_is_made_again_or_is_none() {
    for lost in [None, Some(Loss::Tail), Some(Loss::Database)] {
        let mut model = Model::new("Swap", Filling::Whole, None);
        assert!(matches!(model.run(), Act::Keep(..)));
        model.lose_swap();
        if let Some(lost) = lost {
            model.lose(lost);
        }
        let end = model.run();
        match lost {
            None => assert!(matches!(end, Act::Keep(..)) && model.live().oid >= 100, "{end:?}"),
            Some(_) => {
                assert_eq!((end, model.live().oid, model.databases.len()), (Act::Rest, ORIGINAL, 1), "{:#?}", model.status);
                assert!(model.status.failure.is_some() && model.status.completed_at.is_none(), "{:#?}", model.status);
            }
        }
        assert_eq!(model.replicas, 3);
    }
    for strategy in ["New", "Replace"] {
        let mut model = Model::new(strategy, Filling::Whole, None);
        while model.status.completed_at.is_none() {
            model.pass(model.decide()).unwrap();
        }
        model.lose_swap();
        assert_eq!((model.run(), model.live().oid >= 100, model.replicas), (Act::Rest, true, 3), "{:#?}", model.status);
    }
}
