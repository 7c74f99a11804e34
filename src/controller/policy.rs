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
use crate::api::{APPROVE_ANNOTATION, PolicySettings, PolicyStatus, Reason};
use crate::cluster::jobs::Owner;
use crate::metrics::{ActionLabels, Metrics, ObjectLabels};
use crate::pass::{self, Look, Policy, Tasks};
use crate::plan::action::{Action, Blocked, ObjectId, Plan};
use crate::plan::outcome::{ActionResult, Outcome};
use crate::plan::status::{self, Finding, Run};
use crate::plan::{Gate, gate};
use crate::postgres::Session;

/// Looks and runs that one pass may make: a step that makes the next one possible need not wait for the next pass.
const ROUNDS: usize = 8;

/// What a kind of policy adds to the common pass.
pub(crate) trait Reporting: Policy + Send + 'static {
    /// The custom resource.
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + 'static;
    /// Identifies the object's series in the metrics.
    type Series: Clone + Send + Sync;
    /// Carries out what a pass is too short for.
    type Tasks: Tasks + Send;

    /// Kind name.
    const NAME: &'static str;
    /// Field manager of the status.
    const FIELD_MANAGER: &'static str;

    /// The settings of an object.
    fn settings_of(object: &Self::Object) -> &PolicySettings;
    /// The common part of the status that the object has.
    fn common(object: &Self::Object) -> PolicyStatus;
    /// The policy, with what a plan needs to know and its database does not tell.
    fn surround(
        object: &Self::Object,
        requested: Option<&str>,
        context: &Context,
    ) -> impl Future<Output = Result<Self, Blocked>> + Send;
    /// What carries out its tasks.
    fn tasks(&self, context: &Context) -> Self::Tasks;
    /// Takes note of what tasks have reported, and answers whether there was anything: then it is written down before a later pass builds on it.
    fn learn(&mut self, _tasks: &Self::Tasks) -> bool {
        false
    }
    /// Whether this plan begins a run that must be written down before it acts; then it is written down, and the next pass acts.
    fn begins(&mut self, _plan: &Plan, _now: Timestamp) -> Option<String> {
        None
    }
    /// The fields of a status that cannot be read, where it remembers what must not be done twice.
    fn unread(_status: &Value) -> Vec<String> {
        vec![]
    }
    /// The whole status; what was found is absent where nothing could be observed.
    fn status(object: &Self::Object, common: PolicyStatus, found: Option<(&Self, &Self::Facts)>, now: Timestamp) -> Value;
    /// Its series in the metrics.
    fn series(object: &Self::Object) -> Self::Series;
    /// Sets them.
    fn measure(&self, metrics: &Metrics, series: &Self::Series, facts: &Self::Facts);
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
struct Passed<P: Policy> {
    policy: P,
    look: Look<P::Facts>,
    gate: Gate,
    run: Option<(Timestamp, Timestamp, Outcome)>,
}

impl<P: Reporting> PolicyKind<P> {
    pub fn new(context: Context) -> Self {
        Self { context, measured: Mutex::default() }
    }

    fn now(&self) -> Timestamp {
        self.context.config.clock.now()
    }

