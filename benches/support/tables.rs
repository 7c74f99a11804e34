//! Which tables do the benchmarks keep? Many alike, divided by month, with a primary key and an index, for pgreeve and for pg_partman.

use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use pgreeve::api::PartitionPolicy;
use pgreeve::clock::Clock;
use pgreeve::plan::connection;
use pgreeve::postgres::connect::{Session, Target, Tls};
use serde_json::json;
use tokio_postgres::Client;

use crate::servers::postgres::{Options, Server};

/// The major that Debian 12 packages pg_partman for.
pub const MAJOR: u32 = 15;

/// A server as one is set up for work, except that it syncs nothing to the disk: every contestant is spared the same.
pub fn start_server(more: &[&str]) -> Arc<Server> {
    let settings =
        ["shared_buffers = 1GB", "wal_level = replica", "max_wal_size = 8GB", "jit = off", "max_locks_per_transaction = 64"];
    let settings = settings.iter().chain(more).map(|line| (*line).to_owned()).collect();
    Server::start(MAJOR, &Options { tcp: true, settings, ..Options::default() })
}

/// The name of table `number`.
pub fn name(number: usize) -> String {
    format!("events_{number:05}")
}

/// Creates `count` tables in schema `public`, each with partitions for this month and `ahead` more, and one row.
pub async fn create(client: &Client, count: usize, ahead: i32) {
    let months = months(ahead);
    for number in 0..count {
        let table = name(number);
        let mut sql = format!(
            "CREATE TABLE {table} (id bigint NOT NULL, at timestamptz NOT NULL, kind text, payload text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
             CREATE INDEX ON {table} (at);"
        );
        for (from, to) in &months {
            sql.push_str(&partition_of(&table, *from, *to));
        }
        sql.push_str(&format!("INSERT INTO {table} VALUES (1, now(), 'first', 'row');"));
        client.batch_execute(&sql).await.unwrap();
    }
    for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
        client.batch_execute(statement).await.unwrap();
    }
}

/// The statement that a person would write.
pub fn partition_of(table: &str, from: Date, to: Date) -> String {
    format!(
        "CREATE TABLE {} PARTITION OF {table} FOR VALUES FROM ('{from} 00:00+00') TO ('{to} 00:00+00');",
        partition(table, from)
    )
}

/// The name that pg_partman and pgreeve's policies here give.
pub fn partition(table: &str, from: Date) -> String {
    format!("{table}_p{}", from.strftime("%Y_%m"))
}

/// First days of this month and `ahead` more, each with that of the next.
pub fn months(ahead: i32) -> Vec<(Date, Date)> {
    let this = Clock::system().now().to_zoned(TimeZone::UTC).date().first_of_month();
    let month = |number: i32| this.checked_add(jiff::Span::new().months(number)).unwrap();
    (0..=ahead).map(|number| (month(number), month(number + 1))).collect()
}

/// Tells pg_partman of the tables.
pub async fn configure_partman(client: &Client, count: usize, premake: i32) {
    let sql = format!(
        "CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;
         INSERT INTO partman.part_config (parent_table, control, partition_type, partition_interval, premake, datetime_string)
         SELECT 'public.events_' || lpad(i::text, 5, '0'), 'at', 'native', '1 month', {premake}, 'YYYY_MM' FROM generate_series(0, {count} - 1) i;
         ANALYZE partman.part_config"
    );
    client.batch_execute(&sql).await.unwrap();
}

/// The policy for table `number`.
pub fn policy(number: usize, ahead: i32) -> PartitionPolicy {
    let table = name(number);
    serde_json::from_value(json!({
        "apiVersion": "pgreeve.dev/v1alpha1", "kind": "PartitionPolicy",
        "metadata": {"name": table.replace('_', "-"), "namespace": "default"},
        "spec": {
            "databaseRef": {"name": "database"}, "table": {"name": table}, "key": {"column": "at"},
            "interval": "1 month", "naming": "{table}_p{yyyy}_{mm}", "create": {"ahead": ahead},
        },
    }))
    .unwrap()
}

/// A session of the engine.
pub async fn open(server: &Server, database: &str) -> Session {
    let endpoint = connection::parse_uri(&server.url("postgres", database)).unwrap();
    let (host, port, database, user) = (endpoint.host, endpoint.port, endpoint.database, endpoint.user);
    Session::open(&Target { host, port, database, user, password: None, tls: Tls::Disable }).await.unwrap()
}

/// psql on this database, silent.
pub fn psql(server: &Server, database: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]).arg(&server.socket);
    command.args(["-p", &server.port.to_string(), "-d", database]).stdout(Stdio::null());
    command
}
