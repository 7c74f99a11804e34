//! What is said of a policy beyond its plan? What its actions go through, how long that takes, and what stays.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::amount;
use crate::api::{APPROVE_ANNOTATION, PartitionPolicy, PolicySettings, RetentionPolicySpec, TableName};
use crate::pass::{self, Found, Leaving, Policy, Retention};
use crate::plan::action::{Action, Change, Plan};
use crate::plan::removal::{Afterlife, ArchiveRows, DetachPartition};
use crate::plan::retention::Summary;
use crate::plan::snapshot::{Oid, Tree};
use crate::postgres::Fault;

/// A policy's plan, with what a report says beyond it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The settings that say whether it may be carried out.
    pub settings: PolicySettings,
    /// The plan.
    pub plan: Plan,
    /// The fingerprint that the policy's annotation approves, in a cluster.
    pub approved: Option<String>,
    /// Whether the plan goes on with a run that was approved when it began.
    pub goes_on: bool,
    /// Why nothing is done at present, if a person wants it so.
    pub suspended: Option<String>,
    /// What to say when there is nothing to do.
    pub settled: String,
    /// Size of the table by PostgreSQL's statistics, in bytes.
    pub bytes: i64,
    /// What is known of each action, in the order of the plan's actions.
    pub work: Vec<Work>,
    /// What is particular to its kind.
    pub state: State,
}

/// What is known of an action beyond what it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// About how long it takes.
    pub time: String,
    /// Bytes of what leaves.
    pub bytes: i64,
    /// How it goes on, if that is worth a word.
    pub more: Option<String>,
}

impl Work {
    fn through(bytes: i64) -> Self {
        Self { time: amount::time_for(bytes), bytes: 0, more: None }
    }

    fn leaving(bytes: i64) -> Self {
        Self { bytes, ..Self::through(0) }
    }
}

/// What is particular to a kind of policy.
#[derive(Clone, Debug)]
pub enum State {
    /// It could not be looked at.
    Unknown,
    /// Whether rows that are written now have a place; `None` where that could not be seen.
    Coverage(Option<bool>),
    /// What leaves, and what stays.
    Retention(Box<Summary>),
}

/// A kind of policy whose plan the command line shows.
pub trait Shown: Policy {
    /// The table.
    fn table(&self) -> &TableName;
    /// The annotation that approves a plan.
    fn annotation(&self) -> Option<&String>;
    /// The table's size, and what is particular to the kind.
    fn state(facts: &Self::Facts, now: Timestamp) -> (i64, State);
    /// What is known of an action.
    fn work(&self, action: &Action, facts: &Self::Facts) -> Work;
}

impl Planned {
    /// Of a policy that was looked at.
    pub fn new<P: Shown>(policy: &P, facts: &P::Facts, plan: Plan, now: Timestamp) -> Self {
        let (bytes, state) = P::state(facts, now);
        Self {
            settings: policy.settings().clone(),
            approved: policy.annotation().cloned(),
            goes_on: policy.is_approved(&plan),
            suspended: None,
            settled: policy.settled(facts, now),
            bytes,
            work: plan.actions.iter().map(|action| policy.work(action, facts)).collect(),
            state,
            plan,
        }
    }

    /// Of a policy that could not be looked at.
    pub fn refused<P: Shown>(policy: &P, fault: &Fault) -> Self {
        let table = policy.table().to_string();
        let blocked = pass::blocked(&table, fault);
        Self {
            settings: policy.settings().clone(),
            approved: None,
            goes_on: false,
            suspended: None,
            settled: String::new(),
            bytes: 0,
            work: vec![],
            state: State::Unknown,
            plan: Plan::refused(policy.id(), table, blocked),
        }
    }

    /// What stays though one may have expected it to go, a line each. What a note says already is left out.
    pub fn kept(&self) -> Vec<String> {
        let State::Retention(summary) = &self.state else { return vec![] };
        let is_noted = |line: &str| {
            let said = |message: &str| line.starts_with(message.strip_prefix("kept: ").unwrap_or(message));
            self.plan.notes.iter().any(|note| said(&note.message))
        };
        let held = summary.held.iter().filter(|line| !is_noted(line)).cloned();
        let waiting = summary.retired.iter().map(|retired| match &retired.drop_after {
            Some(over) => format!("{} detached, dropped after {}", retired.table, amount::minute(over.0)),
            None => format!("{} detached {}, stays as a table of its own", retired.table, amount::minute(retired.detached_at.0)),
        });
        held.chain(waiting).collect()
    }
}

