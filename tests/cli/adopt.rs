//! Does `adopt` describe tables as they are, so that their policies find nothing to change but what lies ahead?

use serde_json::Value;

use crate::program::{Ran, pgreeve, run, run_with};
use crate::shop::Shop;

fn adopt(shop: &Shop, arguments: &[&str]) -> Ran {
    let mut command = pgreeve(&["adopt"]);
    command.args(arguments).env("PGREEVE_DATABASE_URL", shop.database.url(&shop.roles.operator));
    run(command)
}

/// A table whose partitions lie at these bounds, named by a template of `to_char`.
fn partitioned(table: &str, key: &str, bounds: &[&str], names: &str) -> String {
    let mut sql = format!("create table {table} (k {key} not null) partition by range (k);\n");
    for (bound, name) in bounds.windows(2).zip(names.split_whitespace()) {
        sql.push_str(&format!(
            "create table {name} partition of {table} for values from ('{}') to ('{}');\n",
            bound[0], bound[1]
        ));
    }
    sql
}

#[tokio::test]
async fn tables_of_every_kind_are_recognised() {
    let shop = Shop::open(16).await;
    let tables = [
        partitioned(
            "by_day",
            "date",
            &["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04"],
            "by_day_20261101 by_day_20261102 by_day_20261103",
        ),
        partitioned(
            "in_berlin",
            "timestamptz",
            &["2026-09-01 00:00+02", "2026-10-01 00:00+02", "2026-11-01 00:00+01", "2026-12-01 00:00+01"],
            "in_berlin_p2026_09 in_berlin_p2026_10 in_berlin_p2026_11",
        ),
        partitioned(
            "weekly",
            "timestamp",
            &["2026-11-01", "2026-11-08", "2026-11-15", "2026-11-22"],
            "weekly_a weekly_b weekly_c",
        ),
        partitioned("by_number", "bigint", &["0", "1000000", "2000000"], "by_number_p0 by_number_p1000000"),
        partitioned(
            "by_epoch",
            "bigint",
            &["1793491200000", "1796083200000", "1798761600000"],
            "by_epoch_y2026m11 by_epoch_y2026m12",
        ),
        partitioned("by_quarter", "timestamptz", &["2026-07-01 00:00+00", "2026-10-01 00:00+00", "2027-01-01 00:00+00"], "q3 x"),
        "create table by_list (k text) partition by list (k);".to_owned(),
        "create table nothing_yet (k date) partition by range (k);".to_owned(),
    ];
    shop.execute(&tables.join("\n")).await;
    let ran = adopt(&shop, &["--database", "orders-db", "-n", "shop"]).expect_code(0);
    insta::assert_snapshot!(format!("{}\n{}", ran.stdout, ran.stderr));
    run_with(pgreeve(&["validate", "-"]), &ran.stdout).expect_code(0);
    // With the changes that lie behind taken away, the plan touches no existing partition.
    let mut command = pgreeve(&["plan", "-f", "-", "--as-of", "2026-11-15", "-o", "json"]);
    command.env("PGREEVE_DATABASE_URL", shop.database.url("postgres"));
    let view: Value = serde_json::from_str(&run_with(command, &ran.stdout).expect_code(0).stdout).unwrap();
    for policy in view["policies"].as_array().unwrap() {
        assert!(policy["notes"].as_array().unwrap().is_empty(), "{policy}");
        assert_eq!(policy["hold"]["reason"], "Planned", "{policy}");
    }
}

#[tokio::test]
async fn single_tables_can_be_chosen() {
    let shop = Shop::open(16).await;
    assert!(adopt(&shop, &["events"]).expect_code(0).stdout.contains("name: events"));
    let ran = adopt(&shop, &["public.other"]).expect_code(0);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("no such partitioned table"), "{ran:?}");
}

/// The columns of 5.x, in a schema of its own, and one of 4.x beside it.
#[tokio::test]
async fn the_configuration_of_pg_partman_is_understood() {
    let shop = Shop::open(16).await;
    let owner = &shop.roles.owner;
    shop.execute(&format!(
        "create schema partman authorization {owner}; set role {owner};
         create table partman.part_config (parent_table text primary key, control text not null, partition_interval text not null,
             premake int not null default 4, retention text, retention_keep_table boolean not null default true, epoch text not null default 'none',
             automatic_maintenance text not null default 'on');
         insert into partman.part_config (parent_table, control, partition_interval, premake, retention, retention_keep_table)
             values ('public.events', 'created_at', '1 mon', 6, '13 months', false)"
    ))
    .await;
    let ran = adopt(&shop, &["events", "--database", "orders-db"]).expect_code(0);
    insta::assert_snapshot!(ran.stdout);
}

/// pg_partman itself, of whichever major Debian has it for: 4.7 on 15, or 5.2 on 17.
#[tokio::test]
async fn what_pg_partman_made_is_kept_on_as_it_is() {
    let has = |major: &u32| {
        let control = format!("postgres/{major}/share/postgresql/extension/pg_partman.control");
        crate::support::cache().join(control).exists()
    };
    let major = [15, 17].into_iter().find(has).expect("no pg_partman: run hack/tools.sh pgpartman");
    let shop = Shop::open(major).await;
    let create = if major == 15 { "p_type => 'native', p_interval => '1 month'" } else { "p_interval => '1 month'" };
    shop.execute(&format!(
        "create schema partman; create extension pg_partman schema partman;
         grant usage on schema partman to {operator}; grant select on partman.part_config to {operator};
         create table kept (id bigint, at timestamptz not null) partition by range (at);
         select partman.create_parent(p_parent_table => 'public.kept', p_control => 'at', {create}, p_premake => 6)",
        operator = shop.roles.operator
    ))
    .await;
    let text = adopt(&shop, &["kept"]).expect_code(0).stdout;
    let naming = if major == 15 { "{table}_p{yyyy}_{mm}" } else { "{table}_p{yyyy}{mm}{dd}" };
    for said in [
        "13 of 13 partitions lie on this grid; there is a default partition",
        "pg_partman keeps it: interval 1 mon, premake 6",
        "UPDATE \"partman\".\"part_config\" SET automatic_maintenance = 'off' WHERE parent_table = 'public.kept';",
        "interval: \"1 month\"",
        "create: {ahead: 6}",
        &format!("naming: \"{naming}\""),
    ] {
        assert!(text.contains(said), "lacks {said}:\n{text}");
    }
    let mut command = pgreeve(&["plan", "-f", "-", "--exit-code"]);
    command.env("PGREEVE_DATABASE_URL", shop.database.url("postgres"));
    let ran = run_with(command, &text).expect_code(0);
    assert!(ran.stdout.contains("= keep "), "{}", ran.stdout);
}
