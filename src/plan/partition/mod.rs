//! Which partitions does a table lack, and which are not as they should be? The planner of PartitionPolicy.
//!
//! Flow: the tree is laid out against the grid ([`layout`]), missing slots are found ([`missing`]), each becomes an action or a
//! refusal ([`create`]), and existing partitions are compared with the template ([`template`]).
//!
//! Guarantees: no action overlaps an existing partition; nothing that is off the grid, unreadable, foreign or pending is
//! touched; nothing is ever detached or dropped; carrying the plan out and planning again gives an empty plan.

use jiff::Timestamp;

mod calendar;
mod coverage;
mod create;
mod layout;
mod missing;
mod template;
#[cfg(test)]
mod tests;

pub use calendar::check;
pub use coverage::Coverage;
pub use create::GUARD_PREFIX;

use super::action::{Action, Blocked, DropGuard, Note, ObjectId, Plan, Relation, RepairPartition};
use super::finding;
use super::key::{self, Bound, Range};
use super::snapshot::{Details, Needs, Server, Tree};
use crate::api::partition_policy::{DefaultPartition, Template};
use crate::api::{PartitionPolicySpec, Reason};
use layout::Layout;

/// Leaf partitions times indexes above which a note advises a longer interval (measured: unpruned planning 19 ms at 1 000).
const MANY: usize = 1_000;

/// What was observed for one policy.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The session.
    pub server: &'a Server,
    /// The table, if it exists.
    pub tree: Option<&'a Tree>,
    /// Answers to what [`needs`] asked.
    pub details: &'a Details,
}

/// What the first look at the catalog did not tell and the plan depends on.
pub fn needs(spec: &PartitionPolicySpec, facts: &Facts<'_>, now: Timestamp) -> Needs {
    let mut needs = Needs::default();
    let Ok(layouts) = laid_out(spec, facts) else { return needs };
    for layout in &layouts {
        let Ok(missing) = missing::missing(spec, layout, now) else { continue };
        let mut names: Vec<String> = create::wished_names(layout, &missing.slots).collect();
        needs.default_rows.extend(missing.slots.iter().filter_map(|slot| create::rows_within(layout, slot)));
        if wants_default(spec, layout) {
            names.push(create::default_name(layout));
        }
        if names.is_empty() && spec.template == Template::default() {
            continue;
        }
        if !names.is_empty() {
            needs.properties.extend(layout.reference().map(|partition| partition.oid));
            needs.foreign_keys.insert(layout.parent.oid);
            needs.names.entry(layout.parent.table.schema.clone()).or_default().extend(names);
        }
        if spec.template != Template::default() {
            needs.properties.extend(layout.managed().filter(|p| p.partition.kind == 'r').map(|p| p.partition.oid));
        }
    }
    needs
}

/// The plan of a policy at `now`.
pub fn plan(object: ObjectId, spec: &PartitionPolicySpec, facts: &Facts<'_>, now: Timestamp) -> Plan {
    let headline = headline(spec, facts);
    let layouts = match laid_out(spec, facts) {
        Ok(layouts) => layouts,
        Err(blocked) => return Plan::refused(object, headline, blocked),
    };
    let mut plan = Plan::empty(object, headline);
    for layout in &layouts {
        plan.actions.extend(leftover_guards(layout));
    }
    for layout in &layouts {
        match missing::missing(spec, layout, now) {
            Ok(missing) => add_missing(&mut plan, spec, layout, missing, (facts, now)),
            Err(blocked) => plan.blocked.push(blocked),
        }
        if let Some(blocked) = create::missing_privilege(layout.parent, &facts.server.role) {
            plan.blocked.push(blocked);
        }
        add_default(&mut plan, spec, layout, facts.details);
        plan.notes.extend(notes(layout));
    }
    for layout in &layouts {
        plan.actions.extend(repairs(spec, layout, facts.details));
        plan.notes.extend(unrepaired(spec, layout, facts.details));
    }
    withhold_without_privilege(&mut plan);
    plan.notes.sort();
    plan
}

/// Where a privilege lacks, every action would fail one by one; the plan says it once instead.
fn withhold_without_privilege(plan: &mut Plan) {
    if plan.blocked.iter().any(|blocked| blocked.reason == Reason::MissingPrivilege) {
        plan.actions.clear();
    }
}

fn laid_out<'a>(spec: &PartitionPolicySpec, facts: &Facts<'a>) -> Result<Vec<Layout<'a>>, Blocked> {
    check(spec)?;
    let tree = facts.tree.ok_or_else(|| {
        let message = format!(
            "table {} does not exist in database {}: create it, or correct spec.table (names are case-sensitive)",
            spec.table, facts.server.database
        );
        Blocked::new(Reason::TableNotFound, message)
    })?;
    layout::layouts(spec, tree)
}

