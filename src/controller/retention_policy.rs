//! What is particular to RetentionPolicy in the operator? Its runs, its Jobs, what surrounds it, its status and its metrics.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;

use super::Context;
use super::jobs::{Jobs, Progress};
use super::policy::{PolicyKind, Reporting};
use super::unread;
use crate::api::retention_policy::{Exported, RetentionRun, RowProgress};
use crate::api::{
    Mode, PolicySettings, PolicyStatus, Reason, RetentionHold, RetentionPolicy, RetentionPolicySpec, RetentionPolicyStatus,
};
use crate::cluster::jobs::Owner;
use crate::cluster::{backups, objects};
use crate::job::Report;
use crate::job::archive::Moved;
use crate::metrics::{Metrics, TableLabels};
use crate::pass::{Leaving, Policy, Retention, Tasks};
use crate::plan::action::{Action, Blocked, Plan};
use crate::plan::outcome::ActionResult;
use crate::plan::retention::{Hold, Proof, Summary, Surroundings, answered};
use crate::plan::schedule::Schedule;
use crate::plan::snapshot::Oid;

/// Exports that a status lists.
const LISTED: usize = 10;

/// The kind, for the driver.
pub(crate) fn kind(context: Context) -> PolicyKind<Managed> {
    PolicyKind::new(context)
}

/// A policy in the operator: with its runs and its Jobs.
#[derive(Clone, Debug)]
pub(crate) struct Managed {
    inner: Retention,
    /// The moment of the schedule that a run would answer.
    slot: Option<Timestamp>,
    /// The run that is under way.
    run: Option<RetentionRun>,
    /// Exports, the newest first.
    exports: Vec<Exported>,
    /// What the last run moved, if it has just ended.
    rows: Option<RowProgress>,
    /// Whether a run has just ended.
    has_ended: bool,
    /// Whether a run has been due since the policy was created.
    owes: bool,
}

impl Managed {
    /// A run that moves rows ends with its Job.
    fn end_of_rows(&mut self, moved: Moved) {
        self.rows = Some(RowProgress {
            removed: moved.rows,
            dependents: moved.dependents,
            per_second: moved.per_second,
            before: Some(moved.before),
            throttled_by: moved.throttled_by,
            ended_early: moved.ended_early,
            suggestion: moved.suggestion,
        });
        self.run = None;
        self.has_ended = true;
        self.inner.surroundings.run = None;
        self.inner.surroundings.is_due = false;
    }
}

impl Policy for Managed {
    type Facts = Leaving;

    fn id(&self) -> crate::plan::ObjectId {
        self.inner.id()
    }

    fn settings(&self) -> &PolicySettings {
        self.inner.settings()
    }

    async fn observe(
        objects: &[&Self],
        session: &crate::postgres::Session,
        server: &crate::plan::snapshot::Server,
        now: Timestamp,
    ) -> Result<Vec<Leaving>, crate::postgres::Fault> {
        let inner: Vec<&Retention> = objects.iter().map(|object| &object.inner).collect();
        Retention::observe(&inner, session, server, now).await
    }

    fn plan(&self, server: &crate::plan::snapshot::Server, facts: &Leaving, now: Timestamp) -> Plan {
        self.inner.plan(server, facts, now)
    }

    fn is_approved(&self, plan: &Plan) -> bool {
        self.inner.is_approved(plan)
    }

    fn settled(&self, facts: &Leaving, now: Timestamp) -> String {
        self.inner.settled(facts, now)
    }
}

impl Reporting for Managed {
    type Object = RetentionPolicy;
    type Series = TableLabels;
    type Tasks = JobTasks;

    const NAME: &'static str = "RetentionPolicy";
    const FIELD_MANAGER: &'static str = "pgreeve-retentionpolicy";

    fn settings_of(object: &RetentionPolicy) -> &PolicySettings {
        &object.spec.policy
    }

    fn common(object: &RetentionPolicy) -> PolicyStatus {
        object.status.clone().unwrap_or_default().policy
    }

    async fn surround(object: &RetentionPolicy, requested: Option<&str>, context: &Context) -> Result<Self, Blocked> {
        let now = context.config.clock.now();
        let status = object.status.clone().unwrap_or_default();
        let schedule = Schedule::parse(&object.spec.schedule, &object.spec.time_zone)
            .map_err(|message| Blocked::new(Reason::InvalidSpec, format!("RetentionPolicy {}: {message}", object.name_any())))?;
        let slot = schedule.last(now);
        let is_new = slot.is_some_and(|slot| slot > answered(object));
        let is_asked = requested.is_some() && requested != status.policy.last_handled_reconcile_at.as_deref();
        // A run that has not ended when the next one is due ends with it.
        let run = status.run.clone().filter(|_| !is_new);
        let surroundings = Surroundings {
            is_due: is_new || is_asked || object.spec.policy.mode == Mode::Observe,
            next_slot: schedule.next(now),
            // Of one moment of the schedule, so that a plan that waits for approval, and a Job that is at work, stay the same.
            as_of: slot,
            run: run.as_ref().map(RetentionRun::oids),
            holds: holds(object, context).await?,
            proofs: status.exports.iter().filter_map(Proof::of).collect(),
            accepted: status.accepted.clone(),
            attended: false,
            backup_missing: backup_missing(&object.spec, object, context, now).await,
        };
        let inner = Retention { policy: object.clone(), surroundings };
        let owes = slot.is_some_and(|slot| object.creation_timestamp().is_none_or(|created| created.0 < slot));
        Ok(Self { inner, slot: slot.filter(|_| is_new), run, exports: status.exports, rows: None, has_ended: false, owes })
    }

