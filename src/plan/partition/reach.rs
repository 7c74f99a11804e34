//! From where to where must the table have partitions? The first slot, the present one and the last one, and when that changes.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::action::Blocked;
use super::super::grid::{Grid, Slot};
use super::super::key::Bound;
use super::layout::{Layout, Placed};
use crate::api::{PartitionPolicySpec, Reason, Span};

/// What must exist under one parent.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// Where the table begins.
    pub first: Slot,
    /// The slot of now; for a plain step that of the newest data.
    pub present: Slot,
    /// How far the table must reach.
    pub last: Slot,
    /// When the clock next moves one of them.
    pub due: Option<Timestamp>,
}

/// What must exist under one parent at `now`.
///
/// # Errors
/// The present has no place in the key's type, or the horizon cannot be computed.
pub(super) fn reach(spec: &PartitionPolicySpec, layout: &Layout<'_>, now: Timestamp) -> Result<Reach, Blocked> {
    let grid = &layout.calendar.grid;
    if grid.key().is_integer() {
        let present = newest_with_data(spec, layout).ok_or_else(|| end_of_key(layout))?;
        let last = ahead(grid, &present, spec.create.ahead);
        return Ok(Reach { first: first(spec, layout, &present), present, last, due: None });
    }
    let present = grid.slot_at(now).ok_or_else(|| end_of_key(layout))?;
    let mut last = ahead(grid, &present, spec.create.ahead);
    let mut due = grid.end(&present);
    if let Some(horizon) = spec.create.horizon {
        let horizon = Horizon::new(horizon, &spec.time_zone)?;
        let reached = horizon.ahead_of(now)?;
        // Beyond what the key can hold the table reaches to its end.
        let slot = if grid.ordinal_at(reached).is_some() { grid.slot_at(reached) } else { last_slot(grid) };
        if let Some(slot) = slot.filter(|slot| slot.lower() > last.lower()) {
            last = slot;
        }
        due = horizon.reaches(grid.end(&last), (now, due)).or(due);
    }
    Ok(Reach { first: first(spec, layout, &present), present, last, due })
}

/// The slot so many after this one. Where the key's type ends there is nothing further: the last slot reaches to its end.
pub(super) fn ahead(grid: &Grid, present: &Slot, count: i32) -> Slot {
    let mut last = present.clone();
    for _ in 0..count {
        let Some(next) = grid.next(&last) else { break };
        last = next;
    }
    last
}

fn last_slot(grid: &Grid) -> Option<Slot> {
    grid.slot_containing(grid.key().ordinal(grid.key().limits().max)?)
}

/// A span of the calendar, counted in the policy's zone.
struct Horizon {
    span: Span,
    zone: TimeZone,
}

impl Horizon {
    fn new(span: Span, zone: &str) -> Result<Self, Blocked> {
        Ok(Self { span, zone: super::super::window::zone(zone).map_err(|message| Blocked::new(Reason::InvalidSpec, message))? })
    }

    fn ahead_of(&self, at: Timestamp) -> Result<Timestamp, Blocked> {
        let reached = self.span.add_to(&at.to_zoned(self.zone.clone())).map(|at| at.timestamp());
        reached.map_err(|error| Blocked::new(Reason::InvalidSpec, format!("create.horizon: {error}")))
    }

    /// The first second after `now`, and before `end`, whose horizon lies behind `bound`, if there is one.
    ///
    /// A month before the 31st of March is the 28th of February, whose month ends on the 28th of March: counting back is only a
    /// guess, and where it is wrong the moment is searched for.
    fn reaches(&self, bound: Option<Timestamp>, (now, end): (Timestamp, Option<Timestamp>)) -> Option<Timestamp> {
        let (bound, end) = (bound?, end?);
        let is_behind = |at: Timestamp| self.ahead_of(at).is_ok_and(|reached| reached >= bound);
        let before = |at: Timestamp| at.checked_sub(jiff::SignedDuration::from_secs(1)).unwrap_or(at);
        let guess = self.span.subtract_from(&bound.to_zoned(self.zone.clone())).ok().map(|at| at.timestamp());
        if let Some(guess) = guess.filter(|guess| is_behind(*guess) && !is_behind(before(*guess))) {
            return Some(guess).filter(|guess| now < *guess && *guess < end);
        }
        let (mut low, mut high) = (now.as_second(), end.as_second());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let at = Timestamp::from_second(middle).ok()?;
            if is_behind(at) { high = middle } else { low = middle }
        }
        Timestamp::from_second(high).ok().filter(|at| now < *at && *at < end)
    }
}

fn first(spec: &PartitionPolicySpec, layout: &Layout<'_>, present: &Slot) -> Slot {
    let from = layout.beginning();
    let oldest = layout.managed().next().and_then(|placed| layout.calendar.grid.slot_containing(layout.first_value(placed)?));
    let oldest = oldest.filter(|_| spec.create.fill_gaps);
    [from, oldest].into_iter().flatten().chain([present.clone()]).min_by_key(Slot::lower).unwrap_or_else(|| present.clone())
}

/// For a plain step there is no clock: the present is the newest partition that holds data, or else where the table begins.
fn newest_with_data(spec: &PartitionPolicySpec, layout: &Layout<'_>) -> Option<Slot> {
    let grid = &layout.calendar.grid;
    // Only a plain table has blocks of its own to tell by.
    let may_hold_data = |placed: &&Placed<'_>| placed.partition.kind != 'r' || placed.partition.has_blocks != Some(false);
    let newest = layout.standing().rev().find(may_hold_data);
    match newest.map(|placed| (placed.range.lower(), placed.range.upper())) {
        // A wide partition counts as its last slot: that is where the next one follows.
        Some((_, Bound::Value(upper))) => grid.slot_containing(grid.key().ordinal(upper.get() - 1)?),
        // Whatever comes has a place already, so it does not matter how far the data go.
        Some((lower, _)) => grid.slot_containing(lower.value().or_else(|| grid.key().integer(0))?),
        None => begin(spec, layout),
    }
}

/// Where a table without data begins: where the spec says, or with its oldest partition, or at 0. A table whose first partitions
/// are still missing begins at 0 too, so that creating the others first does not move its beginning.
fn begin(spec: &PartitionPolicySpec, layout: &Layout<'_>) -> Option<Slot> {
    let grid = &layout.calendar.grid;
    if let Some(from) = layout.calendar.from {
        return grid.slot_containing(from);
    }
    let zero = grid.slot_containing(grid.key().integer(0)?)?;
    let oldest = layout.standing().next().and_then(|placed| layout.first_value(placed));
    let Some(oldest) = oldest else { return Some(zero) };
    let is_near = Bound::Value(oldest) >= zero.lower() && Bound::Value(oldest) < ahead(grid, &zero, spec.create.ahead).upper();
    if is_near { Some(zero) } else { grid.slot_containing(oldest) }
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
