//! How does a watch become passes? The one driver of all kinds.
//!
//! Only metadata is watched and kept: a pass reads its object from the API server, so no cache can be stale, one malformed object
//! cannot stop the watch, and ten thousand policies fit in a few megabytes.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::convert::Infallible;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate, WatchStreamExt as _, predicates, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::backoff::Backoff;
use super::kind::{Kind, Report};
use super::nudge::Nudge;
use super::unread;
use crate::api::backup::RESTORE_TEST_ANNOTATION;
use crate::api::condition::{READY, find};
use crate::api::{APPROVE_ANNOTATION, REQUESTED_AT_ANNOTATION, Reason};
use crate::cluster::objects::{self, Fetched};
use crate::metrics::{KindLabel, ObjectLabels, PassLabels};
use crate::plan::action::Blocked;

/// Hands nudges on to the controllers that they are for.
#[derive(Clone, Default)]
pub(crate) struct Router(Arc<Mutex<Vec<Listener>>>);

/// A controller: its kind, its namespace unless it has all, and its ear.
type Listener = (&'static str, Option<String>, mpsc::UnboundedSender<Nudge>);

impl Router {
    fn listen(&self, kind: &'static str, namespace: Option<String>) -> mpsc::UnboundedReceiver<Nudge> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((kind, namespace, sender));
        receiver
    }

    /// Hands on until `stop`.
    pub async fn route(&self, mut nudges: mpsc::UnboundedReceiver<Nudge>, stop: CancellationToken) {
        while let Some(Some(nudge)) = stop.run_until_cancelled(nudges.recv()).await {
            for (kind, namespace, listener) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                if *kind == nudge.kind && namespace.as_ref().is_none_or(|namespace| *namespace == nudge.namespace) {
                    // A controller that has ended needs no nudge.
                    drop(listener.send(nudge.clone()));
                }
            }
        }
    }
}

/// Annotations whose change asks for a pass.
const OURS: [&str; 3] = [APPROVE_ANNOTATION, REQUESTED_AT_ANNOTATION, RESTORE_TEST_ANNOTATION];

/// What is kept of an object: that it is there.
type Meta<K> = PartialObjectMeta<<K as Kind>::Object>;

struct Drive<K: Kind> {
    kind: Arc<K>,
    context: Context,
    backoff: Backoff,
    /// The objects that are there, as far as the watch has told.
    there: Store<Meta<K>>,
    /// Those that a pass has been made over, and of which something is remembered.
    known: Mutex<HashSet<ObjectRef<Meta<K>>>>,
}

/// Runs one kind in one namespace, or in all, until the operator stops.
pub(crate) fn drive<K: Kind>(
    kind: Arc<K>,
    context: Context,
    namespace: Option<String>,
    router: &Router,
) -> impl Future<Output = ()> + Send + 'static {
    let api: Api<Meta<K>> = match &namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let stop = context.stop.clone();
    let nudges = router.listen(K::NAME, namespace);
    let nudges = futures::stream::unfold(nudges, async |mut nudges| {
        let nudge = nudges.recv().await?;
        Some((ObjectRef::<Meta<K>>::new(&nudge.name).within(&nudge.namespace), nudges))
    });
    let config = ControllerConfig::default().concurrency(context.config.concurrency);
    let (reader, writer) = reflector::store();
    let drive = Arc::new(Drive { kind, context, backoff: Backoff::default(), there: reader.clone(), known: Mutex::default() });
    let gone = drive.clone();
    let touched = watcher(api, watcher::Config::default().page_size(100))
        .default_backoff()
        .modify(strip)
        .reflect(writer)
        // After it is gone from the store, in which a pass that runs meanwhile looks last.
        .inspect(move |event| match event {
            Ok(watcher::Event::Delete(meta)) => gone.forget(&ObjectRef::from_obj(meta)),
            // A watch that was interrupted tells of nothing that went meanwhile.
            Ok(watcher::Event::InitDone) => gone.forget_the_gone(),
            _ => {}
        })
        .applied_objects()
        .predicate_filter(predicates::generation.combine(our_annotations), Default::default());
    Controller::for_stream(touched, reader)
        .with_config(config)
        .reconcile_on(nudges)
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(reconcile::<K>, |_, never, _| match *never {}, drive)
        .for_each(async |result| {
            if let Err(error) = result {
                tracing::debug!(%error, kind = K::NAME, "watch");
            }
        })
}

/// Keeps what the driver looks at: everything else of an object is read when it is needed.
fn strip<K>(meta: &mut PartialObjectMeta<K>) {
    meta.metadata.managed_fields = None;
    meta.metadata.labels = None;
    meta.metadata.finalizers = None;
    meta.metadata.owner_references = None;
    if let Some(annotations) = &mut meta.metadata.annotations {
        annotations.retain(|name, _| OURS.contains(&name.as_str()));
    }
}

