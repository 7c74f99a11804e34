//! Which partitions are there, and which of them are ours to keep? One parent's partitions against the grid.

use jiff::Timestamp;

use super::super::action::Blocked;
use super::super::grid::Slot;
use super::super::key::{Bound, Ordinal, Range, parse_bounds};
use super::super::snapshot::{KeyColumn, Parent, Partition, Strategy, Tree};
use super::calendar::{self, Calendar};
use super::reach::{self, Reach};
use crate::api::{PartitionPolicySpec, Reason};

/// A partition with readable bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    /// What it holds.
    pub range: Range,
    /// The partition.
    pub partition: &'a Partition,
    /// What it is to us.
    pub standing: Standing,
}

/// What a partition is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A table, on the grid: ours to keep.
    Managed,
    /// It holds its rows and is left alone: off the grid, foreign, or far in the future.
    Unmanaged,
    /// Its detach is pending: it holds its range, but takes no rows.
    Detaching,
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
pub(super) fn layouts<'a>(spec: &PartitionPolicySpec, tree: &'a Tree, now: Timestamp) -> Result<Vec<Layout<'a>>, Blocked> {
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
    parents.into_iter().map(|parent| layout(spec, parent, now)).collect()
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

fn layout<'a>(spec: &PartitionPolicySpec, parent: &'a Parent, now: Timestamp) -> Result<Layout<'a>, Blocked> {
    let column = divided_by(parent, &spec.key.column)
        .ok_or_else(|| Blocked::new(Reason::NotPartitioned, not_partitioned(spec, parent)))?;
    let calendar = calendar::read(spec, column)?;
    let mut layout = Layout { parent, column, calendar, placed: vec![], default: None, unmanaged: vec![] };
    for partition in &parent.partitions {
        layout.place(partition);
    }
    layout.placed.sort_by_key(|placed| placed.range);
    // Without a present there is no future; what is then refused says so.
    if let Ok(reach) = reach::reach(spec, &layout, now) {
        layout.leave_far_future(&reach);
    }
    layout.unmanaged.sort();
    Ok(layout)
}

impl<'a> Layout<'a> {
    fn place(&mut self, partition: &'a Partition) {
        if partition.bound == "DEFAULT" {
            self.default = Some(partition);
            return;
        }
        let range = match parse_bounds(&partition.bound, self.calendar.grid.key()) {
            Ok(range) => range,
            Err(error) => return self.leave_alone(partition, &error.to_string()),
        };
        let is_aligned = self.on_time_line(&range).is_some_and(|range| self.calendar.grid.span_of(&range).is_some());
        let standing = if partition.detach_pending {
            self.leave_alone(partition, "a DETACH CONCURRENTLY is pending, finalize it");
            Standing::Detaching
        } else if !matches!(partition.kind, 'r' | 'p') {
            self.leave_alone(partition, "it is a foreign table");
            Standing::Unmanaged
        } else if !is_aligned {
            self.leave_alone(partition, &format!("{} does not lie on the grid", partition.bound));
            Standing::Unmanaged
        } else {
            Standing::Managed
        };
        self.placed.push(Placed { range, partition, standing });
    }

    fn leave_alone(&mut self, partition: &Partition, why: &str) {
        self.unmanaged.push(format!("{}: {why}", partition.table.name));
    }

    /// Leaves alone what lies beyond the policy's reach with a gap before it: nobody can tell a mistaken year from a plan.
    pub fn leave_far_future(&mut self, reach: &Reach) {
        // As if all within reach existed, so that filling it changes nothing here.
        let mut run = reach.last.upper();
        for placed in self.standing() {
            if placed.range.lower() <= run {
                run = run.max(placed.range.upper());
            }
        }
        for at in 0..self.placed.len() {
            let Placed { range, partition, standing } = self.placed[at];
            if standing == Standing::Managed && range.lower() > run {
                self.placed[at].standing = Standing::Unmanaged;
                self.leave_alone(partition, &format!("{} is far beyond what the policy asks for", partition.bound));
            }
        }
        self.unmanaged.sort();
    }

