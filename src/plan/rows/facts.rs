//! What must be known of tables whose rows are to go? Facts of the catalog, and answers that depend on them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::action::{Change, Relation};
use super::super::removal::Reference;
use super::super::snapshot::{Server, TableName};

/// Expired rows are counted up to this number: enough to say that there are many.
pub const ROWS_COUNTED: i64 = 100_000;

/// What is to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The policy's table: what its owner may do with the others is asked too.
    pub table: Option<TableName>,
    /// Every table that plays a part: the policy's, its dependents, and the archive tables. Tables that refer to one of them are
    /// found by themselves.
    pub tables: BTreeSet<TableName>,
}

/// What was observed for one policy.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The session.
    pub server: &'a Server,
    /// The tables that exist, by name, with those that refer to them.
    pub tables: &'a Tables,
    /// Answers to [`question`](super::question).
    pub answers: &'a Answers,
}

/// Tables, and schemas that tables are to be created in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Tables by name.
    pub by_name: BTreeMap<TableName, Table>,
    /// Schemas of the requested tables, and whether the owner of the policy's table may create tables there.
    pub creatable: BTreeMap<String, bool>,
}

impl Tables {
    /// The table of this name, if it exists.
    pub fn get(&self, name: &TableName) -> Option<&Table> {
        self.by_name.get(name)
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// OID and name.
    pub relation: Relation,
    /// `relkind`: `r` table, `p` partitioned table, `f` foreign table, `v` view, …
    pub kind: char,
    /// Whether it is a partition, or inherits, or is inherited from.
    pub is_inherited: bool,
    /// Whether it has rewrite rules.
    pub has_rules: bool,
    /// Owner.
    pub owner: String,
    /// Whether our role may act as the owner (`SET ROLE`).
    pub may_act_as_owner: bool,
    /// Privileges that the owner of the policy's table lacks on it, such as `DELETE`; and `USAGE` where it lacks that on the schema.
    pub lacks: Vec<String>,
    /// Whether row security may hide rows from its own owner.
    pub hides_rows: bool,
    /// Whether a publication sends its deletes and it has no replica identity to send them by.
    pub lacks_identity: bool,
    /// Columns, in their order.
    pub columns: Vec<Column>,
    /// Columns of unique, valid, immediate, whole indexes whose columns are all NOT NULL; the primary key first.
    pub keys: Vec<Vec<String>>,
    /// Indexes.
    pub indexes: Vec<Index>,
    /// Foreign keys that refer to it.
    pub incoming: Vec<ForeignKey>,
    /// Enabled triggers of users that DELETE fires.
    pub delete_triggers: Vec<String>,
    /// Enabled triggers of users that INSERT fires.
    pub insert_triggers: Vec<String>,
    /// Grants, row security and its policies, for a table that is made like it.
    pub properties: Vec<Change>,
    /// Size in bytes, with indexes and TOAST.
    pub bytes: i64,
    /// Rows by PostgreSQL's statistics; -1 if never counted.
    pub tuples: i64,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// `format_type` with its modifier, such as `numeric(10,2)`.
    pub type_name: String,
    /// The same without the modifier.
    pub bare_type: String,
    /// Whether the type, or the type below a domain, is not one of PostgreSQL's own and has operators of its own.
    pub is_foreign_type: bool,
    /// Its collation where it is not that of its type, quoted and qualified.
    pub collation: Option<String>,
    /// Name of the collation that holds for it.
    pub sorts_as: Option<String>,
    /// NOT NULL.
    pub not_null: bool,
    /// Whether it has a default.
    pub has_default: bool,
    /// `GENERATED ALWAYS AS (…)`.
    pub is_generated: bool,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its columns; an expression is empty.
    pub columns: Vec<String>,
    /// Whether a query that compares or sorts by the first column can use it whole: btree, valid, not partial, of the default
    /// operators and the column's collation.
    pub serves: bool,
    /// Whether it is unique.
    pub is_unique: bool,
    /// Whether it is valid.
    pub is_valid: bool,
    /// What follows `ON table` in its definition.
    pub definition: String,
}

/// A foreign key that refers to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint, its table and columns, and what it refers to.
    pub reference: Reference,
    /// `pg_constraint.confdeltype`: `a` no action, `r` restrict, `c` cascade, `n` set null, `d` set default.
    pub on_delete: char,
    /// Whether it compares by operators of PostgreSQL's own.
    pub compares_plainly: bool,
}

impl ForeignKey {
    /// What deleting a row that is referred to does.
    pub const fn action(&self) -> &'static str {
        match self.on_delete {
            'c' => "ON DELETE CASCADE",
            'n' => "ON DELETE SET NULL",
            'd' => "ON DELETE SET DEFAULT",
            'r' => "ON DELETE RESTRICT",
            _ => "ON DELETE NO ACTION",
        }
    }
}

impl Table {
    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether an index finds rows by these columns, in any order.
    pub fn finds_by(&self, columns: &[String]) -> bool {
        let leads = |index: &Index| {
            let first: BTreeSet<&String> = index.columns.iter().take(columns.len()).collect();
            first == columns.iter().collect()
        };
        self.indexes.iter().any(|index| index.serves && leads(index))
    }
}

/// What only a query on the table itself tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Why the server refuses the policy's condition.
    pub condition_error: Option<String>,
    /// Functions of the condition that are not PostgreSQL's own or may change something.
    pub functions: Vec<String>,
    /// Rows that may go, at most [`ROWS_COUNTED`] of them counted.
    pub expired: Option<i64>,
    /// Rows that may go, as the server's planner estimates them.
    pub estimated: Option<i64>,
    /// The oldest value of the column.
    pub oldest: Option<String>,
}
