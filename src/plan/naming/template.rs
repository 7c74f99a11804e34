//! Is this a template that tells partitions apart?

use super::super::grid::Grid;
use super::MAX_BYTES;
use super::label::{Field, Label};
use crate::api::interval::{Interval, IntervalUnit};

/// A template of names that fits the grid it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Schema,
    Table,
    Field(Field),
}

/// Every placeholder, for messages.
const PLACEHOLDERS: &str =
    "{table}, {schema}, {yyyy}, {mm}, {dd}, {hh}, {q}, {iyyy} and {ww} (ISO week), {lower} and {upper} (integer keys)";

/// The longest literal text of a template, so that a name keeps room for its table and its time.
const MAX_LITERAL_BYTES: usize = 24;

/// Why a template is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A name in braces that means nothing.
    #[error("naming \"{template}\" has the unknown placeholder \"{{{placeholder}}}\": use {PLACEHOLDERS}")]
    UnknownPlaceholder {
        /// The whole template.
        template: String,
        /// The name between the braces.
        placeholder: String,
    },
    /// A brace without its partner.
    #[error("naming \"{0}\" has a brace without its partner: write placeholders as {{table}}")]
    Brace(String),
    /// A control character.
    #[error("naming {0:?} has a control character: use letters, digits and underscores")]
    ControlCharacter(String),
    /// A placeholder twice: it adds bytes and no information.
    #[error("naming \"{0}\" has a placeholder twice: use each once")]
    Repeated(String),
    /// Too much literal text.
    #[error("naming \"{0}\" is too long for a name of {MAX_BYTES} bytes: use at most {MAX_LITERAL_BYTES} bytes of plain text")]
    TooLong(String),
    /// A time for an integer key, or the other way round.
    #[error("naming \"{template}\" does not fit an interval of {interval}: {reason}; the default is \"{default}\"")]
    Field {
        /// The whole template.
        template: String,
        /// The interval.
        interval: Interval,
        /// Which placeholders do not fit.
        reason: &'static str,
        /// The template that is used when none is given.
        default: &'static str,
    },
    /// Two partitions would share a name.
    #[error(
        "naming \"{template}\" gives neighbouring partitions of {interval} the same name: {remedy}; the default is \"{default}\""
    )]
    Ambiguous {
        /// The whole template.
        template: String,
        /// The interval.
        interval: Interval,
        /// What to add.
        remedy: &'static str,
        /// The template that is used when none is given.
        default: &'static str,
    },
}

impl Template {
    /// The template that is used when a policy has none.
    #[must_use]
    pub const fn default_for(interval: Interval) -> &'static str {
        match interval {
            Interval::Step(_) => "{table}_p{lower}",
            Interval::Time { unit: IntervalUnit::Hour, .. } => "{table}_y{yyyy}m{mm}d{dd}h{hh}",
            Interval::Time { unit: IntervalUnit::Day, .. } => "{table}_y{yyyy}m{mm}d{dd}",
            Interval::Time { unit: IntervalUnit::Week, .. } => "{table}_y{iyyy}w{ww}",
            Interval::Time { unit: IntervalUnit::Month, .. } => "{table}_y{yyyy}m{mm}",
            Interval::Time { unit: IntervalUnit::Quarter, .. } => "{table}_y{yyyy}q{q}",
            Interval::Time { unit: IntervalUnit::Year, .. } => "{table}_y{yyyy}",
        }
    }

    /// Reads a template, or takes the default of the grid's interval.
    ///
    /// # Errors
    /// [`TemplateError`] when a placeholder is unknown, or two slots of `grid` would get one name.
    pub fn parse(text: Option<&str>, grid: &Grid) -> Result<Self, TemplateError> {
        let text = text.unwrap_or(Self::default_for(grid.interval()));
        if text.chars().any(char::is_control) {
            return Err(TemplateError::ControlCharacter(text.to_owned()));
        }
        let template = Self { parts: parts(text)? };
        if template.repeats_a_placeholder() {
            return Err(TemplateError::Repeated(text.to_owned()));
        }
        if template.literal_bytes() > MAX_LITERAL_BYTES {
            return Err(TemplateError::TooLong(text.to_owned()));
        }
        template.check_fields(text, grid)?;
        Ok(template)
    }

    pub(super) fn render(&self, label: &Label, schema: &str, table: &str) -> String {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => name.push_str(text),
                Part::Schema => name.push_str(schema),
                Part::Table => name.push_str(table),
                Part::Field(field) => name.push_str(&label.show(*field)),
            }
        }
        name + &label.suffix()
    }

    /// How many parts of a name can be shortened.
    pub(super) fn variable_parts(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Schema | Part::Table)).count()
    }

    fn literal_bytes(&self) -> usize {
        self.parts.iter().map(|part| if let Part::Literal(text) = part { text.len() } else { 0 }).sum()
    }

    fn repeats_a_placeholder(&self) -> bool {
        self.parts
            .iter()
            .enumerate()
            .any(|(at, part)| !matches!(part, Part::Literal(_)) && self.parts.iter().take(at).any(|earlier| earlier == part))
    }

    fn has(&self, fields: &[Field]) -> bool {
        fields.iter().all(|&field| self.parts.contains(&Part::Field(field)))
    }

    fn check_fields(&self, text: &str, grid: &Grid) -> Result<(), TemplateError> {
        use Field::{Day, Hour, IsoWeek, IsoYear, Lower, Month, Quarter, Upper, Year};
        let interval = grid.interval();
        let (template, default) = (text.to_owned(), Self::default_for(interval));
        let has_number = self.has(&[Lower]) || self.has(&[Upper]);
        let has_time = [Year, Month, Day, Hour, Quarter, IsoYear, IsoWeek].iter().any(|&field| self.has(&[field]));
        let reason = match interval {
            Interval::Step(_) if has_time => "a plain integer key has no time, so use {lower} or {upper}",
            Interval::Time { .. } if has_number => "{lower} and {upper} are for plain integer keys, so use {yyyy} and so on",
            Interval::Step(_) if has_number => return Ok(()),
            Interval::Time { n, unit } if self.tells_apart(Width::new(n.get(), unit, grid)) => return Ok(()),
            _ => return Err(TemplateError::Ambiguous { template, interval, remedy: remedy(interval), default }),
        };
        Err(TemplateError::Field { template, interval, reason, default })
    }

    /// Whether the fields name a stretch of time in which two slots of this width cannot both begin.
    fn tells_apart(&self, width: Width) -> bool {
        use Field::{Day, Hour, IsoWeek, IsoYear, Month, Quarter, Year};
        let Width { months, days } = width;
        self.has(&[Year, Month, Day, Hour])
            || days >= 1 && self.has(&[Year, Month, Day])
            || days >= 7 && self.has(&[IsoYear, IsoWeek])
            || (months >= 1 || days >= 31) && self.has(&[Year, Month])
            || (months >= 3 || days >= 92) && self.has(&[Year, Quarter])
            || (months >= 12 || days >= 366) && self.has(&[Year])
    }
}

