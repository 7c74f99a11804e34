//! What does the operator need for a thousand policies, and for ten thousand? Memory, time to Ready, time from edit to status, writes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends by panicking")]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use std::time::{Duration, Instant};

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use pgreeve::api::PartitionPolicy;
use serde_json::json;
use servers::apiserver::{ApiServer, apiserver};
use support::cluster::{self, NAMESPACE, Operator, Seen};
use support::{Samples, number, print_machine, print_table, rounds, size, tables};

/// Partitions beyond the present one; all are there already.
const AHEAD: i32 = 1;

/// Passes that an hour has for each object, at the usual resync of ten minutes.
const PASSES_AN_HOUR: usize = 6;

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    print_machine();
    let (few, many) = (size("PGREEVE_BENCH_POLICIES", 1_000), size("PGREEVE_BENCH_MANY_POLICIES", 10_000));
    let postgres = tables::start_server(&["max_files_per_process = 2000"]);
    let admin = postgres.superuser("postgres").await;
    admin.batch_execute("ALTER ROLE postgres PASSWORD 'benchmark'").await.unwrap();
    tables::create(&admin, few.max(many), AHEAD).await;
    let server = apiserver();
    let client = server.admin().await;
    let seen = Seen::watch(server.admin().await);
    let uri = format!("postgres://postgres:benchmark@127.0.0.1:{}/postgres", postgres.port);
    cluster::create_database(&client, &uri).await;
    let bench = Bench { server, client, seen };
    for (count, goal) in [(few, 16), (many, 32)] {
        bench.measure(count, goal).await;
        bench.hour(count).await;
        cluster::delete_policies(&bench.client).await;
    }
}

struct Bench {
    server: &'static ApiServer,
    client: Client,
    seen: Seen,
}

/// What is measured in each round.
struct Figures {
    limit: Samples,
    ready: Samples,
    peak: Samples,
    steady: Samples,
    anonymous: Samples,
    restart: Samples,
    restarted_peak: Samples,
    edits: Samples,
    slowest: Samples,
}

impl Figures {
    fn new() -> Self {
        Self {
            limit: Samples::new("the API server's own part: create each, read it, patch its status, s"),
            ready: Samples::new("from the first create until all are Ready, s"),
            peak: Samples::new("peak memory (VmHWM), MiB"),
            steady: Samples::new("memory when settled (VmRSS), MiB"),
            anonymous: Samples::new("of it not the program's own file (RssAnon), MiB"),
            restart: Samples::new("restart: busy until every policy is known and looked at, s"),
            restarted_peak: Samples::new("restart: peak memory, MiB"),
            edits: Samples::new("edit to status, median, ms"),
            slowest: Samples::new("edit to status, p99, ms"),
        }
    }
}

impl Bench {
    async fn measure(&self, count: usize, goal: usize) {
        let mut figures = Figures::new();
        for round in 0..rounds() {
            self.round(count, &mut figures).await;
            eprintln!("{count} policies, round {round}: ready {}", figures.ready.text());
        }
        let Figures { limit, ready, peak, steady, anonymous, restart, restarted_peak, edits, slowest } = &figures;
        let rows = [limit, ready, peak, steady, anonymous, restart, restarted_peak, edits, slowest];
        print_table(
            &format!("{count} policies, one database"),
            &["", "median (least–most)"],
            &rows.map(|samples| vec![samples.name.clone(), samples.text()]),
        );
        println!(
            "\nall Ready / the API server's own part = {:.2}; goals: {goal} MiB, p99 at most 200 ms{}",
            ready.median() / limit.median(),
            if count == 1_000 { ", Ready in 5 s" } else { "" }
        );
    }

    async fn round(&self, count: usize, figures: &mut Figures) {
        cluster::delete_policies(&self.client).await;
        let begun = Instant::now();
        cluster::create_policies(&self.client, 0..count, AHEAD).await;
        cluster::patch_statuses(&self.client, count).await;
        figures.limit.push(begun.elapsed().as_secs_f64());
        cluster::delete_policies(&self.client).await;

        let operator = Operator::start(self.server, "10m");
        operator.quiet().await;
        let begun = Instant::now();
        cluster::create_policies(&self.client, 0..count, AHEAD).await;
        self.seen.all_ready(count).await;
        figures.ready.push((self.seen.last().unwrap() - begun).as_secs_f64());
        operator.quiet().await;
        figures.peak.push(operator.memory("VmHWM"));
        figures.steady.push(operator.memory("VmRSS"));
        figures.anonymous.push(operator.memory("RssAnon"));
        self.edit(count, figures).await;
        drop(operator);

        let operator = Operator::start(self.server, "10m");
        figures.restart.push(operator.quiet().await.as_secs_f64());
        figures.restarted_peak.push(operator.memory("VmHWM"));
    }

    /// Edits of policies here and there, one at a time, that change nothing on the database.
    async fn edit(&self, count: usize, figures: &mut Figures) {
        let api: Api<PartitionPolicy> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut times = Samples::new("edits");
        for turn in 0..size("PGREEVE_BENCH_EDITS", 200) {
            let name = tables::policy(turn * 7_919 % count, AHEAD).name_any();
            let policy = api.get(&name).await.unwrap();
            let patch = json!({"spec": {"create": {"fillGaps": !policy.spec.create.fill_gaps}}});
            let begun = Instant::now();
            let edited = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            let known = self.seen.observed(&name, edited.metadata.generation.unwrap()).await;
            times.push_time(known - begun);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        figures.edits.push(times.median());
        figures.slowest.push(times.quantile(0.99));
    }

    /// As many passes as an hour has, in less time: the resync is shortened, nothing else.
    async fn hour(&self, count: usize) {
        let operator = Operator::start(self.server, &format!("{}s", (count / 300).max(5)));
        operator.quiet_or(Duration::from_secs(60)).await;
        let (before, passes, used) = (cluster::writes(self.server), cluster::passes(operator.port).await, operator.processor());
        let mut made = 0;
        while made < (PASSES_AN_HOUR * count) as u64 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            made = cluster::passes(operator.port).await - passes;
        }
        let (after, used) = (cluster::writes(self.server), operator.processor() - used);
        let written: u64 = after.iter().map(|(key, count)| count - before.get(key).copied().unwrap_or(0)).sum();
        println!(
            "\n{count} policies, {made} passes, as a settled hour has: {written} writes (goal: 0); {} s of processor, {:.2} % of a core over an hour; {} MiB at most with metrics read",
            number(used),
            used / 36.0,
            number(operator.memory("VmHWM"))
        );
        assert_eq!(written, 0, "{before:?} became {after:?}");
    }
}
