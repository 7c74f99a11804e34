//! Which partitions does a table lack, and which are not as they should be? The planner of PartitionPolicy.
//!
//! Flow: the tree is laid out against the grid ([`layout`]); what must exist is computed ([`reach`]) and what of it no partition holds
//! ([`missing`]); each becomes an action or a refusal ([`create`]) with a name ([`names`]); and existing partitions are compared with
//! the template ([`template`]).
//!
//! Guarantees: no action overlaps an existing partition; nothing that is off the grid, unreadable, foreign, far in the future or
//! pending is touched; nothing is ever detached or dropped; carrying the plan out, or any beginning of it, and planning again gives
//! what is left of it.

use jiff::Timestamp;

mod calendar;
mod coverage;
mod create;
mod layout;
mod missing;
mod names;
mod reach;
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
use missing::{Missing, When};
use names::Names;

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

/// What the first look at the catalog did not tell and the plan depends on. With answers that some names are taken, it also asks for
/// the names that are tried next.
pub fn needs(spec: &PartitionPolicySpec, facts: &Facts<'_>, now: Timestamp) -> Needs {
    let mut needs = Needs::default();
    let Ok(layouts) = laid_out(spec, facts, now) else { return needs };
    let mut names = Names::of(facts.tree, facts.details);
    let mut asked = Vec::new();
    for layout in &layouts {
        let Ok(missing) = missing::missing(spec, layout, now) else { continue };
        let schema = &layout.parent.table.schema;
        let asked_before = asked.len();
        asked.extend(missing.pieces.iter().map(|piece| (schema, names.ask(schema, &names::wished(layout, piece)))));
        needs.default_rows.extend(missing.pieces.iter().filter_map(|piece| create::rows_within(layout, piece)));
        if wants_default(spec, layout) {
            asked.push((schema, names.ask(schema, &names::wished_default(layout))));
        }
        if asked.len() > asked_before {
            needs.properties.extend(layout.reference().map(|partition| partition.oid));
            needs.foreign_keys.insert(layout.parent.oid);
        }
        if spec.template != Template::default() {
            needs.properties.extend(layout.managed().filter(|p| p.partition.kind == 'r').map(|p| p.partition.oid));
        }
    }
    for (schema, names) in asked {
        needs.names.entry(schema.clone()).or_default().extend(names);
    }
    needs
}

/// The plan of a policy at `now`.
pub fn plan(object: ObjectId, spec: &PartitionPolicySpec, facts: &Facts<'_>, now: Timestamp) -> Plan {
    let headline = headline(spec, facts);
    let layouts = match laid_out(spec, facts, now) {
        Ok(layouts) => layouts,
        Err(blocked) => return Plan::refused(object, headline, blocked),
    };
    let mut plan = Plan::empty(object, headline);
    plan.actions.extend(layouts.iter().flat_map(leftover_guards));
    add_partitions(&mut plan, spec, &layouts, facts, now);
    for layout in &layouts {
        plan.actions.extend(repairs(spec, layout, facts.details));
        plan.notes.extend(notes(layout));
        plan.notes.extend(unrepaired(spec, layout, facts.details));
    }
    withhold_without_privilege(&mut plan);
    plan.notes.sort();
    plan
}

/// What is created, under all parents the most urgent first, and then the default partitions.
fn add_partitions(plan: &mut Plan, spec: &PartitionPolicySpec, layouts: &[Layout<'_>], facts: &Facts<'_>, now: Timestamp) {
    let mut names = Names::of(facts.tree, facts.details);
    let (mut partitions, mut defaults) = (Vec::new(), Vec::new());
    for layout in layouts {
        match missing::missing(spec, layout, now) {
            Ok(missing) => partitions.extend(create_missing(plan, spec, layout, missing, &mut names, facts.details)),
            Err(blocked) => plan.blocked.push(blocked),
        }
        plan.blocked.extend(create::missing_privilege(layout.parent, &facts.server.role));
        if wants_default(spec, layout) {
            let name = names.give(&layout.parent.table.schema, &names::wished_default(layout));
            defaults.push(create::default_partition(spec, layout, name, facts.details));
        }
        plan.blocked.extend(forbidden_default(spec, layout));
    }
    partitions.sort_by_key(|(when, _)| *when);
    plan.actions.extend(partitions.into_iter().map(|(_, action)| action).chain(defaults));
}

/// Where a privilege lacks, every action would fail one by one; the plan says it once instead.
fn withhold_without_privilege(plan: &mut Plan) {
    if plan.blocked.iter().any(|blocked| blocked.reason == Reason::MissingPrivilege) {
        plan.actions.clear();
    }
}

fn laid_out<'a>(spec: &PartitionPolicySpec, facts: &Facts<'a>, now: Timestamp) -> Result<Vec<Layout<'a>>, Blocked> {
    check(spec)?;
    let tree = facts.tree.ok_or_else(|| {
        let message = format!(
            "table {} does not exist in database {}: create it, or correct spec.table (names are case-sensitive)",
            spec.table, facts.server.database
        );
        Blocked::new(Reason::TableNotFound, message)
    })?;
    layout::layouts(spec, tree, now)
}

/// What is created under one parent. What cannot be is added to the plan's refusals.
fn create_missing(
    plan: &mut Plan,
    spec: &PartitionPolicySpec,
    layout: &Layout<'_>,
    missing: Missing,
    names: &mut Names,
    details: &Details,
) -> Vec<(When, Action)> {
    plan.due = [plan.due, missing.due].into_iter().flatten().min();
    plan.blocked.extend(missing.blocked);
    if let (Some(child), false) = (layout.subpartitioned(), missing.pieces.is_empty()) {
        let message = format!(
            "{}: its partition {} is itself partitioned, so a new plain partition would be unlike its siblings; make a policy for a table whose partitions are plain",
            layout.parent.table, child.table.name
        );
        plan.blocked.push(Blocked::new(Reason::Unsupported, message));
        return vec![];
    }
    plan.notes.extend(missing.notes);
    let mut actions = Vec::new();
    for piece in &missing.pieces {
        let name = names.give(&layout.parent.table.schema, &names::wished(layout, piece));
        match create::partition(spec, layout, (piece, &name), details) {
            Ok(action) => actions.push((piece.when, action)),
            Err(blocked) => plan.blocked.push(blocked),
        }
    }
    actions
}

fn wants_default(spec: &PartitionPolicySpec, layout: &Layout<'_>) -> bool {
    spec.default_partition == DefaultPartition::Ensure && layout.default.is_none()
}

fn forbidden_default(spec: &PartitionPolicySpec, layout: &Layout<'_>) -> Option<Blocked> {
    let default = layout.default.filter(|_| spec.default_partition == DefaultPartition::Forbid)?;
    let message = format!(
        "{} has the default partition {}, which the policy forbids; move its rows away and detach it, or set spec.defaultPartition to Keep",
        layout.parent.table, default.table.name
    );
    Some(Blocked::new(Reason::DefaultForbidden, message))
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
        let is_elsewhere = |wanted: &&String| found.tablespace.as_deref().unwrap_or("pg_default") != wanted.as_str();
        if let Some(wanted) = spec.template.tablespace.as_ref().filter(is_elsewhere) {
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
