//! Does a table get its partitions, like their siblings, without anybody noticing?

use pgreeve::api::Reason;
use pgreeve::plan::Action;
use pgreeve::plan::outcome::ActionResult;
use rstest::rstest;
use serde_json::json;

use crate::bench::{Bench, policy};

const EVENTS: &str =
    "create table events (id bigint not null, created_at timestamptz not null, body text, primary key (id, created_at))
    partition by range (created_at)";

#[rstest]
#[tokio::test]
async fn missing_partitions_are_created_and_a_second_pass_has_nothing_to_do(#[values(14, 15, 16, 17, 18)] major: u32) {
    let bench = Bench::new(major, EVENTS).await;
    bench
        .as_owner("create table old_name partition of events for values from ('2026-09-01 00:00+00') to ('2026-10-01 00:00+00')")
        .await;
    let plan = bench.settle(&policy("events", "created_at", "1 month", json!({"create": {"ahead": 2}}))).await;
    // The present month first: rows are arriving.
    assert_eq!(
        plan.actions.iter().map(Action::subject).collect::<Vec<_>>(),
        ["events_y2026m11", "events_y2026m12", "events_y2027m01", "events_y2026m10"]
    );
    assert_eq!(
        bench.partitions("events").await,
        [
            "events_y2026m10 FOR VALUES FROM ('2026-10-01 00:00:00+00') TO ('2026-11-01 00:00:00+00')",
            "events_y2026m11 FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00')",
            "events_y2026m12 FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00')",
            "events_y2027m01 FOR VALUES FROM ('2027-01-01 00:00:00+00') TO ('2027-02-01 00:00:00+00')",
            "old_name FOR VALUES FROM ('2026-09-01 00:00:00+00') TO ('2026-10-01 00:00:00+00')",
        ]
    );
    bench.admin.batch_execute("insert into events values (1, '2026-10-15'), (2, '2027-01-31 23:59:59+00')").await.unwrap();
}

#[rstest]
#[case::date("date", "", "1 month", "events_y2026m11 FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')")]
#[case::timestamp(
    "timestamp",
    "",
    "1 day",
    "events_y2026m11d21 FOR VALUES FROM ('2026-11-21 00:00:00') TO ('2026-11-22 00:00:00')"
)]
#[case::epoch("bigint", "EpochSeconds", "1 day", "events_y2026m11d21 FOR VALUES FROM ('1795219200') TO ('1795305600')")]
#[case::millis(
    "bigint",
    "EpochMilliseconds",
    "1 day",
    "events_y2026m11d21 FOR VALUES FROM ('1795219200000') TO ('1795305600000')"
)]
#[case::uuid(
    "uuid",
    "Uuidv7",
    "1 day",
    "events_y2026m11d21 FOR VALUES FROM ('01a1fb67-1800-0000-0000-000000000000') TO ('01a2008d-7400-0000-0000-000000000000')"
)]
#[case::ulid(
    "text collate \"C\"",
    "Ulid",
    "1 day",
    "events_y2026m11d21 FOR VALUES FROM ('01M7XPE6000000000000000000') TO ('01M808TX000000000000000000')"
)]
#[tokio::test]
async fn every_kind_of_key_gets_its_bounds(
    #[case] column_type: &str,
    #[case] encoding: &str,
    #[case] interval: &str,
    #[case] expected: &str,
) {
    let bench = Bench::new(15, &format!("create table events (k {column_type} not null) partition by range (k)")).await;
    let key = if encoding.is_empty() { json!({}) } else { json!({"key": {"encoding": encoding}}) };
    let policy = policy("events", "k", interval, key);
    bench.settle(&policy).await;
    let found = bench.partitions("events").await;
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[0], expected);
}

#[tokio::test]
async fn an_integer_step_is_counted_from_the_newest_partition_that_holds_data() {
    let bench = Bench::new(15, "create table events (id bigint not null) partition by range (id)").await;
    let policy = policy("events", "id", "1_000", json!({"create": {"ahead": 1}}));
    bench.settle(&policy).await;
    assert_eq!(
        bench.partitions("events").await,
        ["events_p0 FOR VALUES FROM ('0') TO ('1000')", "events_p1000 FOR VALUES FROM ('1000') TO ('2000')"]
    );
    bench.admin.batch_execute("insert into events values (1500)").await.unwrap();
    let plan = bench.settle(&policy).await;
    assert_eq!(plan.actions.iter().map(Action::subject).collect::<Vec<_>>(), ["events_p2000"]);
}

