//! How does a person see what happened? Kubernetes Events, on transitions only.
//!
//! The recorder of the client library keeps every event for six minutes and goes through all of them at each new one: with ten
//! thousand new policies that is most of the operator's memory. Ours remembers a name for each of the last few.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::api::Reason;
use crate::api::condition::{MESSAGE_LIMIT, shorten};
use crate::clock::Clock;

/// How many events can be repeated: an object that changes to and fro gets a series, not a new event each time.
const REMEMBERED: usize = 500;

/// How long an event can be repeated, in seconds; as other recorders have it.
const SERIES_SECONDS: i64 = 360;

/// Publishes events as this operator.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    clock: Clock,
    latest: Arc<Mutex<VecDeque<Latest>>>,
}

/// An event that may be repeated.
#[derive(Clone, Debug)]
struct Latest {
    /// Of all that it says.
    key: u64,
    name: String,
    count: i32,
    at: Timestamp,
}

impl Events {
    /// `instance` tells several operators apart.
    pub fn new(client: Client, instance: &str) -> Self {
        Self { client, instance: instance.to_owned(), clock: Clock::system(), latest: Arc::default() }
    }

    /// Publishes one event about an object. A failure is logged and otherwise ignored: the status says the same.
    pub async fn publish(&self, object: &ObjectReference, reason: Reason, is_warning: bool, message: &str) {
        let key = key(object, reason, is_warning, message);
        let now = self.clock.precisely();
        let repeated = match self.repeated(key, now) {
            Some(latest) => self.repeat(object, latest).await,
            None => None,
        };
        let published = match repeated {
            Some(latest) => Ok(latest),
            None => self.create(object, reason, is_warning, message, now).await,
        };
        match published {
            Ok(latest) => self.remember(Latest { key, ..latest }),
            Err(error) => tracing::warn!(%error, %reason, "event was not published"),
        }
    }

    async fn create(
        &self,
        object: &ObjectReference,
        reason: Reason,
        is_warning: bool,
        message: &str,
        now: Timestamp,
    ) -> kube::Result<Latest> {
        let about = object.name.as_deref().unwrap_or("pgreeve");
        let event = Event {
            metadata: ObjectMeta { name: Some(format!("{about}.{:016x}", fastrand::u64(..))), ..ObjectMeta::default() },
            event_time: Some(MicroTime(now)),
            action: Some("Reconcile".into()),
            reason: Some(reason.as_str().into()),
            note: Some(shorten(message, MESSAGE_LIMIT)),
            regarding: Some(object.clone()),
            reporting_controller: Some("pgreeve".into()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if is_warning { "Warning" } else { "Normal" }.into()),
            ..Event::default()
        };
        let created = self.api(object).create(&PostParams::default(), &event).await?;
        Ok(Latest { key: 0, name: created.name_any(), count: 1, at: now })
    }

    /// `None` if that is not possible, as when somebody has deleted the event.
    async fn repeat(&self, object: &ObjectReference, latest: Latest) -> Option<Latest> {
        let series = json!({"series": {"count": latest.count, "lastObservedTime": MicroTime(latest.at)}});
        let patched = self.api(object).patch(&latest.name, &PatchParams::default(), &Patch::Merge(series)).await;
        patched.is_ok().then_some(latest)
    }

    fn api(&self, object: &ObjectReference) -> Api<Event> {
        Api::namespaced(self.client.clone(), object.namespace.as_deref().unwrap_or("default"))
    }

    /// The event that is said once more, if it was said not long ago.
    fn repeated(&self, key: u64, now: Timestamp) -> Option<Latest> {
        let mut latest = self.latest();
        let position = latest.iter().position(|event| event.key == key)?;
        let event = latest.remove(position)?;
        (now.as_second() - event.at.as_second() < SERIES_SECONDS).then(|| Latest { count: event.count + 1, at: now, ..event })
    }

    fn remember(&self, event: Latest) {
        let mut latest = self.latest();
        latest.push_back(event);
        if latest.len() > REMEMBERED {
            latest.pop_front();
        }
    }

    fn latest(&self) -> MutexGuard<'_, VecDeque<Latest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(object: &ObjectReference, reason: Reason, is_warning: bool, message: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (object.kind.as_deref(), object.namespace.as_deref(), object.name.as_deref(), object.uid.as_deref()).hash(&mut hasher);
    (reason.as_str(), is_warning, message).hash(&mut hasher);
    hasher.finish()
}
