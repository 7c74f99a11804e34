//! How does a table look as compressed CSV? PostgreSQL's own records, each batch a frame (Zstandard) or member (gzip) of its own.
//!
//! Both formats allow that, so that any tool reads the whole, and batches can be compressed side by side.

use std::io::{self, Read, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::checksum::Content;
use super::rows::Batch;
use crate::api::retention_policy::{ExportCompression, ExportFormat};

/// The level that compresses 19 % better than gzip's usual one, and several times as fast.
const ZSTD_LEVEL: i32 = 3;

/// How much is decompressed before it is handed on, at least.
const CHUNK: usize = 1 << 20;

/// The line with the names of the columns.
pub fn header<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let names: Vec<String> = names.map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    format!("{}\n", names.join(",")).into_bytes()
}

/// Compresses a batch, and sums up its records.
///
/// # Errors
/// Where the compressor has no memory.
pub fn encode(batch: &Batch, compression: ExportCompression) -> io::Result<(Bytes, Content)> {
    let mut content = Content::default();
    batch.rows().for_each(|record| content.add(record.strip_suffix(b"\n").unwrap_or(record)));
    Ok((compress(&batch.bytes, compression)?, content))
}

/// What of a row is summed up: a record without the line break that ends it.
pub fn without_break(row: &[u8], format: ExportFormat) -> &[u8] {
    if format == ExportFormat::Csv { row.strip_suffix(b"\n").unwrap_or(row) } else { row }
}

/// Compresses a piece that stands by itself.
///
/// # Errors
/// Where the compressor has no memory.
pub fn compress(bytes: &[u8], compression: ExportCompression) -> io::Result<Bytes> {
    match compression {
        ExportCompression::Zstd => {
            let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
            compressor.include_checksum(true)?;
            compressor.compress(bytes).map(Bytes::from)
        }
        ExportCompression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), Compression::new(6));
            encoder.write_all(bytes)?;
            encoder.finish().map(Bytes::from)
        }
    }
}

/// Decompresses from `source`, and hands on whole records as batches; the header first, as a batch of one record.
///
/// # Errors
/// Where the source breaks off, or is not what was compressed.
pub fn decode(
    source: impl Read,
    compression: ExportCompression,
    mut take: impl FnMut(Batch) -> io::Result<()>,
) -> io::Result<()> {
    let mut reader: Box<dyn Read> = match compression {
        ExportCompression::Zstd => Box::new(zstd::stream::read::Decoder::new(source)?),
        ExportCompression::Gzip => Box::new(MultiGzDecoder::new(source)),
    };
    let mut splitter = Splitter::default();
    let mut is_header = true;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK + splitter.rest.len());
        chunk.append(&mut splitter.rest);
        let before = chunk.len();
        reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        let is_last = chunk.len() == before;
        let mut batch = splitter.split(chunk, is_last)?;
        if is_header && !batch.ends.is_empty() {
            is_header = false;
            let (header, rest) = first_apart(batch);
            take(header)?;
            batch = rest;
        }
        if !batch.ends.is_empty() {
            take(batch)?;
        }
        if is_last {
            return if is_header { Err(io::Error::other("it has no header")) } else { Ok(()) };
        }
    }
}

fn first_apart(batch: Batch) -> (Batch, Batch) {
    let (mut header, mut rest) = (Batch::default(), Batch::with_capacity(batch.bytes.len()));
    for (number, row) in batch.rows().enumerate() {
        if number == 0 { header.push(row) } else { rest.push(row) }
    }
    (header, rest)
}

/// Finds the ends of records: a line break counts only outside of quotes.
#[derive(Debug, Default)]
struct Splitter {
    rest: Vec<u8>,
    /// What of `rest` has been looked at.
    looked: usize,
    is_quoted: bool,
}

impl Splitter {
    fn split(&mut self, mut bytes: Vec<u8>, is_last: bool) -> io::Result<Batch> {
        let mut ends = Vec::new();
        for (at, byte) in bytes.iter().enumerate().skip(self.looked) {
            match byte {
                b'"' => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => ends.push(u32::try_from(at + 1).map_err(io::Error::other)?),
                _ => {}
            }
        }
        self.rest = bytes.split_off(ends.last().map_or(0, |end| *end as usize));
        self.looked = self.rest.len();
        if is_last && !self.rest.is_empty() {
            return Err(io::Error::other("its last record does not end"));
        }
        Ok(Batch { bytes, ends })
    }
}

/// A record as its fields, with their quotes.
pub fn fields(record: &[u8]) -> Vec<&[u8]> {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let mut is_quoted = false;
    record
        .split(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == b',' && !is_quoted
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\"a\",\"b\"\n1,\"x\ny\"\n,\"\"\n3,\"\"\"\n\"\"\"\n";

    #[test]
    fn records_survive_whatever_their_quotes_hold() {
        for compression in [ExportCompression::Zstd, ExportCompression::Gzip] {
            let packed = [compress(&TEXT[..13], compression).unwrap(), compress(&TEXT[13..], compression).unwrap()].concat();
            let mut records: Vec<Vec<u8>> = vec![];
            decode(packed.as_slice(), compression, |batch| {
                records.extend(batch.rows().map(<[u8]>::to_vec));
                Ok(())
            })
            .unwrap();
            let expected: [&[u8]; 4] = [b"\"a\",\"b\"\n", b"1,\"x\ny\"\n", b",\"\"\n", b"3,\"\"\"\n\"\"\"\n"];
            assert_eq!(records, expected);
            for cut in 1..packed.len() {
                assert!(
                    decode(&packed[..cut], compression, |_| Ok(())).is_err()
                        || cut == packed.len() - 1
                        || is_whole(&packed[..cut], compression),
                    "{cut}"
                );
            }
        }
    }

    /// Whether a cut happens to fall between two frames, after a whole record.
    fn is_whole(packed: &[u8], compression: ExportCompression) -> bool {
        compress(&TEXT[..13], compression).unwrap() == packed
    }

    #[test]
    fn the_fields_of_a_record_keep_their_quotes() {
        assert_eq!(fields(b"1,\"a,b\",,\"\"\"\"\n"), [&b"1"[..], b"\"a,b\"", b"", b"\"\"\"\""]);
        assert_eq!(fields(b"\n"), [&b""[..]]);
    }
}
