//! Which of several operators works? The one that holds the Lease; the database's advisory lock is the fence behind it.

use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;

/// How the lease is named.
#[derive(Clone, Debug)]
pub struct LeaseName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A lease lasts this long without renewal, in seconds; the operator that comes after waits no longer.
const DURATION_SECONDS: u64 = 15;
/// Seconds before its end at which the holder renews it.
const GRACE_SECONDS: u64 = 5;

/// Runs `work` while this process holds the lease, and ends it, by dropping it, when the lease is lost. Returns when `work` returns
/// or `shutdown` is done; the lease is given back in both cases.
///
/// # Errors
/// If the lease cannot be created or read, or `work` fails.
pub async fn run<F>(
    client: Client,
    lease: LeaseName,
    identity: &str,
    is_leader: impl Fn(bool),
    shutdown: impl Future<Output = ()>,
    mut work: impl FnMut() -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let manager = LeaseManagerBuilder::new(client, lease.name)
        .with_namespace(lease.namespace)
        .with_identity(identity)
        .with_duration(DURATION_SECONDS)
        .with_grace(GRACE_SECONDS)
        .build()
        .await?;
    let (mut holds, watcher) = manager.watch().await;
    tokio::pin!(shutdown);
    let outcome = loop {
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            held = wait_for(&mut holds, true) => if !held { break Err(anyhow::anyhow!("the lease is no longer watched")) },
        }
        is_leader(true);
        tracing::info!("holding the lease");
        // `work` hears of the shutdown itself, and ends what it has begun.
        tokio::select! {
            result = work() => break result,
            _ = wait_for(&mut holds, false) => tracing::warn!("the lease is lost; work ends here until it is held again"),
        }
        is_leader(false);
    };
    is_leader(false);
    drop(holds);
    // The watcher gives the lease back when nobody listens any more.
    if tokio::time::timeout(std::time::Duration::from_secs(5), watcher).await.is_err() {
        tracing::warn!("the lease was not given back in time; it ends by itself");
    }
    outcome
}

/// Waits for a state of the lease; `false` if it will never be known again.
async fn wait_for(holds: &mut watch::Receiver<bool>, state: bool) -> bool {
    holds.wait_for(|held| *held == state).await.is_ok()
}
