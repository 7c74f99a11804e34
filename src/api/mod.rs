//! What can a user declare? The custom resources of `pgreeve.dev/v1alpha1`, one file a kind.
//!
//! Everything here is data: types that become the CRDs, their documentation (`kubectl explain`) and their CEL rules.
//! Nothing here reads a clock, the environment or a network.

pub mod amount;
pub mod backup;
pub mod backup_schedule;
pub mod condition;
pub mod destination;
pub mod interval;
pub mod job;
pub mod partition_policy;
pub mod policy;
pub mod postgres_database;
pub mod reason;
pub mod restore;
pub mod retention_hold;
pub mod retention_policy;
pub mod row_retention;
pub mod span;
pub mod table;
mod text;

#[cfg(test)]
mod tests;

pub use amount::Amount;
pub use backup::{Backup, BackupSettings, BackupSpec, BackupStatus};
pub use backup_schedule::{BackupSchedule, BackupScheduleSpec, BackupScheduleStatus};
pub use condition::Conditions;
pub use destination::Destination;
pub use interval::Interval;
pub use partition_policy::{PartitionPolicy, PartitionPolicySpec, PartitionPolicyStatus};
pub use policy::{Approval, Mode, PolicySettings, PolicyStatus};
pub use postgres_database::{PostgresDatabase, PostgresDatabaseSpec, PostgresDatabaseStatus};
pub use reason::Reason;
pub use restore::{Restore, RestoreSpec, RestoreStatus};
pub use retention_hold::{RetentionHold, RetentionHoldSpec, RetentionHoldStatus};
pub use retention_policy::{RetentionPolicy, RetentionPolicySpec, RetentionPolicyStatus};
pub use span::Span;
pub use table::TableName;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The API group of every kind.
pub const GROUP: &str = "pgreeve.dev";
/// The API version of every kind.
pub const VERSION: &str = "v1alpha1";
/// Annotation that approves the plan with this fingerprint (`approval: Manual`).
pub const APPROVE_ANNOTATION: &str = "pgreeve.dev/approve";
/// Annotation that asks for a pass now; any new value counts as a new request.
pub const REQUESTED_AT_ANNOTATION: &str = "pgreeve.dev/requestedAt";

/// Every CRD, in the order in which a person meets them. The files under `crds/` are exactly these.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let crds = [
        PostgresDatabase::crd(),
        PartitionPolicy::crd(),
        RetentionPolicy::crd(),
        RetentionHold::crd(),
        BackupSchedule::crd(),
        Backup::crd(),
        Restore::crd(),
    ];
    crds.map(finish).into()
}

/// Leaves out what an empty value would only add noise to: GitOps tools report `shortNames: []` as a difference for ever.
fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let names = &mut crd.spec.names;
    names.short_names = names.short_names.take().filter(|names| !names.is_empty());
    names.categories = names.categories.take().filter(|names| !names.is_empty());
    crd
}
