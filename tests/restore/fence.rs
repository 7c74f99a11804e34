//! Where a server does not let a database be closed altogether, is it closed by its privileges, and opened exactly as it was?

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::postgres::connect;
use crate::world::World;

/// Whether a role gets in.
async fn gets_in(world: &World, role: &str, database: &str) -> bool {
    connect(world.database.server().url(role, database)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_server_lets_no_database_be_closed_it_is_closed_by_its_privileges_and_opened_as_it_was() {
    let (mut world, backup) = World::copy().await;
    let (name, operator) = (world.database.name.clone(), world.roles.operator.clone());
    // From somebody else than the owner, so that it stays; the limit keeps that role out.
    let passed_on = format!(
        "create role {name}_guest login; create role {name}_friend login;
         set role {operator}; grant connect on database {name} to {name}_guest; reset role;
         grant connect on database {name} to {name}_friend"
    );
    world.superuser("postgres").await.batch_execute(&passed_on).await.unwrap();
    world.proxy.refuse(|sql| sql.contains("ALLOW_CONNECTIONS").then_some("42501"));
    let before = world.access().await.remove(0);
    world.start_node();
    world.start().await;
    world.restore("back", &backup, json!({"confirm": name})).await;
    world.wait("back", "Complete", "True", "Restored").await;
    assert_eq!(world.one(&name, "select count(*) from users").await, 2000);
    let databases = world.access().await;
    let kept = &databases[1];
    assert_eq!((databases.len(), databases[0].is_open, kept.is_open, kept.limit), (2, true, false, 0), "{databases:?}");
    let holders: BTreeSet<&String> = kept.grants.iter().filter(|grant| grant.contains("CONNECT")).collect();
    let others = [&format!("{name}_guest CONNECT f"), &format!("{operator} CONNECT t")];
    assert_eq!(holders, BTreeSet::from(others), "{kept:?}");
    for role in [&operator, &world.roles.owner, &format!("{name}_guest"), &format!("{name}_friend")] {
        assert!(!gets_in(&world, role, &kept.name).await, "{role}");
    }
    assert!(gets_in(&world, "postgres", &kept.name).await);
    world.patch("back", json!({"spec": {"rollback": true}})).await;
    world.wait("back", "Ready", "True", "RolledBack").await;
    let databases = world.access().await;
    let now = &databases[0];
    assert_eq!((&now.comment, now.is_open, now.limit, &now.grants), (&before.comment, true, 50, &before.grants));
    assert_eq!((databases[1].is_open, databases[1].limit), (false, 0), "{databases:?}");
    assert_eq!(world.one(&name, "select count(*) from users").await, 5);
    world.stop().await;
}
