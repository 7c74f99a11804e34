//! What does pg_partman do with a table now? Its configuration, 4.x or 5.x, in terms of a policy.

use serde_json::Value;

use crate::plan::snapshot::TableName;
use crate::sql::quote::literal;

/// pg_partman's configuration of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partman {
    /// The schema that pg_partman lives in.
    pub schema: String,
    /// The table, as it is written there.
    pub table: String,
    /// How many partitions it makes ahead.
    pub premake: Option<i32>,
    /// What a reader should know of the rest, a line each.
    pub remarks: Vec<String>,
}

impl Partman {
    /// The configuration of this table among all rows.
    pub fn of(table: &TableName, rows: &[(String, Value)]) -> Option<Self> {
        let (schema, row) = rows.iter().find(|(_, row)| row["parent_table"] == table.to_string())?;
        let premake = row["premake"].as_i64().and_then(|premake| i32::try_from(premake).ok());
        Some(Self { schema: schema.clone(), table: table.to_string(), premake, remarks: remarks(row) })
    }

    /// The statement that makes it leave the table alone.
    pub fn goodbye(&self) -> String {
        let config = crate::sql::quote::table(&TableName { schema: self.schema.clone(), name: "part_config".into() });
        format!("UPDATE {config} SET automatic_maintenance = 'off' WHERE parent_table = {};", literal(&self.table))
    }
}

fn remarks(row: &Value) -> Vec<String> {
    let text = |field: &str| row[field].as_str().filter(|text| !text.is_empty());
    let mut remarks = Vec::new();
    let interval = text("partition_interval").unwrap_or("unknown");
    remarks.push(format!("pg_partman keeps it: interval {interval}, premake {}", row["premake"]));
    if let Some(retention) = text("retention") {
        let keeps = row["retention_keep_table"].as_bool() == Some(true);
        let what = if keeps { "detaches" } else { "drops" };
        remarks.push(format!("pg_partman {what} what is older than {retention}; this policy retires nothing"));
    }
    if let Some(epoch) = text("epoch").filter(|epoch| *epoch != "none") {
        remarks.push(format!("pg_partman takes the key for an epoch of {epoch}"));
    }
    if text("automatic_maintenance") == Some("off") {
        remarks.push("pg_partman's automatic maintenance of it is off".into());
    }
    remarks
}
