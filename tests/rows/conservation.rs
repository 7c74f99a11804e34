//! Is every row in exactly one place, whatever happens meanwhile? Counts and contents over source and archive.

use std::time::Duration;

use serde_json::json;

use crate::ledger::{self, Writers};
use crate::world::{World, policy};

const STORIES: &str = "create table stories (id bigint primary key, body text, created_at timestamptz not null);
    create index on stories (created_at);
    insert into stories select n, 'story ' || n, timestamptz '2025-11-21 00:00+00' + n * interval '1 hour' from generate_series(1, 8000) n";

#[tokio::test]
async fn old_rows_move_to_the_archive_and_young_ones_stay() {
    let world = World::new(15, STORIES).await;
    let before = world.one("select md5(string_agg(s::text, '|' order by id)) from stories s").await;
    let spec = policy("stories", json!({}));
    let moved = world.remove(&spec).await;
    assert_eq!((moved.rows, moved.busy, moved.left), (4439, 0, 0), "{moved:?}");
    assert_eq!((world.count("stories").await, world.count("stories_archive").await), (3561, 4439));
    let after = "select md5(string_agg(s::text, '|' order by id)) from
        (select id, body, created_at from stories union all select id, body, created_at from stories_archive) s";
    assert_eq!(world.one(after).await, before);
    assert_eq!(world.one("select max(created_at) < timestamptz '2026-05-25 00:00+00' from stories_archive").await, "true");
    assert_eq!(world.steps(&spec).await.remove, None, "a policy that was carried out has nothing left to do");
}

#[tokio::test]
async fn numbers_go_in_the_order_of_numbers_and_not_of_their_digits() {
    // The clock of Unix gained its tenth digit on 9 September 2001.
    let setup = "create table ticks (id bigint primary key, at bigint not null); create index on ticks (at);
        insert into ticks select n, 999999000 + n from generate_series(1, 2000) n";
    let world = World::new(15, setup).await;
    let spec = policy("ticks", json!({"encoding": "EpochSeconds", "column": "at", "batch": {"rows": 100, "pause": "0s"}}));
    let moved = world.remove(&spec).await;
    assert_eq!((moved.rows, moved.left), (2000, 0), "{moved:?}");
    assert_eq!(world.count("ticks_archive").await, 2000);
}

#[tokio::test]
async fn delete_leaves_no_archive() {
    let world = World::new(15, STORIES).await;
    let moved = world.remove(&policy("stories", json!({"action": "Delete"}))).await;
    assert_eq!((moved.rows, world.count("stories").await), (4439, 3561));
    assert_eq!(world.one("select to_regclass('stories_archive') is null").await, "true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_writers_every_row_is_in_one_place_as_it_last_was_at_every_moment() {
    for major in [14, 15, 18] {
        let world = World::new(major, &ledger::setup(20_000)).await;
        let task = world.task(&ledger::spec()).await;
        let writers = Writers::start(&world, 4, 20_000).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let session = world.session().await;
        let run = tokio::spawn({
            let task = task.clone();
            async move { pgreeve::job::archive::carry_out(&task, &session, &Default::default()).await }
        });
        let mut snapshots = 0;
        while !run.is_finished() {
            assert_eq!(ledger::wrong(&world, true).await, "");
            snapshots += 1;
        }
        let moved = run.await.unwrap().unwrap();
        let changes = writers.end().await;
        println!("PostgreSQL {major}: {moved:?}, {changes} changes meanwhile, {snapshots} snapshots");
        assert!(moved.rows > 15_000 && moved.dependents > 45_000 && changes > 100, "{moved:?}, {changes}");
        // What was held or written meanwhile goes with the next run.
        world.run(&task).await.unwrap();
        assert_eq!(ledger::wrong(&world, true).await, "");
        assert_eq!(world.one("select count(*) from stories where created_at < '2026-05-25 00:00+00'").await, "0");
    }
}
