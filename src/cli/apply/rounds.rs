//! How is a plan carried out here? Once for what makes room; step by step, with new looks between, for what lets data leave.

use jiff::Timestamp;

use super::super::Globals;
use super::super::credentials::Keys;
use super::super::planned::Planned;
use super::super::policies::Policies;
use super::tasks::InProcess;
use crate::pass::{self, NoTasks, Policy as _, Retention};
use crate::plan::outcome::Outcome;
use crate::plan::{Gate, Plan, gate};
use crate::postgres::{Session, Target};

/// Looks and runs that one policy may take: exported, detached, released, dropped, and some to spare.
const ROUNDS: usize = 8;

/// What carries plans out.
pub struct Worker<'a> {
    /// The session on the database.
    pub session: &'a Session,
    /// Where it leads, for tasks that open sessions of their own.
    pub target: &'a Target,
    /// All policies.
    pub policies: &'a Policies,
    /// What opens destinations.
    pub keys: &'a Keys<'a>,
    /// Where progress is said.
    pub globals: &'a Globals,
    /// The moment of the plan.
    pub now: Timestamp,
}

impl Worker<'_> {
    /// Carries a plan out. A policy by which data leaves goes on until nothing of what was planned is left that may go now.
    pub async fn carry_out(&self, planned: &Planned) -> Outcome {
        match self.policies.retention.iter().find(|policy| policy.id() == planned.plan.object) {
            Some(policy) => self.in_rounds(policy, &planned.plan).await,
            None => pass::execute(self.session, &planned.plan, self.policies.budget, &NoTasks, self.globals.now()).await,
        }
    }

    async fn in_rounds(&self, policy: &Retention, planned: &Plan) -> Outcome {
        let (mut policy, mut plan, mut outcome) = (policy.clone(), planned.clone(), Outcome::default());
        // What was approved is the way out of these partitions, and of no others.
        policy.surroundings.run = Some(planned.actions.iter().filter_map(crate::plan::Action::leaves).collect());
        policy.surroundings.as_of = Some(policy.surroundings.as_of(self.now));
        for _ in 0..ROUNDS {
            let tasks = InProcess::new(self);
            let done = pass::execute(self.session, &plan, self.policies.budget, &tasks, self.moment()).await;
            tasks.teach(&mut policy, self.moment());
            let goes_on = done.first_problem().is_none() && done.done() > 0;
            outcome.results.extend(done.results);
            if !goes_on {
                break;
            }
            // What cannot be looked at any more is said by the look that follows.
            let Ok(mut look) = pass::look(&[&policy], self.session, self.moment()).await else { break };
            let Some(next) = look.plans.pop().filter(|next| self.may_go_on(&policy, next)) else { break };
            plan = next;
        }
        outcome
    }

    /// Whether the rest may begin now: it belongs to what was approved, but a window may have closed.
    fn may_go_on(&self, policy: &Retention, plan: &Plan) -> bool {
        let approval = policy.is_approved(plan).then(|| plan.fingerprint());
        matches!(gate::gate(policy.settings(), approval.as_deref(), plan, self.moment()), Ok(Gate::Go))
    }

    /// The present; or the moment of the plan, if that is still to come: no grace counts from before it.
    fn moment(&self) -> Timestamp {
        self.now.max(self.globals.now())
    }
}
