//! What does a session that dumps a database call itself? By that the operator knows how far it is.

use sha2::{Digest as _, Sha256};

use crate::plan::hex;

/// What the names of such sessions begin with, for the backup with this directory. With the percentage it stays below the 63 bytes that
/// PostgreSQL keeps of a name.
pub fn prefix(directory: &str) -> String {
    format!("pgreeve dump {} ", hex(&Sha256::digest(directory)[..8]))
}

/// The name of a session whose dump is so far.
pub fn name(directory: &str, percent: i32) -> String {
    format!("{}{percent}%", prefix(directory))
}

/// How far the dump of a session of this name is.
pub fn percent(name: &str) -> Option<i32> {
    name.rsplit(' ').next()?.strip_suffix('%')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_dump_it_is_and_how_far() {
        let name = name("shop/nightly-1-0d5d4a3c", 43);
        assert!(name.len() < 63 && name.starts_with(&prefix("shop/nightly-1-0d5d4a3c")));
        assert_eq!((percent(&name), percent("psql")), (Some(43), None));
        assert_ne!(prefix("shop/nightly-1-0d5d4a3c"), prefix("shop/nightly-2-0d5d4a3c"));
    }
}
