//! Which Parquet type has a column?

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::Result;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};

use super::super::column::{Column, Encoding};

/// The schema of these columns. All are optional: that a column is NOT NULL may be declared and not yet be so.
///
/// # Errors
/// Where the library refuses a column.
pub fn schema(columns: &[Column], is_utf8: bool) -> Result<SchemaDescPtr> {
    let fields: Result<Vec<_>> = columns.iter().map(|column| field(column, is_utf8).map(Arc::new)).collect();
    let root = Type::group_type_builder("schema").with_fields(fields?).build()?;
    Ok(Arc::new(SchemaDescriptor::new(Arc::new(root))))
}

fn field(column: &Column, is_utf8: bool) -> Result<Type> {
    let (physical, logical) = types(column.encoding);
    let is_text = physical == Physical::BYTE_ARRAY;
    let builder = Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical.filter(|_| is_utf8 || !is_text));
    if physical == Physical::FIXED_LEN_BYTE_ARRAY { builder.with_length(16).build() } else { builder.build() }
}

fn types(encoding: Encoding) -> (Physical, Option<LogicalType>) {
    let micros = |is_adjusted_to_u_t_c| LogicalType::timestamp(is_adjusted_to_u_t_c, TimeUnit::MICROS);
    match encoding {
        Encoding::Boolean => (Physical::BOOLEAN, None),
        Encoding::Int16 => (Physical::INT32, Some(LogicalType::integer(16, true))),
        Encoding::Int32 => (Physical::INT32, None),
        Encoding::Int64 => (Physical::INT64, None),
        Encoding::Float32 => (Physical::FLOAT, None),
        Encoding::Float64 => (Physical::DOUBLE, None),
        Encoding::Text | Encoding::Output => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Encoding::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        Encoding::Bytes => (Physical::BYTE_ARRAY, None),
        Encoding::Uuid => (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid)),
        Encoding::Date => (Physical::INT32, Some(LogicalType::Date)),
        Encoding::Time => (Physical::INT64, Some(LogicalType::time(false, TimeUnit::MICROS))),
        Encoding::Timestamp => (Physical::INT64, Some(micros(false))),
        Encoding::TimestampTz => (Physical::INT64, Some(micros(true))),
    }
}
