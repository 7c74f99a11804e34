//! How does a policy's pass go in the operator? Session, look, gate, execute, look again, report: once, for every kind of policy.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Context;
use super::kind::{Kind, Report};
use super::sessions::Lease;
use crate::api::{APPROVE_ANNOTATION, PolicyStatus, Reason};
use crate::metrics::{ActionLabels, Metrics};
use crate::pass::{self, Look, Policy};
use crate::plan::action::{Blocked, Plan};
use crate::plan::outcome::{ActionResult, Outcome};
use crate::plan::status::{self, Finding, Run};
use crate::plan::{Gate, gate};
use crate::postgres::Session;

/// What a policy adds to the common pass.
pub(crate) trait Reporting:
    Policy + Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug + Send + 'static
{
    /// Kind name.
    const NAME: &'static str;
    /// Field manager of the status.
    const FIELD_MANAGER: &'static str;
    /// Identifies the object's series in the metrics.
    type Series: Clone + Send + Sync;

    /// The common part of the status that the object has.
    fn common(&self) -> PolicyStatus;
    /// The whole status; `facts` are absent where nothing could be observed.
    fn status(&self, common: PolicyStatus, facts: Option<&Self::Facts>, now: Timestamp) -> Value;
    /// Its series in the metrics.
    fn series(&self) -> Self::Series;
    /// Sets them.
    fn measure(metrics: &Metrics, series: &Self::Series, facts: &Self::Facts);
    /// Removes them.
    fn unmeasure(metrics: &Metrics, series: &Self::Series);
}

/// By namespace and name.
type ByName<T> = HashMap<(String, String), T>;

/// A policy as a kind of the driver.
pub(crate) struct PolicyKind<P: Reporting> {
    context: Context,
    measured: Mutex<ByName<Measured<P::Series>>>,
}

/// What is left to do when a policy is gone: its series are removed, and its database hears of it.
struct Measured<S> {
    database: String,
    series: S,
}

/// A pass that found something.
struct Passed<F> {
    look: Look<F>,
    gate: Gate,
    run: Option<(Timestamp, Timestamp, Outcome)>,
}

impl<P: Reporting> PolicyKind<P> {
    pub fn new(context: Context) -> Self {
        Self { context, measured: Mutex::default() }
    }

    async fn work(&self, policy: &P) -> Result<Passed<P::Facts>, Blocked> {
        let database = &policy.settings().database_ref.name;
        let namespace = policy.namespace().unwrap_or_default();
        let mut lease = self.acquire(&namespace, database).await?;
        let session = lease.take()?;
        let look = self.look(policy, &session).await?;
        lease.put(session);
        if let Some(refused) = pass::unwritable(&look.server) {
            return Err(through(database, refused));
        }
        let gate = self.gate(policy, &look)?;
        if gate != Gate::Go {
            return Ok(Passed { look, gate, run: None });
        }
        let plan = first(&look.plans)?;
        let _worker = lease.worker().await;
        let session = lease.take()?;
        let started = self.context.config.clock.now();
        let outcome = pass::execute(&session, plan, lease.budget).await;
        let finished = self.context.config.clock.now();
        self.count(&outcome);
        let look = self.look(policy, &session).await?;
        lease.put(session);
        // A changed database is another plan: approval does not extend to what is left.
        let gate = self.gate(policy, &look)?;
        Ok(Passed { look, gate, run: Some((started, finished, outcome)) })
    }

    async fn acquire(&self, namespace: &str, database: &str) -> Result<Lease, Blocked> {
        let databases = &self.context.databases;
        let refused = match databases.acquire(namespace, database).await {
            Ok(lease) => return Ok(lease),
            Err(refused) => refused,
        };
        // The database's own pass is to say the same, and to wait for better days on behalf of all its policies.
        let is_known = matches!(refused.reason, Reason::DatabaseNotFound | Reason::DatabaseNotReady);
        if !is_known && databases.is_news(namespace, database) {
            self.context.nudges.now("PostgresDatabase", namespace, database);
        }
        Err(through(database, refused))
    }

    async fn look(&self, policy: &P, session: &Session) -> Result<Look<P::Facts>, Blocked> {
        let looked = pass::look(&[policy], session, self.context.config.clock.now()).await;
        looked.map_err(|fault| pass::blocked(&policy.id().to_string(), &fault))
    }

    fn gate(&self, policy: &P, look: &Look<P::Facts>) -> Result<Gate, Blocked> {
        let approved = policy.annotations().get(APPROVE_ANNOTATION).map(String::as_str);
        gate::gate(policy.settings(), approved, first(&look.plans)?, self.context.config.clock.now())
    }

