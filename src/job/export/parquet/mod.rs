//! How does a table look as Parquet? One row group a batch, each column by an encoding that readers know, pages compressed by Zstandard.

mod decode;
mod encode;
mod file;
mod schema;
mod window;

pub use decode::{Columns, Value};
pub use encode::{Encoded, Encoder};
pub use file::FileWriter;
pub use window::{Footer, footer, footer_length};

/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Days from 1970 to 2000.
const EPOCH_DAYS: i32 = 10_957;
