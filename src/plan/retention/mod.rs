//! What may leave, and by which steps? The planner of RetentionPolicy for partitioned tables.
//!
//! Flow: the partitions are judged ([`members`], [`expiry`]); those of the run that is under way, or of the one that may begin, take
//! their next steps ([`steps`]); so do the tables that were detached before.
//!
//! Guarantees: no action touches the newest partition that has begun, one that has not, the default partition, what cannot be read and
//! what is held; nothing is dropped that this policy has not detached, whose grace is not over, or whose export, where one is asked
//! for, was not read back and matched within the hour; without the backup that is asked for nothing goes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

mod check;
mod expiry;
mod facts;
mod members;
mod of_rows;
mod steps;
mod surround;
#[cfg(test)]
mod tests;

pub use check::{check, check_hold};
pub use expiry::midnight;
pub use facts::{Archive, Catalog, Detail, Facts, Hold, Incoming, MARK, Mark, Proof, Retired, Surroundings};
pub use of_rows::plan_rows;
pub use surround::answered;

use super::action::{Action, Blocked, Note, ObjectId, Plan, Relation};
use super::finding;
use super::removal::{Afterlife, FinalizeDetach, ReopenPartition};
use super::snapshot::{Oid, Server, Tree};
use super::window;
use crate::api::retention_policy::{Expired, PartitionRetention, Retired as RetiredStatus};
use crate::api::{Reason, RetentionPolicySpec};
use expiry::Terms;
use members::{Member, Members};
use steps::Leaving;

/// Lines of each kind that a status lists.
const LISTED: usize = 10;

/// What a status says about the data that leaves, beyond the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What has expired, is not held and is still attached.
    pub expired: Expired,
    /// How many partitions of these had expired at the last moment of the schedule already.
    pub overdue: i32,
    /// How many partitions have expired and are held.
    pub held_partitions: i32,
    /// The oldest partition that is kept.
    pub oldest_kept: Option<String>,
    /// What has expired and is still there, detached tables that wait to be dropped included, in bytes.
    pub backlog_bytes: i64,
    /// Detached partitions.
    pub retired: Vec<RetiredStatus>,
    /// What would have gone and does not, each with the reason.
    pub held: Vec<String>,
    /// Whether rows of a plain table leave in the run that is under way, or in the one that may begin.
    pub rows_due: bool,
    /// Partitions that leave in the run that is under way, or in the one that may begin.
    pub targets: BTreeSet<Oid>,
}

/// Which partitions the plan may let go next, by what the first look at the catalog told: for these, references are asked for.
pub fn candidates(spec: &RetentionPolicySpec, facts: &Facts<'_>, now: Timestamp) -> BTreeSet<Oid> {
    let Ok(judged) = judge(spec, facts, now) else { return BTreeSet::new() };
    judged.targets(spec, facts).iter().map(|(_, member)| member.partition.oid).collect()
}

/// The plan of a policy at `now`, and what its status says.
pub fn plan(object: ObjectId, spec: &RetentionPolicySpec, facts: &Facts<'_>, now: Timestamp) -> (Plan, Summary) {
    let headline = headline(spec, facts);
    let judged = match judge(spec, facts, now) {
        Ok(judged) => judged,
        Err(blocked) => return (Plan::refused(object, headline, blocked), Summary::default()),
    };
    let policy = format!("{}/{}", object.namespace, object.name);
    let partitions = spec.partitions.clone().unwrap_or_default();
    let leaving = Leaving { spec, partitions: &partitions, facts: *facts, policy: &policy, now };
    let mut plan = Plan::empty(object, headline);
    let mut summary = judged.summary(spec, facts, &leaving);
    summary.overdue = overdue(spec, facts, &judged);
    plan.actions.extend(judged.finalizations());
    plan.actions.extend(judged.reopenings(spec, facts));
    let mut removals = Vec::new();
    for (members, member) in judged.targets(spec, facts) {
        summary.targets.insert(member.partition.oid);
        match leaving.of_member(members, member) {
            Ok(steps) => removals.extend(steps),
            // One that must stay keeps no other from leaving; the policy is not at fault.
            Err(blocked) if blocked.reason == Reason::Referenced => summary.held.push(blocked.message),
            Err(blocked) => plan.blocked.push(blocked),
        }
    }
    let holds = facts.surroundings.holds_on(&spec.table);
    for retired in &facts.catalog.retired {
        if let Some(hold) = expiry::retired_held_by(&judged.parents, &retired.mark, &holds, now) {
            summary.held.push(on_hold(&retired.table.table.name, hold));
            continue;
        }
        let (steps, over) = leaving.of_retired(retired);
        removals.extend(steps);
        plan.due = [plan.due, over].into_iter().flatten().min();
    }
    summary.held.truncate(LISTED);
    plan.due = [plan.due, facts.surroundings.next_slot].into_iter().flatten().min();
    guard(&mut plan, removals, facts);
    plan.wants_approval = judged.sudden(spec, facts).filter(|_| !plan.actions.is_empty());
    plan.blocked.extend(judged.missing_privilege(facts.server));
    if plan.blocked.iter().any(|blocked| blocked.reason == Reason::MissingPrivilege) {
        plan.actions.clear();
    }
    plan.notes = judged.notes();
    (plan, summary)
}

