//! How does a partition get into an object store? Close, export, read back, compare, and only then say so in a manifest.

pub mod closing;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Access;
use crate::api::Reason;
use crate::plan::action::Blocked;
use crate::plan::removal::ExportPartition;

/// A partition that lies in an object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// The identifier in the comment of the constraint that closes the partition, and in the manifest.
    pub id: String,
    /// The manifest's URL.
    pub url: String,
    /// Rows.
    pub rows: i64,
    /// Size of the data object.
    pub bytes: i64,
    /// Checksum of the content, which does not depend on the order of the rows.
    pub checksum: String,
    /// When the object was read back and matched.
    pub verified_at: Timestamp,
}

/// Exports a partition, or confirms the export that exists.
///
/// # Errors
/// Why it is not exported. The partition stays closed, and the next run goes on.
pub async fn run(task: &ExportPartition, access: &Access) -> Result<Export, Blocked> {
    let (_session, export) = closing::close(task, access).await?;
    Err(Blocked::new(Reason::Unsupported, format!("{} is closed by export {export}, and not written", task.partition.table)))
}
