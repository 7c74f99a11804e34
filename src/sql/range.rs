//! How is a range of the key written in SQL? Bounds, and the conditions for rows inside and outside of them.

use super::quote::{ident, literal};

/// An end of a range, its column and the type to compare in.
#[derive(Clone, Copy, Debug)]
pub struct KeyRange<'a> {
    /// The key column.
    pub column: &'a str,
    /// Its type, as `format_type` prints it.
    pub type_name: &'a str,
    /// Lower bound, inclusive: the text of a literal, or `MINVALUE`.
    pub lower: &'a str,
    /// Upper bound, exclusive: the text of a literal, or `MAXVALUE`.
    pub upper: &'a str,
}

/// A bound in `FOR VALUES`: quoted, unless it is `MINVALUE` or `MAXVALUE`, which no value of a key is written as.
pub fn bound(text: &str) -> String {
    if is_open(text) { text.to_owned() } else { literal(text) }
}

fn is_open(text: &str) -> bool {
    matches!(text, "MINVALUE" | "MAXVALUE")
}

impl KeyRange<'_> {
    /// The condition for rows in the range.
    pub fn within(&self) -> String {
        self.ends(">=", "<").map_or_else(|| format!("{} IS NOT NULL", ident(self.column)), |ends| ends.join(" AND "))
    }

    /// The condition for rows outside of it. NULL lies in no range.
    pub fn outside(&self) -> String {
        let mut terms = vec![format!("{} IS NULL", ident(self.column))];
        terms.extend(self.ends("<", ">=").unwrap_or_default());
        terms.join(" OR ")
    }

    fn ends(&self, below: &str, above: &str) -> Option<Vec<String>> {
        let ends = [(below, self.lower), (above, self.upper)];
        let compare = |(operator, text): (&str, &str)| {
            format!("{} OPERATOR(pg_catalog.{operator}) {}::{}", ident(self.column), literal(text), self.type_name)
        };
        let terms: Vec<String> = ends.into_iter().filter(|(_, text)| !is_open(text)).map(compare).collect();
        (!terms.is_empty()).then_some(terms)
    }
}