#[rstest]
#[tokio::test]
async fn a_new_partition_equals_its_sibling(#[values(14, 15, 16, 17, 18)] major: u32) {
    let bench = Bench::new(major, EVENTS).await;
    let owner = bench.roles.owner.clone();
    let (reader, name) = (format!("{}_reader", bench.database.name), "events_y2026m11");
    bench.admin.batch_execute(&format!("create role {reader}")).await.unwrap();
    bench
        .as_owner(&format!(
            "create table {name} partition of events for values from ('2026-11-01 00:00+00') to ('2026-12-01 00:00+00') with (fillfactor = 70);
             alter table {name} set (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_enabled = false);
             alter table {name} alter column body set statistics 500;
             alter table {name} replica identity full;
             alter table {name} enable row level security;
             create policy mine on {name} for select to {reader} using (id > 10 and body is not null);
             create index on {name} using brin (created_at);
             create unique index on {name} (id, lower(body)) where id > 5;
             grant select, insert on {name} to {reader};
             comment on table {name} is 'It''s hot'"
        ))
        .await;
    bench.settle(&policy("events", "created_at", "1 month", json!({"create": {"ahead": 1}}))).await;
    let facts = |table: &str| {
        format!(
            "select concat_ws(' | ', r.rolname, c.relacl, (select string_agg(o, ',' order by o) from unnest(c.reloptions) o), t.reloptions, c.relreplident, c.relrowsecurity, obj_description(c.oid),
                (select attstattarget from pg_attribute where attrelid = c.oid and attname = 'body'),
                (select string_agg(concat_ws(' ', polname, polcmd, pg_get_expr(polqual, polrelid), polroles), ',') from pg_policy where polrelid = c.oid),
                (select string_agg(regexp_replace(pg_get_indexdef(indexrelid), 'INDEX .* USING', 'USING'), ',' order by regexp_replace(pg_get_indexdef(indexrelid), 'INDEX .* USING', 'USING'))
                 from pg_index where indrelid = c.oid))
             from pg_class c join pg_roles r on r.oid = c.relowner left join pg_class t on t.oid = c.reltoastrelid where c.relname = '{table}'"
        )
    };
    let (old, new) = (bench.one(&facts(name)).await, bench.one(&facts("events_y2026m12")).await);
    assert!(old.contains(&owner) && old.contains("fillfactor=70") && old.contains("It's hot") && old.contains("lower"), "{old}");
    assert_eq!(new, old);
    bench.admin.batch_execute(&format!("drop owned by {reader}; drop role {reader}")).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn identity_generated_and_default_columns_work_in_a_new_partition(#[values(14, 15, 16, 17, 18)] major: u32) {
    let identity = if major >= 17 { "generated always as identity" } else { "default 7" };
    let bench = Bench::new(
        major,
        &format!(
            "create table events (id bigint {identity}, at date not null default '2026-11-03', twice int generated always as (n * 2) stored, n int check (n > 0))
             partition by range (at)"
        ),
    )
    .await;
    bench.settle(&policy("events", "at", "1 month", json!({}))).await;
    bench.admin.batch_execute("insert into events (n) values (21)").await.unwrap();
    assert_eq!(bench.one("select twice from events_y2026m11 where id is not null").await, "42");
    assert!(bench.admin.batch_execute("insert into events (n) values (-1)").await.is_err());
}

#[tokio::test]
async fn foreign_keys_in_both_directions_come_with_the_attach_and_are_named_in_the_plan() {
    let bench = Bench::new(
        15,
        "create table users (id int primary key);
         create table events (id int, at date not null, user_id int references users, primary key (id, at)) partition by range (at);
         create table notes (event int, at date, foreign key (event, at) references events)",
    )
    .await;
    let plan = bench.settle(&policy("events", "at", "1 month", json!({"create": {"ahead": 0}}))).await;
    let Action::CreatePartition(create) = &plan.actions[0] else { panic!("{plan:?}") };
    assert_eq!(create.foreign_keys, ["public.notes", "public.users"]);
    bench.admin.batch_execute("insert into users values (1); insert into events values (1, '2026-11-02', 1)").await.unwrap();
    bench.admin.batch_execute("insert into notes values (1, '2026-11-02')").await.unwrap();
    assert!(bench.admin.batch_execute("insert into events values (2, '2026-11-02', 2)").await.is_err(), "the outgoing key holds");
    assert!(bench.admin.batch_execute("delete from events").await.is_err(), "the incoming key holds");
}

