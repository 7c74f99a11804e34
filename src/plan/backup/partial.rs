//! Does a backup hold the whole database? One that does not becomes a database of its own, and takes the place of none.

use std::fmt::Display;

use crate::api::backup::{Content, What};

/// Names in a message.
const LISTED: usize = 5;

/// What a choice of content lacks that the database has, each as what the backup does: `holds only …`, or `leaves out …`.
pub fn lacks(content: &Content) -> Vec<String> {
    let Content { schemas, tables, exclude_tables, exclude_rows, what, globals: _ } = content;
    let mut lacks = Vec::new();
    let mut lack = |does: &str, names: String| {
        if !names.is_empty() {
            lacks.push(format!("{does} {names}"));
        }
    };
    lack("holds only the schemas", listed(schemas));
    lack("holds only the tables", listed(tables));
    lack("leaves out the tables", listed(exclude_tables));
    lack("leaves out the rows of", listed(exclude_rows));
    match what {
        What::All => {}
        What::SchemaOnly => lack("leaves out", "all rows".into()),
        What::DataOnly => lack("leaves out", "all but rows".into()),
    }
    lacks
}

fn listed(names: &[impl Display]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(ToString::to_string).collect();
    let more = names.len() - shown.len();
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(content: Value) -> Vec<String> {
        lacks(&serde_json::from_value(content).unwrap())
    }

    #[test]
    fn every_choice_of_content_but_that_of_globals_makes_a_part() {
        assert_eq!(of(json!({})), [""; 0]);
        assert_eq!(of(json!({"globals": false, "what": "All"})), [""; 0]);
        let table = |name| json!([{"schema": "public", "name": name}]);
        for (content, says) in [
            (json!({"schemas": ["app"]}), "holds only the schemas app"),
            (json!({"tables": table("orders")}), "holds only the tables public.orders"),
            (json!({"excludeTables": table("audit")}), "leaves out the tables public.audit"),
            (json!({"excludeRows": table("audit")}), "leaves out the rows of public.audit"),
            (json!({"what": "SchemaOnly"}), "leaves out all rows"),
            (json!({"what": "DataOnly"}), "leaves out all but rows"),
        ] {
            assert_eq!(of(content), [says]);
        }
        let many: Vec<String> = (1..8).map(|number| format!("s{number}")).collect();
        assert_eq!(of(json!({"schemas": many})), ["holds only the schemas s1, s2, s3, s4, s5 and 2 more"]);
    }
}
