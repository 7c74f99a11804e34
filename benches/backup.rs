//! What does a backup cost, and one that is proven? Against what scripts do, against restic, and against what `pg_dump` alone takes.
//!
//! PGREEVE_BENCH_MEGABYTES (731: of the archive without compression; the small database has a fifth of it) and PGREEVE_BENCH_ROUNDS (5)
//! make trial runs shorter.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends by panicking")]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use support::dumps::{Ground, has};
use support::{Samples, number, print_machine, print_table, rounds, size, watched};

/// One way to a backup.
struct Contestant {
    name: &'static str,
    /// What bash runs.
    script: &'static str,
    /// Whether what was stored has been restored in the end.
    is_proven: bool,
    /// Programs that it needs beside those of PostgreSQL.
    needs: &'static [&'static str],
}

const fn contestant(name: &'static str, script: &'static str, is_proven: bool, needs: &'static [&'static str]) -> Contestant {
    Contestant { name, script, is_proven, needs }
}

/// The limit, and what is compared with it.
const LIMIT: &str = "limit: pg_dump -Fc -Z0 to /dev/null";
const OURS: &str = "pgreeve, not read back";
const USUAL: &str = "pg_dump -Fc, aws s3 cp";

/// Who backs up, in the order of the table.
const CONTESTANTS: [Contestant; 10] = [
    contestant(LIMIT, "exec pg_dump -Fc -Z0 > /dev/null", false, &[]),
    contestant(OURS, "exec $PGREEVE backup s3://$BUCKET --endpoint $ENDPOINT --scratch $WORK --verify none", false, &[]),
    contestant(
        "pgreeve, read back (as usual)",
        "exec $PGREEVE backup s3://$BUCKET --endpoint $ENDPOINT --scratch $WORK --verify catalog",
        false,
        &[],
    ),
    contestant(USUAL, "set -eo pipefail; pg_dump -Fc | aws s3 cp --only-show-errors - s3://$BUCKET/dump", false, &["aws"]),
    contestant(
        "pg_dump -Fc to a disk, aws s3 cp",
        "set -e; pg_dump -Fc -f $WORK/dump; aws s3 cp --only-show-errors $WORK/dump s3://$BUCKET/dump; rm $WORK/dump",
        false,
        &["aws"],
    ),
    contestant(
        "pg_dump -Fc -Z0, zstd -3, aws s3 cp",
        "set -eo pipefail; pg_dump -Fc -Z0 | zstd -q -3 -T0 | aws s3 cp --only-show-errors - s3://$BUCKET/dump",
        false,
        &["aws", "zstd"],
    ),
    contestant(
        "pg_dump -Fc -Z0, restic backup --stdin",
        "set -eo pipefail; pg_dump -Fc -Z0 | restic -q backup --stdin --stdin-filename dump",
        false,
        &["restic"],
    ),
    contestant(
        "pgreeve, restored and counted",
        "exec $PGREEVE backup s3://$BUCKET --endpoint $ENDPOINT --scratch $WORK --verify restore",
        true,
        &[],
    ),
    contestant(
        "pg_dump -Fc, aws s3 cp; back, and pg_restore",
        "set -eo pipefail; pg_dump -Fc | aws s3 cp --only-show-errors - s3://$BUCKET/dump; createdb proof
         aws s3 cp --only-show-errors s3://$BUCKET/dump - | pg_restore --exit-on-error -d proof",
        true,
        &["aws"],
    ),
    contestant(
        "pg_dump -Fc -Z0, restic; check --read-data, and pg_restore",
        "set -eo pipefail; pg_dump -Fc -Z0 | restic -q backup --stdin --stdin-filename dump; restic -q check --read-data; createdb proof
         restic -q dump latest /dump | pg_restore --exit-on-error -d proof",
        true,
        &["restic"],
    ),
];

/// What one of them came to.
struct Outcome {
    contestant: &'static Contestant,
    seconds: Samples,
    megabytes: Samples,
    peak: Samples,
}

fn main() {
    let megabytes = size("PGREEVE_BENCH_MEGABYTES", 731);
    print_machine();
    let ground = Ground::start();
    // Programs come from the disk once; whoever is first should not pay for it.
    servers::process::run(&mut ground.script(
        "$PGREEVE --version; pg_dump --version; aws --version; restic version || true",
        "postgres",
        "",
    ));
    // With all of them, and at a size at which proving does not take for ever.
    race(&ground, "small", megabytes / 5, |_| true);
    race(&ground, "large", megabytes, |contestant| !contestant.is_proven);
}

/// Lets those that take part take turns on a database of this size.
fn race(ground: &Ground, database: &str, megabytes: usize, takes_part: impl Fn(&Contestant) -> bool) {
    ground.fill(database, megabytes);
    let able = |contestant: &&Contestant| takes_part(contestant) && contestant.needs.iter().all(|program| has(program));
    let mut results: Vec<Outcome> = CONTESTANTS
        .iter()
        .filter(able)
        .map(|contestant| {
            let samples = || Samples::new(contestant.name);
            Outcome { contestant, seconds: samples(), megabytes: samples(), peak: samples() }
        })
        .collect();
    for round in 0..rounds() {
        for turn in 0..results.len() {
            let number = (round + turn) % results.len();
            run(ground, database, &mut results[number]);
        }
    }
    report(ground, database, &results);
}

fn run(ground: &Ground, database: &str, result: &mut Outcome) {
    let bucket = ground.s3.bucket();
    let contestant = result.contestant;
    if contestant.needs.contains(&"restic") {
        servers::process::run(&mut ground.script("restic -q init", database, &bucket));
    }
    let ran = watched::run(&mut ground.script(contestant.script, database, &bucket));
    assert!(ran.status.success(), "{}: {}", contestant.name, ran.status);
    result.seconds.push(ran.took.as_secs_f64());
    result.megabytes.push(ground.stored(&bucket) as f64 / 1e6);
    result.peak.push(ran.peak);
    ground.remove(&bucket);
    drop(std::fs::remove_dir_all(ground.files.path().join("restic")));
    ground.sql("postgres", &["drop database if exists proof", "checkpoint"]);
}

fn report(ground: &Ground, database: &str, results: &[Outcome]) {
    let median = |name: &str| results.iter().find(|result| result.contestant.name == name);
    let (limit, ours) = (median(LIMIT).unwrap().seconds.median(), median(OURS).unwrap());
    let lines: Vec<Vec<String>> = results
        .iter()
        .map(|result| {
            let seconds = result.seconds.median();
            let stored = result.megabytes.median();
            let (size, ratio) = if stored > 0.0 {
                (number(stored), number(stored / ours.megabytes.median()))
            } else {
                ("–".into(), "–".into())
            };
            let peak = if result.peak.quantile(1.0) > 0.0 { number(result.peak.quantile(1.0)) } else { "–".into() };
            let ratios = [number(seconds / ours.seconds.median()), number(limit / seconds)];
            let [times, share] = ratios;
            vec![result.contestant.name.into(), result.seconds.text(), times, share, size, ratio, peak]
        })
        .collect();
    let raw: usize = {
        let count = "set -o pipefail; pg_dump -Fc -Z0 | wc -c";
        servers::process::run(&mut ground.script(count, database, "")).trim().parse().unwrap()
    };
    let rows = ground.sql(
        database,
        &["select sum(reltuples)::bigint from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"],
    );
    let title = format!("Backup of a database of {} rows, {} MB without compression", rows.trim(), raw / 1_000_000);
    let head = ["", "seconds", "× pgreeve", "of the limit's speed", "MB stored", "× pgreeve", "peak RSS, MiB"];
    print_table(&title, &head, &lines);
}
