//! What is refused, and does the message say what to do? Each case on a real server.

use pgreeve::api::RetentionPolicySpec;
use serde_json::json;

use crate::world::{World, policy};

const T: &str = "create table t (id bigint primary key, status text, created_at timestamptz not null);
    create index on t (created_at); insert into t select n, 'done', '2025-01-01' from generate_series(1, 10) n;";

async fn refused(setup: &str, spec: &RetentionPolicySpec, expected: &str) -> World {
    let world = World::new(15, setup).await;
    is_refused(&world, spec, expected).await;
    world
}

async fn is_refused(world: &World, spec: &RetentionPolicySpec, expected: &str) {
    let refusals = world.refusals(spec).await.join("\n");
    let expected = expected.replace("OWNER", &world.roles.owner);
    assert!(refusals.contains(&expected), "expected {expected:?} in:\n{refusals}");
}

#[tokio::test]
async fn a_table_that_is_missing_or_no_plain_table() {
    let plain = policy("t", json!({}));
    refused("", &plain, "TableNotFound: table public.t does not exist").await;
    refused("create view t as select 1 as created_at", &plain, "Unsupported: public.t is not a table").await;
    let partitioned = "create table t (id int, created_at timestamptz) partition by range (created_at)";
    refused(partitioned, &plain, "Unsupported: public.t is partitioned: give partitions instead").await;
    refused(&format!("{T} create table child () inherits (t)"), &plain, "takes part in inheritance").await;
    refused(&format!("{T} create rule r as on delete to t do instead nothing"), &plain, "has rewrite rules").await;
}

#[tokio::test]
async fn a_table_without_a_key_or_an_index_on_the_age_column() {
    let plain = policy("t", json!({}));
    let world = refused("create table t (id bigint, created_at timestamptz)", &plain, "has neither a primary key nor").await;
    world.as_owner("create unique index k on t (id)").await;
    is_refused(&world, &plain, "has neither a primary key nor").await;
    world.as_owner("alter table t alter id set not null; create index wrong on t (id, created_at); create index part on t (created_at) where id > 3").await;
    is_refused(&world, &plain, "IndexMissing: no index of public.t leads with created_at, so that every batch would scan the table; run: CREATE INDEX CONCURRENTLY ON public.t (created_at)").await;
    world.as_owner("create index on t (created_at desc, id)").await;
    assert_eq!(world.steps(&plain).await.blocked, []);
}

#[tokio::test]
async fn a_column_that_does_not_tell_an_age() {
    refused(T, &policy("t", json!({"column": "nope"})), "InvalidSpec: rows.column: public.t has no column nope").await;
    refused(T, &policy("t", json!({"column": "id"})), "KeyMismatch: public.t.id: a plain number does not tell a row's age").await;
    refused(T, &policy("t", json!({"column": "status", "encoding": "Ulid"})), "").await;
    refused(T, &policy("t", json!({"column": "created_at", "encoding": "EpochSeconds"})), "write encoding: Native").await;
}

#[tokio::test]
async fn a_condition_that_is_more_than_a_condition() {
    let with = |condition: &str| policy("t", json!({"where": condition}));
    let world = World::new(15, T).await;
    world.as_owner("create function wipe(bigint) returns boolean language sql as 'delete from t returning true'").await;
    for (condition, expected) in [
        ("true) or (true", "parenthesis"),
        ("true; drop table t", "holds a semicolon"),
        ("id in (select id from t)", "has the word select"),
        ("public.wipe(id)", "calls public.wipe: only functions of PostgreSQL's own"),
        ("wipe(id)", "calls wipe: only functions"),
        ("\"wipe\"(id)", "calls wipe: only functions"),
        ("random() < 0.5", "calls random"),
        ("pg_catalog.set_config('a.b', 'c', false) = 'c'", "calls pg_catalog.set_config"),
        ("nextval('s') > 0", "calls nextval"),
        ("nope = 1", "is refused by the server: column \"nope\" does not exist"),
        ("id", "is refused by the server: argument of AND must be type boolean"),
        ("count(*) > 1", "is refused by the server: aggregate functions are not allowed"),
        ("1 / (id - id) > 0", "is refused by the server: division by zero"),
        ("status = 'a' -- comment", "holds a comment"),
        ("t.status = E'\\'; drop table t; --'", "begins with E'"),
    ] {
        is_refused(&world, &with(condition), expected).await;
    }
    assert_eq!(world.count("t").await, 10);
    let good = with(
        "t.status <> 'it''s; --' and lower(status) like 'd%' and coalesce(id, 0) % 2 = 0 and extract(year from created_at) = 2025",
    );
    assert_eq!(world.remove(&good).await.rows, 5);
}

#[tokio::test]
async fn a_condition_over_a_type_whose_operators_would_not_be_found() {
    let setup = format!("{T} create type mood as enum ('good', 'bad'); alter table t add mood mood default 'good', add home box");
    let world = World::new(15, &setup).await;
    world
        .admin
        .batch_execute(
            "create type own; create function own_in(cstring) returns own immutable strict language internal as 'textin';
        create function own_out(own) returns cstring immutable strict language internal as 'textout';
        create type own (input = own_in, output = own_out, like = text)",
        )
        .await
        .unwrap();
    world.as_owner("alter table t add odd own").await;
    is_refused(&world, &policy("t", json!({"where": "odd is null"})), "uses odd, whose type public.own is not PostgreSQL's own")
        .await;
    assert_eq!(world.remove(&policy("t", json!({"where": "mood = 'good'"}))).await.rows, 10);
}

