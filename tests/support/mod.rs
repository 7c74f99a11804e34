//! What do the integration tests stand on? Real servers, and faults between them and the code under test.
//!
//! - [`postgres`] starts PostgreSQL 14 to 18, one server a major and test binary, one database a test.
//! - [`apiserver`] starts etcd and kube-apiserver, one pair a test binary, one namespace a test.
//! - [`kubelet`] stands in for what a Job needs besides: it makes Pods, and runs their containers as processes.
//! - [`node`] runs all Jobs of a namespace by itself.
//! - [`pooler`] is a PgBouncer, [`ancient`] a server that is too old.
//! - [`versitygw`] is a real S3 server, [`azurite`] one of Azure's blobs, [`google`] Google's way of asking before the former.
//! - [`pgproxy`], [`kubefault`] and [`s3faults`] stand before them, number every side effect, and break what they are told to break.
//!
//! A test binary takes this in with `#[path = "../support/mod.rs"] mod support;`. The programs come from `hack/tools.sh`.
#![allow(dead_code, reason = "each test binary uses another part of it")]

pub mod ancient;
pub mod apiserver;
pub mod azurite;
pub mod bad_input;
pub mod certificate;
pub mod google;
pub mod kubefault;
pub mod kubelet;
pub mod node;
pub mod pgproxy;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod s3faults;
pub mod versitygw;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where `hack/tools.sh` puts the programs.
pub fn cache() -> PathBuf {
    std::env::var_os("PGREEVE_CACHE").map_or_else(|| "/var/cache/pgreeve".into(), PathBuf::from)
}

/// A name that no other test of this process uses: `prefix_1`, `prefix_2`, ...
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// How long is still waited. A machine that stands still for a while, as one that is moved to another host, uses up ten seconds of it: a limit that
/// is over when it goes on would say that what had no time to happen does not happen.
pub struct Patience {
    left: Duration,
    last: Instant,
}

impl Patience {
    /// So much, from now on.
    pub fn of(limit: Duration) -> Self {
        Self { left: limit, last: Instant::now() }
    }

    /// Whether it is over; asked many times a second.
    pub fn is_over(&mut self) -> bool {
        let now = Instant::now();
        self.left = self.left.saturating_sub((now - self.last).min(Duration::from_secs(10)));
        self.last = now;
        self.left.is_zero()
    }
}

/// Asks until the answer is there.
///
/// # Panics
/// After `limit`, with what was waited for.
pub async fn eventually<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut patience = Patience::of(limit);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(!patience.is_over(), "{what}: not so after {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
