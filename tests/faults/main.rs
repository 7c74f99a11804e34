//! Does everything end as it would have, whatever breaks on the way?
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod kubernetes_layer;
mod postgres_proxy;
