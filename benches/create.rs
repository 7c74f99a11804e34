//! What does it cost to create many partitions, and what does the application feel meanwhile? Against pg_partman and plain DDL.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends by panicking")]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgreeve::api::PartitionPolicy;
use pgreeve::clock::Clock;
use pgreeve::pass;
use pgreeve::postgres::execute::Budget;
use servers::postgres::Server;
use support::load::{Felt, Load, SESSIONS};
use support::{Samples, number, print_machine, print_table, rounds, size, tables};

/// Partitions that each table lacks.
const AHEAD: i32 = 4;

/// Who creates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    /// Policy by policy as in the operator: look, execute, look again.
    Pgreeve,
    /// Commits after each table.
    Partman,
    /// `CREATE TABLE … PARTITION OF`, a person's script.
    PartitionOf,
    /// `CREATE TABLE … (LIKE …)` and ATTACH, each pair in a transaction: the limit of the way that does not lock the parent.
    Attach,
    /// Nobody: what the load feels by itself, for as long as pgreeve took.
    Nobody,
}

const CONTESTANTS: [(Contestant, &str); 5] = [
    (Contestant::Pgreeve, "pgreeve"),
    (Contestant::Partman, "pg_partman run_maintenance_proc()"),
    (Contestant::PartitionOf, "psql, CREATE … PARTITION OF"),
    (Contestant::Attach, "psql, LIKE and ATTACH"),
    (Contestant::Nobody, "nobody (the load alone)"),
];

struct Bench {
    server: Arc<Server>,
    policies: Vec<PartitionPolicy>,
    pause: Duration,
    copies: usize,
    database: String,
}

/// What was measured of one contestant.
struct Row {
    name: &'static str,
    rate: Samples,
    write: Samples,
    read: Samples,
}

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    let count = size("PGREEVE_BENCH_TABLES", 1_000);
    print_machine();
    let server = tables::start_server(&[]);
    let postgres = server.superuser("postgres").await;
    postgres.batch_execute("CREATE DATABASE base").await.unwrap();
    let base = server.superuser("base").await;
    tables::create(&base, count, 0).await;
    tables::configure_partman(&base, count, AHEAD).await;
    drop(base);
    let policies = (0..count).map(|number| tables::policy(number, AHEAD)).collect();
    let mut bench = Bench { server, policies, pause: Duration::from_secs(1), copies: 0, database: String::new() };
    for (reports, title) in [(false, "short statements alone"), (true, "and a report that keeps its transaction open for 300 ms")]
    {
        bench.race(reports, title).await;
    }
}

impl Bench {
    async fn race(&mut self, reports: bool, title: &str) {
        let mut rows = CONTESTANTS.map(|(_, name)| Row {
            name,
            rate: Samples::new(name),
            write: Samples::new(name),
            read: Samples::new(name),
        });
        let (mut statements, mut elapsed) = (0, Duration::ZERO);
        for _ in 0..rounds() {
            for ((contestant, name), row) in CONTESTANTS.iter().zip(&mut rows) {
                let (took, felt) = self.once(*contestant, reports).await;
                eprintln!("{name}: {took:?}, {felt:?}");
                row.rate.push((self.policies.len() * AHEAD as usize) as f64 / took.as_secs_f64());
                row.write.push_time(felt.write);
                row.read.push_time(felt.read);
                (statements, elapsed) = (statements + felt.count, elapsed + took);
            }
        }
        self.print(title, &rows);
        println!("\nThe load: {SESSIONS} sessions, {} statements a second", number(statements as f64 / elapsed.as_secs_f64()));
    }

