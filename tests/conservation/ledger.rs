//! What has the application written? Writers that note each change in the transaction that makes it.
//!
//! Three tables: partitions of `events` are exported and dropped, those of `logs` move to `logs_archive`, rows of `stories` move to
//! `stories_archive`. Every row has an identifier that no other row of any table has; the ledger says for each its last version, a
//! digest of its content as PostgreSQL prints it, and whether it was deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// The digest of a row's content.
pub const DIGEST: &str = "md5((id, version, body, amount, note, at)::text)";

/// Rows of a new day, in each partitioned table.
const A_DAY: u32 = 25;

/// A day before this one has expired.
const LIVE: &str = "2023-01-01 00:00:00Z";

/// The tables, of this owner, and the ledger, which is nobody's business.
pub fn setup(owner: &str) -> String {
    let columns = "id bigint not null, version int not null default 1, body text not null, amount numeric(20,4), note jsonb, at timestamptz not null";
    format!(
        "set role {owner};
         create table events ({columns}, primary key (id, at)) partition by range (at);
         create table logs ({columns}, primary key (id, at)) partition by range (at);
         create table logs_archive (like logs including all) partition by range (at);
         create table events_live partition of events for values from ('{LIVE}') to ('2200-01-01 00:00:00Z');
         create table logs_live partition of logs for values from ('{LIVE}') to ('2200-01-01 00:00:00Z');
         create table stories ({columns}, primary key (id));
         create index on stories (at);
         reset role;
         create schema ledger;
         create sequence ledger.ids;
         create table ledger.noted (id bigint primary key, version int not null, digest text, deleted bool not null default false);
         create table ledger.days (day int primary key, events oid not null);
         create table ledger.exported (export text not null, id bigint not null, version int not null, digest text not null);
         create index on ledger.exported (export)"
    )
}

/// A change, with its note.
fn noted(change: &str, deleted: bool) -> String {
    format!(
        "with n as ({change} returning id, version, body, amount, note, at)
         insert into ledger.noted select id, version, {DIGEST}, {deleted} from n
         on conflict (id) do update set version = excluded.version, digest = excluded.digest, deleted = excluded.deleted"
    )
}

/// New rows of this table at this expression's moment.
pub fn insert(table: &str, at: &str, rows: u32) -> String {
    let columns = "id, body, amount, note, at";
    let row = "nextval('ledger.ids'), md5(random()::text), nullif(random() * 1000, 0)::numeric(20,4), jsonb_build_object('n', i, 'text', repeat('ä\"', i % 5))";
    noted(&format!("insert into {table} ({columns}) select {row}, {at} from generate_series(1, {rows}) i"), false)
}

/// Old data comes in: both partitioned tables get the partition of another day that has expired.
pub async fn another_day(client: &mut Client, owner: &str) -> i32 {
    let transaction = client.transaction().await.unwrap();
    let day: i32 = transaction.query_one("select coalesce(max(day), 0) + 1 from ledger.days", &[]).await.unwrap().get(0);
    let bound = |day: i32| format!("timestamptz '2015-01-01 00:00:00Z' + {day} * interval '1 day'");
    for table in ["events", "logs"] {
        let name = partition(table, day);
        let sql = format!(
            "create table {name} (like {table} including all); alter table {name} owner to {owner};
             {};
             do $$ begin execute format('alter table {table} attach partition {name} for values from (%L) to (%L)', {}, {}); end $$",
            insert(&name, &format!("{} + i * interval '1 min'", bound(day)), A_DAY),
            bound(day),
            bound(day + 1),
        );
        transaction.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let note = format!("insert into ledger.days values ({day}, '{}'::regclass)", partition("events", day));
    transaction.batch_execute(&note).await.unwrap();
    transaction.commit().await.unwrap();
    day
}

/// Old stories come in.
pub async fn more_stories(client: &Client, rows: u32) {
    client.batch_execute(&insert("stories", "timestamptz '2020-01-01 00:00:00Z' + i * interval '1 min'", rows)).await.unwrap();
}

/// The partition of a day.
pub fn partition(table: &str, day: i32) -> String {
    format!("{table}_d{day:04}")
}

/// Writers that are at work.
pub struct Writers {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    counts: Arc<[AtomicU64; 2]>,
}

impl Writers {
    /// Sets so many writers to work.
    pub fn start(world: &Arc<World>, count: u64) -> Self {
        let (stop, counts) = (CancellationToken::new(), Arc::<[AtomicU64; 2]>::default());
        let tasks = (0..count).map(|number| {
            let (world, stop, counts) = (Arc::clone(world), stop.clone(), Arc::clone(&counts));
            tokio::spawn(async move { write(&world, &stop, &counts, fastrand::Rng::with_seed(number)).await })
        });
        Self { tasks: tasks.collect(), stop, counts }
    }

    /// Ends them. Returns how many changes were committed, and how many were refused because their partition is closed or gone.
    pub async fn end(self) -> (u64, u64) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.counts[0].load(Ordering::Relaxed), self.counts[1].load(Ordering::Relaxed))
    }
}

async fn write(world: &World, stop: &CancellationToken, counts: &[AtomicU64; 2], mut random: fastrand::Rng) {
    while !stop.is_cancelled() {
        // Between a crash and the standby's promotion nobody answers.
        if let Ok(client) = world.connect("postgres").await {
            while !stop.is_cancelled() && !client.is_closed() {
                if let Some(was_done) = change(&client, &mut random).await {
                    counts[usize::from(!was_done)].fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_micros(random.u64(10_000..40_000))).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What PostgreSQL says to those whom a closed or missing partition refuses; and to those who met a deadlock.
const REFUSALS: [&str; 5] = ["23514", "42P01", "40P01", "40001", "55P03"];

/// One change of one of the tables, of live rows or of rows that are about to leave. Whether it was committed; nothing where the
/// server has gone.
async fn change(client: &Client, random: &mut fastrand::Rng) -> Option<bool> {
    let table = ["events", "logs", "stories"][random.usize(0..3)];
    let day: i32 = client.query_one("select coalesce(max(day), 0) from ledger.days", &[]).await.ok()?.get(0);
    let day = (day - random.i32(0..6)).max(1);
    let old = match table {
        "stories" => "timestamptz '2020-06-01 00:00:00Z'".to_owned(),
        _ => format!("timestamptz '2015-01-01 12:00:00Z' + {day} * interval '1 day'"),
    };
    let is_live = random.bool();
    let at = if is_live { "clock_timestamp()" } else { &old };
    let range = match (is_live, table) {
        (true, _) => format!("at >= '{LIVE}'"),
        (false, "stories") => "at < '2021-01-01'".to_owned(),
        (false, _) => format!("at between {old} - interval '12 hours' and {old} + interval '11 hours'"),
    };
    let some =
        format!("id = (select id from {table} where {range} order by id offset {} limit 1) and {range}", random.u32(0..60));
    let sql = match random.u32(0..10) {
        0..=3 => insert(table, at, 1),
        // Past the parent, into the partition itself, wherever it is by now.
        4 if table != "stories" && !is_live => insert(&partition(table, day), at, 1),
        4..=8 => noted(&format!("update {table} set version = version + 1, body = md5(body) where {some}"), false),
        _ => noted(&format!("delete from {table} where {some}"), true),
    };
    let error = match client.batch_execute(&sql).await {
        Ok(()) => return Some(true),
        Err(error) => error,
    };
    let code = error.code().map(|code| code.code().to_owned())?;
    assert!(REFUSALS.contains(&code.as_str()) || code.starts_with("57P"), "{sql}: {error:?}");
    Some(false)
}