/// How many partitions should have gone with the run of the last moment of the schedule. One that was not held then may be now.
fn overdue(spec: &RetentionPolicySpec, facts: &Facts<'_>, judged: &Judged<'_>) -> i32 {
    let present: BTreeSet<Oid> = judged.free().iter().map(|(_, member)| member.partition.oid).collect();
    let Some(slot) = facts.surroundings.as_of.filter(|_| !present.is_empty()) else { return 0 };
    let Ok(then) = judge(spec, facts, slot) else { return 0 };
    let owed = then.free().iter().filter(|(_, member)| present.contains(&member.partition.oid)).count();
    i32::try_from(owed).unwrap_or(i32::MAX)
}

/// Without its backup nothing goes; what mends the table goes on.
pub(super) fn guard(plan: &mut Plan, removals: Vec<Action>, facts: &Facts<'_>) {
    match &facts.surroundings.backup_missing {
        Some(message) if !removals.is_empty() => {
            plan.blocked
                .push(Blocked::new(Reason::BackupMissing, format!("{}: {message}; nothing goes until then", plan.object)));
        }
        _ => plan.actions.extend(removals),
    }
}

/// A name as SQL quotes it, for a statement that a person runs.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn headline(spec: &RetentionPolicySpec, facts: &Facts<'_>) -> String {
    let count: usize = facts.tree.map_or(0, |tree| tree.parents.iter().map(|parent| parent.partitions.len()).sum());
    let plural = if count == 1 { "" } else { "s" };
    let age = spec.keep.age.map(|age| format!("{age}"));
    let newest = spec.keep.count.map(|count| format!("{count} partitions"));
    let size = spec.keep.total_size.map(|size| size.to_string());
    let keep: Vec<String> = [age, newest, size].into_iter().flatten().collect();
    let action = spec.partitions.clone().unwrap_or_default().action;
    let exported = if spec.export.is_some() { "export, " } else { "" };
    format!("{}  keep {}, then {exported}{action:?}  {count} partition{plural}", spec.table, keep.join(" and "))
}

/// That a hold keeps a table, in a few words.
fn on_hold(table: &str, hold: &Hold) -> String {
    let until = hold.spec.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
    format!("{table} on hold{until} (RetentionHold {})", hold.name)
}

/// The partitions of a table, judged.
struct Judged<'a> {
    parents: Vec<Members<'a>>,
    /// By parent: what the terms let go and no hold keeps, the oldest first.
    expired: Vec<Vec<Member<'a>>>,
    /// What a hold keeps, though the terms let it go.
    held: Vec<String>,
    /// By the terms that were accepted before: how many had expired, holds left aside.
    formerly: usize,
    /// By the present terms: the same.
    presently: usize,
    /// All that have begun.
    begun: usize,
}