    async fn work(&self, object: &P::Object, requested: Option<&str>) -> Result<Passed<P>, Blocked> {
        let database = &P::settings_of(object).database_ref.name;
        let namespace = object.namespace().unwrap_or_default();
        let mut lease = self.acquire(&namespace, database).await?;
        let mut policy = P::surround(object, requested, &self.context).await?;
        let session = lease.take()?;
        let mut look = self.look(&policy, &session).await?;
        lease.put(session);
        if let Some(refused) = pass::unwritable(&look.server) {
            return Err(through(database, refused));
        }
        let mut gate = self.gate(object, &policy, &look)?;
        if gate == Gate::Go
            && let Some(message) = policy.begins(first(&look.plans)?, self.now())
        {
            gate = Gate::Hold { reason: Reason::RunStarted, message, until: Some(self.now()) };
        }
        if gate != Gate::Go {
            return Ok(Passed { policy, look, gate, run: None });
        }
        let _worker = lease.worker().await;
        let started = self.now();
        let mut outcome = Outcome::default();
        for _ in 0..ROUNDS {
            let session = lease.take()?;
            let tasks = policy.tasks(&self.context);
            let done = pass::execute(&session, first(&look.plans)?, lease.budget, &tasks, self.now()).await;
            self.count(&done);
            let is_news = policy.learn(&tasks);
            look = self.look(&policy, &session).await?;
            lease.put(session);
            // A changed database is another plan: approval does not extend to what is left.
            gate = self.gate(object, &policy, &look)?;
            if is_news && gate == Gate::Go {
                let message = format!("what the Job has reported is written down; {} follows", first(&look.plans)?.summary());
                gate = Gate::Hold { reason: Reason::RunStarted, message, until: Some(self.now()) };
            }
            let goes_on = gate == Gate::Go && done.first_problem().is_none() && done.done() > 0;
            outcome.results.extend(done.results);
            if !goes_on {
                break;
            }
        }
        Ok(Passed { policy, look, gate, run: Some((started, self.now(), outcome)) })
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
        let looked = pass::look(&[policy], session, self.now()).await;
        looked.map_err(|fault| pass::blocked(&policy.id().to_string(), &fault))
    }

    fn gate(&self, object: &P::Object, policy: &P, look: &Look<P::Facts>) -> Result<Gate, Blocked> {
        let plan = first(&look.plans)?;
        let fingerprint = policy.is_approved(plan).then(|| plan.fingerprint());
        let annotation = object.annotations().get(APPROVE_ANNOTATION).map(String::as_str);
        gate::gate(policy.settings(), fingerprint.as_deref().or(annotation), plan, self.now())
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

    fn report(
        &self,
        object: &P::Object,
        requested: Option<&str>,
        finding: &Finding<'_>,
        found: Option<(&P, &P::Facts)>,
    ) -> Report {
        let now = self.now();
        let common = status::report(&P::common(object), object.meta().generation, requested, finding, now);
        let due = common.next_run.as_ref().map(|time| time.0);
        let (applied, pending) = match finding {
            Finding::Planned { run: Some(run), left, .. } if run.outcome.done() > 0 => {
                (Some((Reason::Applied, status::done(run.outcome))), left.actions.len())
            }
            Finding::Planned { left, .. } => (None, left.actions.len()),
            Finding::Suspended | Finding::Refused(_) => (None, 0),
        };
        let tasks = match finding {
            Finding::Planned { left, run, .. } => Some(unfinished(left, run.as_ref().map(|run| run.outcome))),
            Finding::Suspended | Finding::Refused(_) => None,
        };
        Report { state: status::state(finding), status: P::status(object, common, found, now), applied, due, pending, tasks }
    }

    /// The Jobs of a suspended policy go. What fails here is done by a later pass.
    async fn stop_jobs(&self, object: &P::Object) {
        let Some(owner) = Owner::of(object) else { return };
        if let Err(blocked) = self.context.jobs.stop(&owner).await {
            tracing::debug!(error = %blocked.message, "Jobs of a suspended policy");
        }
        self.count_failures(object, &owner, &[]);
    }

    fn count_failures(&self, object: &P::Object, owner: &Owner, wanted: &[Action]) {
        let database = &P::settings_of(object).database_ref.name;
        let labels = ObjectLabels { kind: P::NAME, namespace: owner.namespace.clone().into(), name: owner.name.clone().into() };
        self.context.metrics.set_job_failures(&labels, self.context.jobs.failures(owner, database, wanted));
    }

    /// The database counts its policies, and looks for privileges that a new one lacks.
    fn tell_database(&self, namespace: &str, database: &str) {
        self.context.nudges.soon("PostgresDatabase", namespace, database, &self.context.stop);
    }

    fn measure(&self, object: &P::Object, policy: &P, facts: &P::Facts) {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        let (database, series) = (P::settings_of(object).database_ref.name.clone(), P::series(object));
        policy.measure(&self.context.metrics, &series, facts);
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Measured { database, series });
    }
}

