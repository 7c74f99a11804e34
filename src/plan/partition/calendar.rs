//! Which grid does the policy mean for this column? The spec's texts read once, with errors that name field, value and remedy.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::super::action::Blocked;
use super::super::grid::Grid;
use super::super::key::{ColumnType, Encoding, Key, Ordinal};
use super::super::naming::Template;
use super::super::snapshot::KeyColumn;
use super::super::window;
use crate::api::{Interval, PartitionPolicySpec, Reason};

/// What the spec says about a calendar, read against the type of a key column.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    /// Every possible partition.
    pub grid: Grid,
    /// How new ones are named.
    pub naming: Template,
    /// Where the table begins, if the spec says.
    pub from: Option<Ordinal>,
}

/// Reads the calendar of a key column.
pub(super) fn read(spec: &PartitionPolicySpec, column: &KeyColumn) -> Result<Calendar, Blocked> {
    let invalid = |message: String| Blocked::new(Reason::InvalidSpec, message);
    let mismatch = |message: String| Blocked::new(Reason::KeyMismatch, format!("{}.{}: {message}", spec.table, column.name));
    let key = key(spec.key.encoding, column).map_err(mismatch)?;
    let zone = window::zone(&spec.time_zone).map_err(invalid)?;
    let anchor = spec.anchor.as_deref().map(|text| date("anchor", text)).transpose().map_err(invalid)?;
    let grid = Grid::new(spec.interval, anchor, zone.clone(), key).map_err(|error| mismatch(error.to_string()))?;
    let from = spec.create.from.as_deref().map(|text| from(text, &grid, &zone)).transpose().map_err(invalid)?;
    let grid = from.map_or(grid.clone(), |from| grid.beginning_at(from));
    let naming = Template::parse(spec.naming.as_deref(), &grid).map_err(|error| invalid(error.to_string()))?;
    Ok(Calendar { grid, naming, from })
}

fn key(encoding: Encoding, column: &KeyColumn) -> Result<Key, String> {
    let column_type: ColumnType = column.type_name.parse().map_err(|error| format!("{error}"))?;
    if column_type == ColumnType::Text && !matches!(column.collation.as_deref(), Some("C" | "POSIX" | "ucs_basic")) {
        let collation = column.collation.as_deref().unwrap_or("default");
        return Err(format!("ULIDs sort by their bytes, but the column's collation is {collation}: declare it COLLATE \"C\""));
    }
    Key::new(column_type, encoding).map_err(|error| error.to_string())
}

/// A date as the spec writes it.
pub(super) fn date(field: &str, text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("{field} \"{text}\" is not a date: write a day that exists, such as 2025-01-01"))
}

fn from(text: &str, grid: &Grid, zone: &TimeZone) -> Result<Ordinal, String> {
    if matches!(grid.interval(), Interval::Step(_)) {
        let value: i64 = text
            .parse()
            .map_err(|_| format!("create.from \"{text}\" is not a whole number: the table is divided by a plain step"))?;
        return grid.key().integer(value).ok_or_else(|| format!("create.from {text} is beyond the key's type"));
    }
    let first = date("create.from", text)?;
    let midnight = first.to_zoned(zone.clone()).ok().map(|at| at.timestamp());
    midnight.and_then(|at| grid.ordinal_at(at)).ok_or_else(|| format!("create.from {text} is beyond what the key can hold"))
}

/// Checks what can be checked of a calendar without a database: texts, zone and naming.
///
/// # Errors
/// [`Reason::InvalidSpec`] naming field, value and remedy.
pub fn check(spec: &PartitionPolicySpec) -> Result<(), Blocked> {
    let type_name = match (spec.key.encoding, spec.interval) {
        (Encoding::Native, Interval::Step(_)) => "bigint",
        (Encoding::Native, Interval::Time { .. }) => "timestamp with time zone",
        (Encoding::EpochSeconds | Encoding::EpochMilliseconds | Encoding::EpochMicroseconds, _) => "bigint",
        (Encoding::Uuidv7, _) => "uuid",
        (Encoding::Ulid, _) => "text",
    };
    let column =
        KeyColumn { name: spec.key.column.clone(), type_name: type_name.into(), collation: Some("C".into()), not_null: true };
    read(spec, &column).map(|_| ()).map_err(|blocked| Blocked::new(Reason::InvalidSpec, blocked.message))
}
