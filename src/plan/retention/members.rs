//! Which partitions are there, how old are they, and which of them may go at all?

use std::num::NonZero;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::action::Blocked;
use super::super::grid::Grid;
use super::super::key::{Bound, ColumnType, Encoding, Key, Range, parse_bounds};
use super::super::snapshot::{KeyColumn, Parent, Partition, Strategy, Tree};
use super::super::window;
use crate::api::interval::IntervalUnit;
use crate::api::{Interval, Reason, RetentionPolicySpec};

/// A partition with readable bounds, a table of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// The partition.
    pub partition: &'a Partition,
    /// What it holds.
    pub range: Range,
    /// When the youngest row that it may hold is written; `None` for plain integers and where there is no upper bound.
    pub ends: Option<Timestamp>,
    /// Whether it holds, or held, the present: what lies wholly in the future has not begun.
    pub began: bool,
}

/// One parent and its partitions, the oldest first.
#[derive(Clone, Debug)]
pub(super) struct Members<'a> {
    /// The partitioned table.
    pub parent: &'a Parent,
    /// Its key column.
    pub column: &'a KeyColumn,
    /// Reads the key's values.
    pub grid: Grid,
    /// Its partitions.
    pub members: Vec<Member<'a>>,
    /// Partitions that are kept because nothing can be said of their age, each with the reason.
    pub unreadable: Vec<String>,
    /// A partition whose detach is pending.
    pub pending: Option<&'a Partition>,
    /// Whether there is a default partition.
    pub has_default: bool,
}

/// The parents whose partitions are judged: the table itself, or, where that is divided otherwise, each of its children that is
/// divided by the key column.
pub(super) fn of<'a>(spec: &RetentionPolicySpec, tree: &'a Tree, now: Timestamp) -> Result<Vec<Members<'a>>, Blocked> {
    let zone = window::zone(&spec.time_zone)
        .map_err(|message| Blocked::new(Reason::InvalidSpec, format!("{}: {message}", spec.table)))?;
    let root = tree.parents.iter().find(|parent| parent.oid == tree.oid);
    let root = root.ok_or_else(|| Blocked::new(Reason::TableNotFound, format!("{} was not found", spec.table)))?;
    let column = |parent: &'a Parent| key_column(spec, parent);
    let mut parents: Vec<(&Parent, &KeyColumn)> = match column(root) {
        Some(key) => vec![(root, key)],
        None => tree
            .parents
            .iter()
            .filter(|parent| parent.parent == Some(root.oid))
            .filter_map(|parent| Some((parent, column(parent)?)))
            .collect(),
    };
    if parents.is_empty() {
        return Err(Blocked::new(Reason::NotPartitioned, not_partitioned(spec, root)));
    }
    parents.sort_by(|(a, _), (b, _)| a.table.cmp(&b.table));
    parents.into_iter().map(|(parent, column)| members(spec, parent, column, &zone, now)).collect()
}

fn key_column<'a>(spec: &RetentionPolicySpec, parent: &'a Parent) -> Option<&'a KeyColumn> {
    match (parent.strategy, parent.key.as_slice()) {
        (Some(Strategy::Range), [key]) if spec.key.as_ref().is_none_or(|wanted| wanted.column == key.name) => Some(key),
        _ => None,
    }
}

fn not_partitioned(spec: &RetentionPolicySpec, root: &Parent) -> String {
    if root.strategy.is_none() {
        return format!("{} is a plain table: give spec.rows instead of spec.partitions", spec.table);
    }
    format!("{} is not partitioned by RANGE on one column that spec.key names: only such partitions have an age", spec.table)
}

fn members<'a>(
    spec: &RetentionPolicySpec,
    parent: &'a Parent,
    column: &'a KeyColumn,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Members<'a>, Blocked> {
    let mismatch = |message: String| Blocked::new(Reason::KeyMismatch, format!("{}.{}: {message}", spec.table, column.name));
    let column_type: ColumnType = column.type_name.parse().map_err(|error| mismatch(format!("{error}")))?;
    let encoding = match (spec.encoding(), column_type) {
        // A uuid or a text that partitions a table by time can be nothing else.
        (Encoding::Native, ColumnType::Uuid) => Encoding::Uuidv7,
        (Encoding::Native, ColumnType::Text) => Encoding::Ulid,
        (encoding, _) => encoding,
    };
    let key = Key::new(column_type, encoding).map_err(|error| mismatch(error.to_string()))?;
    if key.is_integer() && spec.keep.age.is_some() {
        let message = "a plain integer has no age: give spec.key with the encoding that makes it tell the time, or keep.count";
        return Err(mismatch(message.into()));
    }
    let interval = if key.is_integer() {
        Interval::Step(NonZero::<u64>::MIN)
    } else {
        Interval::Time { n: NonZero::<u32>::MIN, unit: IntervalUnit::Day }
    };
    let grid = Grid::new(interval, None, zone.clone(), key).map_err(|error| mismatch(error.to_string()))?;
    let mut found = Members {
        parent,
        column,
        grid,
        members: vec![],
        unreadable: vec![],
        pending: parent.partitions.iter().find(|partition| partition.detach_pending),
        has_default: parent.partitions.iter().any(|partition| partition.bound == "DEFAULT"),
    };
    for partition in parent.partitions.iter().filter(|partition| partition.bound != "DEFAULT" && !partition.detach_pending) {
        found.add(partition, &key, now);
    }
    found.members.sort_by_key(|member| (member.range.upper(), member.partition.oid));
    if key.is_integer() {
        found.begin_up_to_the_newest_with_rows();
    }
    found.unreadable.sort();
    Ok(found)
}

impl<'a> Members<'a> {
    fn add(&mut self, partition: &'a Partition, key: &Key, now: Timestamp) {
        let name = &partition.table.name;
        if partition.kind != 'r' {
            let what = if partition.kind == 'p' { "itself partitioned" } else { "a foreign table" };
            self.unreadable.push(format!("{name} is {what}"));
            return;
        }
        match parse_bounds(&partition.bound, key) {
            Err(error) => self.unreadable.push(format!("{name}: {error}")),
            Ok(range) => {
                let ends = range.upper().value().and_then(|upper| self.grid.instant_of(upper));
                let present = self.grid.ordinal_at(now);
                let began = present.is_some_and(|present| range.lower() <= Bound::Value(present));
                self.members.push(Member { partition, range, ends, began });
            }
        }
    }

    /// A plain integer has no clock: what tells the present is the newest partition that holds rows.
    fn begin_up_to_the_newest_with_rows(&mut self) {
        let newest = self.members.iter().rposition(|member| member.partition.has_blocks != Some(false));
        for member in self.members.iter_mut().take(newest.map_or(0, |newest| newest + 1)) {
            member.began = true;
        }
    }
}
