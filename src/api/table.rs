//! Which table is meant? Names as PostgreSQL stores them: case and every byte count, nothing is folded.

use std::fmt;
use std::str::FromStr;

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

/// `schema.name`, or the name of a table of `public`, as they are and without quotes.
impl FromStr for TableName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (schema, name) = text.split_once('.').unwrap_or(("public", text));
        if schema.is_empty() || name.is_empty() || name.contains('.') {
            return Err("write schema.name, without quotes");
        }
        Ok(Self { schema: schema.into(), name: name.into() })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_with_or_without_its_schema() {
        let name = |schema: &str, name: &str| Ok(TableName { schema: schema.into(), name: name.into() });
        assert_eq!("a.b".parse(), name("a", "b"));
        assert_eq!("b".parse(), name("public", "b"));
        for wrong in ["a.b.c", ".b", "a.", ""] {
            assert!(wrong.parse::<TableName>().is_err(), "{wrong}");
        }
    }
}
