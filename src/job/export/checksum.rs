//! Are these the same rows? A checksum of a table's content that does not depend on the order of its rows.
//!
//! Each row is hashed by XXH3-128 (seed 0), and the hashes are added modulo 2^128. What is hashed:
//! - Parquet: the row as `COPY (SELECT …) TO STDOUT (FORMAT binary)` sends it, without the file's header and trailer: the number of
//!   columns as two bytes, then each value's length as four bytes (-1 for NULL) and the value, big-endian throughout. The SELECT is in
//!   the manifest.
//! - CSV: the record as `COPY (SELECT …) TO STDOUT (FORMAT csv)` sends it, without the line break that ends it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_128;

/// How many rows, and their checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// Rows.
    pub rows: i64,
    /// Their checksum.
    pub checksum: Checksum,
}

/// A sum of hashes, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum(u128);

impl Content {
    /// Takes one row in.
    pub fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.checksum.0 = self.checksum.0.wrapping_add(XxHash3_128::oneshot(row));
    }

    /// Takes in rows that were counted apart.
    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.checksum.0 = self.checksum.0.wrapping_add(other.checksum.0);
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("\"{text}\" is not a checksum of 32 hexadecimal digits");
        if text.len() != 32 { Err(refused()) } else { u128::from_str_radix(text, 16).map(Self).map_err(|_| refused()) }
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(rows: &[&str]) -> Content {
        let mut content = Content::default();
        rows.iter().for_each(|row| content.add(row.as_bytes()));
        content
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        assert_eq!(content(&["a", "b", "b"]), content(&["b", "a", "b"]));
        let mut parts = content(&["b"]);
        parts.merge(content(&["a", "b"]));
        assert_eq!(parts, content(&["a", "b", "b"]));
        for other in [&["a", "b"][..], &["a", "a", "b"], &["a", "b", "c"], &["ab", "b", ""]] {
            assert_ne!(content(&["a", "b", "b"]), content(other));
        }
    }

    #[test]
    fn a_checksum_is_read_as_it_is_written() {
        let checksum = content(&["x"]).checksum;
        assert_eq!(checksum.to_string().parse(), Ok(checksum));
        // XXH3-128 of nothing, from the algorithm's specification.
        assert_eq!(content(&[""]).checksum.to_string(), "99aa06d3014798d86001c324468d497f");
        assert!("12".parse::<Checksum>().is_err() && "z".repeat(32).parse::<Checksum>().is_err());
    }
}
