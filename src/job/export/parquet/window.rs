//! How is a Parquet file read as a stream? Its footer first, then row group by row group, each from memory.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

/// Where the row groups of a file are.
#[derive(Clone, Debug)]
pub struct Footer {
    metadata: Arc<ParquetMetaData>,
}

/// Length of the footer with its last eight bytes, from those eight bytes: a length, little-endian, and `PAR1`.
///
/// # Errors
/// Where it is no Parquet file.
pub fn footer_length(tail: &[u8], size: u64) -> std::result::Result<u64, String> {
    let refused = || "it does not end as a Parquet file does".to_owned();
    let length =
        tail.strip_suffix(b"PAR1").and_then(|length| length.try_into().ok()).map(u32::from_le_bytes).ok_or_else(refused)?;
    let length = u64::from(length) + 8;
    if length + 4 <= size { Ok(length) } else { Err(refused()) }
}

/// Reads a footer.
///
/// # Errors
/// Where it does not hold.
pub fn footer(bytes: &[u8]) -> std::result::Result<Footer, String> {
    let thrift = bytes.get(..bytes.len().saturating_sub(8)).unwrap_or_default();
    let metadata = ParquetMetaDataReader::decode_metadata(thrift).map_err(|error| error.to_string())?;
    Ok(Footer { metadata: Arc::new(metadata) })
}

impl Footer {
    /// How many row groups there are.
    pub fn row_groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// The bytes of a row group: from where the one before it ended to the end of its own last column.
    ///
    /// # Errors
    /// Where the footer contradicts itself.
    pub fn range(&self, number: usize) -> std::result::Result<Range<u64>, String> {
        let ends = |number: usize| {
            self.metadata
                .row_group(number)
                .columns()
                .iter()
                .map(|column| {
                    let (start, length) = column.byte_range();
                    start + length
                })
                .max()
        };
        let start = if number == 0 { Some(4) } else { ends(number - 1) };
        match (start, ends(number)) {
            (Some(start), Some(end)) if start <= end => Ok(start..end),
            _ => Err(format!("its row group {number} has no place in it")),
        }
    }

    /// A row group from its bytes.
    pub fn row_group(&self, number: usize, start: u64, bytes: Bytes) -> RowGroup {
        RowGroup { metadata: Arc::clone(&self.metadata), number, window: Arc::new(Window { start, bytes }) }
    }
}

/// A row group in memory.
#[derive(Clone, Debug)]
pub struct RowGroup {
    metadata: Arc<ParquetMetaData>,
    number: usize,
    window: Arc<Window>,
}

impl RowGroup {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        usize::try_from(self.metadata.row_group(self.number).num_rows()).unwrap_or(0)
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        self.metadata.row_group(self.number).num_columns()
    }

    /// A column's values.
    ///
    /// # Errors
    /// Where its pages do not hold.
    pub fn column(&self, number: usize) -> Result<ColumnReader> {
        let column = self.metadata.row_group(self.number).column(number);
        let properties = Arc::new(ReaderProperties::builder().build());
        let pages = SerializedPageReader::new_with_properties(Arc::clone(&self.window), column, self.rows(), None, properties)?;
        Ok(get_column_reader(column.column_descr_ptr(), Box::new(pages)))
    }
}

/// Part of a file, at the place that it has there.
#[derive(Debug)]
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Window {
    fn from(&self, start: u64) -> Result<Bytes> {
        let offset = start.checked_sub(self.start).and_then(|offset| usize::try_from(offset).ok());
        let offset = offset.filter(|offset| *offset <= self.bytes.len());
        offset.map(|offset| self.bytes.slice(offset..)).ok_or_else(|| ParquetError::EOF("outside its row group".into()))
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.from(start)?;
        if length <= bytes.len() { Ok(bytes.slice(..length)) } else { Err(ParquetError::EOF("outside its row group".into())) }
    }
}