fn our_annotations<K: kube::Resource>(object: &K) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    for name in OURS {
        object.annotations().get(name).hash(&mut hasher);
    }
    Some(hasher.finish())
}

async fn reconcile<K: Kind>(meta: Arc<Meta<K>>, drive: Arc<Drive<K>>) -> Result<Action, Infallible> {
    let (namespace, name, object) = (meta.namespace().unwrap_or_default(), meta.name_any(), ObjectRef::from_obj(&*meta));
    let key = format!("{namespace}/{name}");
    let config = &drive.context.config;
    let begun = Instant::now();
    drive.known().insert(object.clone());
    let outcome = match drive.pass(&namespace, &name).await {
        Ok(report) => report.map(|report| (report.state, report.due)),
        Err(blocked) => {
            tracing::warn!(kind = K::NAME, object = %key, error = %blocked.message, "pass");
            let message = blocked.message;
            Some((crate::plan::status::State { ready: false, reason: blocked.reason, message, drifted: false }, None))
        }
    };
    // What a pass measures after its object has gone would stay for ever.
    let Some((state, due)) = outcome.filter(|_| drive.there.get(&object).is_some()) else {
        drive.forget(&object);
        return Ok(Action::await_change());
    };
    let metrics = &drive.context.metrics;
    metrics.duration.get_or_create(&KindLabel { kind: K::NAME }).observe(begun.elapsed().as_secs_f64());
    metrics.passes.get_or_create(&PassLabels { kind: K::NAME, reason: state.reason.as_str() }).inc();
    let delay = drive.backoff.next(&key, &state, due, config.clock.now(), config, K::PUNCTUAL);
    tracing::debug!(kind = K::NAME, object = %key, reason = %state.reason, ?delay, "pass");
    Ok(Action::requeue(delay))
}

impl<K: Kind> Drive<K> {
    /// One pass: read, decide and do, write the status where it differs, tell transitions. `None` if the object is gone.
    async fn pass(&self, namespace: &str, name: &str) -> Result<Option<Report>, Blocked> {
        let client = &self.context.client;
        let unavailable = |error| objects::unavailable(&format!("{} {namespace}/{name}", K::NAME), &error);
        let fetched = objects::fetch::<K::Object>(client, namespace, name).await.map_err(unavailable)?;
        let Some(Fetched { raw, typed }) = fetched else { return Ok(None) };
        let before = raw.data.get("status").cloned().unwrap_or(Value::Null);
        let is_deleted = raw.metadata.deletion_timestamp.is_some();
        let unread = self.kind.unread(&before, is_deleted);
        if !unread.is_empty() && (!is_deleted || is_kept::<K>(&raw)) {
            return Ok(Some(self.leave_alone(&raw, &before, &unread).await));
        }
        let (raw, report) = match &typed {
            Ok(object) if is_deleted => match self.finalize(&raw, object).await? {
                Some(report) => (raw, report),
                None => return Ok(None),
            },
            Ok(object) => {
                let Some(raw) = self.finalizer(raw, self.kind.needs_finalizer(object)).await? else { return Ok(None) };
                let requested = object.annotations().get(REQUESTED_AT_ANNOTATION).cloned();
                (raw, self.kind.pass(object, requested.as_deref()).await)
            }
            // What its traces are is not known: it must not stay for ever.
            Err(_) if is_deleted => return self.finalizer(raw, false).await.map(|_| None),
            Err(error) => {
                let message =
                    format!("{} {namespace}/{name} cannot be read: {error}; correct the field and apply it again", K::NAME);
                let blocked = Blocked::new(Reason::InvalidSpec, message);
                let report = self.kind.unreadable(&before, raw.metadata.generation, &blocked);
                (raw, report)
            }
        };
        self.measure(namespace, name, &report);
        let written = objects::apply_status::<K::Object>(client, &raw, K::FIELD_MANAGER, &report.status).await;
        match written {
            Ok(is_written) => tracing::debug!(kind = K::NAME, namespace, name, is_written, "status"),
            // Deleted meanwhile. A conflict is not taken for that: the next pass sees whether it was a namesake.
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
            Err(error) => return Err(unavailable(error)),
        }
        if let Ok(object) = &typed
            && !is_deleted
        {
            self.kind.written(object, &report).await;
        }
        self.tell(&raw, &before, &report).await;
        Ok(Some(report))
    }

