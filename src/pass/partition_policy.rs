//! What does a pass of PartitionPolicy observe, and how does it plan?

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::Policy;
use crate::api::{Interval, PartitionPolicy, PolicySettings};
use crate::plan::action::{ObjectId, Plan};
use crate::plan::partition::{self, Coverage, Facts};
use crate::plan::snapshot::{Details, Server, Tree};
use crate::postgres::catalog::{self, Request};
use crate::postgres::{Fault, Session, details};

/// What was found for one policy.
#[derive(Clone, Debug)]
pub struct Found {
    /// The table, if it exists.
    pub tree: Option<Tree>,
    /// What the plan needed to know beyond it.
    pub details: Details,
    /// How well the table is covered.
    pub coverage: Option<Coverage>,
}

impl Found {
    fn facts<'a>(&'a self, server: &'a Server) -> Facts<'a> {
        Facts { server, tree: self.tree.as_ref(), details: &self.details }
    }
}

impl Policy for PartitionPolicy {
    type Facts = Found;

    fn id(&self) -> ObjectId {
        ObjectId {
            kind: "PartitionPolicy".into(),
            namespace: self.namespace().unwrap_or_else(|| "default".into()),
            name: self.name_any(),
        }
    }

    fn settings(&self) -> &PolicySettings {
        &self.spec.policy
    }

    async fn observe(objects: &[&Self], session: &Session, server: &Server, now: Timestamp) -> Result<Vec<Found>, Fault> {
        let requests: Vec<Request> = objects
            .iter()
            .map(|policy| Request { table: policy.spec.table.clone(), blocks: matches!(policy.spec.interval, Interval::Step(_)) })
            .collect();
        let trees = catalog::observe(session, server.version_num, &requests).await?;
        let mut found = Vec::with_capacity(objects.len());
        for (policy, tree) in objects.iter().zip(trees) {
            let mut one = Found { tree, details: Details::default(), coverage: None };
            let needs = partition::needs(&policy.spec, &one.facts(server), now);
            if !needs.is_empty() {
                one.details = details::observe(session, &needs).await?;
                if one.details.taken.values().any(|names| !names.is_empty()) {
                    // A taken name gets a number, and now it is known which numbered names must be asked for.
                    let needs = partition::needs(&policy.spec, &one.facts(server), now);
                    one.details = details::observe(session, &needs).await?;
                }
            }
            one.coverage = Coverage::of(&policy.spec, &one.facts(server), now);
            found.push(one);
        }
        Ok(found)
    }

    fn plan(&self, server: &Server, facts: &Found, now: Timestamp) -> Plan {
        partition::plan(self.id(), &self.spec, &facts.facts(server), now)
    }

    fn settled(&self, facts: &Found, _now: Timestamp) -> String {
        let Some(coverage) = &facts.coverage else { return String::new() };
        let count = coverage.counts.count;
        let plural = if count == 1 { "" } else { "s" };
        let until = match (&coverage.until, &coverage.counts.newest) {
            (Some(until), _) => format!("covered until {until}"),
            (None, Some(newest)) => format!("up to {newest}"),
            (None, None) => "not covered".into(),
        };
        format!("{count} partition{plural} of {}, {until}", self.spec.table)
    }
}
