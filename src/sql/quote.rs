//! How is a name or a value written in SQL? Quoted, always.

use crate::api::TableName;

/// A quoted identifier: `we"ird` becomes `"we""ird"`. (A name cannot hold a NUL: the API and the catalog both refuse it.)
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that means the same whatever `standard_conforming_strings` says.
pub fn literal(value: &str) -> String {
    if value.contains('\\') {
        format!(" E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", value.replace('\'', "''"))
    }
}

/// A qualified, quoted table name.
pub fn table(name: &TableName) -> String {
    format!("{}.{}", ident(&name.schema), ident(&name.name))
}

/// A role as a grantee: `public` is everybody.
pub fn grantee(role: &str) -> String {
    if role == "public" { "PUBLIC".into() } else { ident(role) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_cannot_end_their_quotes() {
        assert_eq!(ident(r#"a"; DROP TABLE b; --"#), r#""a""; DROP TABLE b; --""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"\'; DROP"), r" E'\\''; DROP'");
    }
}
