//! Is every action part of a scenario?

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use pgreeve::api::{PartitionPolicy, PostgresDatabase, RetentionPolicy};
use pgreeve::pass::{self, Retention};
use pgreeve::plan::retention::Surroundings;
use pgreeve::plan::{Action, database};
use pgreeve::postgres::connect::{Session, Target, Tls};
use pgreeve::postgres::details;
use serde_json::json;

use crate::operator::now;
use crate::scenario::{ALL, contained_in};
use crate::support::node::Pods;
use crate::world::World;

/// What backups and restores are made of. Their kinds have no plan of statements that is carried out at once, and one playing of theirs takes
/// seconds: their requests meet their faults in the tests of their own, tests/backup (the store), tests/apiserver (backups) and tests/restore.
const ELSEWHERE: [&str; 5] = ["dumpDatabase", "verifyBackup", "inspectBackup", "restoreDump", "removeBackup"];

#[tokio::test]
async fn every_action_is_in_the_scenario_that_claims_it() {
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut claimed: BTreeMap<String, &str> = BTreeMap::new();
    for scenario in ALL {
        for action in actions(&World::set_up(scenario, Pods::One).await).await {
            let name = json!(action)["action"].as_str().unwrap().to_owned();
            claimed.insert(name.clone(), contained_in(&action).name);
            found.entry(name).or_default().insert(scenario.name);
        }
    }
    let mut wanted = every_action();
    wanted.retain(|name| !ELSEWHERE.contains(&name.as_str()));
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), wanted, "found in the plans of the scenarios: {found:?}");
    for (action, scenario) in claimed {
        assert!(found[&action].contains(scenario), "{action} is not in {scenario}, but in {:?}", found[&action]);
    }
}

/// What the first plans of a scenario hold.
async fn actions(world: &World) -> Vec<Action> {
    let (host, port, name, user) = world.login();
    let target = Target { host, port, database: name, user, password: None, tls: Tls::Disable };
    let session = Session::open(&target).await.unwrap();
    let mut actions = Vec::new();
    for object in world.objects().await {
        if object["kind"] == "PostgresDatabase" {
            let object: PostgresDatabase = serde_json::from_value(object).unwrap();
            let installed = details::extensions(&session).await.unwrap();
            actions.extend(database::plan(&object, &installed).actions);
            continue;
        }
        if object["kind"] == "RetentionHold" {
            continue;
        }
        if object["kind"] == "RetentionPolicy" {
            let policy: RetentionPolicy = serde_json::from_value(object).unwrap();
            let surroundings = Surroundings { is_due: true, ..Surroundings::default() };
            let look = pass::look(&[&Retention { policy, surroundings }], &session, now()).await.unwrap();
            assert_eq!(look.plans[0].blocked, []);
            actions.extend(look.plans.into_iter().flat_map(|plan| plan.actions));
            continue;
        }
        let policy: PartitionPolicy = serde_json::from_value(object).unwrap();
        let look = pass::look(&[&policy], &session, now()).await.unwrap();
        assert_eq!(look.plans[0].blocked, [], "{}", policy.name_any());
        actions.extend(look.plans.into_iter().flat_map(|plan| plan.actions));
    }
    actions
}

/// The names of all variants, as serde lists them for one that it does not know.
fn every_action() -> BTreeSet<String> {
    let error = serde_json::from_value::<Action>(json!({"action": "no such action"})).unwrap_err().to_string();
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}
