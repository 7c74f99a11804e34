//! How fast do whole partitions move to an archive table? Against DETACH and ATTACH in psql, and against moving their rows.
//!
//! PGREEVE_BENCH_ROWS (3,240,000 in thirty partitions) and PGREEVE_BENCH_ROUNDS (5) make trial runs shorter.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends by panicking")]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use std::time::{Duration, Instant};

use pgreeve::api::RetentionPolicy;
use pgreeve::pass::{self, NoTasks, Retention};
use pgreeve::plan::retention::Surroundings;
use pgreeve::plan::{Action, connection};
use pgreeve::postgres::connect::{Session, Target, Tls};
use pgreeve::postgres::execute::{self, Budget};
use pgreeve::sql;
use pgreeve::sql::script::Script;
use serde_json::json;
use servers::postgres::{Database, Options, Server};
use support::{Samples, number, print_machine, print_table, rounds, size};
use tokio_postgres::Client;

/// Days that move, a partition each; as many stay.
const DAYS: usize = 30;

/// Who moves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    /// Look, execute, look again, as in the operator.
    Pgreeve,
    /// Of that, what happens under a lock that the application could feel: DETACH, ATTACH, and what is checked between them.
    Locked,
    /// DETACH and ATTACH where somebody has validated the CHECKs before.
    Limit,
    /// The same with its CHECKs added and validated first, as it must be to keep readers going.
    Script,
    /// `WITH gone AS (DELETE … RETURNING *) INSERT`, partition by partition.
    Rows,
}

const CONTESTANTS: [(Contestant, &str); 5] = [
    (Contestant::Pgreeve, "pgreeve: all of it"),
    (Contestant::Locked, "pgreeve: of it, under locks"),
    (Contestant::Limit, "limit: DETACH and ATTACH, CHECKs validated before"),
    (Contestant::Script, "CHECK, VALIDATE, DETACH, ATTACH in one session"),
    (Contestant::Rows, "DELETE … RETURNING and INSERT"),
];

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    print_machine();
    let rows = size("PGREEVE_BENCH_ROWS", 3_240_000);
    let settings = ["shared_buffers = 2GB", "max_wal_size = 16GB", "checkpoint_timeout = 1h", "jit = off"].map(Into::into).into();
    let database = Database::on(Server::start(15, &Options { settings, ..Options::default() })).await;
    let admin = database.superuser().await;
    let mut times = CONTESTANTS.map(|(_, name)| Samples::new(name));
    for _ in 0..rounds() {
        for ((contestant, _), times) in CONTESTANTS.iter().zip(&mut times) {
            prepare(&admin, rows, *contestant == Contestant::Limit).await;
            let session = open(&database).await;
            let took = match contestant {
                Contestant::Pgreeve => whole(&session).await,
                Contestant::Locked => under_locks(&session).await,
                Contestant::Limit => timed(&session, |day| [detach(day), attach(day)].concat()).await,
                Contestant::Script => timed(&session, |day| [check(day), detach(day), attach(day)].concat()).await,
                Contestant::Rows => timed(&session, |day| vec![move_rows(day)]).await,
            };
            let moved: i64 = admin.query_one("select count(*) from events_archive", &[]).await.unwrap().get(0);
            assert_eq!(usize::try_from(moved).unwrap(), rows / DAYS * DAYS);
            times.push_time(took);
        }
    }
    let by_rows = times[4].median();
    let line = |times: &Samples| vec![times.name.clone(), times.text(), number(by_rows / times.median())];
    print_table(
        &format!("{rows} rows in {DAYS} partitions move to an archive table"),
        &["", "ms, median (range)", "times as fast as moving the rows"],
        &times.iter().map(line).collect::<Vec<_>>(),
    );
}

fn day(number: usize) -> String {
    format!("2026-{:02}-{:02} 00:00+00", 3 + number / 31, 1 + number % 31)
}

fn bounds(number: usize) -> (String, String) {
    (day(number), day(number + 1))
}

