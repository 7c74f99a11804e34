//! What do all policies share? The switches that say whether, when and after whose word a plan is carried out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// The PostgresDatabase that a policy works on.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseRef {
    /// Name of a PostgresDatabase in the policy's own namespace. No reference crosses a namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Whether a policy may change anything.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Mode {
    /// Plan and carry out.
    #[default]
    Apply,
    /// Plan and report; change nothing.
    Observe,
}

/// Whose word a plan needs.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Approval {
    /// A plan is carried out as soon as the window allows.
    #[default]
    Auto,
    /// A plan waits for the annotation `pgreeve.dev/approve` with its fingerprint.
    Manual,
}

/// A recurring time in which changes may start.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When the window opens: five cron fields (minute hour day-of-month month day-of-week).
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,
    /// How long it stays open, such as `4h`. A change that has started may finish later.
    pub duration: Span,
    /// IANA time zone of the schedule, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

/// The default of every time zone field.
pub(super) fn utc() -> String {
    "UTC".into()
}

/// The settings that every policy has at the top level of its spec.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicySettings {
    /// The database to work on. It cannot be changed: a policy for another database is another policy.
    #[x_kube(validation = Rule::new("self == oldSelf").message("databaseRef cannot be changed; delete this policy (nothing is dropped) and create one for the other database"))]
    pub database_ref: DatabaseRef,
    /// Apply carries plans out; Observe plans and reports, and changes nothing.
    #[serde(default)]
    pub mode: Mode,
    /// Manual makes every plan wait for the annotation `pgreeve.dev/approve: <fingerprint>`.
    #[serde(default)]
    pub approval: Approval,
    /// Stops all work on this policy, its planning included, until it is false again.
    #[serde(default)]
    pub suspend: bool,
    /// When changes may start. Empty means at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub window: Vec<Window>,
}

/// What a policy would do, or is waiting to do.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Identifies the plan: the value to approve. The same database and the same spec give the same fingerprint.
    pub fingerprint: String,
    /// The plan in one line, such as `2 to create`.
    pub summary: String,
    /// The first ten actions, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// How many actions are not listed above.
    #[serde(default)]
    pub more: i32,
}

/// How a run ended.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum RunOutcome {
    /// Every action was carried out.
    Succeeded,
    /// Some actions were put off, most often because of a lock; they are tried again.
    Deferred,
    /// An action failed; the message says which and why.
    Failed,
    /// The world moved between plan and apply; nothing more was touched and a new plan follows.
    Stale,
}

/// The last run that changed, or tried to change, something.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// When the run began.
    pub started_at: Time,
    /// When the run ended.
    pub finished_at: Time,
    /// How it ended.
    pub outcome: RunOutcome,
    /// How many actions were carried out.
    pub actions: i32,
    /// What happened, in a sentence.
    pub message: String,
}

/// The part of the status that every policy has.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The generation of the spec that this status speaks of; written on failures too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and the abnormal-true Reconciling, Stalled and Drifted.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What is left to do; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// The last run that changed, or tried to change, something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// When the clock next asks for work (a pass may come earlier, to look for drift).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
    /// The last value of the annotation `pgreeve.dev/requestedAt` that a pass has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}
