//! How is a database dumped? By `pg_dump` of the server's major, in a snapshot that is ours too, straight into the store.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncRead;
use tokio::process::Command;

use super::child::{self, Ended, Running};
use super::facts::Facts;
use super::room::Room;
use super::seal::{self, Seal};
use super::selection::Selection;
use super::tools::{Service, Tools};
use super::{gather, progress};
use crate::api::backup::{CompressionMethod, Content, DumpFormat, What};
use crate::api::{Reason, TableName};
use crate::plan::action::Blocked;
use crate::plan::backup::DumpDatabase;
use crate::plan::backup::manifest::Object;
use crate::storage::Store;

/// How long `pg_dump` waits for the lock on a table that somebody alters, before it gives up.
const LOCK_WAIT: &str = "--lock-wait-timeout=60s";

/// Name of the data object.
pub fn data_name(task: &DumpDatabase) -> String {
    let base = match task.settings.format {
        DumpFormat::Custom => "data.dump",
        DumpFormat::Directory => "data.tar",
        DumpFormat::Plain => "data.sql",
    };
    sealed_name(base, task)
}

/// Name of the object with roles and tablespaces.
pub fn globals_name(task: &DumpDatabase) -> String {
    sealed_name("globals.sql", task)
}

fn sealed_name(base: &str, task: &DumpDatabase) -> String {
    let compressed = if task.settings.compression.method == CompressionMethod::Zstd { ".zst" } else { "" };
    let encrypted = if task.is_encrypted() { ".age" } else { "" };
    format!("{base}{compressed}{encrypted}")
}

/// Dumps the database into an object of this key.
///
/// # Errors
/// What `pg_dump` or the store said; then there is no object.
pub async fn data(
    task: &DumpDatabase,
    facts: &Facts,
    (tools, service): (&Tools, &Service),
    (store, key): (&Store, &str),
    (seal, scratch): (&Seal, &Path),
) -> Result<Object, Blocked> {
    let mut command = tools.program("pg_dump");
    service.tell(&mut command).args(arguments(task, facts));
    match task.settings.format {
        DumpFormat::Custom | DumpFormat::Plain => piped("pg_dump", &mut command, store, key, seal).await,
        DumpFormat::Directory => {
            let directory = Room::on(scratch).await?;
            let into = directory.path().join("dump");
            command.arg("--file").arg(&into).arg("--jobs").arg(task.settings.jobs.to_string()).arg("--no-sync");
            let running = child::start("pg_dump", &mut command)?;
            tokio::select! {
                ended = ended(running) => ended?,
                never = progress::watch(&into, &seal.tally) => match never {},
            }
            // What it writes last.
            let has_contents = std::fs::metadata(into.join("toc.dat")).is_ok_and(|contents| contents.len() > 0);
            if !has_contents {
                return Err(nothing("pg_dump"));
            }
            let (tar, packed) = super::pack::pack(into);
            seal::store(store, key, seal, tar, packed).await
        }
    }
}

/// How often the rows of a database go by until they lie in the store: by way of the disk, twice.
pub const fn ways(format: DumpFormat) -> i64 {
    match format {
        DumpFormat::Custom | DumpFormat::Plain => 1,
        DumpFormat::Directory => 2,
    }
}

/// Roles and tablespaces, without passwords, into an object of this key.
///
/// # Errors
/// What `pg_dumpall` or the store said; then there is no object.
pub async fn globals(
    database: &str,
    (tools, service): (&Tools, &Service),
    (store, key): (&Store, &str),
    seal: &Seal,
) -> Result<Object, Blocked> {
    let mut command = tools.program("pg_dumpall");
    service.tell(&mut command).args(["--globals-only", "--no-role-passwords", "--no-password", "--database", database]);
    piped("pg_dumpall", &mut command, store, key, seal).await
}