fn add_missing(
    plan: &mut Plan,
    spec: &PartitionPolicySpec,
    layout: &Layout<'_>,
    missing: missing::Missing,
    (facts, now): (&Facts<'_>, Timestamp),
) {
    plan.blocked.extend(missing.blocked);
    plan.notes.extend(missing.notes);
    plan.due = [plan.due, missing.due].into_iter().flatten().min();
    let slots: Vec<_> = missing.slots.into_iter().filter(create::is_creatable).collect();
    if let (Some(child), false) = (layout.subpartitioned(), slots.is_empty()) {
        let message = format!(
            "{}: its partition {} is itself partitioned, so a new plain partition would be unlike its siblings; make a policy for a table whose partitions are plain",
            layout.parent.table, child.table.name
        );
        plan.blocked.push(Blocked::new(Reason::Unsupported, message));
        return;
    }
    let names = create::names(layout, &slots, facts.details.taken.get(&layout.parent.table.schema));
    for (slot, name) in slots.iter().zip(&names) {
        match create::partition(spec, layout, (slot, name), facts.details, now) {
            Ok(action) => plan.actions.push(action),
            Err(blocked) => plan.blocked.push(blocked),
        }
    }
}

fn wants_default(spec: &PartitionPolicySpec, layout: &Layout<'_>) -> bool {
    spec.default_partition == DefaultPartition::Ensure && layout.default.is_none()
}

fn add_default(plan: &mut Plan, spec: &PartitionPolicySpec, layout: &Layout<'_>, details: &Details) {
    if wants_default(spec, layout) {
        plan.actions.push(create::default_partition(spec, layout, details));
    }
    if let (DefaultPartition::Forbid, Some(default)) = (spec.default_partition, layout.default) {
        let message = format!(
            "{} has the default partition {}, which the policy forbids; move its rows away and detach it, or set spec.defaultPartition to Keep",
            layout.parent.table, default.table.name
        );
        plan.blocked.push(Blocked::new(Reason::DefaultForbidden, message));
    }
}

fn leftover_guards(layout: &Layout<'_>) -> Vec<Action> {
    let Some(default) = layout.default else { return vec![] };
    let mut guards = default.leftover_guards.clone();
    guards.sort();
    let drop = |constraint: String| {
        let default = Relation { oid: default.oid, table: default.table.clone() };
        Action::DropGuard(DropGuard { default, constraint, role: layout.parent.owner.clone() })
    };
    guards.into_iter().map(drop).collect()
}

fn repairs(spec: &PartitionPolicySpec, layout: &Layout<'_>, details: &Details) -> Vec<Action> {
    let mut actions = Vec::new();
    for partition in layout.managed().map(|placed| placed.partition) {
        let Some(found) = details.properties.get(&partition.oid).filter(|_| partition.kind == 'r') else { continue };
        let changes = template::drift(&spec.template, found, &partition.table.name);
        if !changes.is_empty() {
            let relation = Relation { oid: partition.oid, table: partition.table.clone() };
            actions.push(Action::RepairPartition(RepairPartition { partition: relation, role: found.owner.clone(), changes }));
        }
    }
    actions
}

/// What the template says and a pass cannot mend on a partition that holds data.
fn unrepaired(spec: &PartitionPolicySpec, layout: &Layout<'_>, details: &Details) -> Vec<Note> {
    let mut notes = Vec::new();
    for partition in layout.managed().map(|placed| placed.partition) {
        let Some(found) = details.properties.get(&partition.oid) else { continue };
        let note = |id: &str, message: String| Note { id: id.into(), object: partition.table.to_string(), message };
        if let Some(wanted) = spec.template.tablespace.as_ref().filter(|wanted| found.tablespace.as_ref() != Some(wanted)) {
            let is = found.tablespace.as_deref().unwrap_or("the database's default");
            notes.push(note(
                finding::OTHER_TABLESPACE.id,
                format!("is in tablespace {is}, not {wanted}; moving it would rewrite it under a lock"),
            ));
        }
        for index in template::too_large_to_index(&spec.template, found, &partition.table.name) {
            notes.push(note(
                finding::INDEX_TOO_LARGE.id,
                format!("lacks the index {index} and is too large for a pass; create it CONCURRENTLY by hand"),
            ));
        }
    }
    notes
}

fn notes(layout: &Layout<'_>) -> Vec<Note> {
    let mut notes = create::default_notes(layout);
    notes.extend(layout.unmanaged.iter().map(|reason| Note {
        id: finding::UNMANAGED.id.into(),
        object: layout.parent.table.to_string(),
        message: format!("left alone: {reason}"),
    }));
    if layout.placed.len() > MANY {
        notes.push(Note {
            id: finding::MANY_PARTITIONS.id.into(),
            object: layout.parent.table.to_string(),
            message: format!(
                "{} partitions slow down planning of queries that name no {}",
                layout.placed.len(),
                layout.column.name
            ),
        });
    }
    notes
}

fn headline(spec: &PartitionPolicySpec, facts: &Facts<'_>) -> String {
    let count: usize = facts.tree.map_or(0, |tree| tree.parents.iter().map(|parent| parent.partitions.len()).sum());
    let plural = if count == 1 { "" } else { "s" };
    format!("{}  RANGE({}) every {}  {count} partition{plural}", spec.table, spec.key.column, spec.interval)
}

/// A bound as the text of a literal.
fn bound_text(bound: Bound, layout: &Layout<'_>) -> String {
    match bound {
        Bound::MinValue => "MINVALUE".into(),
        Bound::MaxValue => "MAXVALUE".into(),
        Bound::Value(ordinal) => key::literal(&ordinal, layout.calendar.grid.key()),
    }
}

fn range_text(range: &Range, layout: &Layout<'_>) -> String {
    format!("[{}, {})", bound_text(range.lower(), layout), bound_text(range.upper(), layout))
}
