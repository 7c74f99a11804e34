//! How is a missing partition created? The action for a slot, and what stands in its way.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::action::{Action, Blocked, CreateDefault, CreatePartition, DefaultAtAttach, Note, Relation};
use super::super::finding;
use super::super::grid::Slot;
use super::super::key::Bound;
use super::super::naming;
use super::super::snapshot::{Details, Parent, Partition, Properties, RowsWithin};
use super::layout::Layout;
use super::{bound_text, range_text, template};
use crate::api::{PartitionPolicySpec, Reason};

/// CHECK constraints that pgreeve puts on a default partition for the time of an ATTACH begin with this.
pub const GUARD_PREFIX: &str = "pgreeve_guard_";

/// Up to this size ATTACH may scan a default partition under its lock: 4 MiB take about 5 ms (measured: 5 M rows of 165 bytes, 445 ms).
const SCAN_BYTES: i64 = 4 << 20;

/// Names the partitions of these slots. A name that is taken gets a number, in the same way every time.
pub(super) fn names(layout: &Layout<'_>, slots: &[Slot], taken: Option<&BTreeSet<String>>) -> Vec<String> {
    let mut taken: BTreeSet<String> = taken.into_iter().flatten().cloned().collect();
    taken.extend(layout.names().into_iter().map(str::to_owned));
    let mut names = Vec::with_capacity(slots.len());
    for slot in slots {
        let name = naming::unique(&layout.calendar.naming.name(slot, &layout.calendar.grid, &layout.parent.table), &taken);
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// The names that slots would get if none were taken: what must be asked for.
pub(super) fn wished_names<'a>(layout: &'a Layout<'_>, slots: &'a [Slot]) -> impl Iterator<Item = String> + 'a {
    slots.iter().map(|slot| layout.calendar.naming.name(slot, &layout.calendar.grid, &layout.parent.table))
}

/// The question how many rows of a slot are in the default partition; none where it is known to be empty.
pub(super) fn rows_within(layout: &Layout<'_>, slot: &Slot) -> Option<RowsWithin> {
    let default = layout.default.filter(|default| default.has_blocks != Some(false))?;
    Some(RowsWithin {
        oid: default.oid,
        table: default.table.clone(),
        owner: layout.parent.owner.clone(),
        column: layout.column.name.clone(),
        type_name: layout.column.type_name.clone(),
        lower: bound_text(slot.lower(), layout),
        upper: bound_text(slot.upper(), layout),
    })
}

/// The action that creates a slot's partition.
///
/// # Errors
/// What stands in the way: rows of the slot in the default partition, or a default partition too large to be scanned under a lock.
pub(super) fn partition(
    spec: &PartitionPolicySpec,
    layout: &Layout<'_>,
    (slot, name): (&Slot, &str),
    details: &Details,
    now: Timestamp,
) -> Result<Action, Blocked> {
    let parent = layout.parent;
    Ok(Action::CreatePartition(CreatePartition {
        parent: relation(parent),
        name: name.to_owned(),
        lower: bound_text(slot.lower(), layout),
        upper: bound_text(slot.upper(), layout),
        role: parent.owner.clone(),
        properties: template::for_new(&spec.template, sibling(layout, details), &parent.owner, name),
        foreign_keys: foreign_keys(parent, details),
        default: layout.default.map(|default| default_at_attach(layout, slot, default, details, now)).transpose()?,
    }))
}

fn default_at_attach(
    layout: &Layout<'_>,
    slot: &Slot,
    default: &Partition,
    details: &Details,
    now: Timestamp,
) -> Result<DefaultAtAttach, Blocked> {
    let rows = rows_within(layout, slot).and_then(|question| details.default_rows.get(&question).copied()).unwrap_or(0);
    if rows > 0 {
        return Err(rows_in_the_way(layout, slot, default, rows));
    }
    let is_small = default.bytes.unwrap_or(i64::MAX) <= SCAN_BYTES;
    let is_future = layout.calendar.grid.start(slot).is_some_and(|start| start > now);
    if !is_small && !is_future {
        return Err(too_large_to_scan(layout, slot, default));
    }
    let guard = (!is_small).then(|| guard_name(slot, layout));
    Ok(DefaultAtAttach {
        relation: Relation { oid: default.oid, table: default.table.clone() },
        column: layout.column.name.clone(),
        type_name: layout.column.type_name.clone(),
        guard,
    })
}

