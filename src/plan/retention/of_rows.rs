//! What may leave of a plain table? The planner of RetentionPolicy for rows: when they may go; which, [`rows`] says.

use jiff::Timestamp;

use super::facts::{Facts, Hold, Surroundings};
use super::{LISTED, Summary, guard, meaningful};
use crate::api::RetentionPolicySpec;
use crate::api::retention_policy::Expired;
use crate::plan::action::{Action, ObjectId, Plan};
use crate::plan::rows::{self, Held, Preparation};

impl Surroundings {
    /// The moment by which the age of rows is counted.
    pub fn as_of(&self, now: Timestamp) -> Timestamp {
        self.as_of.unwrap_or(now)
    }

    /// The holds that are in force, as the planner of rows takes them.
    pub fn held(&self, now: Timestamp) -> Vec<Held> {
        let in_force = self.holds.iter().filter(|hold| !hold.is_over(now));
        in_force
            .map(|Hold { name, spec }| Held { name: name.clone(), table: spec.table.clone(), range: spec.range.clone() })
            .collect()
    }
}

/// The plan of a policy with `rows` at `now`, and what its status says.
pub fn plan_rows(
    object: ObjectId,
    spec: &RetentionPolicySpec,
    facts: &rows::Facts<'_>,
    surroundings: &Surroundings,
    now: Timestamp,
) -> (Plan, Summary) {
    let age = spec.keep.age.map(|age| age.to_string()).unwrap_or_default();
    let verb = spec.rows.as_ref().map_or("", |rows| rows.action.verb());
    let headline = format!("{}  keep {age}, then {verb} rows", spec.table);
    if let Err(blocked) = meaningful(spec, now) {
        return (Plan::refused(object, headline, blocked), Summary::default());
    }
    let mut plan = Plan::empty(object, headline);
    let steps = rows::plan(spec, facts, &surroundings.held(now), surroundings.as_of(now));
    plan.blocked = steps.blocked;
    plan.notes = steps.notes;
    plan.due = surroundings.next_slot;
    let mut summary = Summary { held: steps.held, ..Summary::default() };
    summary.held.truncate(LISTED);
    summary.expired = Expired { partitions: 0, bytes: 0, rows: steps.remove.as_ref().and(facts.answers.expired).unwrap_or(0) };
    let mut removals: Vec<Action> = steps.prepare.into_iter().map(prepare).collect();
    let mut remove = steps.remove.filter(|_| surroundings.run.is_some() || surroundings.is_due);
    if remove.is_none() && surroundings.run.is_some() && plan.blocked.is_empty() {
        // A run ends with its Job's report, also where the Job has left nothing to do.
        let asked = rows::question(spec, facts.server, facts.tables, &surroundings.held(now), surroundings.as_of(now));
        remove = asked.map(|(task, _)| task);
    }
    summary.rows_due = remove.is_some();
    removals.extend(remove.map(|rows| Action::ArchiveRows(Box::new(rows))));
    if summary.rows_due {
        plan.wants_approval = sudden(spec, facts, surroundings);
    }
    let facts_of_guard = Facts { server: facts.server, tree: None, catalog: &super::Catalog::default(), surroundings };
    guard(&mut plan, removals, &facts_of_guard);
    (plan, summary)
}

fn prepare(preparation: Preparation) -> Action {
    match preparation {
        Preparation::Create(create) => Action::CreateArchiveTable(Box::new(create)),
        Preparation::Extend(extend) => Action::ExtendArchiveTable(Box::new(extend)),
    }
}

/// Why a person should look first, if more rows expire at once than the policy lets pass: judged by PostgreSQL's statistics.
fn sudden(spec: &RetentionPolicySpec, facts: &rows::Facts<'_>, surroundings: &Surroundings) -> Option<String> {
    if surroundings.attended || surroundings.run.is_some() || surroundings.accepted.as_ref() == Some(&spec.keep) {
        return None;
    }
    let all = facts.tables.get(&spec.table).map_or(0, |table| table.tuples).max(1);
    let expired = facts.answers.estimated.max(facts.answers.expired)?;
    let percent = expired.saturating_mul(100) / all.max(expired);
    let limit = i64::from(spec.guards.approve_above_percent);
    (percent > limit).then(|| {
        let since = if surroundings.accepted.is_some() { "since spec.keep was edited" } else { "by the first run" };
        format!(
            "about {expired} of {all} rows ({percent} %) expire {since}, more than the {limit} % of guards.approveAbovePercent"
        )
    })
}
