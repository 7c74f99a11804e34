//! What is a new partition called? A template, filled with the time or the number at which the partition begins.
//!
//! A name is a label for people: a partition is known by its OID and bounds, never by its name. Yet names must differ, so:
//!
//! - A template that would give two partitions of its interval one name is refused.
//! - Times are those of the policy's time zone. When clocks go back, an hour occurs twice; the second one's name ends in its
//!   UTC time, such as `_utc0100`.
//! - PostgreSQL cuts names after 63 bytes. Longer ones are shortened here instead: the table's part loses its end, between
//!   two characters, and gains eight digits of its SHA-256, so that two long tables do not share a name.
//! - Years before 1 AD are written as `0044bc`, numbers below zero as `neg100`.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

pub use self::derive::derive;
use self::label::Label;
pub use self::template::{Template, TemplateError};
use super::grid::{Grid, Slot};
use super::hex;
use crate::api::table::TableName;

mod derive;
mod label;
mod template;
#[cfg(test)]
mod tests;

/// The longest name that PostgreSQL keeps whole, in bytes.
pub const MAX_BYTES: usize = 63;

/// What a shortened name ends in: an underscore and eight hexadecimal digits.
const HASH_BYTES: usize = 9;

impl Template {
    /// The name of the partition for a slot of `grid`: at most 63 bytes, and another one for every slot.
    #[must_use]
    pub fn name(&self, slot: &Slot, grid: &Grid, table: &TableName) -> String {
        let label = Label::new(slot, grid);
        let whole = self.render(&label, &table.schema, &table.name);
        if whole.len() <= MAX_BYTES {
            return whole;
        }
        // What the template and the slot need is spent first; the table and the schema share what is left.
        let fixed = self.render(&label, "", "").len();
        let share = MAX_BYTES.saturating_sub(fixed) / self.variable_parts().max(1);
        if share <= HASH_BYTES {
            return shorten(&whole, MAX_BYTES);
        }
        self.render(&label, &shorten(&table.schema, share), &shorten(&table.name, share))
    }
}

/// `name`, or if it is taken `name_2`, `name_3`, and so on; at most 63 bytes.
#[must_use]
pub fn unique(name: &str, taken: &BTreeSet<String>) -> String {
    let mut number = 1;
    loop {
        let candidate = numbered(name, number);
        if !taken.contains(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

/// The name that is tried as the first, the second, and so on: `name`, `name_2`, `name_3`; at most 63 bytes.
#[must_use]
pub fn numbered(name: &str, number: u64) -> String {
    if number <= 1 {
        return shorten(name, MAX_BYTES);
    }
    let suffix = format!("_{number}");
    shorten(name, MAX_BYTES - suffix.len()) + &suffix
}

/// At most `bytes` bytes that still tell long names apart.
fn shorten(name: &str, bytes: usize) -> String {
    if name.len() <= bytes {
        return name.to_owned();
    }
    let room = bytes.saturating_sub(HASH_BYTES);
    let whole_characters = (0..=room).rev().find(|&end| name.is_char_boundary(end)).unwrap_or_default();
    format!("{}_{}", &name[..whole_characters], hex(&Sha256::digest(name)[..4]))
}
