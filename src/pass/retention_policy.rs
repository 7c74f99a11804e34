//! What does a pass of RetentionPolicy observe, and how does it plan?

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{Policy, RowsFound};
use crate::api::{PolicySettings, RetentionPolicy};
use crate::plan::action::{ObjectId, Plan};
use crate::plan::retention::{self, Catalog, Facts, Summary, Surroundings};
use crate::plan::snapshot::{Server, Tree};
use crate::postgres::catalog::{self, Request};
use crate::postgres::{Fault, Session, retention as observed};

/// A policy together with what surrounds it, which is not in its database.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The policy.
    pub policy: RetentionPolicy,
    /// What surrounds it.
    pub surroundings: Surroundings,
}

/// What was found for one policy.
#[derive(Clone, Debug, Default)]
pub struct Leaving {
    /// The table, if it exists.
    pub tree: Option<Tree>,
    /// What the catalog says beyond it.
    pub catalog: Catalog,
    /// What was found of a plain table whose rows leave.
    pub rows: RowsFound,
    /// What a status says of it.
    pub summary: Summary,
}

impl Leaving {
    fn facts<'a>(&'a self, server: &'a Server, surroundings: &'a Surroundings) -> Facts<'a> {
        Facts { server, tree: self.tree.as_ref(), catalog: &self.catalog, surroundings }
    }
}

impl Policy for Retention {
    type Facts = Leaving;

    fn id(&self) -> ObjectId {
        ObjectId {
            kind: "RetentionPolicy".into(),
            namespace: self.policy.namespace().unwrap_or_else(|| "default".into()),
            name: self.policy.name_any(),
        }
    }

    fn settings(&self) -> &PolicySettings {
        &self.policy.spec.policy
    }

    async fn observe(objects: &[&Self], session: &Session, server: &Server, now: Timestamp) -> Result<Vec<Leaving>, Fault> {
        let mut found = Vec::with_capacity(objects.len());
        for one in objects {
            let mut leaving = if one.policy.spec.rows.is_some() {
                one.observe_rows(session, server, now).await?
            } else {
                one.observe_partitions(session, server, now).await?
            };
            leaving.summary = one.planned(server, &leaving, now).1;
            found.push(leaving);
        }
        Ok(found)
    }

    fn plan(&self, server: &Server, facts: &Leaving, now: Timestamp) -> Plan {
        self.planned(server, facts, now).0
    }

    fn is_approved(&self, _plan: &Plan) -> bool {
        // What a run is for was approved when it began, and does not change until it ends.
        self.surroundings.run.is_some()
    }

    fn settled(&self, facts: &Leaving, _now: Timestamp) -> String {
        let expired = &facts.summary.expired;
        let next = self.surroundings.next_slot.map(|at| format!("; the next run begins at {at}")).unwrap_or_default();
        let waiting = facts.summary.retired.iter().filter(|retired| retired.drop_after.is_some()).count();
        let waiting = if waiting == 0 { String::new() } else { format!(", {waiting} detached and waiting for their grace") };
        let what = match expired.partitions {
            0 if expired.rows > 0 => format!("{} rows or more have expired", expired.rows),
            0 => "nothing has expired".to_owned(),
            1 => "1 partition has expired".to_owned(),
            many => format!("{many} partitions have expired"),
        };
        format!("{}: {what}{waiting}{next}", self.policy.spec.table)
    }
}

impl Retention {
    async fn observe_rows(&self, session: &Session, server: &Server, now: Timestamp) -> Result<Leaving, Fault> {
        let (held, as_of) = (self.surroundings.held(now), self.surroundings.as_of(now));
        let rows = RowsFound::observe(&self.policy.spec, session, server, &held, as_of).await?;
        Ok(Leaving { rows, ..Leaving::default() })
    }

    async fn observe_partitions(&self, session: &Session, server: &Server, now: Timestamp) -> Result<Leaving, Fault> {
        let spec = &self.policy.spec;
        // Only a plain integer key asks which partitions hold rows; a table has few enough of them to ask always.
        let request = Request { table: spec.table.clone(), blocks: true };
        let tree = catalog::observe(session, server.version_num, &[request]).await?.pop().flatten();
        let mut leaving = Leaving { tree, ..Leaving::default() };
        if let Some(tree) = &leaving.tree {
            let archive = spec.partitions.as_ref().and_then(|partitions| partitions.archive_table.as_ref());
            leaving.catalog = observed::observe(session, server.version_num, tree, archive).await?;
            let candidates = retention::candidates(spec, &leaving.facts(server, &self.surroundings), now);
            observed::references(session, tree, &candidates, &mut leaving.catalog).await?;
        }
        Ok(leaving)
    }

    fn planned(&self, server: &Server, facts: &Leaving, now: Timestamp) -> (Plan, Summary) {
        let spec = &self.policy.spec;
        if spec.rows.is_some() {
            return retention::plan_rows(self.id(), spec, &facts.rows.facts(server), &self.surroundings, now);
        }
        retention::plan(self.id(), spec, &facts.facts(server, &self.surroundings), now)
    }
}
