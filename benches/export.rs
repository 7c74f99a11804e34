//! What does a verified export cost? Against the usual script, against another writer of Parquet, and against what the server can send.
//!
//! PGREEVE_BENCH_ROWS (10,000,000: about 1.1 GB of CSV) and PGREEVE_BENCH_ROUNDS (5) make trial runs shorter.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends by panicking")]

#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgreeve::api::destination::S3;
use pgreeve::api::job::JobSettings;
use pgreeve::api::retention_policy::{ExportCompression, ExportFormat};
use pgreeve::api::{Destination, TableName};
use pgreeve::job::backup::Workshop;
use pgreeve::job::{Access, Report, Task, run};
use pgreeve::plan::action::Relation;
use pgreeve::plan::removal::ExportPartition;
use pgreeve::postgres::Target;
use pgreeve::postgres::connect::Tls;
use pgreeve::postgres::execute::Budget;
use pgreeve::storage::Credentials;
use servers::postgres::{Options, Server};
use servers::versitygw::{self, ACCESS_KEY, SECRET_KEY};
use support::{Samples, number, print_machine, print_table, rounds, size};

const TABLE: &str = "create table events (id bigint not null, at timestamptz not null, account int not null, kind text not null,
    amount numeric(10,2), note text not null) partition by range (at);
    create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01')";

/// Who exports.
const CONTESTANTS: [&str; 7] = [
    "pgreeve, Parquet, read back",
    "pgreeve, CSV with Zstandard, read back",
    "psql COPY, gzip -6, to a file",
    "pyarrow, ADBC to Parquet with Zstandard, to a file",
    "limit: COPY to /dev/null, CSV",
    "limit: COPY to /dev/null, binary",
    "limit: psql COPY, CSV, to wc",
];

const ADBC: &str = "
import sys, adbc_driver_postgresql.dbapi as dbapi, pyarrow.parquet as pq
with dbapi.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
    cursor.execute('select id, at, account, kind, amount::text, note from events_2025')
    reader = cursor.fetch_record_batch()
    with pq.ParquetWriter(sys.argv[2], reader.schema, compression='zstd', compression_level=3) as writer:
        for batch in reader:
            writer.write_batch(batch)
";

/// A table, a bucket, and a directory for what peers write.
struct Bench {
    postgres: Arc<Server>,
    s3: Arc<versitygw::S3>,
    files: tempfile::TempDir,
}

#[derive(Default)]
struct Ran {
    seconds: f64,
    bytes: u64,
    /// Peak of the resident memory in MiB, where it was one process of ours.
    peak: Option<f64>,
}

fn main() {
    if let Ok(task) = std::env::var("EXPORT_TASK") {
        return child(&task);
    }
    let rows = size("PGREEVE_BENCH_ROWS", 10_000_000);
    print_machine();
    let settings = ["shared_buffers = 2GB", "max_wal_size = 8GB"].map(String::from).to_vec();
    let bench = Bench {
        postgres: Server::start(15, &Options { settings, ..Options::default() }),
        s3: versitygw::S3::start(),
        files: tempfile::tempdir().unwrap(),
    };
    bench.fill(rows);
    let mut times: Vec<Samples> = CONTESTANTS.iter().map(|name| Samples::new(name)).collect();
    let mut last: Vec<Ran> = CONTESTANTS.iter().map(|_| Ran::default()).collect();
    for round in 0..rounds() {
        for turn in 0..CONTESTANTS.len() {
            let number = (round + turn) % CONTESTANTS.len();
            if let Some(ran) = bench.run(number) {
                times[number].push(ran.seconds);
                last[number] = ran;
            }
        }
    }
    report(rows, &times, &last);
}

fn report(rows: usize, times: &[Samples], last: &[Ran]) {
    let usual = times[2].median();
    let lines: Vec<Vec<String>> = times
        .iter()
        .zip(last)
        .filter(|(times, _)| !times.median().is_nan())
        .map(|(times, ran)| {
            let size = if ran.bytes == 0 { "–".into() } else { number(ran.bytes as f64 / 1e6) };
            let peak = ran.peak.map_or("–".into(), number);
            vec![times.name.clone(), times.text(), number(usual / times.median()), size, peak]
        })
        .collect();
    let head = ["", "seconds, median (range)", "times as fast as psql and gzip", "MB written", "peak RSS, MiB"];
    print_table(&format!("Export of a partition of {rows} rows"), &head, &lines);
}

