//! Do foreign keys never act by themselves? Dependents go first, keepers keep, whatever their ON DELETE says.

use pgreeve::api::retention_hold::HoldRange;
use pgreeve::plan::rows::Held;
use serde_json::json;

use crate::world::{World, policy};

/// Ten chats, old; two messages each, two reads of each message; and a table of pins.
fn chats(on_delete: &str) -> String {
    format!(
        "create table chats (id bigint primary key, created_at timestamptz not null); create index on chats (created_at);
         create table messages (id bigint primary key, chat bigint references chats {on_delete}); create index on messages (chat);
         create table reads (id bigint primary key, message bigint references messages {on_delete}); create index on reads (message);
         create table pins (id bigint primary key, message bigint references messages {on_delete}); create index on pins (message);
         insert into chats select n, '2025-01-01' from generate_series(1, 10) n;
         insert into messages select n, (n + 1) / 2 from generate_series(1, 20) n;
         insert into reads select n, (n + 1) / 2 from generate_series(1, 40) n"
    )
}

const ACTIONS: [&str; 4] = ["", "on delete cascade", "on delete set null", "on delete restrict"];

#[tokio::test]
async fn dependents_of_dependents_go_first_into_their_archives() {
    for on_delete in ACTIONS {
        let world = World::new(15, &chats(on_delete)).await;
        let moved = world
            .remove(&policy("chats", json!({"dependents": [{"table": "messages"}, {"table": "reads", "action": "Delete"}]})))
            .await;
        assert_eq!((moved.rows, moved.dependents), (10, 60), "{on_delete}: {moved:?}");
        let counts =
            "select array[(select count(*) from chats), (select count(*) from chats_archive), (select count(*) from messages),
            (select count(*) from messages_archive), (select count(*) from reads)]";
        assert_eq!(world.one(counts).await, "{0,10,0,20,0}", "{on_delete}");
    }
}

#[tokio::test]
async fn a_row_that_something_unnamed_refers_to_stays_with_all_that_it_needs() {
    for on_delete in ACTIONS {
        let world = World::new(15, &chats(on_delete)).await;
        world.as_owner("insert into pins values (1, 5)").await;
        // Nobody named messages, so all chats are referred to.
        let nothing = world.steps(&policy("chats", json!({}))).await;
        assert_eq!((nothing.remove, nothing.blocked), (None, vec![]), "{on_delete}");
        // Message 5 is pinned, so it stays, and with it chat 3; message 6 of that chat stays as well.
        let moved = world.remove(&policy("chats", json!({"dependents": [{"table": "messages"}, {"table": "reads"}]}))).await;
        assert_eq!((moved.rows, moved.dependents, moved.left), (9, 54, 0), "{on_delete}: {moved:?}");
        assert_eq!(world.one("select array_agg(id order by id) from chats").await, "{3}");
        assert_eq!(world.one("select array_agg(id order by id) from messages where chat = 3").await, "{5,6}");
        assert_eq!(world.one("select count(*) from reads").await, "4");
        assert_eq!(world.one("select count(*) from pins where message = 5").await, "1");
    }
}

#[tokio::test]
async fn a_hold_on_a_dependent_keeps_what_its_rows_refer_to() {
    let world = World::new(15, &chats("on delete cascade")).await;
    world.as_owner("delete from reads; delete from messages where chat <> 4").await;
    let spec = policy("chats", json!({"dependents": [{"table": "messages"}, {"table": "reads"}]}));
    let hold = Held {
        name: "legal".into(),
        table: serde_json::from_value(json!({"name": "messages"})).unwrap(),
        range: HoldRange::default(),
    };
    let steps = world.steps_with(&spec, &[hold]).await;
    assert_eq!(steps.held, ["public.messages: rows from the beginning to the end are held by RetentionHold legal"]);
    world.prepare(&steps).await;
    let moved = world.run(&steps.remove.unwrap()).await.unwrap();
    assert_eq!((moved.rows, moved.dependents), (9, 0));
    assert_eq!(world.one("select array_agg(id) from chats").await, "{4}");
}

#[tokio::test]
async fn a_hold_keeps_its_stretch_of_the_table() {
    let setup = "create table t (id int primary key, created_at timestamptz not null); create index on t (created_at);
        insert into t select n, timestamptz '2025-01-01 00:00+00' + n * interval '1 day' from generate_series(0, 99) n";
    let world = World::new(15, setup).await;
    let spec = policy("t", json!({}));
    let hold = |from: Option<&str>, to: Option<&str>| Held {
        name: "audit".into(),
        table: spec.table.clone(),
        range: HoldRange { from: from.map(Into::into), to: to.map(Into::into) },
    };
    assert_eq!(world.steps_with(&spec, &[hold(None, None)]).await.remove, None);
    let steps = world.steps_with(&spec, &[hold(Some("2025-01-11"), Some("2025-01-21")), hold(Some("2025-04-01"), None)]).await;
    world.prepare(&steps).await;
    let moved = world.run(&steps.remove.unwrap()).await.unwrap();
    assert_eq!(moved.rows, 80);
    assert_eq!(
        world.one("select array_agg(id order by id) from t").await,
        "{10,11,12,13,14,15,16,17,18,19,90,91,92,93,94,95,96,97,98,99}"
    );
}

