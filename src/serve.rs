//! What does the operator answer over HTTP? /livez, /readyz and /metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::clock::Clock;
use crate::metrics::Metrics;

/// What the answers come from.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Clock,
    /// Whether the API server has been reached and, with leader election, the lease is watched.
    pub ready: Arc<AtomicBool>,
}

/// Serves until `shutdown` is done.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    answers: Answers,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    axum::serve(listener, router(answers)).with_graceful_shutdown(shutdown).await
}

fn router(answers: Answers) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(answers)
}

async fn readyz(State(answers): State<Answers>) -> impl IntoResponse {
    if answers.ready.load(Ordering::Relaxed) { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") }
}

async fn metrics(State(answers): State<Answers>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        answers.metrics.text(answers.clock.now()),
    )
}
