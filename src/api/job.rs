//! In what kind of Pod does long work run? The settings of Jobs.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use super::span::SpanUnit;

/// The Pod that does long work. It has no Kubernetes permissions.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct JobSettings {
    /// Its service account, where the cloud gives rights to one (IRSA, workload identity); its token is not mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// CPU that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,6}m?$"))]
    pub cpu: Option<String>,
    /// Memory that it asks for and may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<super::amount::Amount>,
    /// Labels that its node must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub node_selector: Vec<NodeLabel>,
    /// How long it may run before it is ended; what it has done stays done.
    #[serde(default = "JobSettings::active_deadline")]
    pub active_deadline: Span,
}

impl JobSettings {
    fn active_deadline() -> Span {
        Span::new(24, SpanUnit::Hour)
    }
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            service_account_name: None,
            cpu: None,
            memory: None,
            node_selector: vec![],
            active_deadline: Self::active_deadline(),
        }
    }
}

/// A label that a node must have.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeLabel {
    /// Its name.
    #[schemars(length(min = 1, max = 317))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 63))]
    pub value: String,
}
