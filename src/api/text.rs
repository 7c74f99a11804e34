//! How is a value that the API writes as text read from JSON or YAML?

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Error, Visitor};

/// Reads `T` from a string, and refuses a bare number with a message that shows what to write instead.
///
/// A number is never converted: the schema says `type: string`, so the API server refuses it too.
pub(super) struct TextVisitor<T> {
    /// What a correct value is, for error messages: `a duration such as "45 days"`.
    expected: &'static str,
    result: PhantomData<T>,
}

impl<T> TextVisitor<T> {
    pub(super) const fn new(expected: &'static str) -> Self {
        Self { expected, result: PhantomData }
    }

    fn number<E: Error>(&self, number: impl fmt::Display) -> E {
        E::custom(format_args!("the bare number {number} is not accepted: write {} as a quoted string", self.expected))
    }
}

impl<T> Visitor<'_> for TextVisitor<T>
where
    T: FromStr<Err: fmt::Display>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as a string", self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Err(self.number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Err(self.number(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Err(self.number(number))
    }
}