#[tokio::test]
async fn names_of_any_kind_survive() {
    let long = "t".repeat(63);
    for name in ["Order", "we\"ird; --", "größe 表", long.as_str()] {
        let quoted = name.replace('"', "\"\"");
        let bench =
            Bench::new(15, &format!("create table \"{quoted}\" (\"At\" date not null) partition by range (\"At\")")).await;
        let plan = bench.settle(&policy(name, "At", "1 month", json!({"create": {"ahead": 1}}))).await;
        assert!(plan.actions.iter().all(|action| action.subject().len() <= 63), "{plan:?}");
    }
}

#[tokio::test]
async fn an_unaligned_partition_is_reported_and_left_alone() {
    let bench = Bench::new(15, EVENTS).await;
    bench
        .as_owner("create table odd partition of events for values from ('2026-08-10 00:00+00') to ('2026-08-20 00:00+00')")
        .await;
    bench.as_owner("create table early partition of events for values from (minvalue) to ('2020-01-01 00:00+00')").await;
    let policy = policy(
        "events",
        "created_at",
        "1 month",
        json!({"template": {"storageParameters": [{"name": "fillfactor", "value": "50"}]}}),
    );
    let look = bench.look(&policy).await;
    let coverage = look.facts[0].coverage.clone().unwrap();
    assert_eq!((coverage.counts.count, coverage.counts.unmanaged), (0, 2));
    bench.settle(&policy).await;
    assert_eq!(
        bench.one("select count(*) from pg_class where relname in ('odd', 'early') and reloptions is not null").await,
        "0"
    );
}

#[tokio::test]
async fn drift_from_the_template_is_repaired_on_what_exists() {
    let bench = Bench::new(16, EVENTS).await;
    let reader = format!("{}_reader", bench.database.name);
    bench.admin.batch_execute(&format!("create role {reader}")).await.unwrap();
    bench
        .as_owner("create table e11 partition of events for values from ('2026-11-01 00:00+00') to ('2026-12-01 00:00+00')")
        .await;
    let template = json!({"create": {"ahead": 1}, "template": {
        "grants": [{"role": reader, "privileges": ["Select"]}],
        "storageParameters": [{"name": "fillfactor", "value": "80"}, {"name": "toast.autovacuum_enabled", "value": "false"}],
        "statistics": [{"column": "body", "target": 300}],
        "indexes": [{"name": "body", "columns": ["body"]}, {"name": "at", "columns": ["created_at"], "method": "Brin"}],
        "replicaIdentity": "Full",
        "rowSecurity": {"enabled": true, "forced": true},
    }});
    let policy = policy("events", "created_at", "1 month", template);
    bench.settle(&policy).await;
    let facts =
        "select string_agg(concat_ws(' ', c.reloptions, c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.relacl,
            (select count(*) from pg_index where indrelid = c.oid and indisvalid)), E'\\n' order by relname)
        from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'events'::regclass";
    let after = bench.one(facts).await;
    let (one, other) = after.split_once('\n').unwrap();
    assert_eq!(one, other);
    bench.as_owner("alter table e11 reset (fillfactor); alter table e11 no force row level security; drop index e11_body").await;
    let plan = bench.settle(&policy).await;
    assert_eq!(plan.actions.len(), 1);
    assert_eq!(bench.one(facts).await, after);
    bench.admin.batch_execute(&format!("drop owned by {reader}; drop role {reader}")).await.unwrap();
}

#[tokio::test]
async fn an_invalid_index_that_a_failed_build_left_is_replaced() {
    let bench = Bench::new(15, EVENTS).await;
    bench
        .as_owner("create table e11 partition of events for values from ('2026-11-01 00:00+00') to ('2026-12-01 00:00+00'); create index e11_body on e11 (body)")
        .await;
    bench.admin.batch_execute("update pg_index set indisvalid = false where indexrelid = 'e11_body'::regclass").await.unwrap();
    let policy =
        policy("events", "created_at", "1 month", json!({"template": {"indexes": [{"name": "body", "columns": ["body"]}]}}));
    bench.settle(&policy).await;
    assert_eq!(bench.one("select indisvalid from pg_index where indexrelid = 'e11_body'::regclass").await, "true");
}

