//! What can be set on a partition? One property and its value.

use serde::{Deserialize, Serialize};

/// One property of a partition set to a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "set", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// `ALTER TABLE … SET TABLESPACE`, only ever on a new, empty partition.
    Tablespace {
        /// The tablespace.
        name: String,
    },
    /// `ALTER TABLE … SET (…)`
    StorageParameter {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
    },
    /// `ALTER TABLE … ALTER COLUMN … SET STATISTICS`
    Statistics {
        /// The column.
        column: String,
        /// The target.
        target: i32,
    },
    /// `CREATE INDEX` (CONCURRENTLY on a partition that exists).
    Index {
        /// Its name.
        name: String,
        /// The columns.
        columns: Vec<String>,
        /// The access method, in PostgreSQL's name.
        method: String,
        /// Whether it is unique.
        unique: bool,
        /// Whether an invalid index of that name, left by a failed build, is dropped first.
        replaces_invalid: bool,
    },
    /// An index of a sibling, by the definition that PostgreSQL prints, for another table and another name.
    IndexLike {
        /// Its name.
        name: String,
        /// What follows `ON table` in the definition.
        definition: String,
        /// Whether it is unique.
        unique: bool,
    },
    /// `ALTER TABLE … REPLICA IDENTITY`
    ReplicaIdentity {
        /// `DEFAULT`, `FULL` or `NOTHING`.
        identity: String,
    },
    /// `ALTER TABLE … ENABLE|DISABLE ROW LEVEL SECURITY` and `FORCE|NO FORCE`
    RowSecurity {
        /// Whether it is on.
        enabled: bool,
        /// Whether it holds for the owner.
        forced: bool,
    },
    /// `CREATE POLICY`
    Policy {
        /// Its name.
        name: String,
        /// What follows `CREATE POLICY name ON table`.
        definition: String,
    },
    /// `GRANT … TO`
    Grant {
        /// The role; `public` is everybody.
        role: String,
        /// The privileges, in PostgreSQL's names.
        privileges: Vec<String>,
    },
    /// `COMMENT ON TABLE`
    Comment {
        /// The text.
        text: String,
    },
    /// `ALTER TABLE … OWNER TO`
    Owner {
        /// The role.
        role: String,
    },
}

impl Change {
    /// The change in a few words.
    pub fn describe(&self) -> String {
        match self {
            Change::Tablespace { name } => format!("tablespace {name}"),
            Change::StorageParameter { name, value } => format!("{name}={value}"),
            Change::Statistics { column, target } => format!("statistics of {column} {target}"),
            Change::Index { name, columns, method, .. } => format!("index {name} {method} ({})", columns.join(", ")),
            Change::IndexLike { name, .. } => format!("index {name}"),
            Change::ReplicaIdentity { identity } => format!("replica identity {}", identity.to_lowercase()),
            Change::RowSecurity { enabled, forced } => match (enabled, forced) {
                (true, true) => "row security on, forced".into(),
                (true, false) => "row security on".into(),
                (false, _) => "row security off".into(),
            },
            Change::Policy { name, .. } => format!("policy {name}"),
            Change::Grant { role, privileges } => format!("grant {} to {role}", privileges.join(", ").to_lowercase()),
            Change::Comment { .. } => "comment".into(),
            Change::Owner { role } => format!("owner {role}"),
        }
    }
}
