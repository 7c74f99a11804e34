//! Who hears what becomes of Jobs? Their owners, and whoever waits for the database that one of them leaves.

use std::collections::HashSet;

use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::{Jobs, lock, manifest};
use crate::plan::action::ObjectId;

/// Every so many looks, a Job whose Pod is at work is looked at too: an event of the watch may have been lost.
const RARELY: u64 = 4;

impl Jobs {
    /// Wakes whom it concerns whenever something happens to a Job of ours, in a namespace or in all, and now and then who expects something.
    pub async fn watch(self, namespace: Option<String>, wake: impl Fn(ObjectId)) {
        let api: Api<PartialObjectMeta<Job>> = match &namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let config = watcher::Config::default().labels(manifest::SELECTOR).page_size(100);
        let events = watcher(api, config).default_backoff();
        tokio::pin!(events);
        let mut looks = tokio::time::interval(self.options.look);
        let mut count = 0;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.heard(event).into_iter().for_each(&wake),
                    None => return,
                },
                _ = looks.tick() => {
                    count += 1;
                    self.expectant(namespace.as_deref(), count % RARELY == 0).into_iter().for_each(&wake);
                }
            }
        }
    }

    /// Whom an event concerns.
    fn heard(&self, event: watcher::Result<watcher::Event<PartialObjectMeta<Job>>>) -> HashSet<ObjectId> {
        match event {
            Ok(watcher::Event::Apply(job) | watcher::Event::InitApply(job)) => {
                controllers(&job).for_each(|owner| self.learn(&owner.uid, job.name_any()));
                self.concerned(&job)
            }
            Ok(watcher::Event::Delete(job)) => {
                controllers(&job).for_each(|owner| self.unlearn(&owner.uid, &job.name_any()));
                self.concerned(&job)
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => HashSet::new(),
            Err(error) => {
                tracing::debug!(%error, "watch of Jobs");
                HashSet::new()
            }
        }
    }

    /// Who expects something of a Job, in a namespace or in all; those whose Pods are at work only if `all` is true. Who is told so and goes on
    /// expecting says it again.
    fn expectant(&self, namespace: Option<&str>, all: bool) -> Vec<ObjectId> {
        let is_due = |id: &ObjectId, started: bool| namespace.is_none_or(|name| name == id.namespace) && (all || !started);
        lock(&self.expecting).extract_if(|id, started| is_due(id, *started)).map(|(id, _)| id).collect()
    }

    pub(super) fn learn(&self, uid: &str, name: String) {
        lock(&self.known).entry(uid.to_owned()).or_default().insert(name);
    }

    pub(super) fn unlearn(&self, uid: &str, name: &str) {
        let mut known = lock(&self.known);
        if let Some(names) = known.get_mut(uid) {
            names.remove(name);
            if names.is_empty() {
                known.remove(uid);
            }
        }
    }

    /// The owner, and all who wait for a place on the same database.
    fn concerned(&self, job: &PartialObjectMeta<Job>) -> HashSet<ObjectId> {
        let namespace = job.namespace().unwrap_or_default();
        let mut concerned: HashSet<ObjectId> = controllers(job)
            .map(|owner| ObjectId { kind: owner.kind.clone(), namespace: namespace.clone(), name: owner.name.clone() })
            .collect();
        if let Some(database) = job.labels().get(manifest::DATABASE) {
            concerned.extend(self.desk(&namespace, database).waiting().drain());
        }
        concerned
    }
}

/// Whose a Job is.
fn controllers(job: &PartialObjectMeta<Job>) -> impl Iterator<Item = &OwnerReference> {
    job.owner_references().iter().filter(|owner| owner.controller == Some(true))
}
