//! How does a batch of rows become the columns of a row group?

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding as Coding, Type as Physical, ZstdLevel};
use parquet::column::writer::{ColumnCloseResult, get_column_writer, get_typed_column_writer};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type,
    Int64Type,
};
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr};

use super::super::checksum::Content;
use super::super::column::{Column, Encoding};
use super::super::rows::Batch;
use super::schema::schema;
use super::{EPOCH_DAYS, EPOCH_MICROS};

/// Values that are looked at to see whether a column repeats itself.
const SAMPLE: usize = 512;

/// The columns of one row group, encoded.
#[derive(Debug)]
pub struct Encoded {
    /// Each column's pages, and what the footer says of them.
    pub columns: Vec<(Bytes, ColumnCloseResult)>,
    /// What the rows come to.
    pub content: Content,
}

/// Turns batches into row groups. Cheap to clone: workers share it.
#[derive(Clone, Debug)]
pub struct Encoder {
    columns: Arc<[Column]>,
    schema: SchemaDescPtr,
}

/// A value that Parquet's type cannot hold, or a row that is not what binary COPY sends.
pub type Refusal = String;

/// Where a value stands in a batch; a length below zero is NULL.
#[derive(Clone, Copy)]
struct Field {
    start: u32,
    length: i32,
}

impl Encoder {
    /// An encoder for these columns.
    ///
    /// # Errors
    /// Where the library refuses a column.
    pub fn new(columns: &[Column], is_utf8: bool) -> std::result::Result<Self, Refusal> {
        let schema = schema(columns, is_utf8).map_err(|error| error.to_string())?;
        Ok(Self { columns: columns.into(), schema })
    }

    /// The schema.
    pub fn schema(&self) -> &SchemaDescPtr {
        &self.schema
    }

    /// Encodes a batch, and sums up its rows.
    ///
    /// # Errors
    /// A value that cannot be written so.
    pub fn encode(&self, batch: Batch) -> std::result::Result<Encoded, Refusal> {
        let mut content = Content::default();
        batch.rows().for_each(|row| content.add(row));
        let fields = self.fields(&batch)?;
        let bytes = Bytes::from(batch.bytes);
        let width = self.columns.len();
        let columns = self.columns.iter().enumerate().map(|(number, column)| {
            let values = Values { bytes: &bytes, fields: &fields, width, number };
            encode_column(column, self.schema.column(number), values)
        });
        Ok(Encoded { columns: columns.collect::<std::result::Result<_, Refusal>>()?, content })
    }

    /// Where every value stands, row by row.
    fn fields(&self, batch: &Batch) -> std::result::Result<Vec<Field>, Refusal> {
        let width = self.columns.len();
        let mut fields = Vec::with_capacity(batch.ends.len() * width);
        let mut at = 0_usize;
        let broken = || "the server sent a row that is not in COPY's binary format".to_owned();
        for end in &batch.ends {
            at += 2;
            for _ in 0..width {
                let length = batch.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
                let length = length.ok_or_else(broken)?;
                fields.push(Field { start: u32::try_from(at + 4).map_err(|_| broken())?, length });
                at += 4 + usize::try_from(length).unwrap_or(0);
            }
            if at != *end as usize {
                return Err(broken());
            }
        }
        Ok(fields)
    }
}

/// The values of one column of a batch.
#[derive(Clone, Copy)]
struct Values<'a> {
    bytes: &'a Bytes,
    fields: &'a [Field],
    width: usize,
    number: usize,
}

impl<'a> Values<'a> {
    fn each(self) -> impl Iterator<Item = Field> + 'a {
        self.fields.iter().copied().skip(self.number).step_by(self.width)
    }

    /// Those that are not NULL.
    fn present(self) -> impl Iterator<Item = std::ops::Range<usize>> + 'a {
        self.each().filter_map(|field| {
            let length = usize::try_from(field.length).ok()?;
            Some(field.start as usize..field.start as usize + length)
        })
    }

    /// For each row whether it has a value, as Parquet's definition level.
    fn levels(self) -> Vec<i16> {
        self.each().map(|field| i16::from(field.length >= 0)).collect()
    }

    /// Numbers and the like, from their big-endian bytes.
    fn read<const N: usize, T>(
        self,
        convert: impl Fn([u8; N]) -> std::result::Result<T, &'static str>,
    ) -> std::result::Result<Vec<T>, &'static str> {
        self.present()
            .map(|range| convert(self.bytes[range].try_into().map_err(|_| "a value of an unexpected length")?))
            .collect()
    }

    fn slices(self) -> impl Iterator<Item = ByteArray> + 'a {
        self.present().map(|range| ByteArray::from(self.bytes.slice(range)))
    }

    /// Whether values come again often enough for a dictionary to pay.
    fn repeat(self) -> bool {
        let mut known = HashSet::with_capacity(SAMPLE);
        let seen = self.present().take(SAMPLE).map(|range| known.insert(&self.bytes[range])).count();
        known.len() * 2 < seen
    }
}