    fn print(&self, title: &str, rows: &[Row; 5]) {
        let ours = rows[0].rate.median();
        let cells = rows.iter().zip(CONTESTANTS).map(|(row, (contestant, _))| {
            let creates = contestant != Contestant::Nobody;
            vec![
                row.name.to_owned(),
                if creates { row.rate.text() } else { "–".into() },
                if creates { format!("{:.2}", row.rate.median() / ours) } else { "–".into() },
                row.write.text(),
                row.read.text(),
            ]
        });
        let (tables, count) = (self.policies.len(), self.policies.len() * AHEAD as usize);
        print_table(
            &format!("{count} partitions for {tables} tables under load: {title}"),
            &["", "partitions/s, median (least–most)", "× pgreeve", "longest INSERT, ms", "longest SELECT, ms"],
            &cells.collect::<Vec<_>>(),
        );
        println!(
            "\npgreeve / pg_partman = {:.2} (goal: at least 1.7); longest stall of a writer because of pgreeve in any round: {} ms (goal: at most 100)",
            ours / rows[1].rate.median(),
            number(rows[0].write.quantile(1.0))
        );
    }

    /// A fresh copy of the database. No former one is dropped before the end: for half a minute a file system looks twice at every
    /// inode that was freed, which the next contestant would pay for with most of its time.
    async fn copy(&mut self) {
        self.copies += 1;
        self.database = format!("copy_{}", self.copies);
        let postgres = self.server.superuser("postgres").await;
        postgres.batch_execute(&format!("CREATE DATABASE {} TEMPLATE base STRATEGY file_copy", self.database)).await.unwrap();
        postgres.batch_execute("CHECKPOINT").await.unwrap();
    }

    /// A fresh copy of the database, and one contestant on it.
    async fn once(&mut self, contestant: Contestant, reports: bool) -> (Duration, Felt) {
        self.copy().await;
        let load = Load::start(self.server.url("postgres", &self.database), reports);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        match contestant {
            Contestant::Pgreeve => self.pgreeve().await,
            Contestant::Partman => self.partman().await,
            Contestant::PartitionOf => self.script(tables::partition_of),
            Contestant::Attach => self.script(attach),
            Contestant::Nobody => tokio::time::sleep(self.pause).await,
        }
        let took = begun.elapsed();
        let felt = load.stop();
        if contestant == Contestant::Pgreeve {
            self.pause = took;
        }
        if contestant != Contestant::Nobody {
            self.check().await;
        }
        (took, felt)
    }

    async fn pgreeve(&self) {
        let session = tables::open(&self.server, &self.database).await;
        for policy in &self.policies {
            let look = pass::look(&[policy], &session, Clock::system().now()).await.unwrap();
            let outcome = pass::execute(&session, &look.plans[0], Budget::default(), &pass::NoTasks, Clock::system().now()).await;
            assert_eq!(outcome.first_problem(), None);
            let look = pass::look(&[policy], &session, Clock::system().now()).await.unwrap();
            assert!(look.plans[0].actions.is_empty());
        }
    }

    async fn partman(&self) {
        let client = self.server.superuser(&self.database).await;
        client.batch_execute("CALL partman.run_maintenance_proc()").await.unwrap();
    }

    fn script(&self, statement: impl Fn(&str, jiff::civil::Date, jiff::civil::Date) -> String) {
        let mut psql = tables::psql(&self.server, &self.database).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = psql.stdin.take().unwrap();
        for number in 0..self.policies.len() {
            for (from, to) in &tables::months(AHEAD)[1..] {
                writeln!(input, "{}", statement(&tables::name(number), *from, *to)).unwrap();
            }
        }
        drop(input);
        assert!(psql.wait().unwrap().success());
    }

    async fn check(&self) {
        let query =
            "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition AND c.relkind = 'r'";
        let found: i64 = self.server.superuser(&self.database).await.query_one(query, &[]).await.unwrap().get(0);
        assert_eq!(found, (self.policies.len() * (AHEAD as usize + 1)) as i64);
    }
}

fn attach(table: &str, from: jiff::civil::Date, to: jiff::civil::Date) -> String {
    let child = tables::partition(table, from);
    format!(
        "BEGIN; CREATE TABLE {child} (LIKE {table} INCLUDING ALL);
         ALTER TABLE {table} ATTACH PARTITION {child} FOR VALUES FROM ('{from} 00:00+00') TO ('{to} 00:00+00'); COMMIT;"
    )
}