/// A table of sixty-one days, half of them old, and an archive table like it.
async fn prepare(admin: &Client, rows: usize, checked: bool) {
    admin.batch_execute("drop table if exists events, events_archive").await.unwrap();
    admin
        .batch_execute(
            "create table events (id bigint not null, at timestamptz not null, kind text not null, body text not null, primary key (id, at)) partition by range (at);
             create index on events (at);
             create table events_archive (like events including all) partition by range (at)",
        )
        .await
        .unwrap();
    for number in 0..2 * DAYS {
        let (from, to) = bounds(number);
        let rows = if number < DAYS { rows / DAYS } else { 1 };
        admin
            .batch_execute(&format!(
                "create table events_{number} partition of events for values from ('{from}') to ('{to}');
                 insert into events_{number} select n, timestamptz '{from}' + n * interval '100 ms', 'kind ' || n % 7, repeat(md5(n::text), 2) from generate_series(1, {rows}) n"
            ))
            .await
            .unwrap();
        if checked && number < DAYS {
            admin.batch_execute(&check(number).join(";")).await.unwrap();
        }
    }
    admin.batch_execute("vacuum (analyze) events").await.unwrap();
    admin.batch_execute("checkpoint").await.unwrap();
    // What the last contestant left is settled before the next one begins.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

fn check(number: usize) -> Vec<String> {
    let (from, to) = bounds(number);
    vec![
        format!(
            "alter table events_{number} add constraint arrives check (at is not null and at >= '{from}' and at < '{to}') not valid"
        ),
        format!("alter table events_{number} validate constraint arrives"),
    ]
}

fn detach(number: usize) -> Vec<String> {
    vec!["begin".into(), format!("alter table events detach partition events_{number}")]
}

fn attach(number: usize) -> Vec<String> {
    let (from, to) = bounds(number);
    vec![
        format!("alter table events_archive attach partition events_{number} for values from ('{from}') to ('{to}')"),
        format!("alter table events_{number} drop constraint if exists arrives"),
        "commit".into(),
    ]
}

/// The archive needs a partition for them, which is made in the same breath.
fn move_rows(number: usize) -> String {
    let (from, to) = bounds(number);
    format!(
        "create table events_archive_{number} partition of events_archive for values from ('{from}') to ('{to}');
         with gone as (delete from events_{number} returning *) insert into events_archive select * from gone"
    )
}

async fn timed(session: &Session, statements: impl Fn(usize) -> Vec<String>) -> Duration {
    let begun = Instant::now();
    for number in 0..DAYS {
        for statement in statements(number) {
            session.client().batch_execute(&statement).await.unwrap();
        }
    }
    begun.elapsed()
}

fn policy() -> Retention {
    let policy: RetentionPolicy = serde_json::from_value(json!({
        "apiVersion": "pgreeve.dev/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": "old", "namespace": "shop"},
        "spec": {"databaseRef": {"name": "db"}, "table": {"name": "events"}, "keep": {"count": DAYS},
            "partitions": {"action": "MoveToTable", "archiveTable": {"name": "events_archive"}},
            "guards": {"maxPartitionsPerRun": 1000, "approveAbovePercent": 100}},
    }))
    .unwrap();
    Retention { policy, surroundings: Surroundings { is_due: true, ..Surroundings::default() } }
}

fn now() -> jiff::Timestamp {
    // In the last of the days.
    "2026-04-29T08:00:00Z".parse().unwrap()
}

async fn whole(session: &Session) -> Duration {
    let policy = policy();
    let begun = Instant::now();
    let look = pass::look(&[&policy], session, now()).await.unwrap();
    let outcome = pass::execute(session, &look.plans[0], Budget::default(), &NoTasks, now()).await;
    assert_eq!((outcome.first_problem(), outcome.done_actions().count()), (None, DAYS));
    let look = pass::look(&[&policy], session, now()).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(look.plans[0].actions, []);
    took
}

/// Each move in its steps: the last of them is the one that locks.
async fn under_locks(session: &Session) -> Duration {
    let look = pass::look(&[&policy()], session, now()).await.unwrap();
    let mut took = Duration::ZERO;
    for action in &look.plans[0].actions {
        let Action::MoveToArchive(moved) = action else { panic!("{action}") };
        let Script { mut steps, .. } = sql::removal::move_to_archive(moved);
        let last = steps.split_off(steps.len() - 1);
        for (steps, counts) in [(steps, false), (last, true)] {
            let begun = Instant::now();
            execute::carry_out(session, &Script { steps, undo: None }, Budget::default()).await;
            took += if counts { begun.elapsed() } else { Duration::ZERO };
        }
    }
    took
}

async fn open(database: &Database) -> Session {
    let endpoint = connection::parse_uri(&database.url("postgres")).unwrap();
    let target = Target {
        host: endpoint.host,
        port: endpoint.port,
        database: endpoint.database,
        user: endpoint.user,
        password: None,
        tls: Tls::Disable,
    };
    Session::open(&target).await.unwrap()
}
