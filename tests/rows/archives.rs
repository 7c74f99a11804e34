//! Does an archive table hold whatever its source holds, and follow it? Every type, odd names, columns that come, keys that are used again.

use serde_json::json;

use crate::world::{World, policy};

/// A column of every kind that PostgreSQL knows, with values that are easy to lose.
const TYPES: &str = r#"
    create type mood as enum ('good', 'bad'); create type pair as (a int, b text); create domain positive as int check (value > 0);
    create table "Odd ""Name"" ö" (
        "the ""id""" bigint generated always as identity primary key, "select" int default 7, "Größe" numeric, n numeric(10,2), f float8, r real,
        t text collate "C", v varchar(5), c char(3), b bytea, j json, jb jsonb, u uuid, i inet, m macaddr, bits bit varying, d date, ts timestamp, tz timetz,
        iv interval, mo mood, p pair, pos positive, arr int[], texts text[][], rng int4range, mr nummultirange, pt point, x xml, tv tsvector,
        doubled int generated always as ("select" * 2) stored, dropped int, "created at" timestamptz not null check ("created at" > '2000-01-01'));
    alter table "Odd ""Name"" ö" drop column dropped;
    create index on "Odd ""Name"" ö" ("created at"); create unique index on "Odd ""Name"" ö" (lower(t)) where t <> ''; create index on "Odd ""Name"" ö" using gin (jb);
    insert into "Odd ""Name"" ö" ("select", "Größe", n, f, r, t, v, c, b, j, jb, u, i, m, bits, d, ts, tz, iv, mo, p, pos, arr, texts, rng, mr, pt, x, tv, "created at") values
        (1, 'NaN', 1.50, 'Infinity', '-0', E'it''s \\ "odd"\n', 'abcde', 'a', '\x00ff', '{"a": 1,  "a": 2}', '{"b": [1, null]}', gen_random_uuid(), '::1/64', '08:00:2b:01:02:03', B'101',
         'infinity', '-infinity', '12:00+05:30', '1 mon -1 day', 'bad', '(1,"x,y")', 1, '{1,NULL,3}', '{{a,b},{"c,d",NULL}}', '[1,5)', '{[1,2),[3,)}', '(1,2)', '<a/>', 'a:1B b:2', '2025-01-01'),
        (null, null, null, 'NaN', null, '', null, null, '', null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, 'empty', null, null, null, null, '2025-01-02')"#;

