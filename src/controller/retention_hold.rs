//! What is particular to RetentionHold in the operator? It has nothing to do: policies ask for it. Its status says whom it binds.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;

use super::Context;
use super::kind::{Kind, Report};
use crate::api::condition::DRIFTED;
use crate::api::retention_hold::HoldRange;
use crate::api::{PolicyStatus, Reason, RetentionHold, RetentionHoldStatus, RetentionPolicy};
use crate::cluster::objects;
use crate::plan::Gate;
use crate::plan::action::{Blocked, ObjectId, Plan};
use crate::plan::retention::{check_hold, midnight};
use crate::plan::status::{self, Finding};

/// The kind, for the driver.
pub(crate) struct Holds {
    context: Context,
}

impl Holds {
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    fn now(&self) -> Timestamp {
        self.context.config.clock.now()
    }

    /// The policies that it binds, by name.
    async fn bound(&self, hold: &RetentionHold) -> Result<Vec<String>, Blocked> {
        let namespace = hold.namespace().unwrap_or_default();
        let found = objects::list::<RetentionPolicy>(&self.context.client, &namespace, ListParams::default()).await;
        let found = found.map_err(|error| objects::unavailable("RetentionPolicies", &error))?;
        let mut names: Vec<String> = found
            .into_iter()
            .filter_map(|fetched| fetched.typed.ok())
            .filter(|policy| policy.spec.policy.database_ref == hold.spec.database_ref && policy.spec.table == hold.spec.table)
            .map(|policy| policy.name_any())
            .collect();
        names.sort();
        Ok(names)
    }

    async fn look(&self, hold: &RetentionHold) -> Result<(String, Vec<String>), Blocked> {
        readable(hold)?;
        let policies = self.bound(hold).await?;
        let namespace = hold.namespace().unwrap_or_default();
        let before = hold.status.clone().unwrap_or_default();
        if before.observed_generation != hold.metadata.generation {
            for policy in &policies {
                self.context.nudges.now("RetentionPolicy", &namespace, policy);
            }
        }
        let range = range(&hold.spec.range);
        let message = match ends_at(hold) {
            Some(end) if end <= self.now() => format!("ended on {end}: it keeps nothing any more"),
            Some(end) => format!("keeps {range} of {} until {end}: {}", hold.spec.table, hold.spec.reason),
            None => format!("keeps {range} of {} until it is deleted: {}", hold.spec.table, hold.spec.reason),
        };
        Ok((message, policies))
    }

    fn report(&self, before: RetentionHoldStatus, generation: Option<i64>, requested: Option<&str>, found: Found<'_>) -> Report {
        let now = self.now();
        let previous = PolicyStatus {
            conditions: before.conditions.clone(),
            last_handled_reconcile_at: before.last_handled_reconcile_at.clone(),
            ..PolicyStatus::default()
        };
        let nothing = Plan::empty(found.id, "");
        let finding = match &found.looked {
            Ok((message, _)) => Finding::Planned { left: &nothing, gate: &Gate::Nothing, run: None, settled: message },
            Err(blocked) => Finding::Refused(blocked),
        };
        let mut common = status::report(&previous, generation, requested, &finding, now);
        common.conditions.retain(|condition| condition.type_ != DRIFTED);
        let status = RetentionHoldStatus {
            observed_generation: common.observed_generation,
            conditions: common.conditions,
            ends_at: found.ends_at.map(Time),
            policies: match &found.looked {
                Ok((_, policies)) => policies.clone(),
                Err(_) => before.policies,
            },
            last_handled_reconcile_at: common.last_handled_reconcile_at,
        };
        let due = found.ends_at.filter(|end| *end > now);
        let status = serde_json::to_value(status).unwrap_or_default();
        Report { state: status::state(&finding), status, applied: None, due, pending: 0, tasks: None }
    }
}

/// What a look came to.
struct Found<'a> {
    id: ObjectId,
    looked: Result<(String, Vec<String>), &'a Blocked>,
    ends_at: Option<Timestamp>,
}

fn ends_at(hold: &RetentionHold) -> Option<Timestamp> {
    hold.spec.until.as_deref().and_then(midnight)
}

/// What the schema cannot know must be so too.
fn readable(hold: &RetentionHold) -> Result<(), Blocked> {
    match check_hold(&hold.spec).into_iter().next() {
        None => Ok(()),
        Some(wrong) => Err(Blocked::new(Reason::InvalidSpec, format!("RetentionHold {}: {wrong}", hold.name_any()))),
    }
}

fn range(range: &HoldRange) -> String {
    match (&range.from, &range.to) {
        (None, None) => "all".into(),
        (Some(from), None) => format!("all from {from} on"),
        (None, Some(to)) => format!("all before {to}"),
        (Some(from), Some(to)) => format!("[{from}, {to})"),
    }
}

impl Kind for Holds {
    type Object = RetentionHold;
    const NAME: &'static str = "RetentionHold";
    const FIELD_MANAGER: &'static str = "pgreeve-retentionhold";

    async fn pass(&self, hold: &RetentionHold, requested: Option<&str>) -> Report {
        let looked = self.look(hold).await;
        let id = ObjectId { kind: Self::NAME.into(), namespace: hold.namespace().unwrap_or_default(), name: hold.name_any() };
        let found = Found { id, looked: looked.as_ref().cloned(), ends_at: ends_at(hold) };
        self.report(hold.status.clone().unwrap_or_default(), hold.metadata.generation, requested, found)
    }

    fn unreadable(&self, previous: &Value, generation: Option<i64>, blocked: &Blocked) -> Report {
        let before: RetentionHoldStatus = serde_json::from_value(previous.clone()).unwrap_or_default();
        let id = ObjectId { kind: Self::NAME.into(), namespace: String::new(), name: String::new() };
        self.report(before, generation, None, Found { id, looked: Err(blocked), ends_at: None })
    }

    fn forget(&self, _namespace: &str, _name: &str) {}
}
