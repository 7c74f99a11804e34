//! Which partitions have expired? The terms of `keep`, all of which must allow a removal, and the holds, which beat them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::super::key::{Bound, Ordinal, Range, parse_bounds};
use super::super::snapshot::Oid;
use super::facts::{Detail, Hold, Mark};
use super::members::{Member, Members};
use crate::api::Span;
use crate::api::retention_policy::Keep;

/// What the terms are judged by.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// What is kept.
    pub keep: &'a Keep,
    /// The zone in which ages are counted.
    pub zone: &'a TimeZone,
    /// The present.
    pub now: Timestamp,
    /// Sizes.
    pub details: &'a BTreeMap<Oid, Detail>,
}

/// The members that the terms let go, the oldest first. The newest one that has begun, those that have not, and those without an end
/// are never among them.
pub(super) fn expired<'m, 'a>(members: &'m Members<'a>, terms: Terms<'_>) -> Vec<&'m Member<'a>> {
    let cutoff = terms.keep.age.map(|age| before(age, terms));
    let begun: Vec<&Member<'a>> = members.members.iter().filter(|member| member.began).collect();
    let sizes: Vec<i64> =
        begun.iter().map(|member| terms.details.get(&member.partition.oid).map_or(0, |detail| detail.bytes)).collect();
    let stay = usize::try_from(terms.keep.min_partitions.max(1)).unwrap_or(1);
    let candidates = begun.len().saturating_sub(stay);
    let may_go = |place: usize| {
        let member = begun[place];
        let by_age = cutoff.is_none_or(|cutoff| cutoff.is_some_and(|cutoff| member.ends.is_some_and(|ends| ends <= cutoff)));
        let newer = begun.len() - place - 1;
        let by_count = terms.keep.count.is_none_or(|count| newer >= usize::try_from(count).unwrap_or(usize::MAX));
        let kept: i64 = sizes[place + 1..].iter().sum();
        // What is newer fills the size already, or this one makes it too large.
        let by_size = terms.keep.total_size.is_none_or(|total| kept.saturating_add(sizes[place]) > total.bytes());
        by_age && by_count && by_size
    };
    (0..candidates).filter(|place| may_go(*place)).map(|place| begun[place]).collect()
}

/// The moment before which data is old enough; `None` where the calendar does not reach that far back: then nothing is.
fn before(age: Span, terms: Terms<'_>) -> Option<Timestamp> {
    age.subtract_from(&terms.now.to_zoned(terms.zone.clone())).ok().map(|zoned| zoned.timestamp())
}

/// The hold that keeps this stretch of the table, if one does. A hold that cannot be read keeps everything.
pub(super) fn held_by<'h>(members: &Members<'_>, range: &Range, holds: &'h [Hold], now: Timestamp) -> Option<&'h Hold> {
    holds.iter().filter(|hold| !hold.is_over(now)).find(|hold| {
        let from = end(members, hold.spec.range.from.as_deref(), Bound::MinValue);
        let to = end(members, hold.spec.range.to.as_deref(), Bound::MaxValue);
        range.lower() < to.unwrap_or(Bound::MaxValue) && from.unwrap_or(Bound::MinValue) < range.upper()
    })
}

/// The hold that keeps what a detached partition held. Where its bounds cannot be read any more, any hold does.
pub(super) fn retired_held_by<'h>(parents: &[Members<'_>], mark: &Mark, holds: &'h [Hold], now: Timestamp) -> Option<&'h Hold> {
    let parent = parents.iter().find(|members| members.parent.table == mark.parent);
    let range = parent.and_then(|members| Some((members, parse_bounds(&mark.bound, members.grid.key()).ok()?)));
    match range {
        Some((members, range)) => held_by(members, &range, holds, now),
        None => holds.iter().find(|hold| !hold.is_over(now)),
    }
}

/// An end of a hold's stretch on the key's line; `None` where it cannot be read.
fn end(members: &Members<'_>, text: Option<&str>, otherwise: Bound) -> Option<Bound> {
    let Some(text) = text else { return Some(otherwise) };
    let key = members.grid.key();
    let value: Option<Ordinal> = if key.is_integer() {
        text.parse().ok().and_then(|value| key.integer(value))
    } else {
        midnight(text).and_then(|at| members.grid.ordinal_at(at))
    };
    value.map(Bound::Value)
}

/// The first moment of a date in UTC.
pub fn midnight(text: &str) -> Option<Timestamp> {
    let date: Date = text.parse().ok()?;
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}