    fn tasks(&self, context: &Context) -> JobTasks {
        JobTasks {
            jobs: context.jobs.clone(),
            owner: Owner::of(&self.inner.policy),
            database: self.inner.policy.spec.policy.database_ref.name.clone(),
            reports: Mutex::default(),
        }
    }

    fn learn(&mut self, tasks: &JobTasks) -> bool {
        let reports = std::mem::take(&mut *tasks.reports());
        let is_news = !reports.is_empty();
        for (action, report) in reports {
            let (task, export) = match (&action, report) {
                (Action::ExportPartition(task), Report::Exported(export)) => (task, export),
                (_, Report::RowsMoved(moved)) => {
                    self.end_of_rows(moved);
                    continue;
                }
                _ => continue,
            };
            let oid = task.partition.oid;
            let proof = Proof { export: export.id.clone(), verified_at: export.verified_at };
            self.inner.surroundings.proofs.insert(oid, proof);
            self.exports.retain(|known| known.oid != i64::from(oid));
            let exported = Exported {
                partition: task.partition.table.to_string(),
                oid: oid.into(),
                export: export.id,
                url: export.url,
                rows: export.rows,
                bytes: export.bytes,
                checksum: export.checksum.to_string(),
                verified_at: Time(export.verified_at),
            };
            self.exports.insert(0, exported);
        }
        self.exports.truncate(LISTED);
        is_news
    }

    fn begins(&mut self, plan: &Plan, now: Timestamp) -> Option<String> {
        if self.inner.surroundings.run.is_some() {
            return None;
        }
        let targets: BTreeSet<Oid> = plan.actions.iter().filter_map(target).collect();
        if targets.is_empty() && !plan.actions.iter().any(|action| matches!(action, Action::ArchiveRows(_))) {
            return None;
        }
        let message = format!("a run begins: {}", plan.summary());
        let partitions = targets.iter().map(|oid| i64::from(*oid)).collect();
        self.run = Some(RetentionRun { started_at: Time(now), fingerprint: plan.fingerprint(), partitions });
        Some(message)
    }

    /// Forgotten, a run would begin again, outside its schedule and beyond what one may remove.
    fn unread(status: &Value) -> Vec<String> {
        unread::fields::<RetentionPolicyStatus>(status)
    }

    fn status(object: &RetentionPolicy, policy: PolicyStatus, found: Option<(&Self, &Leaving)>, _now: Timestamp) -> Value {
        let previous = object.status.clone().unwrap_or_default();
        let Some((managed, leaving)) = found else {
            // What was true at the last look is kept: the conditions say that this one saw nothing, and so answered no request.
            let policy = unanswered(policy, &previous);
            return serde_json::to_value(RetentionPolicyStatus { policy, ..previous }).unwrap_or_default();
        };
        let attached = leaving.tree.iter().flat_map(|tree| &tree.parents).flat_map(|parent| &parent.partitions);
        let attached: BTreeSet<i64> = attached.map(|partition| i64::from(partition.oid)).collect();
        let goes_on = |run: &RetentionRun| object.spec.rows.is_some() || run.partitions.iter().any(|oid| attached.contains(oid));
        let run = managed.run.clone().filter(goes_on);
        // A run answers its moment when it begins; a moment at which nothing is to go is answered too.
        let is_idle = leaving.summary.targets.is_empty() && !leaving.summary.rows_due;
        let is_answered = managed.run.is_some() || managed.has_ended || is_idle;
        let policy = if is_answered { policy } else { unanswered(policy, &previous) };
        let slot = managed.slot.filter(|_| is_answered).map(Time);
        let accepts = is_answered && managed.inner.policy.spec.policy.mode == Mode::Apply && managed.slot.is_some();
        let status = RetentionPolicyStatus {
            policy,
            expired: Some(leaving.summary.expired.clone()),
            oldest_kept: leaving.summary.oldest_kept.clone(),
            backlog_bytes: Some(leaving.summary.backlog_bytes),
            retired: leaving.summary.retired.clone(),
            held: leaving.summary.held.clone(),
            exports: managed.exports.clone(),
            rows: managed.rows.clone().or(previous.rows),
            accepted: if accepts || run.is_some() { Some(object.spec.keep.clone()) } else { previous.accepted.clone() },
            run,
            last_slot: slot.or(previous.last_slot),
        };
        serde_json::to_value(status).unwrap_or_default()
    }

