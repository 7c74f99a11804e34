//! How is a missing partition created? The action, and what stands in its way.

use super::super::action::{Action, Blocked, CreateDefault, CreatePartition, DefaultAtAttach, Note, Relation};
use super::super::finding;
use super::super::snapshot::{Details, Parent, Partition, RowsWithin};
use super::layout::Layout;
use super::missing::{Piece, When};
use super::template::Sibling;
use super::{bound_text, range_text, template};
use crate::api::{PartitionPolicySpec, Reason};

/// CHECK constraints that pgreeve puts on a default partition for the time of an ATTACH begin with this.
pub const GUARD_PREFIX: &str = "pgreeve_guard_";

/// Up to this size ATTACH may scan a default partition under its lock: 4 MiB take about 5 ms (measured: 5 M rows of 165 bytes, 445 ms).
const SCAN_BYTES: i64 = 4 << 20;

/// The question how many rows of a new partition are in the default partition; none where it is known to be empty.
pub(super) fn rows_within(layout: &Layout<'_>, piece: &Piece) -> Option<RowsWithin> {
    let default = layout.default.filter(|default| default.has_blocks != Some(false))?;
    Some(RowsWithin {
        oid: default.oid,
        table: default.table.clone(),
        owner: layout.parent.owner.clone(),
        column: layout.column.name.clone(),
        type_name: layout.column.type_name.clone(),
        lower: bound_text(piece.range.lower(), layout),
        upper: bound_text(piece.range.upper(), layout),
    })
}

/// The action that creates a missing partition.
///
/// # Errors
/// What stands in the way: its rows in the default partition, or a default partition too large to be scanned under a lock.
pub(super) fn partition(
    spec: &PartitionPolicySpec,
    layout: &Layout<'_>,
    (piece, name): (&Piece, &str),
    details: &Details,
) -> Result<Action, Blocked> {
    let parent = layout.parent;
    Ok(Action::CreatePartition(CreatePartition {
        parent: relation(parent),
        name: name.to_owned(),
        lower: bound_text(piece.range.lower(), layout),
        upper: bound_text(piece.range.upper(), layout),
        role: parent.owner.clone(),
        properties: template::for_new(&spec.template, sibling(layout, details), &parent.owner, name),
        foreign_keys: foreign_keys(parent, details),
        default: layout.default.map(|default| default_at_attach(layout, piece, default, details)).transpose()?,
    }))
}

fn default_at_attach(
    layout: &Layout<'_>,
    piece: &Piece,
    default: &Partition,
    details: &Details,
) -> Result<DefaultAtAttach, Blocked> {
    let rows = rows_within(layout, piece).and_then(|question| details.default_rows.get(&question).copied()).unwrap_or(0);
    if rows > 0 {
        return Err(rows_in_the_way(layout, piece, default, rows));
    }
    let is_small = default.bytes.unwrap_or(i64::MAX) <= SCAN_BYTES;
    if !is_small && piece.when != When::Future {
        return Err(too_large_to_scan(layout, piece, default));
    }
    let guard = (!is_small).then(|| guard_name(piece, layout));
    Ok(DefaultAtAttach {
        relation: Relation { oid: default.oid, table: default.table.clone() },
        column: layout.column.name.clone(),
        type_name: layout.column.type_name.clone(),
        guard,
    })
}

/// A name of letters, digits and underscores that differs between new partitions.
fn guard_name(piece: &Piece, layout: &Layout<'_>) -> String {
    let text = bound_text(piece.range.lower(), layout);
    let sign = if text.starts_with('-') { "neg" } else { "" };
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    format!("{GUARD_PREFIX}{sign}{plain}")
}

fn rows_in_the_way(layout: &Layout<'_>, piece: &Piece, default: &Partition, rows: i64) -> Blocked {
    let (range, column) = (range_text(&piece.range, layout), &layout.column.name);
    let message = format!(
        "{}: the partition {range} cannot be created while {} holds {rows} of its rows; move them away (select them by {column} from {} up to but not including {}), then it is created by itself",
        layout.parent.table,
        default.table,
        bound_text(piece.range.lower(), layout),
        bound_text(piece.range.upper(), layout),
    );
    Blocked::new(Reason::DefaultRows, message)
}

fn too_large_to_scan(layout: &Layout<'_>, piece: &Piece, default: &Partition) -> Blocked {
    let message = format!(
        "{}: creating the partition {} would scan {} ({} MiB) under ACCESS EXCLUSIVE; empty it in a quiet hour, or detach it, then the partition is created by itself",
        layout.parent.table,
        range_text(&piece.range, layout),
        default.table,
        default.bytes.unwrap_or(0) >> 20,
    );
    Blocked::new(Reason::DefaultBusy, message)
}

/// The action that creates a default partition.
pub(super) fn default_partition(spec: &PartitionPolicySpec, layout: &Layout<'_>, name: String, details: &Details) -> Action {
    let parent = layout.parent;
    Action::CreateDefault(CreateDefault {
        parent: relation(parent),
        role: parent.owner.clone(),
        properties: template::for_new(&spec.template, sibling(layout, details), &parent.owner, &name),
        foreign_keys: foreign_keys(parent, details),
        name,
    })
}

fn sibling<'a>(layout: &Layout<'a>, details: &'a Details) -> Option<Sibling<'a>> {
    let reference = layout.reference()?;
    let properties = details.properties.get(&reference.oid)?;
    Some(Sibling { name: &reference.table.name, properties })
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