#[tokio::test]
async fn a_tree_of_two_levels_is_kept_at_its_leaves() {
    let bench = Bench::new(
        15,
        "create table events (tenant int not null, at date not null) partition by list (tenant);
         create table events_a partition of events for values in (1) partition by range (at);
         create table events_b partition of events for values in (2) partition by range (at)",
    )
    .await;
    bench.settle(&policy("events", "at", "1 month", json!({"create": {"ahead": 1}}))).await;
    assert_eq!(bench.partitions("events_a").await.len(), 2);
    assert_eq!(bench.partitions("events_b").await[0], "events_b_y2026m11 FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')");
    bench.admin.batch_execute("insert into events values (2, '2026-12-31')").await.unwrap();
}

#[tokio::test]
async fn a_table_that_was_replaced_between_plan_and_apply_is_not_touched() {
    let bench = Bench::new(15, EVENTS).await;
    let policy = policy("events", "created_at", "1 month", json!({}));
    let plan = bench.plan(&policy).await;
    bench.as_owner(&format!("drop table events; {EVENTS}")).await;
    let outcome = bench.execute(&plan).await;
    assert_eq!(outcome.results.len(), 1, "nothing is tried after a stale action");
    assert!(matches!(&outcome.results[0].1, ActionResult::Stale { message } if message.contains("events")), "{outcome:?}");
    assert_eq!(bench.partitions("events").await.len(), 0);
}

#[tokio::test]
async fn a_missing_grant_is_named_exactly_and_nothing_is_tried() {
    let bench = Bench::new(15, EVENTS).await;
    let (owner, operator) = (&bench.roles.owner, &bench.roles.operator);
    bench.admin.batch_execute(&format!("revoke {owner} from {operator}")).await.unwrap();
    let policy = policy("events", "created_at", "1 month", json!({}));
    let plan = bench.plan(&policy).await;
    assert_eq!((plan.actions.len(), plan.blocked.len()), (0, 1));
    let grant = format!("GRANT \"{owner}\" TO \"{operator}\"");
    assert_eq!(plan.blocked[0].reason, Reason::MissingPrivilege);
    assert!(plan.blocked[0].message.ends_with(&grant), "{}", plan.blocked[0].message);
    bench.admin.batch_execute(&format!("{grant}; revoke create on schema public from {owner}")).await.unwrap();
    let plan = bench.plan(&policy).await;
    let grant = format!("GRANT CREATE ON SCHEMA \"public\" TO \"{owner}\"");
    assert!(plan.blocked[0].message.ends_with(&grant), "{}", plan.blocked[0].message);
    bench.admin.batch_execute(&grant).await.unwrap();
    bench.settle(&policy).await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_with_what_to_change() {
    let bench = Bench::new(
        15,
        "create table plain (at date);
         create table other (at date, b date) partition by range (b);
         create table many (at date, b date) partition by range (at, b);
         create table expr (at date) partition by range ((at + 1));
         create table listed (at date) partition by list (at);
         create table text_key (at text) partition by range (at)",
    )
    .await;
    for (table, reason, words) in [
        ("none", Reason::TableNotFound, "does not exist"),
        ("plain", Reason::NotPartitioned, "plain table"),
        ("other", Reason::NotPartitioned, "divided by b, not by at"),
        ("many", Reason::NotPartitioned, "several columns (at, b)"),
        ("expr", Reason::NotPartitioned, "expression"),
        ("listed", Reason::NotPartitioned, "not divided by RANGE"),
        ("text_key", Reason::KeyMismatch, "COLLATE \"C\""),
    ] {
        let plan = bench.plan(&policy(table, "at", "1 month", json!({}))).await;
        assert_eq!(plan.actions.len(), 0);
        assert_eq!(plan.blocked[0].reason, reason, "{table}: {}", plan.blocked[0].message);
        assert!(plan.blocked[0].message.contains(words), "{table}: {}", plan.blocked[0].message);
    }
}
