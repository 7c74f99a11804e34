//! What does a pass cost that finds nothing to do? One look over many tables, against pg_partman and the bare catalog query.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends by panicking")]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use std::time::{Duration, Instant};

use pgreeve::api::PartitionPolicy;
use pgreeve::clock::Clock;
use pgreeve::pass;
use servers::postgres::Server;
use support::{Samples, print_machine, print_table, rounds, size, tables};

/// Partitions beyond the present one, so that each table has four.
const AHEAD: i32 = 3;

/// What anybody must ask who keeps partitions: which tables are divided by what, and which partitions hold what, with their sizes.
const BARE: &str = "
SELECT p.oid, n.nspname, p.relname, t.partstrat, k.attname, k.atttypid, c.oid, m.nspname, c.relname, c.relkind,
    pg_get_expr(c.relpartbound, c.oid), i.inhdetachpending, c.relpages, c.reltuples
FROM pg_partitioned_table t
JOIN pg_class p ON p.oid = t.partrelid
JOIN pg_namespace n ON n.oid = p.relnamespace
JOIN pg_attribute k ON k.attrelid = p.oid AND k.attnum = t.partattrs[0]
JOIN pg_inherits i ON i.inhparent = p.oid
JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace m ON m.oid = c.relnamespace
WHERE n.nspname = 'public' AND p.relkind = 'p'";

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    let count = size("PGREEVE_BENCH_TABLES", 1_000);
    print_machine();
    let server = tables::start_server(&[]);
    let admin = server.superuser("postgres").await;
    tables::create(&admin, count, AHEAD).await;
    tables::configure_partman(&admin, count, AHEAD).await;
    let policies: Vec<PartitionPolicy> = (0..count).map(|number| tables::policy(number, AHEAD)).collect();
    let [mut ours, mut query, mut through_psql, mut partman] =
        ["pgreeve", "the bare query, through the same driver", "the bare query, through psql", "pg_partman run_maintenance()"]
            .map(Samples::new);
    for round in 0..=rounds() {
        let times = [look(&server, &policies).await, bare(&server, count).await, psql(&server), maintain(&server).await];
        // The first round warms the caches of all.
        if round > 0 {
            for (samples, time) in [&mut ours, &mut query, &mut through_psql, &mut partman].into_iter().zip(times) {
                samples.push_time(time);
            }
        }
    }
    let row = |samples: &Samples| vec![samples.name.clone(), samples.text(), format!("{:.2}", samples.median() / ours.median())];
    print_table(
        &format!("A settled pass over {count} tables of {} partitions, connecting included", AHEAD + 1),
        &["", "ms, median (least–most)", "× pgreeve"],
        &[&ours, &query, &through_psql, &partman].map(row),
    );
    println!(
        "\npg_partman / pgreeve = {:.1} (goal: at least 15); pgreeve / query = {:.2} (goal: at most 1.3)",
        partman.median() / ours.median(),
        ours.median() / query.median()
    );
}

async fn look(server: &Server, policies: &[PartitionPolicy]) -> Duration {
    let references: Vec<&PartitionPolicy> = policies.iter().collect();
    let begun = Instant::now();
    let session = tables::open(server, "postgres").await;
    let look = pass::look(&references, &session, Clock::system().now()).await.unwrap();
    drop(session);
    let took = begun.elapsed();
    assert_eq!(look.plans.len(), policies.len());
    for plan in &look.plans {
        assert!(plan.actions.is_empty() && plan.blocked.is_empty(), "not settled: {plan:?}");
    }
    took
}

async fn bare(server: &Server, tables: usize) -> Duration {
    let begun = Instant::now();
    let client = server.superuser("postgres").await;
    let rows = client.query(BARE, &[]).await.unwrap();
    drop(client);
    let took = begun.elapsed();
    assert_eq!(rows.len(), tables * (AHEAD as usize + 1));
    took
}

fn psql(server: &Server) -> Duration {
    let mut command = tables::psql(server, "postgres");
    command.args(["-c", BARE]);
    let begun = Instant::now();
    assert!(command.status().expect("psql, of Debian's postgresql-client").success());
    begun.elapsed()
}

async fn maintain(server: &Server) -> Duration {
    let begun = Instant::now();
    let client = server.superuser("postgres").await;
    client.batch_execute("SELECT partman.run_maintenance()").await.unwrap();
    drop(client);
    begun.elapsed()
}
