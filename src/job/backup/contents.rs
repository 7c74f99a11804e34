//! Does an archive hold rows of every table whose rows were counted? Its table of contents says so: a dump may be whole from its first byte to
//! its last, and another one than was asked for.

use std::collections::BTreeMap;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{ChildStdin, Command};

use super::child::{self, Running};
use super::seal::damaged;
use crate::plan::action::Blocked;
use crate::plan::backup::Manifest;
use crate::plan::backup::manifest::TableRows;

/// Tables in a message.
const LISTED: usize = 3;

/// `pg_restore --list` while it runs; none where no rows were counted.
pub struct Listing {
    running: Option<Running>,
    wanted: Wanted,
}

/// Tables whose rows have not been found yet, by how their entry begins.
#[derive(Debug)]
struct Wanted(BTreeMap<String, TableRows>);

/// Starts a program that lists an archive's table of contents.
///
/// # Errors
/// Why it cannot be started.
pub fn of(list: &mut Command, manifest: &Manifest) -> Result<Listing, Blocked> {
    let wanted = Wanted::of(&manifest.tables);
    let running = if wanted.0.is_empty() { None } else { Some(child::start("pg_restore", list.stdout(Stdio::piped()))?) };
    Ok(Listing { running, wanted })
}

impl Listing {
    /// Where it reads the archive.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.running.as_mut()?.child.stdin.take()
    }

    /// Reads the list to its end. `url` is the archive's.
    ///
    /// # Errors
    /// [`Reason::BackupDamaged`](crate::api::Reason::BackupDamaged) with a table whose rows lack, or what the program said.
    pub async fn complete(mut self, url: &str) -> Result<(), Blocked> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        if let Some(stdout) = running.child.stdout.take() {
            self.wanted.find(stdout).await;
        }
        running.end().await.map_err(|ended| ended.blocked)?;
        self.wanted.verdict().map_err(|what| damaged(url, &what))
    }
}

impl Wanted {
    fn of(tables: &[TableRows]) -> Self {
        let entry = |counted: &TableRows| {
            let name = format!("{} {}", counted.table.schema, counted.table.name);
            // A list has one line for each entry, whatever its name.
            format!("TABLE DATA {}", name.replace(['\n', '\r'], " "))
        };
        Self(tables.iter().filter(|counted| counted.rows > 0).map(|counted| (entry(counted), counted.clone())).collect())
    }

    /// Strikes out what a list has.
    async fn find(&mut self, list: impl AsyncRead + Unpin) {
        let mut list = BufReader::new(list);
        let mut line = Vec::new();
        while list.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
            self.strike(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }

    /// A line is `215; 0 16385 TABLE DATA public users postgres`: numbers, kind, schema, name and owner, none of them quoted. Where names have
    /// blanks, the longest of those that are wanted is meant.
    fn strike(&mut self, line: &str) {
        let Some((_, entry)) = line.split_once("; ") else { return };
        let Some(entry) = entry.splitn(3, ' ').nth(2).filter(|entry| entry.starts_with("TABLE DATA ")) else { return };
        let ends = entry.char_indices().rev().filter(|(_, character)| *character == ' ').map(|(at, _)| at);
        if let Some(found) = ends.map(|at| &entry[..at]).find(|found| self.0.contains_key(*found)) {
            self.0.remove(found);
        }
    }

    fn verdict(self) -> Result<(), String> {
        let lacking: Vec<String> = self
            .0
            .into_values()
            .map(|TableRows { table, rows }| format!("it holds no rows of {table}, and {rows} were counted"))
            .collect();
        match lacking.len() {
            0 => Ok(()),
            1..=LISTED => Err(lacking.join("; ")),
            count => Err(format!("{}; and none of {} more tables", lacking[..LISTED].join("; "), count - LISTED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TableName;

    fn wanted(names: &[&str]) -> Wanted {
        let table = |name: &&str| TableRows { table: TableName { schema: "public".into(), name: (*name).into() }, rows: 7 };
        Wanted::of(&names.iter().map(table).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn each_entry_stands_for_one_table_whatever_the_names_are() {
        let mut some = wanted(&["a", "a b", "a b c", "two\nlines", "lost"]);
        let list = "; Archive created at 2026-11-29\n;     TOC Entries: 9\n\
            3; 1259 16385 TABLE public lost postgres\n4; 0 16385 TABLE DATA public a b c owner\n5; 0 16386 TABLE DATA public a owner\n\
            6; 0 16387 TABLE DATA public a b owner\n7; 0 16388 TABLE DATA public two lines an owner\n";
        some.find(list.as_bytes()).await;
        assert_eq!(some.verdict(), Err("it holds no rows of public.lost, and 7 were counted".into()));
        let message = wanted(&["a", "b", "c", "d", "e"]).verdict().unwrap_err();
        assert!(message.ends_with("public.c, and 7 were counted; and none of 2 more tables"), "{message}");
    }
}