/// A name of letters and digits alone that differs between slots.
fn guard_name(slot: &Slot, layout: &Layout<'_>) -> String {
    let text = bound_text(slot.lower(), layout);
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    format!("{GUARD_PREFIX}{plain}")
}

fn rows_in_the_way(layout: &Layout<'_>, slot: &Slot, default: &Partition, rows: i64) -> Blocked {
    let (range, column) = (range_text(slot.range(), layout), &layout.column.name);
    let message = format!(
        "{}: the partition {range} cannot be created while {} holds {rows} of its rows; move them away (select them by {column} from {} up to but not including {}), then it is created by itself",
        layout.parent.table,
        default.table,
        bound_text(slot.lower(), layout),
        bound_text(slot.upper(), layout),
    );
    Blocked::new(Reason::DefaultRows, message)
}

fn too_large_to_scan(layout: &Layout<'_>, slot: &Slot, default: &Partition) -> Blocked {
    let message = format!(
        "{}: creating the partition {} that rows are being written to would scan {} ({} MiB) under ACCESS EXCLUSIVE; empty it in a quiet hour, or detach it, then the partition is created by itself",
        layout.parent.table,
        range_text(slot.range(), layout),
        default.table,
        default.bytes.unwrap_or(0) >> 20,
    );
    Blocked::new(Reason::DefaultBusy, message)
}

/// The action that creates a default partition.
pub(super) fn default_partition(spec: &PartitionPolicySpec, layout: &Layout<'_>, details: &Details) -> Action {
    let parent = layout.parent;
    let wished = default_name(layout);
    let mut taken: BTreeSet<String> = details.taken.get(&parent.table.schema).into_iter().flatten().cloned().collect();
    taken.extend(layout.names().into_iter().map(str::to_owned));
    let name = naming::unique(&wished, &taken);
    Action::CreateDefault(CreateDefault {
        parent: relation(parent),
        role: parent.owner.clone(),
        properties: template::for_new(&spec.template, sibling(layout, details), &parent.owner, &name),
        foreign_keys: foreign_keys(parent, details),
        name,
    })
}

/// The name that a default partition would get if it were not taken.
pub(super) fn default_name(layout: &Layout<'_>) -> String {
    naming::unique(&format!("{}_default", layout.parent.table.name), &BTreeSet::new())
}

fn sibling<'d>(layout: &Layout<'_>, details: &'d Details) -> Option<&'d Properties> {
    details.properties.get(&layout.reference()?.oid)
}

fn relation(parent: &Parent) -> Relation {
    Relation { oid: parent.oid, table: parent.table.clone() }
}

fn foreign_keys(parent: &Parent, details: &Details) -> Vec<String> {
    details.foreign_keys.get(&parent.oid).into_iter().flatten().cloned().collect()
}

/// Why the privileges do not suffice, with the exact statement that mends it.
pub(super) fn missing_privilege(parent: &Parent, role: &str) -> Option<Blocked> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let grant = if !parent.may_act_as_owner {
        format!("GRANT {} TO {}", quoted(&parent.owner), quoted(role))
    } else if !parent.owner_may_create {
        format!("GRANT CREATE ON SCHEMA {} TO {}", quoted(&parent.table.schema), quoted(&parent.owner))
    } else {
        return None;
    };
    let message = format!("{}: role {role} may not create partitions as the owner {}; run: {grant}", parent.table, parent.owner);
    Some(Blocked::new(Reason::MissingPrivilege, message))
}

/// What the reader should know about a default partition.
pub(super) fn default_notes(layout: &Layout<'_>) -> Vec<Note> {
    let Some(default) = layout.default else { return vec![] };
    let holds_rows = default.has_blocks == Some(true);
    if !holds_rows {
        return vec![];
    }
    vec![Note {
        id: finding::DEFAULT_NOT_EMPTY.id.into(),
        object: default.table.to_string(),
        message: format!("the default partition {} is not empty: its rows are outside every partition", default.table.name),
    }]
}

/// Whether a bound is a value, as every bound of a slot that can be created is.
pub(super) fn is_creatable(slot: &Slot) -> bool {
    matches!((slot.lower(), slot.upper()), (Bound::Value(_), Bound::Value(_)))
}