    /// An object whose status cannot be read. Where nothing can be written into it without a loss, the event and the log say so.
    async fn leave_alone(&self, raw: &DynamicObject, before: &Value, unread: &[String]) -> Report {
        let (namespace, name) = (raw.namespace().unwrap_or_default(), raw.name_any());
        let blocked = unread::blocked(K::NAME, raw, unread);
        let report = unread::report(raw, &blocked, self.context.config.clock.now());
        tracing::warn!(kind = K::NAME, namespace, name, error = %blocked.message, "pass");
        self.measure(&namespace, &name, &report);
        if !report.status.is_null()
            && let Err(error) =
                objects::apply_status::<K::Object>(&self.context.client, raw, K::FIELD_MANAGER, &report.status).await
        {
            tracing::warn!(kind = K::NAME, namespace, name, %error, "the conditions of a status that cannot be read");
        }
        self.tell(raw, before, &report).await;
        report
    }

    /// One pass over a deleted object. `None` where nothing keeps it any more.
    async fn finalize(&self, raw: &DynamicObject, object: &K::Object) -> Result<Option<Report>, Blocked> {
        if !is_kept::<K>(raw) {
            return Ok(None);
        }
        let report = self.kind.finalize(object).await?;
        if report.is_none() {
            self.finalizer(raw.clone(), false).await?;
        }
        Ok(report)
    }

    /// Adds or removes the kind's finalizer where it is not as wanted. `None` if the object is gone.
    async fn finalizer(&self, raw: DynamicObject, wanted: bool) -> Result<Option<DynamicObject>, Blocked> {
        let Some(finalizer) = K::FINALIZER else { return Ok(Some(raw)) };
        if raw.finalizers().iter().any(|found| found == finalizer) == wanted {
            return Ok(Some(raw));
        }
        let what = format!("{} {}/{}", K::NAME, raw.namespace().unwrap_or_default(), raw.name_any());
        match objects::set_finalizer::<K::Object>(&self.context.client, &raw, finalizer, wanted).await {
            Ok(changed) => Ok(Some(changed)),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(objects::unavailable(&format!("finalizer of {what}"), &error)),
        }
    }

    fn measure(&self, namespace: &str, name: &str, report: &Report) {
        let metrics = &self.context.metrics;
        let labels = ObjectLabels { kind: K::NAME, namespace: namespace.to_owned().into(), name: name.to_owned().into() };
        metrics.set_ready(&labels, report.state.ready, report.state.reason.as_str());
        metrics.pending.get_or_create(&labels).set(i64::try_from(report.pending).unwrap_or(i64::MAX));
    }

    /// Events: what was carried out, and a readiness that is another than before.
    async fn tell(&self, raw: &DynamicObject, before: &Value, report: &Report) {
        let regarding = regarding::<K>(raw);
        if let Some((reason, message)) = &report.applied {
            self.context.events.publish(&regarding, *reason, false, message).await;
        }
        let conditions = before.get("conditions").cloned().and_then(|found| serde_json::from_value(found).ok());
        let conditions: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> = conditions.unwrap_or_default();
        let is_same = find(&conditions, READY).is_some_and(|former| {
            former.reason == report.state.reason.as_str() && (former.status == "True") == report.state.ready
        });
        if !is_same {
            self.context.events.publish(&regarding, report.state.reason, !report.state.ready, &report.state.message).await;
        }
    }

    fn known(&self) -> MutexGuard<'_, HashSet<ObjectRef<Meta<K>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an object that is gone.
    fn forget(&self, object: &ObjectRef<Meta<K>>) {
        self.known().remove(object);
        let (namespace, name) = (object.namespace.clone().unwrap_or_default(), object.name.clone());
        self.backoff.forget(&format!("{namespace}/{name}"));
        self.kind.forget(&namespace, &name);
        self.context.metrics.forget(&ObjectLabels { kind: K::NAME, namespace: namespace.into(), name: name.into() });
    }

    /// Forgets those that are not there any more.
    fn forget_the_gone(&self) {
        let gone: Vec<_> = self.known().iter().filter(|object| self.there.get(object).is_none()).cloned().collect();
        for object in gone {
            self.forget(&object);
        }
    }
}

/// Whether a deleted object stays until we let it go.
fn is_kept<K: Kind>(raw: &DynamicObject) -> bool {
    K::FINALIZER.is_some_and(|finalizer| raw.finalizers().iter().any(|found| found == finalizer))
}

/// The object that an event is about.
fn regarding<K: Kind>(raw: &DynamicObject) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::Object::api_version(&()).into_owned()),
        kind: Some(K::Object::kind(&()).into_owned()),
        namespace: raw.metadata.namespace.clone(),
        name: raw.metadata.name.clone(),
        uid: raw.metadata.uid.clone(),
        resource_version: raw.metadata.resource_version.clone(),
        field_path: None,
    }
}
