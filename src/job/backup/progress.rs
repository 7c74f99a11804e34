//! How far is a dump? A Job may write nothing to Kubernetes. It says so in the name of its session, which the operator, being the same role,
//! reads from `pg_stat_activity`.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::plan::backup::progress;
use crate::postgres::Session;

/// How often it is said.
const OFTEN: Duration = Duration::from_secs(2);

/// How often it is looked how much of a dump lies on the disk.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes of a dump that have come so far.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<AtomicI64>);

impl Tally {
    /// So many more have come.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(i64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }

    /// How many have come.
    pub fn bytes(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn percent(&self, total: i64) -> i32 {
        // Text takes other room than rows on disk do: it is an estimate, and done only when it is.
        let share = self.bytes().saturating_mul(100) / total.max(1);
        i32::try_from(share).unwrap_or(99).clamp(0, 99)
    }
}

/// Says again and again how much of `total` bytes has come, for as long as it is awaited.
pub async fn tell(session: &Session, directory: &str, tally: &Tally, total: i64) -> Infallible {
    loop {
        tokio::time::sleep(OFTEN).await;
        let name = progress::name(directory, tally.percent(total));
        // It is made of digits and letters of ours. Where it cannot be said, nothing is lost.
        drop(session.client().batch_execute(&format!("SET application_name = '{name}'")).await);
    }
}

/// Counts what a program writes into a directory, for as long as it is awaited.
pub async fn watch(directory: &Path, tally: &Tally) -> Infallible {
    let mut seen = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let there = directory.to_owned();
        // A look that fails is made good by the next one.
        let found = tokio::task::spawn_blocking(move || size(there)).await.unwrap_or(seen);
        tally.add(found.saturating_sub(seen));
        seen = found.max(seen);
    }
}

/// Bytes of the files of a directory that has no others below it.
fn size(directory: PathBuf) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| usize::try_from(entry.metadata().ok()?.len()).ok());
    sizes.sum()
}
