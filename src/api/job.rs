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
    /// Memory that it asks for and may use at most. By default 256Mi; 512Mi where a restore is tried, by a PostgreSQL
    /// server of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<super::amount::Amount>,
    /// Labels that its node must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub node_selector: Vec<NodeLabel>,
    /// Taints that its node may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// The image that the work is done in, with PostgreSQL's programs where it needs them; pgreeve's own program is copied into it. By
    /// default what the operator is told: its own image, and `postgres:<major>` for backups and restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$"), length(max = 512))]
    pub image: Option<String>,
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
            tolerations: vec![],
            image: None,
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

/// A taint that a node may have.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key; every taint where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub key: Option<String>,
    /// The taint's value; any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// The taint's effect; any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// What a taint does to Pods.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum TaintEffect {
    /// They are not placed there.
    NoSchedule,
    /// They are placed there only if there is no other room.
    PreferNoSchedule,
    /// They are not placed there, and those that are there must go.
    NoExecute,
}

/// Room on a volume: exactly one of these.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.ephemeral) != has(self.pvc)").message("give either ephemeral or pvc"))]
pub struct Scratch {
    /// A volume that is made for the Pod and goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<Ephemeral>,
    /// A volume that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<ScratchClaim>,
}

/// A volume that is made for a Pod and goes with it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ephemeral {
    /// Its size.
    pub size: super::amount::Amount,
    /// Its storage class; the cluster's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// A volume that is there.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScratchClaim {
    /// Name of the PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}