/// The least distance between the beginnings of two slots, in whole months and in whole days.
#[derive(Clone, Copy)]
struct Width {
    months: u64,
    days: u64,
}

impl Width {
    fn new(n: u32, unit: IntervalUnit, grid: &Grid) -> Self {
        let n = u64::from(n);
        // Elapsed hours can be a day less on the wall clock: Alaska repeated one in 1867, and a fold may cut another short.
        let lost_days = if grid.has_even_days() { 0 } else { 2 };
        let (months, days) = match unit {
            IntervalUnit::Hour => (0, (n / 24).saturating_sub(lost_days)),
            IntervalUnit::Day => (0, n),
            IntervalUnit::Week => (0, n * 7),
            IntervalUnit::Month => (n, n * 28),
            IntervalUnit::Quarter => (n * 3, n * 84),
            IntervalUnit::Year => (n * 12, n * 336),
        };
        Self { months, days }
    }
}

const fn remedy(interval: Interval) -> &'static str {
    match interval {
        Interval::Step(_) => "add {lower}",
        Interval::Time { unit: IntervalUnit::Hour, .. } => "use {yyyy}, {mm}, {dd} and {hh}",
        Interval::Time { unit: IntervalUnit::Day, .. } => "use {yyyy}, {mm} and {dd}",
        Interval::Time { unit: IntervalUnit::Week, .. } => "use {iyyy} and {ww}, or {yyyy}, {mm} and {dd}",
        Interval::Time { unit: IntervalUnit::Month, .. } => "use {yyyy} and {mm}",
        Interval::Time { unit: IntervalUnit::Quarter, .. } => "use {yyyy} and {q}, or {yyyy} and {mm}",
        Interval::Time { unit: IntervalUnit::Year, .. } => "use {yyyy}",
    }
}

fn parts(text: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (placeholder, after) = after.split_once('}').ok_or_else(|| TemplateError::Brace(text.to_owned()))?;
        push_literal(&mut parts, literal, text)?;
        parts.push(part(placeholder).ok_or_else(|| TemplateError::UnknownPlaceholder {
            template: text.to_owned(),
            placeholder: placeholder.to_owned(),
        })?);
        rest = after;
    }
    push_literal(&mut parts, rest, text)?;
    Ok(parts)
}

fn push_literal(parts: &mut Vec<Part>, literal: &str, text: &str) -> Result<(), TemplateError> {
    if literal.contains('}') {
        return Err(TemplateError::Brace(text.to_owned()));
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.to_owned()));
    }
    Ok(())
}

fn part(placeholder: &str) -> Option<Part> {
    Some(match placeholder {
        "table" => Part::Table,
        "schema" => Part::Schema,
        "yyyy" => Part::Field(Field::Year),
        "mm" => Part::Field(Field::Month),
        "dd" => Part::Field(Field::Day),
        "hh" => Part::Field(Field::Hour),
        "q" => Part::Field(Field::Quarter),
        "iyyy" => Part::Field(Field::IsoYear),
        "ww" => Part::Field(Field::IsoWeek),
        "lower" => Part::Field(Field::Lower),
        "upper" => Part::Field(Field::Upper),
        _ => return None,
    })
}