#[tokio::test]
async fn every_type_and_any_name_comes_through_unchanged() {
    for major in [14, 15, 18] {
        let world = World::new(major, TYPES).await;
        let table = r#""Odd ""Name"" ö""#;
        let text = |from: &str| format!(r#"select string_agg(s::text, '|' order by "the ""id""") from {from} s"#);
        let before = world.one(&text(table)).await;
        let spec = policy("Odd \"Name\" ö", json!({"column": "created at", "where": r#""the ""id""" > 0 and t <> 'x;y'"#}));
        let moved = world.remove(&spec).await;
        assert_eq!((moved.rows, world.count(table).await), (2, 0), "PostgreSQL {major}");
        let columns = world.one(&format!("select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped")).await;
        let archived = format!(r#"(select {columns} from "Odd ""Name"" ö_archive")"#);
        assert_eq!(world.one(&text(&archived)).await, before, "PostgreSQL {major}");
        let made = "select array_agg(distinct concat(attname, ':', attgenerated, attidentity, attnotnull)) from pg_attribute where attrelid = '\"Odd \"\"Name\"\" ö_archive\"'::regclass and attnum > 0 and (attgenerated <> '' or attidentity <> '' or attnotnull)";
        assert_eq!(world.one(made).await, "{archived_at:t}");
        assert_eq!(world.steps(&spec).await.prepare, vec![]);
    }
}

const T: &str = "create table t (id int primary key, code varchar(3) unique, note text not null, created_at timestamptz not null check (created_at > '2020-01-01'));
    create index on t (created_at); insert into t select n, n, 'n', '2025-01-01' from generate_series(1, 3) n";

#[tokio::test]
async fn an_archive_table_has_the_owner_the_rights_and_the_indexes_of_its_source_and_refuses_nothing() {
    let world = World::new(15, T).await;
    world
        .admin
        .batch_execute(&format!("create role {0}_reader nologin; grant select on t to {0}_reader", world.database.name))
        .await
        .unwrap();
    world.remove(&policy("t", json!({}))).await;
    assert_eq!(world.one("select relowner::regrole from pg_class where relname = 't_archive'").await, world.roles.owner);
    assert_eq!(
        world.one(&format!("select has_table_privilege('{}_reader', 't_archive', 'select')", world.database.name)).await,
        "true"
    );
    let indexes = "select string_agg(d, ' ' order by d) from (select regexp_replace(indexdef, '.* USING ', '') d from pg_indexes where tablename = 't_archive') i";
    assert_eq!(world.one(indexes).await, "btree (archived_at) btree (code) btree (created_at) btree (id)");
    assert_eq!(
        world.one("select count(*) from pg_constraint where conrelid = 't_archive'::regclass and contype <> 'n'").await,
        "0"
    );
    assert_eq!(
        world.one("select bool_and(indisunique) from pg_index where indrelid = 't_archive'::regclass and indisunique").await,
        ""
    );
}

#[tokio::test]
async fn a_key_that_is_used_again_is_archived_again() {
    let world = World::new(15, T).await;
    let spec = policy("t", json!({}));
    world.remove(&spec).await;
    world.as_owner("insert into t values (1, '1', 'again', '2025-02-01')").await;
    assert_eq!(world.remove(&spec).await.rows, 1);
    assert_eq!(world.one("select string_agg(note, ',' order by created_at) from t_archive where id = 1").await, "n,again");
}

#[tokio::test]
async fn columns_that_come_or_grow_are_followed_before_rows_move() {
    let world = World::new(15, T).await;
    let spec = policy("t", json!({}));
    world.remove(&spec).await;
    world.as_owner("alter table t add extra jsonb default '{}', add amount numeric(5,2) not null default 1, alter code type text, alter id type bigint,
        alter note drop not null, drop constraint t_created_at_check;
        insert into t values (3000000000, 'longer than three', null, '2010-01-01', '{\"a\": 1}', 2.5)").await;
    let steps = world.steps(&spec).await;
    assert_eq!(steps.prepare.len(), 1, "{steps:?}");
    let task = world.task(&spec).await;
    world.as_owner("alter table t drop extra").await;
    assert_eq!(world.run(&task).await.unwrap().rows, 1, "a column that has gone stays in the archive");
    let row = "select (id, code, note, created_at at time zone 'UTC', extra, amount)::text from t_archive where id > 3";
    assert_eq!(world.one(row).await, "(3000000000,\"longer than three\",,\"2010-01-01 00:00:00\",,2.50)");
    assert_eq!(world.steps(&spec).await.prepare, vec![]);
    // A type that grows after the plan was made: nothing moves before the archive has followed.
    world.as_owner("insert into t values (7, 'x', 'y', '2025-01-01', 1)").await;
    let task = world.task(&spec).await;
    world.as_owner("alter table t add late int").await;
    let refused = world.run(&task).await.unwrap_err();
    assert_eq!(refused.message, "public.t_archive has no column late of type integer");
    assert_eq!(world.count("t").await, 1);
}

/// `CREATE TABLE … (LIKE … INCLUDING ALL, archived_at …)`, as people make archive tables by hand.
#[tokio::test]
async fn an_archive_table_made_by_hand_is_taken_as_it_is() {
    let world = World::new(15, T).await;
    world.as_owner("create table t_archive (like t including all, archived_at timestamp default current_timestamp)").await;
    let spec = policy("t", json!({}));
    let steps = world.steps(&spec).await;
    assert_eq!((steps.prepare.len(), steps.notes.iter().map(|note| note.id.as_str()).collect::<Vec<_>>()), (0, vec!["PGR-222"]));
    assert_eq!(world.remove(&spec).await.rows, 3);
    // A key that comes again is refused by its primary key, and nothing is lost.
    world.as_owner("insert into t values (1, '9', 'again', '2025-02-01')").await;
    let task = world.task(&spec).await;
    let refused = world.run(&task).await.unwrap_err();
    assert!(refused.message.contains("duplicate key value") && refused.message.contains("23505"), "{}", refused.message);
    assert_eq!((world.count("t").await, world.count("t_archive").await), (1, 3));
}

#[tokio::test]
async fn ages_in_other_forms() {
    let v7 = |ms: u64| format!("{:08x}-{:04x}-7abc-8def-0123456789ab", ms >> 16, ms & 0xffff);
    let (old, young) = (1_735_689_600_000_u64, 1_795_000_000_000_u64);
    let setup = format!(
        "create table e (id int primary key, at bigint); create index on e (at); insert into e values (1, {old}), (2, {young}), (3, null);
         create table s (id int primary key, at int); create index on s (at); insert into s values (1, {}), (2, {});
         create table u (id uuid primary key); insert into u values ('{}'), ('{}'), ('00000000-0000-4000-8000-000000000000');
         create table l (id text collate \"C\" primary key); insert into l values ('01JGFJJZ00ABCDEFGHJKMNPQRS'), ('01MKZZZZZZABCDEFGHJKMNPQRS'), ('0'), ('00'), ('not one');
         create table d (id int primary key, day date); create index on d (day); insert into d values (1, '2026-05-24'), (2, '2026-05-25'), (3, '-infinity'), (4, 'infinity'), (5, null)",
        old / 1000, young / 1000, v7(old), v7(young)
    );
    let world = World::new(15, &setup).await;
    for (table, rows, left) in [
        ("e", json!({"column": "at", "encoding": "EpochMilliseconds"}), "2,3"),
        ("s", json!({"column": "at", "encoding": "EpochSeconds"}), "2"),
        ("d", json!({"column": "day"}), "2,3,4,5"),
    ] {
        assert_eq!(world.remove(&policy(table, rows)).await.rows, 1, "{table}");
        assert_eq!(world.one(&format!("select string_agg(id::text, ',' order by id) from {table}")).await, left);
    }
    assert_eq!(world.remove(&policy("u", json!({"column": "id", "encoding": "Uuidv7"}))).await.rows, 1);
    assert_eq!(
        world.one("select string_agg(left(id::text, 8), ' ' order by id) from u").await,
        format!("00000000 {}", &v7(young)[..8])
    );
    assert_eq!(world.remove(&policy("l", json!({"column": "id", "encoding": "Ulid"}))).await.rows, 1);
    assert_eq!(world.count("l").await, 4);
}