fn judge<'a>(spec: &RetentionPolicySpec, facts: &Facts<'a>, now: Timestamp) -> Result<Judged<'a>, Blocked> {
    let tree: &Tree = facts.tree.ok_or_else(|| {
        let message = format!(
            "table {} does not exist in database {}: create it, or correct spec.table (names are case-sensitive)",
            spec.table, facts.server.database
        );
        Blocked::new(Reason::TableNotFound, message)
    })?;
    meaningful(spec, now)?;
    let zone: TimeZone = window::zone(&spec.time_zone)
        .map_err(|message| Blocked::new(Reason::InvalidSpec, format!("{}: {message}", spec.table)))?;
    let parents = members::of(spec, tree, now)?;
    let details = &facts.catalog.details;
    let mut judged = Judged { parents: vec![], expired: vec![], held: vec![], formerly: 0, presently: 0, begun: 0 };
    for members in parents {
        let by = |keep| expiry::expired(&members, Terms { keep, zone: &zone, now, details });
        judged.begun += members.members.iter().filter(|member| member.began).count();
        judged.formerly += facts.surroundings.accepted.as_ref().map_or(0, |accepted| by(accepted).len());
        let holds = facts.surroundings.holds_on(&spec.table);
        let (mut free, found) = (Vec::new(), by(&spec.keep));
        judged.presently += found.len();
        for member in found {
            match expiry::held_by(&members, &member.range, &holds, now) {
                None => free.push(*member),
                Some(hold) => judged.held.push(on_hold(&member.partition.table.name, hold)),
            }
        }
        judged.expired.push(free);
        judged.parents.push(members);
    }
    Ok(judged)
}

/// A spec that means nothing is refused with its first wrong field.
fn meaningful(spec: &RetentionPolicySpec, now: Timestamp) -> Result<(), Blocked> {
    match check(spec, now).into_iter().next() {
        None => Ok(()),
        Some(wrong) => Err(Blocked::new(Reason::InvalidSpec, format!("{}: {wrong}", spec.table))),
    }
}

impl<'a> Judged<'a> {
    /// Every expired member with its parent, the oldest first.
    fn free(&self) -> Vec<(&Members<'a>, &Member<'a>)> {
        let pairs = self.parents.iter().zip(&self.expired);
        let mut free: Vec<_> = pairs.flat_map(|(parent, expired)| expired.iter().map(move |member| (parent, member))).collect();
        free.sort_by_key(|(_, member)| (member.range.upper(), member.partition.oid));
        free
    }

    /// Those that leave in the run that is under way, or in the one that may begin.
    fn targets(&self, spec: &RetentionPolicySpec, facts: &Facts<'_>) -> Vec<(&Members<'a>, &Member<'a>)> {
        let mut free = self.free();
        match &facts.surroundings.run {
            Some(run) => free.retain(|(_, member)| run.contains(&member.partition.oid)),
            None if facts.surroundings.is_due => {
                free.truncate(usize::try_from(spec.guards.max_partitions_per_run).unwrap_or(usize::MAX));
            }
            None => free.clear(),
        }
        free
    }

    /// Why a person should look first, if more expires at once than the policy lets pass.
    fn sudden(&self, spec: &RetentionPolicySpec, facts: &Facts<'_>) -> Option<String> {
        let surroundings = facts.surroundings;
        if surroundings.attended || surroundings.run.is_some() || surroundings.accepted.as_ref() == Some(&spec.keep) {
            return None;
        }
        let newly = self.presently.saturating_sub(self.formerly);
        let percent = newly * 100 / self.begun.max(1);
        let limit = usize::try_from(spec.guards.approve_above_percent).unwrap_or(0);
        (newly > 0 && percent > limit).then(|| {
            let since = if surroundings.accepted.is_some() { "since spec.keep was edited" } else { "by the first run" };
            format!(
                "{newly} of {} partitions ({percent} %) expire {since}, more than the {limit} % of guards.approveAbovePercent",
                self.begun
            )
        })
    }

    fn finalizations(&self) -> Vec<Action> {
        let pending = self.parents.iter().filter_map(|members| members.pending.map(|partition| (members, partition)));
        pending
            .map(|(members, partition)| {
                Action::FinalizeDetach(FinalizeDetach {
                    parent: Relation { oid: members.parent.oid, table: members.parent.table.clone() },
                    partition: Relation { oid: partition.oid, table: partition.table.clone() },
                    role: members.parent.owner.clone(),
                })
            })
            .collect()
    }

