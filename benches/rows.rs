//! How fast do the rows of a plain table move to its archive? Against one INSERT … SELECT and DELETE, and against the common recipe.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends by panicking")]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use std::time::{Duration, Instant};

use pgreeve::api::RetentionPolicySpec;
use pgreeve::job::archive::{Watch, carry_out};
use pgreeve::pass::RowsFound;
use pgreeve::plan::connection;
use pgreeve::plan::removal::ArchiveRows;
use pgreeve::plan::rows::{self, Preparation};
use pgreeve::postgres::connect::{Session, Target, Tls};
use pgreeve::postgres::{execute, server};
use pgreeve::sql;
use serde_json::json;
use servers::postgres::{Database, Options, Server};
use support::{Samples, number, print_machine, print_table, rounds, size};
use tokio_postgres::Client;

/// Who moves the older half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    Pgreeve,
    /// Both in one transaction: nothing that moves rows into an archive with these indexes is faster in one session.
    Limit,
    /// `WITH gone AS (DELETE … WHERE id IN (SELECT … LIMIT n FOR UPDATE SKIP LOCKED) RETURNING …) INSERT`, until nothing comes.
    Recipe,
}

const CONTESTANTS: [(Contestant, &str); 3] = [
    (Contestant::Pgreeve, "pgreeve, batches of 10,000"),
    (Contestant::Limit, "the limit: INSERT … SELECT and DELETE, one transaction"),
    (Contestant::Recipe, "the recipe: IN (… LIMIT 10000 FOR UPDATE SKIP LOCKED)"),
];

const BEFORE: &str = "2026-05-25 00:00:00+00";

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    print_machine();
    let rows = size("PGREEVE_BENCH_ROWS", 2_000_000);
    let settings = ["shared_buffers = 2GB", "max_wal_size = 16GB", "checkpoint_timeout = 1h", "jit = off"].map(Into::into).into();
    let database = Database::on(Server::start(15, &Options { settings, ..Options::default() })).await;
    let admin = database.superuser().await;
    let mut rates = CONTESTANTS.map(|(_, name)| Samples::new(name));
    let mut costs = CONTESTANTS.map(|(_, name)| Samples::new(name));
    for _ in 0..rounds().min(3) {
        for ((contestant, _), (rate, cost)) in CONTESTANTS.iter().zip(rates.iter_mut().zip(&mut costs)) {
            let task = prepare(&database, &admin, rows).await;
            let session = open(&database).await;
            let client = session.client();
            let pid: i32 = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
            let (begun, worked) = (Instant::now(), processor_seconds(pid));
            match contestant {
                Contestant::Pgreeve => pgreeve(&session, &task).await,
                Contestant::Limit => limit(client).await,
                Contestant::Recipe => recipe(client).await,
            }
            let (seconds, worked) = (begun.elapsed().as_secs_f64(), processor_seconds(pid) - worked);
            let moved: i64 = admin.query_one("select count(*) from t_archive", &[]).await.unwrap().get(0);
            assert_eq!(usize::try_from(moved).unwrap(), rows / 2);
            rate.push(moved as f64 / seconds / 1e3);
            cost.push(moved as f64 / worked / 1e3);
        }
    }
    let (limit, least) = (rates[1].median(), costs[1].median());
    let line = |(rate, cost): (&Samples, &Samples)| {
        let ratio = |value: f64, of: f64| number(value / of);
        vec![rate.name.clone(), rate.text(), ratio(rate.median(), limit), cost.text(), ratio(cost.median(), least)]
    };
    let head = ["", "thousand rows/s", "× limit", "thousand rows a second of the server's processor", "× limit"];
    print_table("Rows of a plain table", &head, &rates.iter().zip(&costs).map(line).collect::<Vec<_>>());
}

/// Seconds of processor time that a process has used: what is measured where other programs keep the machine busy.
fn processor_seconds(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name in parentheses: utime and stime are the 12th and 13th fields, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Rows of about 134 bytes in order of time, half of them old; the archive as pgreeve makes it, for everybody.
async fn prepare(database: &Database, admin: &Client, rows: usize) -> ArchiveRows {
    let setup = format!(
        "drop table if exists t, t_archive;
         create table t (id bigint primary key, account int not null, kind text not null, body text not null, created_at timestamptz not null);
         insert into t select n, n % 1000, 'kind ' || n % 7, repeat(md5(n::text), 2), timestamptz '{BEFORE}' + (n - {half} - 1) * interval '10 s' from generate_series(1, {rows}) n;
         create index on t (created_at)",
        half = rows / 2
    );
    admin.batch_execute(&setup).await.unwrap();
    admin.batch_execute("vacuum (analyze, freeze) t").await.unwrap();
    let session = open(database).await;
    let spec: RetentionPolicySpec = serde_json::from_value(json!({
        "databaseRef": {"name": "db"}, "table": {"name": "t"}, "keep": {"age": "180 days"},
        "rows": {"column": "created_at", "batch": {"rows": 10_000, "maxLoad": 100, "pause": "0s", "maxDeadTuplePercent": 100}},
    }))
    .unwrap();
    let now = "2026-11-21T08:00:00Z".parse().unwrap();
    session.begin_reading().await.unwrap();
    let server = server::observe(&session).await.unwrap();
    let found = RowsFound::observe(&spec, &session, &server, &[], now).await.unwrap();
    session.end_reading().await.unwrap();
    let steps = rows::plan(&spec, &found.facts(&server), &[], now);
    for preparation in &steps.prepare {
        let Preparation::Create(create) = preparation else { panic!("{preparation:?}") };
        execute::carry_out(&session, &sql::rows::create(create), execute::Budget::default()).await;
    }
    admin.batch_execute("checkpoint").await.unwrap();
    // What the last contestant left is settled before the next one begins.
    tokio::time::sleep(Duration::from_millis(500)).await;
    steps.remove.unwrap()
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

async fn pgreeve(session: &Session, task: &ArchiveRows) {
    let moved = carry_out(task, session, &Watch::default()).await.unwrap();
    assert_eq!((moved.busy, moved.left), (0, 0));
}

async fn limit(admin: &Client) {
    let sql = format!(
        "begin; insert into t_archive select * from t where created_at < '{BEFORE}'; delete from t where created_at < '{BEFORE}'; commit"
    );
    admin.batch_execute(&sql).await.unwrap();
}

async fn recipe(admin: &Client) {
    let sql = format!(
        "with gone as (delete from t where id in (select id from t where created_at < '{BEFORE}' order by created_at limit 10000 for update skip locked) returning *)
         insert into t_archive select * from gone"
    );
    while admin.execute(&sql, &[]).await.unwrap() > 0 {}
}