    /// Partitions that are ours to keep.
    pub fn managed(&self) -> impl DoubleEndedIterator<Item = &Placed<'a>> {
        self.placed.iter().filter(|placed| placed.standing == Standing::Managed)
    }

    /// Partitions that take rows.
    pub fn standing(&self) -> impl DoubleEndedIterator<Item = &Placed<'a>> {
        self.placed.iter().filter(|placed| placed.standing != Standing::Detaching)
    }

    /// The partition that new ones are made like: the newest plain table on the grid.
    pub fn reference(&self) -> Option<&'a Partition> {
        self.managed().rev().map(|placed| placed.partition).find(|partition| partition.kind == 'r')
    }

    /// A partition that is itself partitioned: then a plain sibling would be no sibling.
    pub fn subpartitioned(&self) -> Option<&'a Partition> {
        self.managed().map(|placed| placed.partition).find(|partition| partition.kind == 'p')
    }

    /// The slot in which the table begins, if the spec says.
    pub fn beginning(&self) -> Option<Slot> {
        self.calendar.grid.slot_containing(self.calendar.from?)
    }

    /// The smallest value that a partition may hold.
    pub fn first_value(&self, placed: &Placed<'_>) -> Option<Ordinal> {
        let key = self.calendar.grid.key();
        placed.range.lower().value().or_else(|| key.ordinal(key.limits().min))
    }

    /// The range with identifiers as bounds replaced by the smallest ones of their millisecond, so that a bound with the version
    /// written out (`…-7000-8000-…`) is the same as one without. `None` if that leaves nothing.
    pub fn on_time_line(&self, range: &Range) -> Option<Range> {
        let key = self.calendar.grid.key();
        Range::new(key.on_time_line(range.lower()), key.on_time_line(range.upper()))
    }

    /// Whether some partition begins or ends on the grid, or there is none that could.
    pub fn meets_the_grid(&self) -> bool {
        let bounds = self.placed.iter().flat_map(|placed| [placed.range.lower(), placed.range.upper()]);
        let grid = &self.calendar.grid;
        let is_on_grid = |bound: Bound| {
            let bound = grid.key().on_time_line(bound);
            bound.value().and_then(|value| grid.slot_containing(value)).is_some_and(|slot| slot.lower() == bound)
        };
        self.placed.is_empty() || bounds.into_iter().any(is_on_grid)
    }

    /// Where the unbroken run of partitions around `at` ends; `None` if `at` has no partition.
    pub fn covered_until(&self, at: Ordinal) -> Option<Bound> {
        let key = self.calendar.grid.key();
        let mut run = self.standing().skip_while(|placed| !placed.range.contains(at));
        let mut end = run.next()?.range.upper();
        for placed in run {
            if key.on_time_line(placed.range.lower()) > key.on_time_line(end) {
                break;
            }
            end = placed.range.upper();
        }
        Some(end)
    }

    /// What no partition holds of this range, in order.
    pub fn free(&self, within: &Range) -> Vec<Range> {
        let first = self.placed.partition_point(|placed| placed.range.upper() <= within.lower());
        let mut free = Vec::new();
        let mut begin = within.lower();
        for held in self.placed[first..].iter().map(|placed| placed.range).take_while(|held| held.lower() < within.upper()) {
            free.extend(Range::new(begin, held.lower()));
            begin = held.upper();
        }
        free.extend(Range::new(begin, within.upper()));
        free
    }

    /// An existing partition that shares values with this range.
    pub fn overlapping(&self, range: &Range) -> Option<&Placed<'a>> {
        // The ranges of siblings are disjoint and sorted, so the first that ends behind the range's beginning decides.
        let at = self.placed.partition_point(|placed| placed.range.upper() <= range.lower());
        self.placed.get(at).filter(|placed| placed.range.overlaps(range))
    }
}