impl<P: Reporting> Kind for PolicyKind<P> {
    type Object = P::Object;
    const NAME: &'static str = P::NAME;
    const FIELD_MANAGER: &'static str = P::FIELD_MANAGER;

    async fn pass(&self, object: &P::Object, requested: Option<&str>) -> Report {
        let settings = P::settings_of(object);
        if P::common(object).observed_generation.is_none() {
            self.tell_database(&object.namespace().unwrap_or_default(), &settings.database_ref.name);
        }
        if settings.suspend {
            self.stop_jobs(object).await;
            return self.report(object, requested, &Finding::Suspended, None);
        }
        let passed = match self.work(object, requested).await {
            Ok(passed) => passed,
            Err(blocked) => return self.report(object, requested, &Finding::Refused(&blocked), None),
        };
        let (Some(facts), Some(left)) = (passed.look.facts.first(), passed.look.plans.first()) else {
            let blocked = Blocked::new(Reason::ConnectionLost, "nothing was observed");
            return self.report(object, requested, &Finding::Refused(&blocked), None);
        };
        self.measure(object, &passed.policy, facts);
        let settled = passed.policy.settled(facts, self.now());
        let run = passed.run.as_ref().map(|(started, finished, outcome)| Run { started: *started, finished: *finished, outcome });
        let finding = Finding::Planned { left, gate: &passed.gate, run, settled: &settled };
        self.report(object, requested, &finding, Some((&passed.policy, facts)))
    }

    /// Jobs of tasks that the plan has no more go, and those whose reports stand in the status now. What fails here is done by a later pass.
    async fn written(&self, object: &P::Object, report: &Report) {
        let (Some(owner), Some(tasks)) = (Owner::of(object), &report.tasks) else { return };
        let settled = self.context.jobs.keep_only(&owner, &P::settings_of(object).database_ref.name, tasks).await;
        if let Err(blocked) = settled {
            tracing::debug!(error = %blocked.message, "Jobs that are not needed any more");
        }
        self.count_failures(object, &owner, tasks);
    }

    fn unread(&self, status: &Value, _is_deleted: bool) -> Vec<String> {
        P::unread(status)
    }

    fn unreadable(&self, previous: &Value, generation: Option<i64>, blocked: &Blocked) -> Report {
        let previous: PolicyStatus = serde_json::from_value(previous.clone()).unwrap_or_default();
        let finding = Finding::Refused(blocked);
        let common = status::report(&previous, generation, None, &finding, self.now());
        let status = serde_json::to_value(&common).unwrap_or_default();
        Report { state: status::state(&finding), status, applied: None, due: None, pending: 0, tasks: None }
    }

    fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(Measured { database, series }) = self.measured.lock().unwrap_or_else(PoisonError::into_inner).remove(&key) {
            P::unmeasure(&self.context.metrics, &series);
            self.tell_database(namespace, &database);
        }
        self.context.jobs.forgive(&ObjectId { kind: P::NAME.into(), namespace: namespace.into(), name: name.into() });
    }
}

/// What a policy says when its database is the trouble: the database's own conditions say more.
fn through(database: &str, refused: Blocked) -> Blocked {
    match refused.reason {
        Reason::DatabaseNotFound | Reason::DatabaseNotReady | Reason::KubernetesUnavailable => refused,
        reason => Blocked::new(Reason::DatabaseNotReady, format!("{reason} of PostgresDatabase {database}: {}", refused.message)),
    }
}

/// The tasks of a plan, without those whose reports this pass has taken: where such a task is wanted all the same, its report did not hold, and
/// it is to begin anew.
fn unfinished(left: &Plan, outcome: Option<&Outcome>) -> Vec<Action> {
    let is_done = |task: &Action| outcome.is_some_and(|outcome| outcome.done_actions().any(|done| done == task));
    left.actions.iter().filter(|action| action.is_task() && !is_done(action)).cloned().collect()
}

fn first(plans: &[Plan]) -> Result<&Plan, Blocked> {
    plans.first().ok_or_else(|| Blocked::new(Reason::ConnectionLost, "nothing was observed"))
}