    fn series(object: &RetentionPolicy) -> TableLabels {
        TableLabels {
            namespace: object.namespace().unwrap_or_default().into(),
            database: object.spec.policy.database_ref.name.clone().into(),
            policy: object.name_any().into(),
            table: object.spec.table.to_string().into(),
        }
    }

    fn measure(&self, metrics: &Metrics, series: &TableLabels, facts: &Leaving) {
        let Summary { expired, overdue, held_partitions, backlog_bytes, .. } = &facts.summary;
        // Before its first moment of the schedule a policy owes nothing.
        let owes = self.owes;
        // A policy may have been of the other sort before.
        if self.inner.policy.spec.rows.is_some() {
            for of_partitions in [&metrics.expired, &metrics.overdue, &metrics.held, &metrics.backlog] {
                of_partitions.remove(series);
            }
            metrics.overdue_rows.get_or_create(series).set(if owes { expired.rows } else { 0 });
            return;
        }
        metrics.overdue_rows.remove(series);
        metrics.expired.get_or_create(series).set(expired.partitions.into());
        metrics.overdue.get_or_create(series).set(if owes { (*overdue).into() } else { 0 });
        metrics.held.get_or_create(series).set((*held_partitions).into());
        metrics.backlog.get_or_create(series).set(*backlog_bytes);
    }

    fn unmeasure(metrics: &Metrics, series: &TableLabels) {
        metrics.forget_table(series);
    }
}

/// A request for a run is answered when the run begins, or when nothing is to go.
fn unanswered(policy: PolicyStatus, previous: &RetentionPolicyStatus) -> PolicyStatus {
    PolicyStatus { last_handled_reconcile_at: previous.policy.last_handled_reconcile_at.clone(), ..policy }
}

/// The attached partition that an action lets go.
fn target(action: &Action) -> Option<Oid> {
    match action {
        Action::DetachPartition(_) | Action::MoveToArchive(_) => action.leaves(),
        _ => None,
    }
}

/// The holds on tables of the policy's database. Where they cannot be read, nothing goes.
async fn holds(object: &RetentionPolicy, context: &Context) -> Result<Vec<Hold>, Blocked> {
    let namespace = object.namespace().unwrap_or_default();
    let unknown =
        |message: String| Blocked::new(Reason::HoldsUnknown, format!("RetentionHolds of namespace {namespace}: {message}"));
    let found = objects::list::<RetentionHold>(&context.client, &namespace, ListParams::default()).await;
    let mut holds = Vec::new();
    for fetched in found.map_err(|error| unknown(error.to_string()))? {
        let name = fetched.raw.name_any();
        let hold = fetched.typed.map_err(|error| unknown(format!("{name} cannot be read: {error}")))?;
        let is_ours = hold.spec.database_ref == object.spec.policy.database_ref;
        if is_ours && hold.metadata.deletion_timestamp.is_none() {
            holds.push(Hold { name: format!("{namespace}/{name}"), spec: hold.spec });
        }
    }
    holds.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(holds)
}

async fn backup_missing(
    spec: &RetentionPolicySpec,
    object: &RetentionPolicy,
    context: &Context,
    now: Timestamp,
) -> Option<String> {
    let guard = spec.guards.backup.as_ref()?;
    let namespace = object.namespace().unwrap_or_default();
    backups::missing(&context.client, &namespace, guard, now).await
}

/// Has tasks done by Jobs, and keeps what they report.
pub(crate) struct JobTasks {
    jobs: Jobs,
    owner: Option<Owner>,
    database: String,
    reports: Mutex<Vec<(Action, Report)>>,
}

impl JobTasks {
    fn reports(&self) -> std::sync::MutexGuard<'_, Vec<(Action, Report)>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report down. Its Job stays until the status holds the report. One whose report nobody can read, as of another version, has said
    /// all that it has to say: its task runs again.
    async fn take(&self, owner: &Owner, action: &Action, report: Value) -> ActionResult {
        match serde_json::from_value(report) {
            Ok(report) => {
                self.reports().push((action.clone(), report));
                ActionResult::Done { tries: 1 }
            }
            Err(error) => {
                let unreadable = Blocked::new(Reason::JobFailed, format!("its report cannot be read: {error}"));
                let forgotten = self.jobs.forget(owner, &self.database, action).await;
                ActionResult::Refused(forgotten.err().unwrap_or(unreadable))
            }
        }
    }
}

impl Tasks for JobTasks {
    async fn run(&self, action: &Action) -> ActionResult {
        let Some(owner) = &self.owner else {
            return ActionResult::Refused(Blocked::new(Reason::KubernetesUnavailable, "the object has no UID"));
        };
        match self.jobs.run(owner, &self.database, action).await {
            Progress::Running { message, .. } => ActionResult::Running { message },
            Progress::Done(report) => self.take(owner, action, report).await,
            Progress::Refused(blocked) => ActionResult::Refused(blocked),
        }
    }
}
