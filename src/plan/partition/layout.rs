//! Which partitions are there, and which of them are ours to keep? One parent's partitions against the grid.

use std::collections::BTreeSet;

use super::super::action::Blocked;
use super::super::key::{Bound, Ordinal, Range, parse_bounds};
use super::super::snapshot::{KeyColumn, Parent, Partition, Strategy, Tree};
use super::calendar::{self, Calendar};
use crate::api::{PartitionPolicySpec, Reason};

/// A partition with readable bounds.
#[derive(Clone, Debug)]
pub(super) struct Placed<'a> {
    /// What it holds.
    pub range: Range,
    /// The partition.
    pub partition: &'a Partition,
    /// Whether it begins and ends on the grid.
    pub aligned: bool,
}

/// One parent whose partitions the policy keeps.
#[derive(Clone, Debug)]
pub(super) struct Layout<'a> {
    /// The partitioned table.
    pub parent: &'a Parent,
    /// Its key column.
    pub column: &'a KeyColumn,
    /// Its grid.
    pub calendar: Calendar,
    /// Partitions with readable bounds, by their bounds.
    pub placed: Vec<Placed<'a>>,
    /// The default partition.
    pub default: Option<&'a Partition>,
    /// What is not touched, each with the reason.
    pub unmanaged: Vec<String>,
}

/// The parents that the policy keeps: the table itself, or, where that is divided otherwise, each of its children that is divided
/// by the key column.
pub(super) fn layouts<'a>(spec: &PartitionPolicySpec, tree: &'a Tree) -> Result<Vec<Layout<'a>>, Blocked> {
    let root = tree.parents.iter().find(|parent| parent.oid == tree.oid);
    let root = root.ok_or_else(|| Blocked::new(Reason::TableNotFound, format!("{} was not found", spec.table)))?;
    let is_ranged = |parent: &Parent| divided_by(parent, &spec.key.column).is_some();
    let mut parents: Vec<&Parent> = if is_ranged(root) {
        vec![root]
    } else {
        tree.parents.iter().filter(|parent| parent.parent == Some(root.oid) && is_ranged(parent)).collect()
    };
    if parents.is_empty() {
        return Err(Blocked::new(Reason::NotPartitioned, not_partitioned(spec, root)));
    }
    parents.sort_by(|a, b| a.table.cmp(&b.table));
    parents.into_iter().map(|parent| layout(spec, parent)).collect()
}

fn divided_by<'a>(parent: &'a Parent, column: &str) -> Option<&'a KeyColumn> {
    match (parent.strategy, parent.key.as_slice()) {
        (Some(Strategy::Range), [key]) if key.name == column => Some(key),
        _ => None,
    }
}

fn not_partitioned(spec: &PartitionPolicySpec, root: &Parent) -> String {
    let want = format!("create it with PARTITION BY RANGE ({})", spec.key.column);
    match (root.strategy, root.key.as_slice()) {
        (None, _) => format!("{} is a plain table: {want}", spec.table),
        (Some(Strategy::Range), []) => format!("{} is divided by an expression: {want}", spec.table),
        (Some(Strategy::Range), [key]) => {
            format!("{} is divided by {}, not by {}: correct spec.key.column, or {want}", spec.table, key.name, spec.key.column)
        }
        (Some(Strategy::Range), keys) => {
            let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            format!(
                "{} is divided by several columns ({}), which cannot be kept on a calendar: {want}",
                spec.table,
                names.join(", ")
            )
        }
        (Some(_), _) => {
            format!(
                "{} is not divided by RANGE, and none of its partitions is divided by RANGE ({})",
                spec.table, spec.key.column
            )
        }
    }
}

fn layout<'a>(spec: &PartitionPolicySpec, parent: &'a Parent) -> Result<Layout<'a>, Blocked> {
    let column = divided_by(parent, &spec.key.column)
        .ok_or_else(|| Blocked::new(Reason::NotPartitioned, not_partitioned(spec, parent)))?;
    let calendar = calendar::read(spec, column)?;
    let mut layout = Layout { parent, column, calendar, placed: vec![], default: None, unmanaged: vec![] };
    for partition in &parent.partitions {
        layout.place(partition);
    }
    layout.placed.sort_by_key(|placed| placed.range);
    layout.unmanaged.sort();
    Ok(layout)
}

impl<'a> Layout<'a> {
    fn place(&mut self, partition: &'a Partition) {
        if partition.bound == "DEFAULT" {
            self.default = Some(partition);
            return;
        }
        if partition.detach_pending {
            self.unmanaged.push(format!("{}: a DETACH CONCURRENTLY is pending, finalize it", partition.table.name));
            return;
        }
        match parse_bounds(&partition.bound, self.calendar.grid.key()) {
            Ok(range) => {
                let aligned = self.calendar.grid.span_of(&range).is_some();
                if !aligned {
                    self.unmanaged.push(format!("{}: {} does not lie on the grid", partition.table.name, partition.bound));
                }
                self.placed.push(Placed { range, partition, aligned });
            }
            Err(error) => self.unmanaged.push(format!("{}: {error}", partition.table.name)),
        }
    }

    /// Partitions that are ours to keep: on the grid.
    pub fn managed(&self) -> impl DoubleEndedIterator<Item = &Placed<'a>> {
        self.placed.iter().filter(|placed| placed.aligned)
    }

    /// The partition that new ones are made like: the newest plain table on the grid.
    pub fn reference(&self) -> Option<&'a Partition> {
        self.managed().rev().map(|placed| placed.partition).find(|partition| partition.kind == 'r')
    }

    /// A partition that is itself partitioned: then a plain sibling would be no sibling.
    pub fn subpartitioned(&self) -> Option<&'a Partition> {
        self.managed().map(|placed| placed.partition).find(|partition| partition.kind == 'p')
    }

    /// Where the unbroken run of partitions around `at` ends; `None` if `at` has no partition.
    pub fn covered_until(&self, at: Ordinal) -> Option<Bound> {
        let mut run = self.placed.iter().skip_while(|placed| !placed.range.contains(at));
        let mut end = run.next()?.range.upper();
        for placed in run {
            if placed.range.lower() != end {
                break;
            }
            end = placed.range.upper();
        }
        Some(end)
    }

    /// The existing partition that shares values with this range.
    pub fn overlapping(&self, range: &Range) -> Option<&Placed<'a>> {
        // The ranges of siblings are disjoint and sorted, so the first that ends behind the range's beginning decides.
        let at = self.placed.partition_point(|placed| placed.range.upper() <= range.lower());
        self.placed.get(at).filter(|placed| placed.range.overlaps(range))
    }

    /// Names of the partitions, which a new one cannot have.
    pub fn names(&self) -> BTreeSet<&str> {
        self.parent.partitions.iter().map(|partition| partition.table.name.as_str()).collect()
    }
}
