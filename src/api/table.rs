//! Which table is meant? Names as PostgreSQL stores them: case and every byte count, nothing is folded.

use std::fmt;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A table by schema and name, exactly as in `pg_class` (`Order` and `order` are two tables).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("size(bytes(self.schema)) <= 63").message("schema is longer than the 63 bytes of a PostgreSQL name").field_path(".schema"),
    validation = Rule::new("size(bytes(self.name)) <= 63").message("name is longer than the 63 bytes of a PostgreSQL name").field_path(".name")
)]
pub struct TableName {
    /// The schema that holds the table.
    #[serde(default = "public")]
    #[schemars(length(min = 1, max = 63))]
    pub schema: String,
    /// The table's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

fn public() -> String {
    "public".into()
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}
