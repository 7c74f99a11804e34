//! How do the columns of a row group become rows again? Read whole, and put together as binary COPY sent them.

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray};
use parquet::errors::Result;

use super::super::checksum::Content;
use super::super::column::{Column, Encoding};
use super::window::RowGroup;
use super::{EPOCH_DAYS, EPOCH_MICROS};

/// The values of one column, NULLs left out.
#[derive(Debug)]
enum Values {
    Boolean(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

#[derive(Debug)]
struct Read {
    encoding: Encoding,
    levels: Vec<i16>,
    values: Values,
    next: usize,
}

/// A row group, decoded.
#[derive(Debug)]
pub struct Columns {
    rows: usize,
    columns: Vec<Read>,
}

/// A value as binary COPY has it.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// boolean.
    Boolean(bool),
    /// smallint.
    Int16(i16),
    /// integer, or a date as days since 2000.
    Int32(i32),
    /// bigint, or a time or a moment as microseconds, since 2000.
    Int64(i64),
    /// real.
    Float32(f32),
    /// double precision.
    Float64(f64),
    /// Anything else.
    Bytes(&'a [u8]),
}

impl Columns {
    /// Decodes a row group.
    ///
    /// # Errors
    /// Where its pages do not hold, or it has other columns.
    pub fn decode(group: &RowGroup, columns: &[Column]) -> std::result::Result<Self, String> {
        if group.columns() != columns.len() {
            return Err(format!("it has {} columns and the manifest {}", group.columns(), columns.len()));
        }
        let rows = group.rows();
        let read = |(number, column): (usize, &Column)| {
            let read = group.column(number).and_then(|reader| read(column.encoding, reader, rows));
            read.map_err(|error| format!("column {}: {error}", column.name))
        };
        Ok(Self { rows, columns: columns.iter().enumerate().map(read).collect::<std::result::Result<_, _>>()? })
    }

    /// Gives each row's values to `take`, column by column; `end` follows each row.
    ///
    /// # Errors
    /// Where a column has fewer values than rows.
    pub fn rows(
        mut self,
        mut take: impl FnMut(usize, Encoding, Value<'_>),
        mut end: impl FnMut(),
    ) -> std::result::Result<(), String> {
        for row in 0..self.rows {
            for (number, column) in self.columns.iter_mut().enumerate() {
                let encoding = column.encoding;
                let value = column.value(row).ok_or_else(|| format!("column {number} has fewer values than rows"))?;
                take(number, encoding, value);
            }
            end();
        }
        Ok(())
    }

    /// What the rows come to; see [`Content`].
    ///
    /// # Errors
    /// As for [`Columns::rows`].
    pub fn content(self) -> std::result::Result<Content, String> {
        let width = u16::try_from(self.columns.len()).unwrap_or(u16::MAX);
        let content = std::cell::RefCell::new((Content::default(), width.to_be_bytes().to_vec()));
        self.rows(
            |_, _, value| value.put(&mut content.borrow_mut().1),
            || {
                let (content, row) = &mut *content.borrow_mut();
                content.add(row);
                row.truncate(2);
            },
        )?;
        Ok(content.into_inner().0)
    }
}

impl Value<'_> {
    /// The length and the bytes, big-endian.
    fn put(self, row: &mut Vec<u8>) {
        let mut field = |bytes: &[u8]| {
            // PostgreSQL's values have less than 1 GiB.
            row.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
            row.extend_from_slice(bytes);
        };
        match self {
            Self::Null => row.extend_from_slice(&(-1_i32).to_be_bytes()),
            Self::Boolean(value) => field(&[u8::from(value)]),
            Self::Int16(value) => field(&value.to_be_bytes()),
            Self::Int32(value) => field(&value.to_be_bytes()),
            Self::Int64(value) => field(&value.to_be_bytes()),
            Self::Float32(value) => field(&value.to_be_bytes()),
            Self::Float64(value) => field(&value.to_be_bytes()),
            Self::Bytes(value) => field(value),
        }
    }
}

impl Read {
    fn value(&mut self, row: usize) -> Option<Value<'_>> {
        if *self.levels.get(row)? == 0 {
            return Some(Value::Null);
        }
        let at = self.next;
        self.next += 1;
        Some(match &self.values {
            Values::Boolean(values) => Value::Boolean(*values.get(at)?),
            Values::Int32(values) => match (self.encoding, *values.get(at)?) {
                (Encoding::Int16, value) => Value::Int16(i16::try_from(value).ok()?),
                (Encoding::Date, value) => Value::Int32(date(value)?),
                (_, value) => Value::Int32(value),
            },
            Values::Int64(values) => match (self.encoding, *values.get(at)?) {
                (Encoding::Timestamp | Encoding::TimestampTz, value) => Value::Int64(timestamp(value)?),
                (_, value) => Value::Int64(value),
            },
            Values::Float(values) => Value::Float32(*values.get(at)?),
            Values::Double(values) => Value::Float64(*values.get(at)?),
            Values::Bytes(values) => Value::Bytes(values.get(at)?.data()),
            Values::Fixed(values) => Value::Bytes(values.get(at)?.data()),
        })
    }
}

fn date(days: i32) -> Option<i32> {
    match days {
        i32::MAX => Some(i32::MAX),
        days if days == -i32::MAX => Some(i32::MIN),
        days => days.checked_sub(EPOCH_DAYS),
    }
}

fn timestamp(micros: i64) -> Option<i64> {
    match micros {
        i64::MAX => Some(i64::MAX),
        micros if micros == -i64::MAX => Some(i64::MIN),
        micros => micros.checked_sub(EPOCH_MICROS),
    }
}

fn read(encoding: Encoding, reader: ColumnReader, rows: usize) -> Result<Read> {
    let (levels, values) = match reader {
        ColumnReader::BoolColumnReader(reader) => all(reader, rows).map(|(levels, values)| (levels, Values::Boolean(values)))?,
        ColumnReader::Int32ColumnReader(reader) => all(reader, rows).map(|(levels, values)| (levels, Values::Int32(values)))?,
        ColumnReader::Int64ColumnReader(reader) => all(reader, rows).map(|(levels, values)| (levels, Values::Int64(values)))?,
        ColumnReader::FloatColumnReader(reader) => all(reader, rows).map(|(levels, values)| (levels, Values::Float(values)))?,
        ColumnReader::DoubleColumnReader(reader) => all(reader, rows).map(|(levels, values)| (levels, Values::Double(values)))?,
        ColumnReader::ByteArrayColumnReader(reader) => {
            all(reader, rows).map(|(levels, values)| (levels, Values::Bytes(values)))?
        }
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            all(reader, rows).map(|(levels, values)| (levels, Values::Fixed(values)))?
        }
        ColumnReader::Int96ColumnReader(_) => return Err(parquet::errors::ParquetError::General("INT96 is not ours".into())),
    };
    Ok(Read { encoding, levels, values, next: 0 })
}

fn all<T: DataType>(mut reader: ColumnReaderImpl<T>, rows: usize) -> Result<(Vec<i16>, Vec<T::T>)> {
    let (mut levels, mut values) = (Vec::with_capacity(rows), Vec::new());
    reader.read_records(rows, Some(&mut levels), None, &mut values)?;
    Ok((levels, values))
}
