//! What is particular to PartitionPolicy in the operator? Its status and its metrics.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde_json::Value;

use super::Context;
use super::policy::{PolicyKind, Reporting};
use crate::api::{PartitionPolicy, PartitionPolicyStatus, PolicySettings, PolicyStatus};
use crate::metrics::{Metrics, TableLabels};
use crate::pass::{Found, NoTasks};
use crate::plan::action::Blocked;

/// The kind, for the driver.
pub(crate) fn kind(context: Context) -> PolicyKind<PartitionPolicy> {
    PolicyKind::new(context)
}

impl Reporting for PartitionPolicy {
    type Object = Self;
    type Series = TableLabels;
    type Tasks = NoTasks;

    const NAME: &'static str = "PartitionPolicy";
    const FIELD_MANAGER: &'static str = "pgreeve-partitionpolicy";

    fn settings_of(object: &Self) -> &PolicySettings {
        &object.spec.policy
    }

    fn common(object: &Self) -> PolicyStatus {
        object.status.clone().unwrap_or_default().policy
    }

    async fn surround(object: &Self, _requested: Option<&str>, _context: &Context) -> Result<Self, Blocked> {
        Ok(object.clone())
    }

    fn tasks(&self, _context: &Context) -> NoTasks {
        NoTasks
    }

    fn status(object: &Self, policy: PolicyStatus, found: Option<(&Self, &Found)>, now: Timestamp) -> Value {
        let Some(coverage) = found.and_then(|(_, found)| found.coverage.as_ref()) else {
            // What was true at the last look is kept: the conditions say that this one saw nothing.
            let previous = object.status.clone().unwrap_or_default();
            return serde_json::to_value(PartitionPolicyStatus { policy, ..previous }).unwrap_or_default();
        };
        let status = PartitionPolicyStatus {
            policy,
            partitions: Some(coverage.counts.clone()),
            covered_until: coverage.until.map(Time),
            coverage_seconds: coverage.rounded_seconds(now),
            default_rows: coverage.default_rows,
        };
        serde_json::to_value(status).unwrap_or_default()
    }

    fn series(object: &Self) -> TableLabels {
        TableLabels {
            namespace: object.namespace().unwrap_or_default().into(),
            database: object.spec.policy.database_ref.name.clone().into(),
            policy: object.name_any().into(),
            table: object.spec.table.to_string().into(),
        }
    }

    fn measure(&self, metrics: &Metrics, series: &TableLabels, facts: &Found) {
        let Some(coverage) = &facts.coverage else { return Self::unmeasure(metrics, series) };
        metrics.partitions.get_or_create(series).set(coverage.counts.count.into());
        metrics.unmanaged.get_or_create(series).set(coverage.counts.unmanaged.into());
        // A table that never had a partition is covered for 0 seconds, not for an unknown number of them.
        metrics.set_covered_until(series, coverage.until.or(coverage.uncovered.then_some(Timestamp::UNIX_EPOCH)));
        match coverage.default_rows {
            Some(rows) => drop(metrics.default_rows.get_or_create(series).set(rows)),
            None => drop(metrics.default_rows.remove(series)),
        }
    }

    fn unmeasure(metrics: &Metrics, series: &TableLabels) {
        metrics.forget_table(series);
    }
}
