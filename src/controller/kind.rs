//! What must a kind say about itself, so that the driver can run it?

use std::fmt::Debug;

use jiff::Timestamp;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::Reason;
use crate::plan::action::{Action, Blocked};
use crate::plan::status::State;

/// A kind that the driver runs.
pub(crate) trait Kind: Send + Sync + 'static {
    /// The custom resource.
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
        + 'static;

    /// Its name, such as `PartitionPolicy`.
    const NAME: &'static str;
    /// The field manager of its status.
    const FIELD_MANAGER: &'static str;

    /// Whether a pass that is due comes at its moment, and not within some minutes after: where objects have a jitter of their own.
    const PUNCTUAL: bool = false;

    /// One pass over one object. `requested` is a request for a pass that this one answers.
    fn pass(&self, object: &Self::Object, requested: Option<&str>) -> impl Future<Output = Report> + Send;

    /// What can go once the status of that pass is written, because only the status needed it.
    fn written(&self, _object: &Self::Object, _report: &Report) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// The fields of a status that cannot be read, where what it remembers would be done again were it forgotten, or left undone: then the object is
    /// left alone. Elsewhere such a status is written anew.
    fn unread(&self, _status: &Value, _is_deleted: bool) -> Vec<String> {
        vec![]
    }

    /// The status of an object whose spec our types cannot read.
    fn unreadable(&self, previous: &Value, generation: Option<i64>, blocked: &Blocked) -> Report;

    /// What keeps a deleted object until its traces are removed; `None` for a kind that leaves none.
    const FINALIZER: Option<&'static str> = None;

    /// Whether the object must not go before [`finalize`](Self::finalize) has let it go.
    fn needs_finalizer(&self, _object: &Self::Object) -> bool {
        false
    }

    /// One pass over an object that somebody has deleted: `None` lets it go; a report says what it still waits for.
    ///
    /// # Errors
    /// What was in the way; it is tried again.
    fn finalize(&self, _object: &Self::Object) -> impl Future<Output = Result<Option<Report>, Blocked>> + Send {
        std::future::ready(Ok(None))
    }

    /// Forgets an object that is gone.
    fn forget(&self, namespace: &str, name: &str);
}

/// What a pass came to.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The whole status.
    pub status: Value,
    /// What it amounts to.
    pub state: State,
    /// What was carried out, for an event.
    pub applied: Option<(Reason, String)>,
    /// When the clock next asks for a pass.
    pub due: Option<Timestamp>,
    /// How many changes are left to do.
    pub pending: usize,
    /// The tasks whose Jobs are still needed when the status is written; `None` where that is not known.
    pub tasks: Option<Vec<Action>>,
}
