//! When is a program to end? At SIGTERM, which the first process of a container would otherwise never feel, and at SIGINT.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first such signal cancels.
///
/// # Errors
/// Where the system lets no handler be set.
pub fn stop() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop: what has begun ends first");
        told.cancel();
    });
    Ok(stop)
}