#[tokio::test]
async fn answers_go_before_what_they_answer_and_threads_go_whole() {
    let setup = "create table posts (id int primary key, answers int references posts, created_at timestamptz not null);
        create index on posts (created_at); create index on posts (answers);
        insert into posts select n, nullif(n - 1, 0), timestamptz '2025-01-01' + n * interval '1 min' from generate_series(1, 5) n;
        insert into posts values (10, 10, '2025-02-01'), (20, null, '2025-02-01'), (21, 20, '2026-11-20');
        create table chats (id int primary key, created_at timestamptz not null); create index on chats (created_at);
        create table messages (id int primary key, chat int references chats on delete cascade, reply_to int references messages on delete cascade);
        create index on messages (chat); create index on messages (reply_to);
        insert into chats values (1, '2025-01-01'), (2, '2025-01-01');
        insert into messages values (1, 1, null), (2, 1, 1), (3, 1, 2), (4, 2, null), (5, 2, 5)";
    let world = World::new(15, setup).await;
    let moved = world.remove(&policy("posts", json!({}))).await;
    assert_eq!(moved.rows, 6, "a chain of five and one that answers itself: {moved:?}");
    assert_eq!(world.one("select array_agg(id order by id) from posts").await, "{20,21}");
    let moved = world.remove(&policy("chats", json!({"dependents": [{"table": "messages"}]}))).await;
    assert_eq!((moved.rows, moved.dependents), (2, 5), "{moved:?}");
}

#[tokio::test]
async fn keys_of_several_columns_and_several_keys_from_one_table() {
    let setup =
        "create table t (a int, b text, created_at timestamptz not null, primary key (a, b)); create index on t (created_at);
        create table d (id int primary key, a int, b text, other_a int, other_b text,
            foreign key (a, b) references t on delete cascade, foreign key (other_a, other_b) references t on delete set null);
        create index on d (b, a); create index on d (other_a, other_b);
        insert into t select n, 'x' || n, '2025-01-01' from generate_series(1, 4) n;
        insert into d values (1, 1, 'x1', null, null), (2, null, null, 2, 'x2'), (3, 3, 'x3', 4, 'x4'), (4, 1, null, null, null)";
    let world = World::new(15, setup).await;
    let moved = world.remove(&policy("t", json!({"dependents": [{"table": "d"}]}))).await;
    assert_eq!((moved.rows, moved.dependents), (4, 3), "{moved:?}");
    assert_eq!(world.one("select array_agg(d::text order by id) from d").await, r#"{"(4,1,,,)"}"#);
    assert_eq!(
        world.one("select array_agg((id, a, b, other_a, other_b)::text order by id) from d_archive").await,
        r#"{"(1,1,x1,,)","(2,,,2,x2)","(3,3,x3,4,x4)"}"#
    );
}

#[tokio::test]
async fn a_partitioned_table_may_refer_and_keeps_what_it_refers_to() {
    let setup = "create table t (id int primary key, created_at timestamptz not null); create index on t (created_at);
        insert into t select n, '2025-01-01' from generate_series(1, 4) n;
        create table p (t int references t on delete cascade) partition by range (t); create index on p (t);
        create table p1 partition of p for values from (0) to (3); insert into p values (2)";
    let world = World::new(15, setup).await;
    assert_eq!(world.remove(&policy("t", json!({}))).await.rows, 3);
    assert_eq!(world.one("select array_agg(id) from t").await, "{2}");
    assert_eq!(world.count("p").await, 1);
}

#[tokio::test]
async fn a_foreign_key_that_comes_after_the_plan_stops_the_run() {
    let world = World::new(
        15,
        "create table t (id int primary key, created_at timestamptz not null); create index on t (created_at);
        insert into t select n, '2025-01-01' from generate_series(1, 4) n",
    )
    .await;
    let task = world.task(&policy("t", json!({}))).await;
    world
        .as_owner(
            "create table late (t int references t on delete cascade); create index on late (t); insert into late values (1)",
        )
        .await;
    let refused = world.run(&task).await.unwrap_err();
    assert_eq!(refused.message, "public.late refers to public.t by late_t_fkey, which was not planned for");
    assert_eq!(world.count("t").await + world.count("late").await, 5);
}

#[tokio::test]
async fn a_trigger_that_suppresses_a_delete_or_a_copy_stops_the_run_with_nothing_lost() {
    for (table, event) in [("t", "delete"), ("t_archive", "insert")] {
        let world = World::new(15, "create table t (id int primary key, created_at timestamptz not null); create index on t (created_at);
            insert into t select n, '2025-01-01' from generate_series(1, 4) n;
            create function no() returns trigger language plpgsql as 'begin if (case when tg_op = ''DELETE'' then old.id else new.id end) = 2 then return null; end if; return coalesce(new, old); end'").await;
        let spec = policy("t", json!({}));
        let task = world.task(&spec).await;
        world.as_owner(&format!("create trigger no before {event} on {table} for each row execute function no()")).await;
        let notes = world.steps(&spec).await.notes;
        assert_eq!(notes.iter().any(|note| note.id == "PGR-221"), event == "delete");
        let refused = world.run(&task).await.unwrap_err();
        assert!(refused.message.contains("so it was rolled back: look for triggers"), "{}", refused.message);
        assert_eq!((world.count("t").await, world.count("t_archive").await), (4, 0));
    }
}