    /// Closed partitions that do not go after all.
    fn reopenings(&self, spec: &RetentionPolicySpec, facts: &Facts<'_>) -> Vec<Action> {
        let goes = |oid: Oid| spec.export.is_some() && self.free().iter().any(|(_, member)| member.partition.oid == oid);
        let all = self.parents.iter().flat_map(|members| members.members.iter().map(move |member| (members, member)));
        let closed = all.filter(|(_, member)| facts.catalog.closed.contains_key(&member.partition.oid));
        closed
            .filter(|(_, member)| !goes(member.partition.oid))
            .map(|(members, member)| {
                let partition = Relation { oid: member.partition.oid, table: member.partition.table.clone() };
                Action::ReopenPartition(ReopenPartition { partition, role: members.parent.owner.clone() })
            })
            .collect()
    }

    fn missing_privilege(&self, server: &Server) -> Option<Blocked> {
        let parent = self.parents.iter().map(|members| members.parent).find(|parent| !parent.may_act_as_owner)?;
        let message = format!(
            "{} belongs to {}, and role {} may not act as its owner: GRANT {} TO {}",
            parent.table,
            parent.owner,
            server.role,
            quoted(&parent.owner),
            quoted(&server.role)
        );
        Some(Blocked::new(Reason::MissingPrivilege, message))
    }

    fn notes(&self) -> Vec<Note> {
        let unreadable = self.parents.iter().flat_map(|members| members.unreadable.iter().map(move |line| (members, line)));
        let mut notes: Vec<Note> = unreadable
            .map(|(members, line)| Note {
                id: finding::KEPT_UNREADABLE.id.into(),
                object: members.parent.table.to_string(),
                message: format!("kept: {line}"),
            })
            .collect();
        notes.extend(self.held.iter().map(|line| Note {
            id: finding::ON_HOLD.id.into(),
            object: self.parents.first().map(|members| members.parent.table.to_string()).unwrap_or_default(),
            message: line.clone(),
        }));
        notes
    }

    fn summary(&self, spec: &RetentionPolicySpec, facts: &Facts<'_>, leaving: &Leaving<'_>) -> Summary {
        let held_partitions = i32::try_from(self.held.len()).unwrap_or(i32::MAX);
        let mut summary = Summary { held: self.held.clone(), held_partitions, ..Summary::default() };
        let free = self.free();
        for (_, member) in &free {
            let detail = facts.catalog.details.get(&member.partition.oid);
            summary.expired.partitions += 1;
            summary.expired.bytes += detail.map_or(0, |detail| detail.bytes);
            summary.expired.rows += detail.map_or(0, |detail| detail.rows);
        }
        let goes = |oid: Oid| free.iter().any(|(_, member)| member.partition.oid == oid);
        let kept = self.parents.iter().flat_map(|members| &members.members).filter(|member| !goes(member.partition.oid));
        summary.oldest_kept = kept.min_by_key(|member| (member.range.upper(), member.partition.oid)).map(|member| {
            format!("{} {}", member.partition.table.name, member.partition.bound.trim_start_matches("FOR VALUES "))
        });
        summary.backlog_bytes = summary.expired.bytes;
        for retired in &facts.catalog.retired {
            summary.add_retired(retired, leaving, spec.partitions.as_ref());
        }
        summary.held.extend(
            self.parents.iter().flat_map(|members| &members.unreadable).map(|line| format!("{line}: its age is not known")),
        );
        summary
    }
}

impl Summary {
    fn add_retired(&mut self, retired: &Retired, leaving: &Leaving<'_>, partitions: Option<&PartitionRetention>) {
        let table = retired.table.table.to_string();
        if retired.mark.oid != retired.table.oid {
            self.held.push(format!("{table} bears the mark of another table (as after a dump and restore) and is left alone"));
            return;
        }
        let waits_to_go = retired.mark.then == Afterlife::Drop;
        if waits_to_go {
            self.backlog_bytes += retired.bytes;
        }
        let Ok(at) = retired.mark.retired_at.parse::<Timestamp>() else { return };
        if self.retired.len() < LISTED && partitions.is_some() {
            let drop_after = leaving.drop_after(retired).filter(|_| waits_to_go);
            self.retired.push(RetiredStatus {
                table,
                detached_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at),
                drop_after: drop_after.map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time),
            });
        }
    }
}
