//! Does `plan` show what would change, in every form, and change nothing?

use rstest::rstest;

use crate::program::{pgreeve, run};
use crate::shop::{Shop, policy, stable};
use crate::support::postgres::{Options, Server};

#[rstest]
#[case("table")]
#[case("wide")]
#[case("json")]
#[case("yaml")]
#[case("sql")]
#[case("markdown")]
#[tokio::test]
async fn a_plan_has_a_form_for_everybody(#[case] form: &str) {
    let shop = Shop::open(16).await;
    shop.execute("insert into events select n, '2026-11-03 00:00+00' from generate_series(1, 50000) n; analyze events").await;
    shop.write("orders.yaml", &policy("orders", ""));
    let ran = shop.run(&["plan", "-o", form]).expect_code(3);
    insta::assert_snapshot!(format!("plan_{form}"), stable(&ran.stdout, &shop));
    if form == "table" {
        insta::assert_snapshot!("plan_aside", stable(&ran.stderr, &shop));
    }
}

#[tokio::test]
async fn notes_locks_and_a_default_partition_are_shown() {
    let shop = Shop::open(17).await;
    shop.execute(&format!(
        "set role {};
         create table events_default partition of events default;
         insert into events values (1, '2026-10-05 00:00+00');
         create table odd partition of events for values from ('2026-01-01 00:00+00') to ('2026-01-17 00:00+00')",
        shop.roles.owner
    ))
    .await;
    let ran = shop.run(&["plan"]).expect_code(3);
    insta::assert_snapshot!(stable(&ran.stdout, &shop) + &stable(&ran.stderr, &shop));
}

#[tokio::test]
async fn the_exit_code_tells_pending_changes_only_where_it_is_asked_to() {
    let shop = Shop::open(16).await;
    shop.run(&["plan"]).expect_code(0);
    shop.run(&["plan", "--exit-code"]).expect_code(2);
    shop.run(&["apply", "--yes"]).expect_code(0);
    let ran = shop.run(&["plan", "--exit-code"]).expect_code(0);
    assert!(ran.stdout.contains("No changes."), "{}", ran.stdout);
}

#[tokio::test]
async fn the_moment_of_a_plan_can_be_another() {
    let shop = Shop::open(16).await;
    shop.run(&["apply", "--yes"]).expect_code(0);
    let mut command = pgreeve(&["plan", "-o", "sql", "--as-of", "2027-06-30T12:00:00+02:00", "-f"]);
    command.arg(shop.path()).env("PGREEVE_DATABASE_URL", shop.database.url(&shop.roles.operator));
    let ran = run(command).expect_code(0);
    assert!(ran.stdout.contains("events_y2027m08") && !ran.stdout.contains("events_y2027m09"), "{}", ran.stdout);
    run(pgreeve(&["plan", "--as-of", "tomorrow", "-f", "examples"])).expect_code(64);
}

/// The server's own record of what it was asked: a READ ONLY transaction, and nothing outside of it.
#[tokio::test]
async fn a_plan_only_reads() {
    let server = Server::start(16, &Options { settings: vec!["log_statement = 'all'".into()], ..Options::default() });
    let shop = Shop::on(server).await;
    let owner = &shop.roles.owner;
    let default = "create table events_default partition of events default; insert into events values (1, '2026-10-05 00:00+00')";
    shop.execute(&format!("set role {owner}; {default}")).await;
    let database = &shop.database;
    shop.execute(&format!("alter role {} set default_transaction_read_only = on", shop.roles.operator)).await;
    let ran = shop.run(&["plan"]).expect_code(3);
    assert!(ran.stdout.contains("[ReadOnly]"), "{}", ran.stdout);
    let said = format!("{}@{} LOG:  ", shop.roles.operator, database.name);
    let log = database.server().log();
    let statements: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once(&said)?.1)).collect();
    assert!(statements.len() > 3, "{log}");
    for statement in &statements {
        // `statement: TEXT`, or `execute NAME: TEXT`.
        let text = statement.split_once(": ").map_or("", |(_, text)| text).trim_start();
        let reads = [
            "SELECT",
            "WITH",
            "ROLLBACK",
            "RESET ROLE",
            "SET LOCAL ROLE",
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
        ];
        assert!(text.trim().is_empty() || reads.iter().any(|read| text.starts_with(read)), "{statement}");
    }
}

