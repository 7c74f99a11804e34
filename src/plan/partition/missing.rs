//! Which partitions are missing? What no partition holds between where the table begins and how far it must reach.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::super::action::{Blocked, Note};
use super::super::finding;
use super::super::grid::Slot;
use super::super::key::{Bound, Ordinal, Range};
use super::layout::{Layout, Standing};
use super::reach::{self, Reach};
use crate::api::{PartitionPolicySpec, Reason};

/// Most partitions that one plan creates under one parent. Planning and locks degrade well below (`max_locks_per_transaction`,
/// measured: 0.3 s to plan an unpruned query over 5 000 partitions).
pub(super) const MOST: usize = 5_000;

/// How urgent a missing partition is. The order is that of the actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    /// Rows are arriving.
    Present,
    /// Rows will arrive.
    Future,
    /// Rows are late, or are still to be loaded.
    Past,
}

/// What a new partition will hold: a slot, or what existing partitions leave of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The slot, which also gives the name.
    pub slot: Slot,
    /// The bounds. Where others hold a part of the slot they meet the neighbours' exactly.
    pub range: Range,
    /// Whether that is the whole slot.
    pub is_whole: bool,
    /// How urgent it is.
    pub when: When,
}

/// The values that are written now: those of this instant; for a plain step all of the newest slot.
struct Present {
    first: Bound,
    last: Bound,
}

impl Present {
    fn new(now: Option<Ordinal>, reach: &Reach) -> Self {
        let last_value = |upper: Ordinal| Bound::Value(Ordinal::new(upper.get() - 1));
        match now.map(Bound::Value) {
            Some(now) => Self { first: now, last: now },
            None => {
                Self { first: reach.present.lower(), last: reach.present.upper().value().map_or(Bound::MaxValue, last_value) }
            }
        }
    }

    fn when(&self, range: &Range) -> When {
        if range.upper() <= self.first {
            When::Past
        } else if range.lower() > self.last {
            When::Future
        } else {
            When::Present
        }
    }
}

/// What is missing under one parent.
#[derive(Clone, Debug, Default)]
pub(super) struct Missing {
    /// The most urgent first: the present, the future in order, then the past, backwards: late rows are most often a little late.
    pub pieces: Vec<Piece>,
    /// What cannot be filled.
    pub blocked: Vec<Blocked>,
    /// What a reader should know.
    pub notes: Vec<Note>,
    /// When the clock next asks for a partition.
    pub due: Option<Timestamp>,
}

/// What is missing under one parent at `now`.
///
/// # Errors
/// Nothing can be created: the present has no place in the key, or the grid is not that of the table.
pub(super) fn missing(spec: &PartitionPolicySpec, layout: &Layout<'_>, now: Timestamp) -> Result<Missing, Blocked> {
    let reach = reach::reach(spec, layout, now)?;
    let grid = &layout.calendar.grid;
    let present = Present::new(grid.ordinal_at(now), &reach);
    let mut found = Missing { due: reach.due, ..Missing::default() };
    let coming = pieces(layout, (reach.present.lower(), reach.last.upper()), &present);
    if let Some(piece) = coming.iter().find(|piece| !piece.is_whole).filter(|_| !layout.meets_the_grid()) {
        return Err(off_the_grid(layout, piece));
    }
    let past = pieces(layout, (reach.first.lower(), reach.present.lower()), &present);
    let (too_many_coming, too_many_past) = (coming.len() > MOST, past.len() > MOST);
    let nearest = reach::ahead(grid, &reach.present, spec.create.ahead).upper();
    found.pieces.extend(coming.into_iter().filter(|piece| !too_many_coming || piece.range.upper() <= nearest));
    found.pieces.extend(past.into_iter().filter(|_| !too_many_past));
    found.pieces.retain(|piece| piece.when != When::Past || is_wanted(spec, layout, piece));
    found.pieces.sort_by(by_urgency);
    if too_many_coming || too_many_past {
        found.blocked.push(too_many(spec, layout));
    }
    found.blocked.extend(detaching(layout, &reach));
    found.notes.extend(found.pieces.iter().filter(|piece| !piece.is_whole).map(|piece| partial(layout, piece)));
    Ok(found)
}

fn by_urgency(a: &Piece, b: &Piece) -> Ordering {
    let by_range = if a.when == When::Past { b.range.cmp(&a.range) } else { a.range.cmp(&b.range) };
    a.when.cmp(&b.when).then(by_range)
}