impl Bench {
    fn psql(&self) -> Command {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-h"]).arg(&self.postgres.socket).args([
            "-p",
            &self.postgres.port.to_string(),
            "-U",
            "postgres",
            "postgres",
        ]);
        psql
    }

    fn sql(&self, sql: &str) -> String {
        servers::process::run(self.psql().args(["-c", sql]))
    }

    fn fill(&self, rows: usize) {
        self.sql(TABLE);
        self.sql(&format!(
            "insert into events select i, timestamptz '2025-01-01' + i * interval '3 seconds', (random() * 1e6)::int,
             (array['view','click','purchase','refund','signup'])[1 + i % 5], (random() * 1000)::numeric(10,2), md5(i::text) || ' ' || left(md5((i / 7)::text), 16)
             from generate_series(1, {rows}) i"
        ));
        self.sql("vacuum analyze events_2025");
        self.sql("checkpoint");
    }

    fn run(&self, contestant: usize) -> Option<Ran> {
        let copy = "copy (select * from events_2025) to";
        let file = self.files.path().join("out");
        let began = Instant::now();
        let timed = |bytes: u64| Some(Ran { seconds: began.elapsed().as_secs_f64(), bytes, peak: None });
        match contestant {
            0 => Some(self.export(ExportFormat::Parquet)),
            1 => Some(self.export(ExportFormat::Csv)),
            2 => {
                let pipe = "\"$@\" | gzip -6 > \"$OUT\"";
                self.piped(pipe, &format!("{copy} stdout (format csv)"), &file);
                timed(std::fs::metadata(&file).unwrap().len())
            }
            3 => {
                let modules = servers::cache().join("python/adbc");
                if !modules.exists() {
                    return None;
                }
                let uri = format!(
                    "postgresql:///postgres?host={}&port={}&user=postgres",
                    self.postgres.socket.display(),
                    self.postgres.port
                );
                servers::process::run(Command::new("python3").env("PYTHONPATH", modules).args(["-c", ADBC, &uri]).arg(&file));
                timed(std::fs::metadata(&file).unwrap().len())
            }
            4 => {
                self.sql(&format!("{copy} '/dev/null' (format csv)"));
                timed(0)
            }
            5 => {
                self.sql(&format!("{copy} '/dev/null' (format binary)"));
                timed(0)
            }
            _ => {
                self.piped("\"$@\" | wc -c > \"$OUT\"", &format!("{copy} stdout (format csv)"), &file);
                timed(std::fs::read_to_string(&file).unwrap().trim().parse().unwrap())
            }
        }
    }

    fn piped(&self, pipe: &str, sql: &str, file: &std::path::Path) {
        let psql = self.psql();
        let mut shell = Command::new("sh");
        shell.args(["-c", pipe, "sh"]).arg(psql.get_program()).args(psql.get_args()).args(["-c", sql]).env("OUT", file);
        assert!(shell.status().unwrap().success());
    }

    /// In a process of its own, as in a Job's Pod.
    fn export(&self, format: ExportFormat) -> Ran {
        let bucket = self.s3.bucket();
        let ids = self.sql("select 'events'::regclass::oid || '|' || c.oid || '|' || pg_get_expr(c.relpartbound, c.oid) from pg_class c where relname = 'events_2025'");
        let mut ids = ids.trim().splitn(3, '|');
        let mut relation = |name: &str| Relation {
            oid: ids.next().unwrap().parse().unwrap(),
            table: TableName { schema: "public".into(), name: name.into() },
        };
        let (parent, partition) = (relation("events"), relation("events_2025"));
        let s3 = S3 { bucket: bucket.clone(), endpoint: Some(self.s3.endpoint.clone()), ..S3::default() };
        let task = ExportPartition {
            parent,
            partition,
            bound: ids.next().unwrap().into(),
            role: "postgres".into(),
            destination: Destination { s3: Some(s3), ..Destination::default() },
            format,
            compression: ExportCompression::Zstd,
            job: JobSettings::default(),
        };
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .env("EXPORT_TASK", serde_json::to_string(&task).unwrap())
            .env("EXPORT_HOST", &self.postgres.socket)
            .stderr(Stdio::inherit());
        let began = Instant::now();
        let said = servers::process::run(&mut child);
        let seconds = began.elapsed().as_secs_f64();
        let mut said = said.split_whitespace().map(|word| word.parse::<f64>().unwrap());
        let (bytes, peak) = (said.next().unwrap(), said.next().unwrap());
        self.sql("alter table events_2025 drop constraint pgreeve_closed");
        std::fs::remove_dir_all(self.s3.home.join(bucket)).unwrap();
        Ran { seconds, bytes: bytes as u64, peak: Some(peak / 1024.0) }
    }
}

/// Exports, and prints the size of what was written and the peak of its memory in KiB.
fn child(task: &str) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let task: ExportPartition = serde_json::from_str(task).unwrap();
    let target = Target {
        host: std::env::var("EXPORT_HOST").unwrap(),
        port: 5432,
        database: "postgres".into(),
        user: "postgres".into(),
        password: None,
        tls: Tls::Disable,
    };
    let secret = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let secret = secret.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
    let storage = Credentials { secret, ..Credentials::default() };
    let budget = Budget { locks: Duration::from_secs(10), ..Budget::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime
        .block_on(run(
            &Task::ExportPartition(Box::new(task)),
            &Access { target: Some(target), budget, storage, workshop: Workshop::default() },
        ))
        .unwrap();
    let Report::Exported(export) = report else { panic!("{report:?} of an export") };
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()).unwrap();
    println!("{} {peak}", export.bytes);
}