#[tokio::test]
async fn several_databases_want_a_choice() {
    let shop = Shop::open(16).await;
    shop.write(
        "other.yaml",
        &policy("events", "").replace("orders-db", "other-db").replace("name: events}\nspec", "name: other}\nspec"),
    );
    let ran = shop.run(&["plan"]).expect_code(64);
    assert!(ran.stderr.contains("shop/orders-db, shop/other-db"), "{}", ran.stderr);
    let ran = shop.run(&["plan", "--database", "other-db"]).expect_code(0);
    assert!(ran.stdout.contains("PartitionPolicy shop/other") && !ran.stdout.contains("shop/events"), "{}", ran.stdout);
    shop.run(&["plan", "--database", "third-db"]).expect_code(64);
}

#[tokio::test]
async fn no_connection_and_no_privilege_end_with_4_and_no_secret_is_said() {
    let shop = Shop::open(16).await;
    let mut command = shop.command(&["plan"]);
    command.env("URL", "postgresql://app:hunter2@127.0.0.1:9/shop?sslmode=disable");
    let ran = run(command).expect_code(4);
    assert!(!ran.stderr.contains("hunter2") && ran.stderr.contains("127.0.0.1"), "{}", ran.stderr);
    let mut command = shop.command(&["plan"]);
    command.env("URL", "mysql://app:hunter2@127.0.0.1:9/shop");
    let ran = run(command).expect_code(64);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    run(pgreeve(&["plan", "-f", "examples"])).expect_code(64);
    shop.execute(&format!("revoke {} from {}", shop.roles.owner, shop.roles.operator)).await;
    let ran = shop.run(&["plan"]).expect_code(4);
    let grant = format!("run: GRANT \"{}\" TO \"{}\"", shop.roles.owner, shop.roles.operator);
    assert!(ran.stdout.contains(&grant), "{}", ran.stdout);
}

/// The default partition belongs to somebody else, so its rows cannot be counted; the other policy's plan does not mind.
#[tokio::test]
async fn a_policy_that_cannot_be_looked_at_harms_no_other() {
    let shop = Shop::open(16).await;
    let owner = &shop.roles.owner;
    shop.execute(&format!(
        "create table events_default partition of events default; insert into events values (1, '2026-10-05 00:00+00');
         set role {owner}; create table orders (created_at timestamptz not null) partition by range (created_at)"
    ))
    .await;
    shop.write("orders.yaml", &policy("orders", ""));
    let ran = shop.run(&["plan"]).expect_code(4);
    assert!(ran.stdout.contains("permission denied for table events_default"), "{}", ran.stdout);
    assert!(ran.stdout.contains("+ create   orders_y2026m11"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_policy_that_is_not_valid_is_explained_and_nothing_is_asked() {
    let shop = Shop::open(16).await;
    shop.write("bad.yaml", &policy("bad", "  timeZone: Europe/Nowhere\n"));
    let ran = shop.run(&["plan"]).expect_code(1);
    assert!(ran.stderr.contains("bad.yaml:10:3]") && ran.stdout.is_empty(), "{}", ran.stderr);
}

#[tokio::test]
async fn a_password_comes_from_the_environment_or_a_file_that_others_cannot_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let shop = Shop::on(Server::start(17, &Options { tcp: true, ..Options::default() })).await;
    let (server, user) = (shop.database.server(), &shop.roles.operator);
    let secret = crate::support::postgres::Database::password(user);
    let url = format!("postgresql://{user}@127.0.0.1:{}/{}", server.port, shop.database.name);
    let with = |name: &str, value: &str| {
        let mut command = shop.command(&["plan"]);
        command.env("URL", &url).env("HOME", "/nonexistent").env(name, value);
        run(command)
    };
    with("X", "").expect_code(4);
    with("PGPASSWORD", &secret).expect_code(0);
    let file = shop.write("pgpass", &format!("127.0.0.1:{}:*:{user}:{secret}\n", server.port));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = with("PGPASSFILE", &file.display().to_string()).expect_code(4);
    assert!(ran.stderr.contains("chmod 0600") && !ran.stderr.contains(&secret), "{}", ran.stderr);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    with("PGPASSFILE", &file.display().to_string()).expect_code(0);
}
