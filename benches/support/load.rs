//! What does an application feel? Writers and readers at a fixed rate on some of the tables, each statement timed by them themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::tables;
use crate::servers::postgres::connect;

/// Sessions of the application.
pub const SESSIONS: usize = 8;
/// Tables that they use, the first ones.
pub const TABLES: usize = 20;
/// Pause from statement to statement of one session.
const EVERY: Duration = Duration::from_millis(20);
/// How long a report keeps its transaction open.
const REPORT: Duration = Duration::from_millis(300);

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Felt>,
}

/// What the load felt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Felt {
    /// The longest INSERT.
    pub write: Duration,
    /// The longest SELECT.
    pub read: Duration,
    /// Statements.
    pub count: u64,
}

impl Load {
    /// Starts. With `reports` another session reads table after table and keeps each transaction open for a while.
    pub fn start(url: String, reports: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        // A runtime of its own, so that nothing else of this process delays a measurement.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(url, reports, stopped))
        });
        Self { stop, thread }
    }

    /// Ends the load.
    pub fn stop(self) -> Felt {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

async fn run(url: String, reports: bool, stop: Arc<AtomicBool>) -> Felt {
    let report = reports.then(|| tokio::spawn(report(url.clone(), stop.clone())));
    let sessions: Vec<_> = (0..SESSIONS).map(|number| tokio::spawn(session(number, url.clone(), stop.clone()))).collect();
    let mut felt = Felt::default();
    for session in sessions {
        let one = session.await.unwrap();
        felt = Felt { write: felt.write.max(one.write), read: felt.read.max(one.read), count: felt.count + one.count };
    }
    if let Some(report) = report {
        report.await.unwrap();
    }
    felt
}

/// Two statements of three write.
async fn session(number: usize, url: String, stop: Arc<AtomicBool>) -> Felt {
    let client = connect(url).await.unwrap();
    let mut felt = Felt::default();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = number;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        turn += 1;
        let table = tables::name(turn * 7 % TABLES);
        let writes = !turn.is_multiple_of(3);
        let statement = if writes {
            format!("INSERT INTO {table} VALUES ({}, now(), 'kind', 'payload')", number * 100_000_000 + turn)
        } else {
            format!("SELECT count(*) FROM {table} WHERE at >= now() - interval '1 hour' AND at <= now()")
        };
        let begun = Instant::now();
        client.batch_execute(&statement).await.unwrap();
        let took = begun.elapsed();
        felt.count += 1;
        if writes {
            felt.write = felt.write.max(took);
        } else {
            felt.read = felt.read.max(took);
        }
    }
    felt
}

async fn report(url: String, stop: Arc<AtomicBool>) {
    let client = connect(url).await.unwrap();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let table = tables::name(turn % TABLES);
        client.batch_execute(&format!("BEGIN; SELECT count(*) FROM {table}")).await.unwrap();
        tokio::time::sleep(REPORT).await;
        client.batch_execute("COMMIT").await.unwrap();
    }
}
