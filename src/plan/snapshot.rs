//! What was observed? Plain facts of the catalog, as the planner sees them.
//!
//! The order in which the catalog returned its rows never matters: every list here is sorted by the planner before use.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use crate::api::TableName;

/// An object identifier of PostgreSQL's catalog.
pub type Oid = u32;

/// The session that observed: who is logged in, and on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// `server_version_num`, such as 160014.
    pub version_num: i32,
    /// `server_version` up to its first space, such as `16.14`.
    pub version: String,
    /// `current_database()`.
    pub database: String,
    /// `current_user`.
    pub role: String,
    /// Whether that role is a superuser.
    pub superuser: bool,
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// `default_transaction_read_only`.
    pub read_only: bool,
    /// The system identifier, where the role may read it.
    pub system_identifier: Option<String>,
}

impl Server {
    /// The major version, such as 16.
    pub fn major(&self) -> i32 {
        self.version_num / 10_000
    }
}

/// How a partitioned table divides its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// `PARTITION BY RANGE`
    Range,
    /// `PARTITION BY LIST`
    List,
    /// `PARTITION BY HASH`
    Hash,
}

/// A column of a partition key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyColumn {
    /// Its name.
    pub name: String,
    /// `format_type` without modifiers, such as `timestamp with time zone`.
    pub type_name: String,
    /// Name of the collation where the type has one, such as `C`.
    pub collation: Option<String>,
    /// Whether it is `NOT NULL`.
    pub not_null: bool,
}

/// The table that a policy names, and all below it that concerns the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Schema and name.
    pub table: TableName,
    /// Its OID.
    pub oid: Oid,
    /// The root and every partitioned table below it, in no particular order.
    pub parents: Vec<Parent>,
}

/// A partitioned table, or a plain one where the policy expected a partitioned one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its OID.
    pub oid: Oid,
    /// Schema and name.
    pub table: TableName,
    /// The parent's OID, absent for the root.
    pub parent: Option<Oid>,
    /// How it divides its rows; absent for a plain table.
    pub strategy: Option<Strategy>,
    /// The columns of its key; an expression is an empty list.
    pub key: Vec<KeyColumn>,
    /// Owner.
    pub owner: String,
    /// Whether our role may act as the owner (`SET ROLE`).
    pub may_act_as_owner: bool,
    /// Whether the owner may create tables in the schema.
    pub owner_may_create: bool,
    /// The table's partitions.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its OID.
    pub oid: Oid,
    /// Schema and name.
    pub table: TableName,
    /// `pg_get_expr(relpartbound, oid)` under `TimeZone=UTC, DateStyle=ISO`, such as `FOR VALUES FROM ('2025-01-01') TO (…)` or `DEFAULT`.
    pub bound: String,
    /// Kind of relation: `r` table, `p` partitioned table, `f` foreign table.
    pub kind: char,
    /// A DETACH CONCURRENTLY has begun and has not been finalised.
    pub detach_pending: bool,
    /// `pg_class.relpages`: size in blocks at the last vacuum or analyze.
    pub pages: i64,
    /// `pg_class.reltuples`: rows at the last vacuum or analyze, -1 if never.
    pub tuples: i64,
    /// Whether its file holds any block now. Asked only where it matters: for default partitions and integer steps.
    pub has_blocks: Option<bool>,
    /// Size of its file in bytes now. Asked only for default partitions.
    pub bytes: Option<i64>,
    /// CHECK constraints of ours that a broken-off run left behind.
    pub leftover_guards: Vec<String>,
}

/// What the first look at the catalog did not tell, because it costs more and is seldom needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Properties of these partitions.
    pub properties: BTreeSet<Oid>,
    /// Which of these relation names are taken, by schema.
    pub names: BTreeMap<String, BTreeSet<String>>,
    /// Rows of a default partition within these bounds.
    pub default_rows: Vec<RowsWithin>,
    /// Tables on the other end of these tables' foreign keys.
    pub foreign_keys: BTreeSet<Oid>,
}

impl Needs {
    /// Whether a second look is needed.
    pub fn is_empty(&self) -> bool {
        self.properties.is_empty() && self.names.is_empty() && self.default_rows.is_empty() && self.foreign_keys.is_empty()
    }
}

/// A question: how many rows does this partition hold within these bounds?
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowsWithin {
    /// The partition.
    pub oid: Oid,
    /// Its name.
    pub table: TableName,
    /// Whom to ask as: the parent's owner.
    pub owner: String,
    /// The key column.
    pub column: String,
    /// The column's type, to compare in.
    pub type_name: String,
    /// Lower bound, inclusive, as a literal's text, or `MINVALUE`.
    pub lower: String,
    /// Upper bound, exclusive, as a literal's text, or `MAXVALUE`.
    pub upper: String,
}

/// Answers to [`Needs`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Properties by OID.
    pub properties: BTreeMap<Oid, Properties>,
    /// Names that exist, by schema.
    pub taken: BTreeMap<String, BTreeSet<String>>,
    /// Rows within, at most [`ROWS_COUNTED`] of them counted.
    pub default_rows: BTreeMap<RowsWithin, i64>,
    /// Tables that reference these tables or are referenced by them, as `schema.name`.
    pub foreign_keys: BTreeMap<Oid, BTreeSet<String>>,
}

/// Rows of a default partition are counted up to this number: enough to say that there are too many.
pub const ROWS_COUNTED: i64 = 1_000_000;

/// What a partition has that its parent does not give it (see the list in the manual of CREATE TABLE … PARTITION OF).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// Owner.
    pub owner: String,
    /// Grants, by role (`public` is everybody), in PostgreSQL's names, sorted; the owner's own are left out.
    pub grants: BTreeMap<String, BTreeSet<String>>,
    /// Storage parameters; those of the TOAST table begin with `toast.`.
    pub storage_parameters: BTreeMap<String, String>,
    /// Tablespace, absent for the database's default one.
    pub tablespace: Option<String>,
    /// `d` default, `f` full, `n` nothing, `i` index.
    pub replica_identity: char,
    /// Name of the index that is the replica identity.
    pub replica_index: Option<String>,
    /// Whether row security is on.
    pub row_security: bool,
    /// Whether it holds for the owner.
    pub row_security_forced: bool,
    /// Row security policies, as the text after `CREATE POLICY name ON table`, by name.
    pub policies: BTreeMap<String, String>,
    /// Statistics targets of columns where they are set.
    pub statistics: BTreeMap<String, i32>,
    /// Valid indexes that do not belong to an index of the parent: by name, what follows `ON table` in `pg_get_indexdef`, with
    /// `UNIQUE ` before it where the index is.
    pub indexes: BTreeMap<String, String>,
    /// Indexes that a failed CREATE INDEX CONCURRENTLY left invalid.
    pub invalid_indexes: BTreeSet<String>,
    /// Size in bytes.
    pub bytes: i64,
    /// Comment on the table.
    pub comment: Option<String>,
}
