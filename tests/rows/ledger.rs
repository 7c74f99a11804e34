//! Was every row that was ever written kept exactly once, as it last was? Writers that write down what they do, and the reckoning.
//!
//! Two tables: stories that grow old, and messages that refer to them ON DELETE CASCADE. Every writer notes each change in the
//! transaction that makes it, so the ledger is what the application knows. In any snapshot, the stories, the archive and the noted
//! deletions together are the noted insertions, no row twice, each in its last version.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::world::{World, policy};
use pgreeve::api::RetentionPolicySpec;

/// The tables and the ledger, with `rows` old stories of three messages each and a tenth as many young ones.
pub fn setup(rows: u32) -> String {
    format!(
        "create table stories (id bigint primary key, version int not null default 1, body text, created_at timestamptz not null);
         create index on stories (created_at);
         create table messages (id bigint primary key, story bigint not null references stories on delete cascade, version int not null default 1, body text);
         create index on messages (story);
         create table noted (kind text, id bigint, version int);
         create sequence ids start 10000000;
         create or replace function text_of(id bigint, version int) returns text immutable language sql return md5(id::text || '/' || version::text);
         insert into stories select n, 1, text_of(n, 1), timestamptz '2025-01-01 00:00+00' + n * interval '1 min' from generate_series(1, {rows}) n;
         insert into stories select n, 1, text_of(n, 1), timestamptz '2026-11-01 00:00+00' from generate_series(1000001, 1000000 + {rows} / 10) n;
         insert into messages select id * 3 + n, id, 1, text_of(id * 3 + n, 1) from stories, generate_series(0, 2) n;
         insert into noted select 'story', id, 1 from stories;
         insert into noted select 'message', id, 1 from messages;
         analyze stories, messages"
    )
}

/// Both tables are archived, in small batches.
pub fn spec() -> RetentionPolicySpec {
    policy("stories", json!({"batch": {"rows": 500}, "dependents": [{"table": "messages"}]}))
}

/// Writers that are at work.
pub struct Writers {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    /// Changes that they have committed.
    pub changes: Arc<AtomicU64>,
}

impl Writers {
    /// Sets `count` writers to work on stories 1 to `rows`.
    pub async fn start(world: &World, count: u64, rows: u32) -> Self {
        let writers = Self { stop: CancellationToken::new(), tasks: vec![], changes: Arc::default() };
        let mut tasks = Vec::new();
        for number in 0..count {
            let client = world.database.superuser().await;
            let (stop, changes) = (writers.stop.clone(), Arc::clone(&writers.changes));
            tasks.push(tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(number);
                while !stop.is_cancelled() {
                    if change(&client, &mut random, rows).await {
                        changes.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(std::time::Duration::from_micros(random.u64(0..4000))).await;
                }
            }));
        }
        Self { tasks, ..writers }
    }

    /// Ends them.
    pub async fn end(self) -> u64 {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.changes.load(Ordering::Relaxed)
    }
}

/// One change, in one transaction with its note. Whether it took place: the row may be gone, or somebody may have been in the way.
async fn change(client: &Client, random: &mut fastrand::Rng, rows: u32) -> bool {
    let id = random.u32(1..=rows);
    let age = ["2025-02-01 00:00+00", "2026-11-20 00:00+00"][random.usize(0..2)];
    let noted = |kind: &str, from: &str| format!("insert into noted select '{kind}', id, version from {from}");
    let sql = match random.u32(0..10) {
        0 | 1 => format!(
            "with n as (insert into stories select i, 1, text_of(i, 1), '{age}' from nextval('ids') i returning id, version) {}",
            noted("story", "n")
        ),
        2..=4 => format!(
            "with n as (insert into messages select i, {id}, 1, text_of(i, 1) from nextval('ids') i returning id, version) {}",
            noted("message", "n")
        ),
        5 | 6 => format!(
            "with n as (update stories set version = version + 1, body = text_of(id, version + 1) where id = {id} returning id, version) {}",
            noted("story", "n")
        ),
        7 => format!(
            "with n as (update stories set version = version + 1, body = text_of(id, version + 1), created_at = '{age}' where id = {id} returning id, version) {}",
            noted("story", "n")
        ),
        8 => format!(
            "with n as (update messages set version = version + 1, body = text_of(id, version + 1) where story = {id} returning id, version) {}",
            noted("message", "n")
        ),
        _ => format!(
            "begin; select 1 from stories where id = {id} for update;
             with n as (delete from messages where story = {id} returning id) insert into noted select 'message', id, -1 from n;
             with n as (delete from stories where id = {id} returning id) insert into noted select 'story', id, -1 from n; commit"
        ),
    };
    let done = client.batch_execute(&sql).await;
    if let Err(error) = &done {
        let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
        // The story has gone meanwhile; a deadlock or a lock that was taken away is the application's to repeat.
        assert!(["23503", "40P01", "40001"].contains(&code.as_str()), "{sql}: {error:?}");
        client.batch_execute("rollback").await.unwrap();
    }
    done.is_ok()
}

/// What is wrong in this snapshot: rows that are lost, that are there twice, or whose content is not their last.
pub async fn wrong(world: &World, archives: bool) -> String {
    let place = |table: &str| match archives {
        true => format!("select id, version, body from {table} union all select id, version, body from {table}_archive"),
        false => format!("select id, version, body from {table}"),
    };
    let kind = |kind: &str, table: &str| {
        format!(
            "select '{kind}' kind, coalesce(n.id, p.id) id, n.last, n.deleted, p.places, p.version, p.body
             from (select id, max(version) last, bool_or(version = -1) deleted from noted where kind = '{kind}' group by id) n
             full join (select id, count(*) places, max(version) as version, max(body) body from ({}) p group by id) p using (id)",
            place(table)
        )
    };
    let query = format!(
        "select coalesce(string_agg(format('%s %s: last %s, deleted %s, places %s, version %s', kind, id, last, deleted, places, version), '; '), '')
         from (select * from ({} union all {}) a
               where last is null or (deleted and places is not null) or (not deleted and places is distinct from 1)
                  or (not deleted and (version <> last or body <> text_of(id, version))) limit 10) w",
        kind("story", "stories"),
        kind("message", "messages"),
    );
    world.one(&query).await
}
