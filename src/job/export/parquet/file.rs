//! How do row groups become a file? One after the other; the footer that lists them comes last.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::encode::{Encoded, Encoder};

/// A file that grows by row groups. What has been written is taken away as it comes.
pub struct FileWriter {
    writer: SerializedFileWriter<Taken>,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter").field("bytes", &self.writer.bytes_written()).finish()
    }
}

#[derive(Default)]
struct Taken(Vec<u8>);

impl Write for Taken {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(encoder: &Encoder) -> Result<Self> {
        let created_by = concat!("pgreeve version ", env!("CARGO_PKG_VERSION"));
        let properties = WriterProperties::builder().set_created_by(created_by.into()).set_offset_index_disabled(true).build();
        let root = encoder.schema().root_schema_ptr();
        Ok(Self { writer: SerializedFileWriter::new(Taken::default(), root, Arc::new(properties))? })
    }

    /// Adds a row group, and answers what there is to write.
    ///
    /// # Errors
    /// What the library says.
    pub fn append(&mut self, encoded: Encoded) -> Result<Bytes> {
        let mut group = self.writer.next_row_group()?;
        for (pages, closed) in encoded.columns {
            group.append_column(&pages, closed)?;
        }
        group.close()?;
        self.taken()
    }

    /// Ends the file, and answers what is left to write.
    ///
    /// # Errors
    /// What the library says.
    pub fn finish(mut self) -> Result<Bytes> {
        self.writer.finish()?;
        self.taken()
    }

    fn taken(&mut self) -> Result<Bytes> {
        self.writer.flush()?;
        Ok(Bytes::from(std::mem::take(&mut self.writer.inner_mut().0)))
    }
}