fn encode_column(
    column: &Column,
    descriptor: ColumnDescPtr,
    values: Values<'_>,
) -> std::result::Result<(Bytes, ColumnCloseResult), Refusal> {
    let refuse = |what: &str| format!("column {} holds {what}", column.name);
    let sink = Sink { properties: properties(descriptor.physical_type(), values.repeat()), descriptor, levels: values.levels() };
    let same = |number: i64| Ok(number);
    let written = match column.encoding {
        Encoding::Boolean => sink.write::<BoolType>(&values.read(|[byte]| Ok(byte != 0)).map_err(refuse)?),
        Encoding::Int16 => {
            sink.write::<Int32Type>(&values.read(|bytes| Ok(i32::from(i16::from_be_bytes(bytes)))).map_err(refuse)?)
        }
        Encoding::Int32 => sink.write::<Int32Type>(&values.read(|bytes| Ok(i32::from_be_bytes(bytes))).map_err(refuse)?),
        Encoding::Date => sink.write::<Int32Type>(&values.read(|bytes| date(i32::from_be_bytes(bytes))).map_err(refuse)?),
        Encoding::Int64 | Encoding::Time => {
            sink.write::<Int64Type>(&values.read(|bytes| same(i64::from_be_bytes(bytes))).map_err(refuse)?)
        }
        Encoding::Timestamp | Encoding::TimestampTz => {
            sink.write::<Int64Type>(&values.read(|bytes| timestamp(i64::from_be_bytes(bytes))).map_err(refuse)?)
        }
        Encoding::Float32 => sink.write::<FloatType>(&values.read(|bytes| Ok(f32::from_be_bytes(bytes))).map_err(refuse)?),
        Encoding::Float64 => sink.write::<DoubleType>(&values.read(|bytes| Ok(f64::from_be_bytes(bytes))).map_err(refuse)?),
        Encoding::Text | Encoding::Json | Encoding::Output | Encoding::Bytes => {
            sink.write::<ByteArrayType>(&values.slices().collect::<Vec<_>>())
        }
        Encoding::Uuid => sink.write::<FixedLenByteArrayType>(&values.slices().map(FixedLenByteArray::from).collect::<Vec<_>>()),
    };
    written.map_err(|error| format!("column {}: {error}", column.name))
}

/// Days since 2000 to days since 1970; the ends of the range are infinite.
fn date(days: i32) -> std::result::Result<i32, &'static str> {
    match days {
        i32::MAX => Ok(i32::MAX),
        i32::MIN => Ok(-i32::MAX),
        days => Ok(days + EPOCH_DAYS),
    }
}

/// Microseconds since 2000 to microseconds since 1970; the ends of the range are infinite.
fn timestamp(micros: i64) -> std::result::Result<i64, &'static str> {
    match micros {
        i64::MAX => Ok(i64::MAX),
        i64::MIN => Ok(-i64::MAX),
        micros => micros
            .checked_add(EPOCH_MICROS)
            .filter(|micros| *micros != i64::MAX)
            .ok_or("a moment after the year 294246, which Parquet's timestamps cannot hold: export as Csv"),
    }
}

/// Where a column's pages are written.
struct Sink {
    descriptor: ColumnDescPtr,
    properties: WriterPropertiesPtr,
    levels: Vec<i16>,
}

impl Sink {
    fn write<T: DataType>(self, values: &[T::T]) -> Result<(Bytes, ColumnCloseResult)> {
        let mut pages = TrackedWrite::new(Vec::new());
        let writer = get_column_writer(self.descriptor, self.properties, Box::new(SerializedPageWriter::new(&mut pages)));
        let mut writer = get_typed_column_writer::<T>(writer);
        writer.write_batch(values, Some(&self.levels), None)?;
        let closed = writer.close()?;
        Ok((Bytes::from(pages.into_inner()?), closed))
    }
}

/// Encodings by what the values are like. Minima and maxima let readers skip row groups; for strings they cost more than they help, and
/// for floating point they mislead: they leave NaN out, and DuckDB then answers that there is none (tried with 1.4).
///
/// Level 1 of Zstandard: after these encodings level 3 takes half as long again and, measured on hexadecimal texts, saves nothing.
fn properties(physical: Physical, is_repetitive: bool) -> WriterPropertiesPtr {
    let (coding, statistics) = match physical {
        Physical::INT32 | Physical::INT64 => (Coding::DELTA_BINARY_PACKED, EnabledStatistics::Chunk),
        Physical::BYTE_ARRAY => (Coding::DELTA_LENGTH_BYTE_ARRAY, EnabledStatistics::None),
        Physical::FLOAT | Physical::DOUBLE => (Coding::BYTE_STREAM_SPLIT, EnabledStatistics::None),
        _ => (Coding::PLAIN, EnabledStatistics::None),
    };
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_encoding(coding)
        .set_dictionary_enabled(is_repetitive && physical != Physical::BOOLEAN)
        .set_statistics_enabled(statistics)
        .set_offset_index_disabled(true);
    Arc::new(properties.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_move_from_the_epoch_of_postgresql_to_that_of_parquet() {
        assert_eq!((date(0), date(i32::MAX), date(i32::MIN)), (Ok(10_957), Ok(i32::MAX), Ok(-i32::MAX)));
        assert_eq!((timestamp(0), timestamp(i64::MAX), timestamp(i64::MIN)), (Ok(EPOCH_MICROS), Ok(i64::MAX), Ok(-i64::MAX)));
        // 294276-12-31, PostgreSQL's last day.
        assert!(timestamp(9_223_371_244_800_000_000).is_err());
    }

    #[test]
    fn a_row_that_is_cut_short_is_refused() {
        let column = Column {
            name: "a".into(),
            type_name: "integer".into(),
            not_null: false,
            collation: None,
            generated: None,
            identity: None,
            encoding: Encoding::Int32,
        };
        let encoder = Encoder::new(&[column], true).unwrap();
        let whole = [0, 1, 0, 0, 0, 4, 0, 0, 0, 7];
        for length in 0..whole.len() {
            let mut batch = Batch::default();
            batch.push(&whole[..length]);
            assert!(encoder.encode(batch).is_err(), "{length}");
        }
        let mut batch = Batch::default();
        batch.push(&whole);
        assert_eq!(encoder.encode(batch).unwrap().content.rows, 1);
    }
}