    fn count(&self, outcome: &Outcome) {
        for (action, result) in &outcome.results {
            let labels = ActionLabels { action: action.verb(), result: result.name() };
            self.context.metrics.actions.get_or_create(&labels).inc();
            if let ActionResult::Done { tries } = result {
                self.context.metrics.lock_tries.inc_by((*tries).into());
            }
        }
    }

    fn report(&self, policy: &P, requested: Option<&str>, finding: &Finding<'_>, facts: Option<&P::Facts>) -> Report {
        let now = self.context.config.clock.now();
        let common = status::report(&policy.common(), policy.meta().generation, requested, finding, now);
        let due = common.next_run.as_ref().map(|time| time.0);
        let (applied, pending) = match finding {
            Finding::Planned { run: Some(run), left, .. } if run.outcome.done() > 0 => {
                (Some((Reason::Applied, status::done(run.outcome))), left.actions.len())
            }
            Finding::Planned { left, .. } => (None, left.actions.len()),
            Finding::Suspended | Finding::Refused(_) => (None, 0),
        };
        Report { state: status::state(finding), status: policy.status(common, facts, now), applied, due, pending }
    }

    /// The database counts its policies, and looks for privileges that a new one lacks.
    fn tell_database(&self, namespace: &str, database: &str) {
        self.context.nudges.soon("PostgresDatabase", namespace, database, &self.context.stop);
    }

    fn measure(&self, policy: &P, facts: &P::Facts) {
        let key = (policy.namespace().unwrap_or_default(), policy.name_any());
        let (database, series) = (policy.settings().database_ref.name.clone(), policy.series());
        P::measure(&self.context.metrics, &series, facts);
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Measured { database, series });
    }
}

impl<P: Reporting> Kind for PolicyKind<P> {
    type Object = P;
    const NAME: &'static str = P::NAME;
    const FIELD_MANAGER: &'static str = P::FIELD_MANAGER;

    async fn pass(&self, policy: &P, requested: Option<&str>) -> Report {
        if policy.common().observed_generation.is_none() {
            self.tell_database(&policy.namespace().unwrap_or_default(), &policy.settings().database_ref.name);
        }
        if policy.settings().suspend {
            return self.report(policy, requested, &Finding::Suspended, None);
        }
        let passed = match self.work(policy).await {
            Ok(passed) => passed,
            Err(blocked) => return self.report(policy, requested, &Finding::Refused(&blocked), None),
        };
        let (Some(facts), Some(left)) = (passed.look.facts.first(), passed.look.plans.first()) else {
            let blocked = Blocked::new(Reason::ConnectionLost, "nothing was observed");
            return self.report(policy, requested, &Finding::Refused(&blocked), None);
        };
        self.measure(policy, facts);
        let settled = policy.settled(facts, self.context.config.clock.now());
        let run = passed.run.as_ref().map(|(started, finished, outcome)| Run { started: *started, finished: *finished, outcome });
        let finding = Finding::Planned { left, gate: &passed.gate, run, settled: &settled };
        self.report(policy, requested, &finding, Some(facts))
    }

    fn unreadable(&self, previous: &Value, generation: Option<i64>, blocked: &Blocked) -> Report {
        let previous: PolicyStatus = serde_json::from_value(previous.clone()).unwrap_or_default();
        let finding = Finding::Refused(blocked);
        let common = status::report(&previous, generation, None, &finding, self.context.config.clock.now());
        let status = serde_json::to_value(&common).unwrap_or_default();
        Report { state: status::state(&finding), status, applied: None, due: None, pending: 0 }
    }

    fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(Measured { database, series }) = self.measured.lock().unwrap_or_else(PoisonError::into_inner).remove(&key) {
            P::unmeasure(&self.context.metrics, &series);
            self.tell_database(namespace, &database);
        }
    }
}

/// What a policy says when its database is the trouble: the database's own conditions say more.
fn through(database: &str, refused: Blocked) -> Blocked {
    match refused.reason {
        Reason::DatabaseNotFound | Reason::DatabaseNotReady | Reason::KubernetesUnavailable => refused,
        reason => Blocked::new(Reason::DatabaseNotReady, format!("{reason} of PostgresDatabase {database}: {}", refused.message)),
    }
}

fn first(plans: &[Plan]) -> Result<&Plan, Blocked> {
    plans.first().ok_or_else(|| Blocked::new(Reason::ConnectionLost, "nothing was observed"))
}
