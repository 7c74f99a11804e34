//! How well is the table covered? The facts that a status and the metrics report.

use jiff::Timestamp;

use super::super::key::Bound;
use super::layout::Layout;
use super::{Facts, bound_text, laid_out};
use crate::api::partition_policy::PartitionCounts;
use crate::api::{Interval, PartitionPolicySpec};

/// Unmanaged partitions that a status names.
const NAMED: usize = 10;

/// What a status and the metrics say of a table's partitions, all parents together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The counts.
    pub counts: PartitionCounts,
    /// Where the unbroken run of partitions around the present ends: the earliest of all parents. Where the present has no partition,
    /// the end of the last one before it, if there is one.
    pub until: Option<Timestamp>,
    /// Whether the present has no partition, under some parent.
    pub uncovered: bool,
    /// Whether the last partition has no upper bound.
    pub unbounded: bool,
    /// Rows in default partitions; absent without any.
    pub default_rows: Option<i64>,
    /// Seconds to which a status rounds: a day, or an hour where partitions are shorter.
    pub granularity: i64,
}

impl Coverage {
    /// The coverage at `now`; `None` where the table cannot be laid out.
    pub fn of(spec: &PartitionPolicySpec, facts: &Facts<'_>, now: Timestamp) -> Option<Self> {
        let layouts = laid_out(spec, facts, now).ok()?;
        let mut coverage = Self { granularity: granularity(spec.interval), ..Self::default() };
        let mut ends = Vec::new();
        for layout in &layouts {
            coverage.count(layout);
            ends.push(end(layout, now));
        }
        if !matches!(spec.interval, Interval::Step(_)) {
            coverage.conclude(&ends);
        }
        coverage.counts.unmanaged_names.truncate(NAMED);
        Some(coverage)
    }

    fn conclude(&mut self, ends: &[End]) {
        self.unbounded = !ends.is_empty() && ends.iter().all(|end| *end == End::Never);
        let gaps: Vec<Option<Timestamp>> = ends.iter().filter_map(|end| end.uncovered_since()).collect();
        self.uncovered = !gaps.is_empty();
        // `None` is the least: a parent without any partition before now.
        self.until = if self.uncovered { gaps.into_iter().min().flatten() } else { ends.iter().filter_map(End::at).min() };
    }

    /// Seconds that are covered from `now` on; `None` for a plain step and for a table without an end.
    pub fn seconds(&self, now: Timestamp) -> Option<i64> {
        if self.uncovered {
            return Some(0);
        }
        self.until.map(|until| until.as_second().saturating_sub(now.as_second()).max(0))
    }

    /// The same as a status says it, rounded so that it changes seldom.
    pub fn rounded_seconds(&self, now: Timestamp) -> Option<i64> {
        self.seconds(now).map(|seconds| seconds - seconds % self.granularity)
    }

    fn count(&mut self, layout: &Layout<'_>) {
        let counts = &mut self.counts;
        let managed: Vec<_> = layout.managed().collect();
        counts.count += i32::try_from(managed.len()).unwrap_or(i32::MAX);
        counts.unmanaged += i32::try_from(layout.unmanaged.len()).unwrap_or(i32::MAX);
        counts.unmanaged_names.extend(layout.unmanaged.iter().cloned());
        let oldest = managed.first().map(|placed| bound_text(placed.range.lower(), layout));
        let newest = managed.last().map(|placed| bound_text(placed.range.upper(), layout));
        counts.oldest = counts.oldest.take().or(oldest);
        counts.newest = newest.or(counts.newest.take());
        let largest =
            layout.placed.iter().map(|placed| placed.partition).max_by_key(|p| (p.pages, std::cmp::Reverse(&p.table.name)));
        counts.largest = largest.filter(|partition| partition.pages > 0).map(|p| p.table.name.clone()).or(counts.largest.take());
        if let Some(default) = layout.default {
            // Blocks without rows (all deleted) count as 0 only once VACUUM has given them back; a row more is the honest side.
            let rows = if default.has_blocks == Some(false) { 0 } else { default.tuples.max(1) };
            self.default_rows = Some(self.default_rows.unwrap_or(0) + rows);
        }
    }
}

/// Where one parent's run of partitions around the present ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    At(Timestamp),
    Never,
    /// The present has no partition, since then.
    Uncovered(Option<Timestamp>),
}

impl End {
    fn at(&self) -> Option<Timestamp> {
        if let Self::At(at) = self { Some(*at) } else { None }
    }

    fn uncovered_since(&self) -> Option<Option<Timestamp>> {
        if let Self::Uncovered(since) = self { Some(*since) } else { None }
    }
}

fn end(layout: &Layout<'_>, now: Timestamp) -> End {
    let grid = &layout.calendar.grid;
    let instant = |bound: Bound| bound.value().and_then(|ordinal| grid.instant_of(ordinal));
    let Some(at) = grid.ordinal_at(now) else { return End::Uncovered(None) };
    match layout.covered_until(at) {
        Some(end) => instant(end).map_or(End::Never, End::At),
        None => {
            let before = layout.standing().rev().find(|placed| placed.range.upper() <= Bound::Value(at));
            End::Uncovered(before.and_then(|placed| instant(placed.range.upper())))
        }
    }
}

fn granularity(interval: Interval) -> i64 {
    match interval {
        Interval::Time { unit: crate::api::interval::IntervalUnit::Hour, .. } => 3_600,
        _ => 86_400,
    }
}
