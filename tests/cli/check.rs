//! Does `check` find what is missing, and say what to do?

use crate::program::{pgreeve, run};
use crate::shop::{Shop, policy};

#[tokio::test]
async fn a_server_that_has_all_it_needs_is_ok() {
    let shop = Shop::open(17).await;
    let mut command = pgreeve(&["check"]);
    command.env("PGREEVE_DATABASE_URL", shop.database.url(&shop.roles.operator));
    let ran = run(command).expect_code(0);
    let marks: Vec<&str> = ran.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(marks, ["ok"; 5], "{}", ran.stdout);
}

#[tokio::test]
async fn a_superuser_and_pending_changes_are_warnings_and_a_covered_table_is_ok() {
    let shop = Shop::open(16).await;
    let mut command = shop.command(&["check"]);
    command.env("URL", shop.database.url("postgres"));
    let ran = run(command).expect_code(0);
    assert!(ran.stdout.contains("warning  role         postgres is a superuser"), "{}", ran.stdout);
    assert!(ran.stdout.contains("warning  shop/events  3 to create"), "{}", ran.stdout);
    shop.run(&["apply", "--yes"]).expect_code(0);
    let ran = shop.run(&["check"]).expect_code(0);
    assert!(
        ran.stdout.contains("ok       shop/events  5 partitions of public.events, covered until 2027-02-01"),
        "{}",
        ran.stdout
    );
}

#[tokio::test]
async fn a_missing_privilege_is_named_with_its_grant_and_an_uncovered_present_is_a_problem() {
    let shop = Shop::open(16).await;
    shop.execute("drop table events_y2026m11").await;
    let ran = shop.run(&["check", "-o", "json"]).expect_code(3);
    assert!(ran.stdout.contains("rows that are written now have no partition"), "{}", ran.stdout);
    let owner = &shop.roles.owner;
    shop.execute(&format!("revoke create on schema public from {owner}; revoke create on schema public from public")).await;
    let ran = shop.run(&["check"]).expect_code(4);
    assert!(ran.stdout.contains(&format!("run: GRANT CREATE ON SCHEMA \"public\" TO \"{owner}\"")), "{}", ran.stdout);
    shop.write("missing.yaml", &policy("missing", ""));
    let ran = shop.run(&["check"]).expect_code(4);
    assert!(ran.stdout.contains("table public.missing does not exist"), "{}", ran.stdout);
}
