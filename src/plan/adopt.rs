//! Which policy describes a table as it is? Key, interval, time zone, anchor and names, read off the partitions that exist.
//!
//! The newest partitions count: what a table was divided by years ago does not say what it needs next.

use jiff::civil;
use jiff::tz::TimeZone;

use super::civil::{DAY, Date, HOUR};
use super::grid::Grid;
use super::key::{Bound, ColumnType, Encoding, Key, Range, parse_bounds};
use super::naming;
use super::snapshot::{KeyColumn, Parent, Partition, Strategy, TableName, Tree};
use crate::api::Interval;
use crate::api::interval::IntervalUnit;

/// How many of the newest partitions decide.
const NEWEST: usize = 24;

/// The policy that fits a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The table.
    pub table: TableName,
    /// The key column.
    pub column: String,
    /// How its values tell the time.
    pub encoding: Encoding,
    /// The width of a partition.
    pub interval: Interval,
    /// The zone in which days begin.
    pub time_zone: String,
    /// A date on which a partition begins, where the usual one does not fit.
    pub anchor: Option<civil::Date>,
    /// The template of the existing names, where it is not the usual one.
    pub naming: Option<String>,
    /// Partitions that lie on the grid.
    pub aligned: usize,
    /// All partitions but the default one.
    pub partitions: usize,
    /// Whether there is a default partition.
    pub has_default: bool,
}

/// A grid that might be the table's.
struct Candidate {
    grid: Grid,
    encoding: Encoding,
    zone: String,
    anchor: Option<civil::Date>,
}

/// Proposes a policy for a table. `zones` are names of time zones, the likeliest first.
///
/// # Errors
/// Why no policy fits: the kind of division, the key, or partitions of no common width.
pub fn propose(tree: &Tree, zones: &[String]) -> Result<Proposal, String> {
    let parents = parents(tree)?;
    let column = &parents.first().ok_or("no partitioned table was found")?.1;
    let found: Vec<&Partition> = parents.iter().flat_map(|(parent, _)| &parent.partitions).collect();
    let plain: Vec<&Partition> = found.iter().copied().filter(|partition| partition.bound != "DEFAULT").collect();
    let (mut best, mut best_score) = (None, (0, 0));
    for key in keys(column)? {
        let mut ranges: Vec<Range> = plain.iter().filter_map(|partition| parse_bounds(&partition.bound, &key).ok()).collect();
        ranges.sort();
        for candidate in candidates(key, &ranges, zones) {
            let newest = ranges.iter().rev().take(NEWEST).filter(|range| candidate.grid.is_aligned(range)).count();
            let score = (newest, ranges.iter().filter(|range| candidate.grid.span_of(range).is_some()).count());
            if score > best_score {
                (best, best_score) = (Some(candidate), score);
            }
            if best_score.0 == ranges.len().min(NEWEST) {
                break;
            }
        }
        if best_score.0 > 0 {
            break;
        }
    }
    let best = best.ok_or_else(|| no_width(&plain))?;
    Ok(Proposal {
        table: tree.table.clone(),
        column: column.name.clone(),
        encoding: best.encoding,
        interval: best.grid.interval(),
        naming: naming(&parents, &best.grid),
        time_zone: best.zone,
        anchor: best.anchor,
        aligned: best_score.1,
        partitions: plain.len(),
        has_default: found.len() > plain.len(),
    })
}

fn no_width(plain: &[&Partition]) -> String {
    match plain.first() {
        None => "it has no partition yet to read an interval from; write its policy by hand".into(),
        Some(partition) => format!(
            "its partitions have no common width that could be kept (such as {} {})",
            partition.table.name, partition.bound
        ),
    }
}

/// The parents that one policy would keep, each with its key column: the root, or its children where it is divided otherwise.
fn parents(tree: &Tree) -> Result<Vec<(&Parent, KeyColumn)>, String> {
    let ranged = |parent: &&Parent| parent.strategy == Some(Strategy::Range);
    let root = tree.parents.iter().find(|parent| parent.oid == tree.oid).ok_or("it was not found")?;
    let chosen: Vec<&Parent> = if ranged(&root) {
        vec![root]
    } else {
        tree.parents.iter().filter(|parent| parent.parent == Some(root.oid)).filter(ranged).collect()
    };
    let Some(first) = chosen.first() else { return Err("neither it nor its partitions are divided by RANGE".into()) };
    let [column] = first.key.as_slice() else { return Err("it is divided by an expression or by several columns".into()) };
    let same = chosen.into_iter().filter(|parent| parent.key.first().is_some_and(|key| key.name == column.name));
    Ok(same.map(|parent| (parent, column.clone())).collect())
}

/// The ways in which the column may tell the time, the likeliest first.
fn keys(column: &KeyColumn) -> Result<Vec<Key>, String> {
    let column_type: ColumnType = column.type_name.parse().map_err(|error| format!("{error}"))?;
    let all = [
        Encoding::EpochMicroseconds,
        Encoding::EpochMilliseconds,
        Encoding::EpochSeconds,
        Encoding::Uuidv7,
        Encoding::Ulid,
        Encoding::Native,
    ];
    Ok(all.into_iter().filter_map(|encoding| Key::new(column_type, encoding).ok()).collect())
}

