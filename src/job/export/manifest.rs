//! What says that an export exists? Its manifest, written last and never replaced.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::column::Column;
use crate::api::retention_policy::{ExportCompression, ExportFormat};
use crate::api::{Reason, TableName};
use crate::plan::action::Blocked;
use crate::plan::removal::ExportPartition;

/// The format of manifests that this version writes; a reader refuses a later one.
pub const VERSION: i32 = 1;

/// Everything about an export that its data does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Format of the manifest.
    pub version: i32,
    /// What wrote it, such as `pgreeve 0.1.0`.
    pub writer: String,
    /// The export: the comment of the constraint that closes the partition names it too.
    pub export: String,
    /// When it was written.
    pub written_at: Timestamp,
    /// Where the rows come from.
    pub source: Source,
    /// The columns, in the order of the file.
    pub columns: Vec<Column>,
    /// The query whose rows were copied out, under the settings that the documentation of exports names.
    pub query: String,
    /// Whether texts are UTF-8; not known of a database of encoding SQL_ASCII.
    pub utf8: bool,
    /// Rows.
    pub rows: i64,
    /// Sum modulo 2^128 of the XXH3-128 of every row.
    pub checksum: Checksum,
    /// The object.
    pub data: Data,
}

/// Where the rows of an export come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Database.
    pub database: String,
    /// The cluster's identifier, where the role may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// PostgreSQL's version.
    pub server_version: String,
    /// Position in the WAL when the snapshot was taken, where the role may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// The partitioned table.
    pub table: TableName,
    /// The partition.
    pub partition: TableName,
    /// Its OID.
    pub oid: u32,
    /// Its bounds.
    pub bound: String,
}

/// The object that holds the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// Its name; it lies beside the manifest.
    pub name: String,
    /// Format.
    pub format: ExportFormat,
    /// Compression.
    pub compression: ExportCompression,
    /// Size in bytes.
    pub bytes: i64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Reason::ExportMismatch`] where it is none, or of a later version.
    pub fn read(url: &str, content: &[u8]) -> Result<Self, Blocked> {
        let refused = |what: String| Blocked::new(Reason::ExportMismatch, format!("{url} {what}"));
        let manifest: Self = serde_json::from_slice(content).map_err(|error| refused(format!("is no manifest: {error}")))?;
        if manifest.version > VERSION {
            return Err(refused(format!("was written by {}, in a format that this version does not know", manifest.writer)));
        }
        Ok(manifest)
    }
}

/// The directory of an export: `<schema>.<table>/<partition>-<oid>/<export>`. Names are for people; the identifier tells exports apart.
pub fn directory(task: &ExportPartition, export: &str) -> String {
    let (parent, partition) = (&task.parent.table, &task.partition);
    format!("{}.{}/{}-{}/{export}", plain(&parent.schema), plain(&parent.name), plain(&partition.table.name), partition.oid)
}

/// The key of an export's manifest.
pub fn key(task: &ExportPartition, export: &str) -> String {
    format!("{}/manifest.json", directory(task, export))
}

/// What a data file's name ends in.
pub const fn extension(format: ExportFormat, compression: ExportCompression) -> &'static str {
    match (format, compression) {
        (ExportFormat::Parquet, _) => "parquet",
        (ExportFormat::Csv, ExportCompression::Zstd) => "csv.zst",
        (ExportFormat::Csv, ExportCompression::Gzip) => "csv.gz",
    }
}

/// A name with nothing in it that a store, a shell or a URL reads otherwise.
fn plain(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    name.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_a_later_version_is_refused_by_name() {
        let refused = Manifest::read("s3://b/m", b"{}").unwrap_err();
        assert!(refused.message.starts_with("s3://b/m is no manifest"), "{}", refused.message);
    }

    #[test]
    fn names_in_keys_hold_nothing_that_is_read_otherwise() {
        assert_eq!(plain("Orders/2025 #1?é.x"), "Orders_2025__1___x");
    }
}