/// What no partition holds between two bounds, slot by slot, and at most one more than [`MOST`]. What is held is passed over at
/// once, so that the work does not grow with the number of slots.
fn pieces(layout: &Layout<'_>, (from, to): (Bound, Bound), present: &Present) -> Vec<Piece> {
    let grid = &layout.calendar.grid;
    let Some(within) = Range::new(from, to) else { return vec![] };
    let mut pieces = Vec::new();
    for free in layout.free(&within) {
        let first = match free.lower() {
            Bound::Value(value) => grid.slot_containing(value),
            _ => grid.key().ordinal(grid.key().limits().min).and_then(|least| grid.slot_containing(least)),
        };
        let slots = std::iter::successors(first, |slot| grid.next(slot)).take_while(|slot| slot.lower() < free.upper());
        pieces.extend(slots.filter_map(|slot| piece(layout, slot, &free, present)).take(MOST + 1 - pieces.len()));
        if pieces.len() > MOST {
            break;
        }
    }
    pieces
}

fn piece(layout: &Layout<'_>, slot: Slot, free: &Range, present: &Present) -> Option<Piece> {
    let range = Range::new(slot.lower().max(free.lower()), slot.upper().min(free.upper()))?;
    // Between two identifiers of one millisecond there is nothing to make a partition for.
    let on_grid = layout.on_time_line(&range)?;
    let is_whole = on_grid == *slot.range();
    Some(Piece { is_whole, slot, range, when: present.when(&range) })
}

/// Whether the spec asks for a piece of the past: as a gap between partitions, or as a part of the table that begins where it says.
fn is_wanted(spec: &PartitionPolicySpec, layout: &Layout<'_>, piece: &Piece) -> bool {
    let is_gap = layout.standing().next().is_some_and(|oldest| oldest.range.lower() < piece.range.lower());
    is_gap && spec.create.fill_gaps || layout.beginning().is_some_and(|from| from.lower() <= piece.range.lower())
}

/// A partition whose detach is pending takes no rows and lets no other take its place.
fn detaching(layout: &Layout<'_>, reach: &Reach) -> Vec<Blocked> {
    let needed = Range::new(reach.present.lower(), reach.last.upper());
    let pending = layout.placed.iter().filter(|placed| placed.standing == Standing::Detaching);
    let in_the_way = pending.filter(|placed| needed.is_some_and(|needed| needed.overlaps(&placed.range)));
    in_the_way
        .map(|placed| {
            let (parent, partition) = (&layout.parent.table, &placed.partition.table);
            let message = format!(
                "{parent}: rows of {} have no place because the DETACH CONCURRENTLY of {partition} was broken off; run ALTER TABLE {} DETACH PARTITION {} FINALIZE, then a new partition is created by itself",
                super::range_text(&placed.range, layout),
                quoted(parent),
                quoted(partition),
            );
            Blocked::new(Reason::Overlap, message)
        })
        .collect()
}

fn quoted(table: &crate::api::TableName) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

fn partial(layout: &Layout<'_>, piece: &Piece) -> Note {
    Note {
        id: finding::PART_OF_A_SLOT.id.into(),
        object: layout.parent.table.to_string(),
        message: format!(
            "the new partition {} holds only what existing partitions, which do not lie on the grid, leave of {}",
            super::range_text(&piece.range, layout),
            super::range_text(piece.slot.range(), layout),
        ),
    }
}

fn off_the_grid(layout: &Layout<'_>, piece: &Piece) -> Blocked {
    let neighbour = layout.overlapping(piece.slot.range()).map_or("", |placed| placed.partition.table.name.as_str());
    let phase = if layout.calendar.grid.key().is_integer() {
        "create.from (where a step begins) and interval"
    } else {
        "anchor, interval and timeZone"
    };
    let message = format!(
        "{}: the partition {} cannot be created because {neighbour} holds a part of it, and no existing partition begins or ends on the grid; set {phase} so that the grid meets the bounds of {neighbour}, or replace {neighbour}",
        layout.parent.table,
        super::range_text(piece.slot.range(), layout),
    );
    Blocked::new(Reason::Overlap, message)
}

fn too_many(spec: &PartitionPolicySpec, layout: &Layout<'_>) -> Blocked {
    let message = format!(
        "{}: more than {MOST} partitions would be created; use a longer interval than {}, a later create.from or a nearer create.horizon (the present one and create.ahead are made all the same)",
        layout.parent.table, spec.interval
    );
    Blocked::new(Reason::TooManyPartitions, message)
}
