//! Which partitions are missing? Slots of the grid between where the table begins and how far it must reach.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::action::{Blocked, Note};
use super::super::grid::{Grid, Slot};
use super::super::key::{Bound, Ordinal};
use super::layout::Layout;
use crate::api::{PartitionPolicySpec, Reason, Span};

/// Most partitions that one plan creates under one parent. Planning and locks degrade well below (`max_locks_per_transaction`,
/// measured: 0.3 s to plan an unpruned query over 5 000 partitions).
pub(super) const MOST: usize = 5_000;

/// What is missing under one parent.
#[derive(Clone, Debug, Default)]
pub(super) struct Missing {
    /// Slots without a partition, the most urgent first: the present one, the future in order, then the past.
    pub slots: Vec<Slot>,
    /// What cannot be filled.
    pub blocked: Vec<Blocked>,
    /// What a reader should know.
    pub notes: Vec<Note>,
    /// When the clock next asks for a partition.
    pub due: Option<Timestamp>,
}

/// The first and the last slot that must exist, and the present one.
struct Reach {
    first: Slot,
    present: Slot,
    last: Slot,
    due: Option<Timestamp>,
}

/// What is missing under one parent at `now`.
pub(super) fn missing(spec: &PartitionPolicySpec, layout: &Layout<'_>, now: Timestamp) -> Result<Missing, Blocked> {
    let Some(reach) = reach(spec, layout, now)? else { return Ok(Missing::default()) };
    let grid = &layout.calendar.grid;
    let (Bound::Value(from), Bound::Value(to)) = (reach.first.lower(), reach.last.upper()) else {
        return Err(end_of_key(layout));
    };
    let begin = layout.placed.first().map(|placed| placed.range.lower());
    let mut found = Missing { due: reach.due, ..Missing::default() };
    let mut count = 0;
    for slot in grid.slots(from, to, usize::MAX) {
        if let Some(existing) = layout.overlapping(slot.range()) {
            let is_whole = existing.range.encloses(slot.range());
            if !is_whole && slot.lower() >= reach.present.lower() {
                found.blocked.push(overlap(layout, &slot, &existing.partition.table.name));
            }
            continue;
        }
        let is_gap = slot.lower() < reach.present.lower() && begin.is_some_and(|begin| slot.lower() > begin);
        if is_gap && !spec.create.fill_gaps {
            continue;
        }
        count += 1;
        if count > MOST {
            return Err(too_many(spec, layout));
        }
        found.slots.push(slot);
    }
    let present = reach.present.lower();
    found.slots.sort_by_key(|slot| (slot.lower() < present, slot.clone()));
    Ok(found)
}

fn reach(spec: &PartitionPolicySpec, layout: &Layout<'_>, now: Timestamp) -> Result<Option<Reach>, Blocked> {
    let grid = &layout.calendar.grid;
    let is_integer = grid.key().is_integer();
    let present = if is_integer { newest_with_data(layout) } else { grid.slot_at(now) };
    let Some(present) = present else { return Err(end_of_key(layout)) };
    let mut last = present.clone();
    for _ in 0..spec.create.ahead {
        // Where the key's type ends there is nothing further to create: the last slot reaches to its end.
        let Some(next) = grid.next(&last) else { break };
        last = next;
    }
    let mut due = if is_integer { None } else { grid.end(&present) };
    if let (Some(horizon), false) = (spec.create.horizon, is_integer) {
        let until = ahead_of(horizon, now, &spec.time_zone)?;
        if let Some(slot) = grid.slot_at(until).filter(|slot| slot.lower() >= last.lower()) {
            due =
                [due, horizon_due(horizon, grid.end(&slot), &spec.time_zone)].into_iter().flatten().filter(|at| *at > now).min();
            last = slot;
        }
    }
    let first = first_slot(spec, layout, &present);
    Ok(Some(Reach { first, present, last, due }))
}

/// When the horizon will reach beyond the slot that ends at `end`.
fn horizon_due(horizon: Span, end: Option<Timestamp>, zone: &str) -> Option<Timestamp> {
    let zone = TimeZone::get(zone).ok()?;
    horizon.subtract_from(&end?.to_zoned(zone)).ok().map(|at| at.timestamp())
}

fn ahead_of(horizon: Span, now: Timestamp, zone: &str) -> Result<Timestamp, Blocked> {
    let invalid = |message: String| Blocked::new(Reason::InvalidSpec, format!("create.horizon: {message}"));
    let zone = TimeZone::get(zone).map_err(|error| invalid(error.to_string()))?;
    horizon.add_to(&now.to_zoned(zone)).map(|at| at.timestamp()).map_err(|error| invalid(error.to_string()))
}

fn first_slot(spec: &PartitionPolicySpec, layout: &Layout<'_>, present: &Slot) -> Slot {
    let grid = &layout.calendar.grid;
    let from = layout.calendar.from.and_then(|from| grid.slot_containing(from));
    let oldest = layout.managed().next().and_then(|placed| placed.range.lower().value()).and_then(|at| grid.slot_containing(at));
    let oldest = oldest.filter(|_| spec.create.fill_gaps);
    [from, oldest].into_iter().flatten().chain([present.clone()]).min_by_key(Slot::lower).unwrap_or_else(|| present.clone())
}

/// For a plain step there is no clock: the present is the newest partition that holds data, or else where the table begins.
fn newest_with_data(layout: &Layout<'_>) -> Option<Slot> {
    let grid = &layout.calendar.grid;
    let newest = layout.managed().rev().find(|placed| placed.partition.has_blocks != Some(false));
    let begin = || -> Option<Ordinal> {
        let oldest = layout.managed().next().and_then(|placed| placed.range.lower().value());
        layout.calendar.from.or(oldest).or_else(|| grid.key().integer(0))
    };
    // A wide partition counts as its last slot: that is where the next one follows.
    match newest.map(|placed| placed.range.upper()) {
        Some(Bound::Value(upper)) => grid.slot_containing(last_value(grid, upper)?),
        Some(_) => None,
        None => grid.slot_containing(begin()?),
    }
}

fn last_value(grid: &Grid, upper: Ordinal) -> Option<Ordinal> {
    i64::try_from(upper.get().checked_sub(1)?).ok().and_then(|value| grid.key().integer(value))
}

fn overlap(layout: &Layout<'_>, slot: &Slot, name: &str) -> Blocked {
    let message = format!(
        "{}: the partition {} cannot be created because {name} holds a part of it; set spec.anchor, spec.interval and spec.timeZone so that the grid meets the bounds of {name}, or replace {name}",
        layout.parent.table,
        super::range_text(slot.range(), layout),
    );
    Blocked::new(Reason::Overlap, message)
}

fn too_many(spec: &PartitionPolicySpec, layout: &Layout<'_>) -> Blocked {
    let message = format!(
        "{}: more than {MOST} partitions would be created; use a longer interval than {}, a later create.from or a nearer create.horizon",
        layout.parent.table, spec.interval
    );
    Blocked::new(Reason::TooManyPartitions, message)
}

fn end_of_key(layout: &Layout<'_>) -> Blocked {
    let message = format!(
        "{}.{}: the present has no place in a key of type {}; use a wider type",
        layout.parent.table,
        layout.column.name,
        layout.calendar.grid.key().column_type()
    );
    Blocked::new(Reason::KeyMismatch, message)
}
