//! How is a result written? Data on stdout, whole or not at all.

use std::io::Write as _;

use serde::Serialize;

/// Version of the JSON and YAML forms. It changes when a field is renamed or removed, not when one is added.
pub const VERSION: &str = "1";

/// Writes a line.
///
/// # Errors
/// If stdout cannot be written to. A reader that has gone away is not an error: it has what it wanted.
pub fn line(text: &str) -> anyhow::Result<()> {
    write(&format!("{text}\n"))
}

/// Writes a text as it is.
///
/// # Errors
/// As [`line`].
pub fn write(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a value as JSON.
///
/// # Errors
/// As [`line`].
pub fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}
