//! How long is an application refused while its database is restored? Beside what scripts do: `pg_restore --clean` in place, and a database
//! that is dropped and made anew.
//!
//! Two clients ask for rows of all tables all the time: one logs in for each question, the other keeps its session as long as it lasts. An
//! answer counts if it is right: a table that is there and empty is none.
//!
//! PGREEVE_BENCH_MEGABYTES (150: of the archive without compression) and PGREEVE_BENCH_ROUNDS (5) make trial runs shorter.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends by panicking")]

#[path = "support/mod.rs"]
mod common;
#[path = "../tests/faults/operator.rs"]
#[allow(dead_code, reason = "other moments belong to the tests")]
mod operator;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/restore/world.rs"]
#[allow(dead_code, reason = "a benchmark needs less than the tests do")]
mod world;

use std::time::Instant;

use common::clients::{Clients, Felt};
use common::{Samples, print_machine, print_table, rounds, size};
use pgreeve::job::backup::BackedUp;
use serde_json::json;
// What benchmarks share knows the servers by this name.
use support as servers;
use world::World;

/// A database beside the one that the operator keeps.
const PEER: &str = "peer";

/// Who restores, and what bash runs; the first one is the operator.
const CONTESTANTS: [(&str, &str); 4] = [
    ("pgreeve, Swap", ""),
    ("pg_restore --clean --single-transaction, in place", "pg_restore --clean --if-exists --single-transaction -d $PEER $DUMP"),
    ("pg_restore --clean, in place", "pg_restore --clean --if-exists --exit-on-error -d $PEER $DUMP"),
    (
        "dropdb --force, createdb, pg_restore",
        "dropdb --force $PEER && createdb $PEER && pg_restore --exit-on-error -d $PEER $DUMP",
    ),
];

/// The question: a row of each table.
const QUESTION: &str =
    "select 1 from events e join customers c on c.id = e.customer cross join messages m where e.id = 1 and m.id = 1";

/// What one of them came to.
struct Outcome {
    seconds: Samples,
    login: Samples,
    session: Samples,
    refused: Samples,
}

struct Bench {
    world: World,
    backup: BackedUp,
    dump: std::path::PathBuf,
}

fn main() {
    print_machine();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut bench = Bench::new(size("PGREEVE_BENCH_MEGABYTES", 150)).await;
        let mut outcomes = CONTESTANTS.map(|(name, _)| {
            let samples = || Samples::new(name);
            Outcome { seconds: samples(), login: samples(), session: samples(), refused: samples() }
        });
        bench.world.start().await;
        bench.world.start_node();
        for round in 0..rounds() {
            for turn in 0..CONTESTANTS.len() {
                let number = (round + turn) % CONTESTANTS.len();
                bench.run(round, number, &mut outcomes[number]).await;
            }
        }
        bench.world.stop().await;
        report(&outcomes);
    });
}

fn report(outcomes: &[Outcome]) {
    let line = |outcome: &Outcome| {
        let Outcome { seconds, login, session, refused } = outcome;
        vec![login.name.clone(), login.text(), session.text(), refused.text(), seconds.text()]
    };
    let lines: Vec<_> = outcomes.iter().map(line).collect();
    let head = ["", "longest without a log-in, ms", "longest without a session's answer, ms", "log-ins refused", "all of it, s"];
    print_table("What clients notice of a restore", &head, &lines);
}

impl Bench {
    /// The same rows in the database that the operator keeps and in the one that scripts restore, and a backup of each.
    async fn new(megabytes: usize) -> Self {
        let world = World::new().await;
        let server = world.database.server();
        world
            .superuser(&world.database.name)
            .await
            .batch_execute("drop table users, events; drop sequence tickets")
            .await
            .unwrap();
        common::dumps::fill(&server, &world.database.name, &world.roles.owner, megabytes);
        server.superuser("postgres").await.batch_execute(&format!("create database {PEER}")).await.unwrap();
        common::dumps::fill(&server, PEER, "postgres", megabytes);
        let backup = world.back_up().await;
        let dump = world.volume.join("peer.dump");
        let bench = Self { world, backup, dump };
        bench.bash("pg_dump -Fc -f $DUMP $PEER");
        bench
    }

    fn bash(&self, script: &str) {
        let mut bash = common::dumps::command("bash", &self.world.database.server(), "postgres");
        bash.args(["-c", script]).env("PEER", PEER).env("DUMP", &self.dump);
        servers::process::run(&mut bash);
    }

    async fn run(&self, round: usize, number: usize, outcome: &mut Outcome) {
        // The operator's role is no superuser, and ends no superuser's sessions.
        let (database, role, script) = match number {
            0 => (self.world.database.name.as_str(), self.world.roles.operator.as_str(), ""),
            number => (PEER, "postgres", CONTESTANTS[number].1),
        };
        let clients = Clients::start(self.world.database.server().url(role, database), QUESTION);
        clients.settled().await;
        let begun = Instant::now();
        if number == 0 {
            let name = format!("back-{round}");
            self.world.restore(&name, &self.backup, json!({"confirm": database, "keepPrevious": "0s"})).await;
            self.world.wait(&name, "Complete", "True", "Restored").await;
        } else {
            tokio::task::block_in_place(|| self.bash(script));
        }
        outcome.seconds.push(begun.elapsed().as_secs_f64());
        clients.settled().await;
        let Felt { login, session, refused } = clients.stop();
        outcome.login.push_time(login);
        outcome.session.push_time(session);
        outcome.refused.push(refused as f64);
    }
}
