//! What must be known before anything may leave? Facts of the catalog, of the policy's past, and of what surrounds it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::action::Relation;
use super::super::removal::{Afterlife, Reference};
use super::super::snapshot::{Oid, Server, TableName, Tree};
use super::expiry::midnight;
use crate::api::retention_hold::RetentionHoldSpec;
use crate::api::retention_policy::Keep;

/// What the comment on a detached partition begins with.
pub const MARK: &str = "pgreeve: ";

/// What a comment on a detached partition says: where it came from, and what is to become of it. It outlives every process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// When it was detached.
    pub retired_at: String,
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// The table that it was a partition of.
    pub parent: TableName,
    /// Its own OID then: a copy that was restored from a dump is not what was retired.
    pub oid: Oid,
    /// Its bounds then.
    pub bound: String,
    /// What is to become of it.
    pub then: Afterlife,
}

impl Mark {
    /// The comment: the mark in its first line, and below it the comment that the table had.
    pub fn comment(&self, former: Option<&str>) -> String {
        // Plain data with string keys, which cannot fail.
        let mark = serde_json::to_string(self).unwrap_or_default();
        former.map_or_else(|| format!("{MARK}{mark}"), |former| format!("{MARK}{mark}\n{former}"))
    }

    /// Reads a comment; `None` where it is not ours.
    pub fn read(comment: &str) -> Option<Self> {
        let line = comment.strip_prefix(MARK)?.lines().next()?;
        serde_json::from_str(line).ok()
    }

    /// A comment without the mark, if anything is left of it.
    pub fn former(comment: &str) -> Option<&str> {
        match Self::read(comment) {
            Some(_) => comment.split_once('\n').map(|(_, former)| former),
            None => Some(comment),
        }
    }
}

/// A table that bears a mark and is nobody's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The table.
    pub table: Relation,
    /// Its owner.
    pub owner: String,
    /// Whether our role may act as the owner.
    pub may_act_as_owner: bool,
    /// What its comment says.
    pub mark: Mark,
    /// What it takes on disk, indexes and TOAST included.
    pub bytes: i64,
    /// Its foreign keys: constraint and the table that it refers to.
    pub foreign_keys: Vec<(String, TableName)>,
}

/// What is known of one attached partition beyond the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Its owner.
    pub owner: String,
    /// What it takes on disk, indexes and TOAST included.
    pub bytes: i64,
    /// Rows, by PostgreSQL's statistics; 0 where there are none.
    pub rows: i64,
    /// Its comment.
    pub comment: Option<String>,
    /// What follows `USING` in the definitions of its indexes, with `UNIQUE ` before it where one is. Asked only for a move to an
    /// archive table.
    pub indexes: BTreeSet<String>,
}

/// The archive table of a policy that moves partitions to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The table and its partitions.
    pub tree: Tree,
    /// Its indexes, as in [`Detail::indexes`], by name.
    pub indexes: BTreeMap<String, String>,
    /// Its foreign keys and those that refer to it.
    pub foreign_keys: BTreeSet<String>,
}

/// A foreign key that refers to the table or to one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The key.
    pub key: Reference,
    /// Size of the table that refers, in blocks by PostgreSQL's statistics.
    pub pages: i64,
    /// The partitions of ours that a row of it refers to, as far as that was asked.
    pub referenced: BTreeSet<Oid>,
}

/// What the catalog says beyond the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// By partition.
    pub details: BTreeMap<Oid, Detail>,
    /// Marked tables whose mark names this table.
    pub retired: Vec<Retired>,
    /// Relations that are closed to writes for an export, each with the identifier of that export.
    pub closed: BTreeMap<Oid, String>,
    /// Foreign keys that refer to the table.
    pub incoming: Vec<Incoming>,
    /// The archive table, if the policy names one and it exists.
    pub archive: Option<Archive>,
}

/// An export that was read back and matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Its identifier, which the closed partition's constraint bears too.
    pub export: String,
    /// When it was read back.
    pub verified_at: Timestamp,
}

/// A hold on the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// Its namespace and name.
    pub name: String,
    /// What it says.
    pub spec: RetentionHoldSpec,
}

impl Surroundings {
    /// The holds on one table.
    pub fn holds_on(&self, table: &TableName) -> Vec<Hold> {
        self.holds.iter().filter(|hold| hold.spec.table == *table).cloned().collect()
    }
}

impl Hold {
    /// Whether it keeps nothing any more. An end that cannot be read does not come.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.spec.until.as_deref().is_some_and(|until| midnight(until).is_some_and(|until| until <= now))
    }
}

/// What surrounds the policy: its own past, its schedule, holds, exports and backups.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Whether a run may begin now.
    pub is_due: bool,
    /// When the schedule next asks for a run.
    pub next_slot: Option<Timestamp>,
    /// The partitions of the run that is under way.
    pub run: Option<BTreeSet<Oid>>,
    /// The moment by which the age of rows is counted; the present where absent. It does not change while a run is under way.
    pub as_of: Option<Timestamp>,
    /// The holds on tables of the database.
    pub holds: Vec<Hold>,
    /// Verified exports, by the partition's OID.
    pub proofs: BTreeMap<Oid, Proof>,
    /// The terms that were accepted last; `None` before the first run.
    pub accepted: Option<Keep>,
    /// Whether somebody stands by who approves whole plans, as at the command line: then no further word is asked for.
    pub attended: bool,
    /// Why the backup that the policy asks for is not there, if so.
    pub backup_missing: Option<String>,
}

/// All that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The session.
    pub server: &'a Server,
    /// The table, if it exists.
    pub tree: Option<&'a Tree>,
    /// What the catalog says beyond it.
    pub catalog: &'a Catalog,
    /// What surrounds the policy.
    pub surroundings: &'a Surroundings,
}
