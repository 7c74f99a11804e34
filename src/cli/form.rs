//! In which form is a result written? For a person, or for a program.

use clap::ValueEnum;
use serde::Serialize;

use super::output;

/// The forms of a result.
#[allow(missing_docs, reason = "their documentation would be printed as help for each value")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    #[default]
    Table,
    Json,
    Yaml,
}

impl Form {
    /// Writes a value, or the text that a person reads instead.
    ///
    /// # Errors
    /// If stdout cannot be written to.
    pub fn write<T: Serialize>(self, value: &T, table: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self {
            Self::Table => output::write(&table()),
            Self::Json => output::json(value),
            Self::Yaml => output::write(&crate::yaml::text(value)?),
        }
    }
}