/// What a program writes becomes an object, if it ends well and has written something.
async fn piped(name: &str, command: &mut Command, store: &Store, key: &str, seal: &Seal) -> Result<Object, Blocked> {
    let mut running = child::start(name, command.stdout(Stdio::piped()))?;
    let stdout: Box<dyn AsyncRead + Send + Unpin> = match running.child.stdout.take() {
        Some(stdout) => gather::output(stdout)
            .map_err(|error| Blocked::new(Reason::ActionFailed, format!("the output of {name} cannot be read: {error}")))?,
        None => Box::new(tokio::io::empty()),
    };
    let before = seal.tally.bytes();
    let approved = async {
        ended(running).await?;
        if seal.tally.bytes() > before { Ok(()) } else { Err(nothing(name)) }
    };
    seal::store(store, key, seal, stdout, approved).await
}

/// Waits for the end of a program that reads the database.
async fn ended(running: Running) -> Result<(), Blocked> {
    let ended = running.end().await;
    ended.map(drop).map_err(|Ended { blocked, said, .. }| {
        // Before it is started, tables and sequences are looked at; this is of large objects, and of what was revoked meanwhile.
        if said.contains("permission denied for") {
            let message = format!("{}; grant it to the role of the connection, or connect as the owner", blocked.message);
            return Blocked::new(Reason::MissingPrivilege, message);
        }
        blocked
    })
}

fn nothing(name: &str) -> Blocked {
    Blocked::new(Reason::ToolFailed, format!("{name} ended well and has written nothing: look whether it is PostgreSQL's own"))
}

fn arguments(task: &DumpDatabase, facts: &Facts) -> Vec<String> {
    let content = &task.settings.content;
    let format = match task.settings.format {
        DumpFormat::Custom => "custom",
        DumpFormat::Directory => "directory",
        DumpFormat::Plain => "plain",
    };
    let mut arguments = vec![
        format!("--format={format}"),
        // Ours is faster, smaller and tells when a bit was flipped.
        "--compress=0".into(),
        format!("--snapshot={}", facts.name),
        "--no-password".into(),
        // A name that matches nothing is an error, should a schema or a table have gone meanwhile.
        "--strict-names".into(),
        LOCK_WAIT.into(),
    ];
    arguments.extend(encoding(facts, content).map(|encoding| format!("--encoding={encoding}")));
    match content.what {
        What::All => {}
        What::SchemaOnly => arguments.push("--schema-only".into()),
        What::DataOnly => arguments.push("--data-only".into()),
    }
    arguments.extend(content.schemas.iter().map(|schema| format!("--schema={}", pattern(schema))));
    let Selection { taken, left_out, .. } = &facts.selection;
    let tables = |flag: &'static str, tables: &[TableName]| -> Vec<String> {
        tables.iter().map(|table| format!("{flag}={}.{}", pattern(&table.schema), pattern(&table.name))).collect()
    };
    arguments.extend(tables("--table", taken));
    arguments.extend(tables("--exclude-table", left_out));
    arguments.extend(tables("--exclude-table-data", &facts.selection.without_rows));
    arguments
}

/// The database's own encoding, if the dump is better left in it: SQL_ASCII holds bytes of any, and others some that UTF-8 has nothing for. Names
/// that are not ASCII are told, and compared afterwards, in UTF-8; with these it is that for the whole dump.
fn encoding<'a>(facts: &'a Facts, content: &Content) -> Option<&'a str> {
    let own = facts.database.properties.encoding.as_str();
    let Selection { with_rows, without_rows, definitions, taken, left_out, .. } = &facts.selection;
    let tables = [with_rows, without_rows, definitions, taken, left_out].into_iter().flatten();
    let is_ascii = content.schemas.iter().all(|schema| schema.is_ascii())
        && tables.into_iter().all(|table| table.schema.is_ascii() && table.name.is_ascii());
    (own != "UTF8" && is_ascii).then_some(own)
}

/// A name that `pg_dump` takes literally (psql, Patterns: what is within double quotes is itself).
fn pattern(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_pattern() {
        assert_eq!(pattern("Orders*\"2025\"."), "\"Orders*\"\"2025\"\".\"");
    }
}