#[tokio::test]
async fn foreign_keys_without_an_index_in_a_circle_or_from_nowhere() {
    let child = "create table child (id bigint primary key, t bigint references t on delete cascade);";
    let plain = policy("t", json!({}));
    let unindexed = "IndexMissing: public.child refers to public.t by child_t_fkey (ON DELETE CASCADE), and no index leads with that column: every deleted row would scan it; run: CREATE INDEX CONCURRENTLY ON public.child (t)";
    let world = refused(&format!("{T} {child}"), &plain, unindexed).await;
    let named = policy("t", json!({"dependents": [{"table": "child"}]}));
    is_refused(&world, &named, unindexed).await;
    world.as_owner("create index on child (t); alter table t add child bigint references child; create index on t (child)").await;
    is_refused(&world, &named, "refer to each other in a circle").await;
    let missing = policy("t", json!({"dependents": [{"table": "nope"}]}));
    is_refused(&world, &missing, "TableNotFound: rows.dependents: table public.nope does not exist").await;
    world.as_owner("alter table t drop child; create table stranger (id bigint primary key)").await;
    let stranger = policy("t", json!({"dependents": [{"table": "stranger"}]}));
    is_refused(&world, &stranger, "names public.stranger, which refers neither to public.t nor to another dependent").await;
    is_refused(&world, &policy("t", json!({"dependents": [{"table": "t"}]})), "the table itself").await;
}

#[tokio::test]
async fn row_security_that_hides_rows_from_their_owner() {
    let setup = format!("{T} alter table t enable row level security, force row level security");
    let world = refused(
        &setup,
        &policy("t", json!({})),
        "row security is forced on public.t and may hide rows from its owner OWNER; run: ALTER TABLE public.t NO FORCE",
    )
    .await;
    world.as_owner("alter table t no force row level security").await;
    assert_eq!(world.remove(&policy("t", json!({}))).await.rows, 10);
    assert_eq!(world.one("select relrowsecurity from pg_class where relname = 't_archive'").await, "true");
}

#[tokio::test]
async fn rights_that_lack_with_the_grant_to_run() {
    let world = World::new(15, T).await;
    let plain = policy("t", json!({}));
    world.admin.batch_execute(&format!("revoke {} from {}", world.roles.owner, world.roles.operator)).await.unwrap();
    is_refused(&world, &plain, "MissingPrivilege: role ").await;
    is_refused(&world, &plain, "may not act as the owner of public.t; run: GRANT OWNER TO ").await;
    world.admin.batch_execute(&format!("grant {} to {}", world.roles.owner, world.roles.operator)).await.unwrap();
    world
        .admin
        .batch_execute(&format!("revoke create on schema public from {}; create schema cold", world.roles.owner))
        .await
        .unwrap();
    is_refused(&world, &plain, "cannot create public.t_archive; run: GRANT CREATE, USAGE ON SCHEMA public TO OWNER").await;
    let elsewhere = policy("t", json!({"archiveTable": {"schema": "cold", "name": "t"}}));
    is_refused(&world, &elsewhere, "run: GRANT CREATE, USAGE ON SCHEMA cold TO OWNER").await;
    let nowhere = policy("t", json!({"archiveTable": {"schema": "nowhere", "name": "t"}}));
    is_refused(&world, &nowhere, "schema nowhere does not exist").await;
    // A dependent of another owner.
    world
        .admin
        .batch_execute(&format!(
            "grant create on schema public to {}; create table child (id int primary key, t bigint references t);
        create index on child (t); insert into child values (1, 1)",
            world.roles.owner
        ))
        .await
        .unwrap();
    is_refused(&world, &plain, "lacks rights on public.child; run: GRANT SELECT ON public.child TO OWNER").await;
    let named = policy("t", json!({"dependents": [{"table": "child"}]}));
    is_refused(&world, &named, "may not act as the owner of public.child").await;
}

#[tokio::test]
async fn archive_tables_that_do_not_fit() {
    let world = World::new(15, &format!("{T} create table t_archive (id bigint, status text, created_at date)")).await;
    let plain = policy("t", json!({}));
    is_refused(&world, &plain, "ALTER TABLE public.t_archive ALTER COLUMN created_at TYPE timestamp with time zone").await;
    world.as_owner("drop table t_archive; create table t_archive (like t, needed int not null)").await;
    is_refused(&world, &plain, "t_archive.needed is NOT NULL without a default").await;
    world.as_owner("drop table t_archive; create view t_archive as select 1 as one").await;
    is_refused(&world, &plain, "public.t_archive is not a table that rows can be archived to").await;
    is_refused(&world, &policy("t", json!({"archiveTable": {"name": "t"}})), "rows.archiveTable is the table itself").await;
    world.as_owner("alter table t add archived_at timestamptz").await;
    is_refused(&world, &plain, "has a column archived_at of its own").await;
}

#[tokio::test]
async fn a_published_table_whose_deletes_cannot_be_sent() {
    let setup = format!("{T} alter table t replica identity nothing");
    let world = World::new(15, &setup).await;
    assert_eq!(world.steps(&policy("t", json!({}))).await.blocked, []);
    world.admin.batch_execute("create publication p for table t").await.unwrap();
    is_refused(&world, &policy("t", json!({})), "is published without a replica identity").await;
}
