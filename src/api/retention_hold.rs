//! What must not go, whatever a policy says? RetentionHold: a stretch of one table's data, until it ends.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has a type_ and a json_path of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::TableName;
use super::policy::DatabaseRef;

/// Keeps a stretch of one table's data whatever a RetentionPolicy says, until it ends.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "pgreeve.dev",
    version = "v1alpha1",
    kind = "RetentionHold",
    plural = "retentionholds",
    shortname = "rhold",
    category = "pgreeve",
    namespaced,
    status = "RetentionHoldStatus",
    derive = "PartialEq",
    doc = "Keeps a stretch of one table's data, whatever a RetentionPolicy says, until it ends.",
    cel,
    selectable = ".spec.databaseRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Table", type_ = "string", json_path = ".spec.table.name"),
    printcolumn(name = "From", type_ = "string", json_path = ".spec.range.from"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.range.to"),
    printcolumn(name = "Until", type_ = "string", json_path = ".spec.until"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RetentionHoldSpec {
    /// The database that holds the table.
    #[x_kube(validation = Rule::new("self == oldSelf").message("databaseRef cannot be changed; create another hold, then delete this one"))]
    pub database_ref: DatabaseRef,
    /// The table. Its archive tables are never emptied by pgreeve and need no hold.
    #[x_kube(validation = Rule::new("self == oldSelf").message("table cannot be changed; create another hold, then delete this one"))]
    pub table: TableName,
    /// The stretch that is kept; without it, all of the table.
    #[serde(default)]
    pub range: HoldRange,
    /// Why, for whoever asks later.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
    /// When the hold ends: a date (its first moment in UTC). Without it, when it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub until: Option<String>,
}

/// A stretch of the table's key: dates (their first moment in UTC), or whole numbers for a plain integer key.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HoldRange {
    /// The first value that is kept; the beginning of the table by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}|-?[0-9]{1,19})$"))]
    pub from: Option<String>,
    /// The first value that is no longer kept; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}|-?[0-9]{1,19})$"))]
    pub to: Option<String>,
}

/// Whether the hold is in force.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RetentionHoldStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and the abnormal-true Reconciling and Stalled.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// When the hold ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Time>,
    /// The RetentionPolicies that it binds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The last value of the annotation `pgreeve.dev/requestedAt` that a pass has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}