/// Grids that might be the table's, the likeliest first; made one by one, because the first ones nearly always fit.
fn candidates<'a>(key: Key, ranges: &[Range], zones: &'a [String]) -> Box<dyn Iterator<Item = Candidate> + 'a> {
    let Some((newest, width)) = newest_width(key, ranges) else { return Box::new(std::iter::empty()) };
    if key.is_integer() {
        let interval = u64::try_from(width).ok().and_then(Interval::step);
        let grid = interval.and_then(|interval| Grid::new(interval, None, TimeZone::UTC, key).ok());
        let candidate = move |grid| Candidate { grid, encoding: key.encoding(), zone: "UTC".into(), anchor: None };
        return Box::new(grid.map(candidate).into_iter());
    }
    let begins = Date::from_days(i64::try_from(newest.div_euclid(DAY)).unwrap_or_default());
    // An encoded time of another century is no time but a number.
    if !(1990..2150).contains(&begins.year) {
        return Box::new(std::iter::empty());
    }
    let zones: &[String] = if key.is_civil() { zones.get(..1).unwrap_or_default() } else { zones };
    let tried = [None, Some(newest)].into_iter().flat_map(move |anchor| {
        let intervals = intervals(width).into_iter();
        intervals.flat_map(move |interval| zones.iter().filter_map(move |zone| candidate(key, interval, zone, anchor)))
    });
    Box::new(tried)
}

/// Without an anchor, or with the day on which the newest partition begins in that zone.
fn candidate(key: Key, interval: Interval, name: &str, anchor: Option<i128>) -> Option<Candidate> {
    let zone = TimeZone::get(name).ok()?;
    let anchor = match anchor {
        None => None,
        Some(point) if key.is_civil() => Some(day(point)?),
        Some(point) => {
            let at = jiff::Timestamp::from_microsecond(i64::try_from(point).ok()?).ok()?;
            Some(at.to_zoned(zone.clone()).date())
        }
    };
    let grid = Grid::new(interval, anchor, zone, key).ok()?;
    Some(Candidate { grid, encoding: key.encoding(), zone: name.to_owned(), anchor })
}

fn day(point: i128) -> Option<civil::Date> {
    let Date { year, month, day } = Date::from_days(i64::try_from(point.div_euclid(DAY)).ok()?);
    civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()
}

/// Where the newest partition with an end begins, and the usual width of the newest ones, on the key's time line.
fn newest_width(key: Key, ranges: &[Range]) -> Option<(i128, i128)> {
    let points = |range: &Range| match (range.lower(), range.upper()) {
        (Bound::Value(lower), Bound::Value(upper)) => Some((key.decode(lower)?, key.decode(upper)?)),
        _ => None,
    };
    let closed: Vec<(i128, i128)> = ranges.iter().rev().filter_map(points).take(NEWEST).collect();
    let mut widths: Vec<i128> = closed.iter().map(|(lower, upper)| upper - lower).collect();
    widths.sort_unstable();
    Some((closed.first()?.0, *widths.get(widths.len() / 2)?))
}

/// Intervals of about this width in microseconds, the commonest first.
fn intervals(width: i128) -> Vec<Interval> {
    use IntervalUnit::{Day, Hour, Month, Quarter, Week, Year};
    const MONTH: i128 = 2_629_746_000_000; // a twelfth of the mean Gregorian year
    let units = [(Month, MONTH), (Day, DAY), (Week, 7 * DAY), (Hour, HOUR), (Year, 12 * MONTH), (Quarter, 3 * MONTH)];
    let of_unit = |(unit, length): (IntervalUnit, i128)| {
        // Rounded to the nearest number of units; a month may be two days off, a day an hour.
        let n = (width + length / 2) / length;
        let is_near = n > 0 && (width - n * length).abs() * 8 <= width.max(length);
        is_near.then(|| Interval::time(u32::try_from(n).ok()?, unit)).flatten()
    };
    let simple = |interval: &Interval| matches!(interval, Interval::Time { n, .. } if n.get() == 1);
    let found: Vec<Interval> = units.into_iter().filter_map(of_unit).collect();
    let (first, then): (Vec<Interval>, Vec<Interval>) = found.into_iter().partition(simple);
    first.into_iter().chain(then).collect()
}

/// The template of the newest partitions' names.
fn naming(parents: &[(&Parent, KeyColumn)], grid: &Grid) -> Option<String> {
    let (parent, _) = parents.first()?;
    let slot = |partition: &Partition| {
        let range = parse_bounds(&partition.bound, grid.key()).ok()?;
        Some((grid.slot_of(&range)?, partition.table.name.clone()))
    };
    let mut slots: Vec<_> = parent.partitions.iter().filter_map(slot).collect();
    slots.sort();
    slots.reverse();
    slots.truncate(3);
    let template = naming::derive(&slots, grid, &parent.table)?;
    (template != naming::Template::default_for(grid.interval())).then_some(template)
}
