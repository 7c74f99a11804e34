//! Where do archived rows go? To a table like their own, which is made first and follows it.

use serde::{Deserialize, Serialize};

use super::super::action::{Change, Relation};
use crate::api::TableName;

/// A new archive table, like the table whose rows it will hold, and without anything that could refuse a row that has once been in it:
/// columns with their types, no NOT NULL, no default, no CHECK, no foreign key, and every index, none of them unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateArchiveTable {
    /// The table whose rows it will hold.
    pub source: Relation,
    /// Its name.
    pub archive: TableName,
    /// Who creates and owns it: the owner of the source.
    pub role: String,
    /// Columns that LIKE makes NOT NULL and that may be NULL in the archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nullable: Vec<String>,
    /// What follows `ON table` in the definitions of its indexes.
    pub indexes: Vec<String>,
    /// Grants and row security, as the source has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Change>,
}

/// An archive table follows its source: columns that came, and types that became wider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtendArchiveTable {
    /// The table whose rows it holds.
    pub source: Relation,
    /// The archive table.
    pub archive: Relation,
    /// Its owner.
    pub role: String,
    /// Columns that it lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<ArchiveColumn>,
    /// Columns whose type has become wider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widen: Vec<ArchiveColumn>,
    /// NOT NULL columns that may be NULL in the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nullable: Vec<String>,
}

/// A column of an archive table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveColumn {
    /// Its name.
    pub name: String,
    /// Its type as `format_type` prints it, qualified where it is not one of PostgreSQL's own.
    pub type_name: String,
    /// Its collation, quoted and qualified, where it is not that of its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
}

impl ExtendArchiveTable {
    /// What changes, in a few words.
    pub fn describe(&self) -> String {
        let column = |verb: &str, column: &ArchiveColumn| format!("{verb} {} {}", column.name, column.type_name);
        let mut parts: Vec<String> = self.add.iter().map(|added| column("add", added)).collect();
        parts.extend(self.widen.iter().map(|wider| column("widen", wider)));
        parts.extend(self.nullable.iter().map(|name| format!("{name} may be NULL")));
        format!("{}, as in {}", parts.join(", "), self.source.table)
    }
}