impl Shown for PartitionPolicy {
    fn table(&self) -> &TableName {
        &self.spec.table
    }

    fn annotation(&self) -> Option<&String> {
        self.annotations().get(APPROVE_ANNOTATION)
    }

    fn state(facts: &Found, now: Timestamp) -> (i64, State) {
        let covered =
            facts.coverage.as_ref().map(|coverage| coverage.unbounded || coverage.until.is_none_or(|until| until > now));
        (facts.tree.as_ref().map_or(0, table_bytes), State::Coverage(covered))
    }

    fn work(&self, action: &Action, facts: &Found) -> Work {
        Work::through(scanned(action, facts))
    }
}

impl Shown for Retention {
    fn table(&self) -> &TableName {
        &self.policy.spec.table
    }

    fn annotation(&self) -> Option<&String> {
        self.policy.annotations().get(APPROVE_ANNOTATION)
    }

    fn state(facts: &Leaving, _now: Timestamp) -> (i64, State) {
        (facts.tree.as_ref().map_or(0, table_bytes), State::Retention(Box::new(facts.summary.clone())))
    }

    fn work(&self, action: &Action, facts: &Leaving) -> Work {
        let bytes = action.leaves().map_or(0, |oid| bytes_of(oid, facts));
        match action {
            Action::ExportPartition(_) => Work { time: amount::time_to_export(bytes), ..Work::leaving(bytes) },
            Action::DetachPartition(detach) => Work { more: afterwards(detach, &self.policy.spec), ..Work::leaving(bytes) },
            Action::ArchiveRows(rows) => of_rows(rows, facts),
            Action::MoveToArchive(_) | Action::MoveToSchema(_) | Action::DropTable(_) => Work::leaving(bytes),
            _ => Work::through(0),
        }
    }
}

/// What becomes of a detached partition, and when.
fn afterwards(detach: &DetachPartition, spec: &RetentionPolicySpec) -> Option<String> {
    let grace = spec.partitions.as_ref()?.grace;
    match detach.then {
        Afterlife::Drop if grace.n() == 0 => Some("then dropped".into()),
        Afterlife::Drop => Some(format!("dropped {grace} later")),
        Afterlife::Stay | Afterlife::Move => None,
    }
}

fn bytes_of(oid: Oid, facts: &Leaving) -> i64 {
    let attached = facts.catalog.details.get(&oid).map(|detail| detail.bytes);
    let retired = facts.catalog.retired.iter().find(|retired| retired.table.oid == oid).map(|retired| retired.bytes);
    attached.or(retired).unwrap_or(0)
}

fn of_rows(rows: &ArchiveRows, facts: &Leaving) -> Work {
    let answers = &facts.rows.answers;
    let count = answers.estimated.max(answers.expired).unwrap_or(0).min(rows.max_rows);
    let time = amount::time_for_rows(count, rows.pace.max_load);
    Work { time, bytes: 0, more: Some(format!("about {count} now")) }
}

/// PostgreSQL's block size; servers built with another one are reported a little wrong.
const BLOCK: i64 = 8192;

fn table_bytes(tree: &Tree) -> i64 {
    tree.parents.iter().flat_map(|parent| &parent.partitions).map(|partition| partition.pages.max(0) * BLOCK).sum()
}

/// How much of the table an action goes through.
fn scanned(action: &Action, facts: &Found) -> i64 {
    match action {
        Action::CreatePartition(create) => {
            let default = create.default.as_ref().map(|default| default.relation.oid);
            let partitions = facts.tree.iter().flat_map(|tree| &tree.parents).flat_map(|parent| &parent.partitions);
            partitions.filter(|partition| Some(partition.oid) == default).filter_map(|partition| partition.bytes).sum()
        }
        Action::RepairPartition(repair) => {
            let bytes = facts.details.properties.get(&repair.partition.oid).map_or(0, |properties| properties.bytes);
            let indexes =
                repair.changes.iter().filter(|change| matches!(change, Change::Index { .. } | Change::IndexLike { .. }));
            // Building an index reads, sorts and writes: measured at about a tenth of the speed of a plain scan.
            bytes * i64::try_from(indexes.count()).unwrap_or(1) * 10
        }
        _ => 0,
    }
}
