//! How does a person see what happened? Kubernetes Events, on transitions only.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::api::Reason;
use crate::api::condition::{MESSAGE_LIMIT, shorten};

/// Publishes events as this operator.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// `instance` tells several operators apart.
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: "pgreeve".into(), instance: Some(instance.to_owned()) };
        Self(Recorder::new(client, reporter))
    }

    /// Publishes one event about an object. A failure is logged and otherwise ignored: the status says the same.
    pub async fn publish(&self, object: &ObjectReference, reason: Reason, is_warning: bool, message: &str) {
        let event = Event {
            type_: if is_warning { EventType::Warning } else { EventType::Normal },
            reason: reason.as_str().into(),
            note: Some(shorten(message, MESSAGE_LIMIT)),
            action: "Reconcile".into(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, object).await {
            tracing::warn!(%error, %reason, "event was not published");
        }
    }
}
