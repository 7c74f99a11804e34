//! Are these two plans the same? A digest over the object and its actions.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::action::{Action, ObjectId};

/// Sixteen hexadecimal digits of SHA-256 over the canonical JSON. Sixty-four bits identify a plan among those that one object ever
/// had; they are no defence against somebody who may edit the object anyway.
pub fn of(object: &ObjectId, actions: &[Action]) -> String {
    let mut hash = Sha256::new();
    // Both serialise from plain data with string keys, which cannot fail; an error would only change the digest.
    hash.update(serde_json::to_vec(object).unwrap_or_default());
    hash.update(serde_json::to_vec(actions).unwrap_or_default());
    hash.finalize().iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
