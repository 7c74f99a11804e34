//! Are these two plans the same? A digest over the object and its actions.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::action::{Action, ObjectId};
use super::hex;
use super::removal::{Afterlife, ExportProof};
use super::snapshot::Oid;

/// Sixteen hexadecimal digits of SHA-256 over the canonical JSON. Sixty-four bits identify a plan among those that one object ever
/// had; they are no defence against somebody who may edit the object anyway.
///
/// A partition that leaves does so in several steps and passes. The plan that lets it leave is the same one until it is gone: the
/// steps that are left do not count, but which partition it is, what becomes of it, and whether it is exported first.
pub fn of(object: &ObjectId, actions: &[Action]) -> String {
    let mut meanings: Vec<Value> = Vec::with_capacity(actions.len());
    for meaning in actions.iter().filter_map(meaning) {
        if !meanings.contains(&meaning) {
            meanings.push(meaning);
        }
    }
    let mut hash = Sha256::new();
    // Both serialise from plain data with string keys, which cannot fail; an error would only change the digest.
    hash.update(serde_json::to_vec(object).unwrap_or_default());
    hash.update(serde_json::to_vec(&meanings).unwrap_or_default());
    hex(&hash.finalize()[..8])
}

/// What of an action a person approves; nothing where another action of the same plan says it already.
fn meaning(action: &Action) -> Option<Value> {
    let retire = |oid: Oid, then: Afterlife, export: &ExportProof| {
        Some(json!({"retire": oid, "then": then, "exported": *export != ExportProof::NotAsked}))
    };
    match action {
        // Each comes with the detach or the drop that it is for.
        Action::ExportPartition(_) | Action::DropForeignKey(_) => None,
        Action::DetachPartition(detach) => retire(detach.partition.oid, detach.then, &detach.export),
        Action::DropTable(drop) => retire(drop.table.oid, Afterlife::Drop, &drop.export),
        Action::MoveToSchema(moved) => retire(moved.table.oid, Afterlife::Move, &ExportProof::NotAsked),
        other => serde_json::to_value(other).ok(),
    }
}
