//! `pgreeve backup`: one backup, now.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::database::DatabaseArgs;
use super::super::exit::{Exit, Failure};
use super::super::form::Form;
use super::super::location::StoreArgs;
use super::super::{Globals, output};
use super::scheduled::ScheduleArgs;
use super::{WorkshopArgs, failure};
use crate::api::backup::{BackupSettings, Compression, Content, DumpFormat, Encryption, VerifyLevel, What};
use crate::api::job::JobSettings;
use crate::api::postgres_database::SecretRef;
use crate::api::{Destination, TableName};
use crate::job::Access;
use crate::job::backup::{BackedUp, run_in, verify_in};
use crate::plan::action::Blocked;
use crate::plan::backup::DumpDatabase;
use crate::plan::size::bytes;
use crate::postgres::execute::Budget;
use crate::postgres::server;
use crate::signals;
use crate::storage::{self, Credentials, Store};

/// How long taking away what had been sent may take, after a signal to stop.
const SETTLE: Duration = Duration::from_secs(20);

/// Backs a database up into an object store or a directory, reads the backup back, and only then writes its manifest
///
/// With --schedule it is the operator of a cluster that does so.
///
/// Everything is of one snapshot: the dump, and the rows of every table, which a restore is compared with. It needs pg_dump of the server's
/// major version. Credentials of a store come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN;
/// GOOGLE_APPLICATION_CREDENTIALS (a file); AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN.
#[derive(Args, Debug)]
pub struct Backup {
    /// Where to: s3://bucket/prefix, gs://bucket/prefix, az://account/container/prefix, or a directory
    #[arg(value_name = "WHERE", required_unless_present = "schedule")]
    to: Option<String>,
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// Format of the dump
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Tables that are dumped at a time, with format directory
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=64), value_name = "NUMBER")]
    jobs: i32,
    /// Only this schema; may be given again
    #[arg(long = "schema", value_name = "SCHEMA")]
    schemas: Vec<String>,
    /// Only this table with its partitions, as schema.name; may be given again
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<TableName>,
    /// Without this table and its partitions; may be given again
    #[arg(long = "exclude-table", value_name = "TABLE")]
    exclude_tables: Vec<TableName>,
    /// Without the rows of this table and of its partitions; may be given again
    #[arg(long = "exclude-rows", value_name = "TABLE")]
    exclude_rows: Vec<TableName>,
    /// Definitions without rows
    #[arg(long, conflicts_with = "data_only")]
    schema_only: bool,
    /// Rows without definitions
    #[arg(long)]
    data_only: bool,
    /// Without roles and tablespaces
    #[arg(long)]
    no_globals: bool,
    /// Level of Zstandard
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19), value_name = "LEVEL")]
    level: i32,
    /// File with age recipients, one a line, for whom the backup is encrypted
    #[arg(long, value_name = "FILE")]
    recipients_file: Option<PathBuf>,
    /// How far the backup is proven
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    verify: Verify,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t, conflicts_with = "schedule")]
    output: Form,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    workshop: WorkshopArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// A format of the dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One archive, streamed
    #[default]
    Custom,
    /// A file for each table, in parallel
    Directory,
    /// A script, which pgreeve does not restore
    Plain,
}

/// How far a backup is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Verify {
    /// Not at all
    None,
    /// It is read back to its end
    #[default]
    Catalog,
    /// It is restored into a server made for that, and every table is counted
    Restore,
}

impl Backup {
    /// Runs the command.
    pub async fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        if let Some(exit) = self.schedule.run(globals).await? {
            return Ok(exit);
        }
        self.check()?;
        let (session, target) = self.database.connect(globals).await?;
        let found = server::observe(&session).await.map_err(|fault| Failure::fault(&target.to_string(), &fault))?;
        drop(session);
        let store = self.store.below_made(self.to.as_deref().unwrap_or_default()).map_err(failure)?;
        let at = globals.now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let task = DumpDatabase {
            backup: format!("{}-{at}", found.database),
            schedule: None,
            made_for: None,
            directory: format!("{}/{at}-{:08x}", plain(&found.database), fastrand::u32(..)),
            major: found.version_num / 10_000,
            settings: self.settings(),
            exists: false,
            recipients: vec![],
        };
        let mut workshop = self.workshop.workshop()?;
        let read = |file: &PathBuf| {
            std::fs::read(file).map_err(|error| Failure::new(Exit::Usage, format!("{} cannot be read: {error}", file.display())))
        };
        workshop.recipients = self.recipients_file.as_ref().map(read).transpose()?;
        let access = Access { target: Some(target), budget: Budget::default(), storage: Credentials::default(), workshop };
        let done = match signals::stop()?.run_until_cancelled(self.proven(&task, &access, &store)).await {
            Some(done) => done.map_err(failure)?,
            None => {
                storage::settled(SETTLE).await;
                return Err(Failure::new(Exit::Error, "it was told to stop; there is no new backup"));
            }
        };
        let view = Made { format_version: output::VERSION, database: &found.database, backup: &done };
        self.output.write(&view, || report(&found.database, &done))?;
        Ok(Exit::Ok)
    }

    async fn proven(&self, task: &DumpDatabase, access: &Access, store: &Store) -> Result<BackedUp, Blocked> {
        let mut done = run_in(task, access, store).await?;
        if self.verify == Verify::Restore {
            done.verified = Some(verify_in(store, &task.directory, (VerifyLevel::Restore, &[]), &access.workshop).await?);
        }
        Ok(done)
    }

    /// What one option says must go with the others.
    fn check(&self) -> Result<(), Failure> {
        let wrong = |message: &str| Err(Failure::new(Exit::Usage, message));
        match (self.format, self.verify) {
            (Format::Custom | Format::Plain, _) if self.jobs > 1 => {
                wrong("--jobs above 1 goes with --format directory: only that is dumped in parallel")
            }
            (Format::Plain, Verify::Restore) => wrong(
                "--verify restore goes with --format custom or directory: a plain dump is a script, which pgreeve does not run",
            ),
            (_, Verify::Restore) if self.data_only => wrong(
                "--verify restore does not go with --data-only: rows without their tables cannot be restored into an empty server",
            ),
            (_, Verify::Restore) if self.recipients_file.is_some() && self.workshop.identity_file.is_none() => {
                wrong("--verify restore of an encrypted backup needs --identity-file")
            }
            _ if !self.schemas.is_empty() && !self.tables.is_empty() => {
                wrong("--schema does not go with --table: pg_dump ignores a choice of schemas beside one of tables")
            }
            _ => Ok(()),
        }
    }

    fn settings(&self) -> BackupSettings {
        let format = match self.format {
            Format::Custom => DumpFormat::Custom,
            Format::Directory => DumpFormat::Directory,
            Format::Plain => DumpFormat::Plain,
        };
        let what = match (self.schema_only, self.data_only) {
            (true, _) => What::SchemaOnly,
            (_, true) => What::DataOnly,
            _ => What::All,
        };
        // Named after nobody: what it says comes from the file.
        let encryption = self
            .recipients_file
            .as_ref()
            .map(|_| Encryption { recipients_secret_ref: SecretRef { name: String::new() }, identity_secret_ref: None });
        BackupSettings {
            content: Content {
                schemas: self.schemas.clone(),
                tables: self.tables.clone(),
                exclude_tables: self.exclude_tables.clone(),
                exclude_rows: self.exclude_rows.clone(),
                what,
                globals: !self.no_globals,
            },
            format,
            jobs: self.jobs,
            compression: Compression { level: self.level, ..Compression::default() },
            destination: Destination::default(),
            encryption,
            verify: if self.verify == Verify::None { VerifyLevel::None } else { VerifyLevel::Catalog },
            assertions: vec![],
            scratch: None,
            job: JobSettings::default(),
        }
    }
}

/// A name with nothing in it that a store, a shell or a URL reads otherwise.
fn plain(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    name.chars().map(keep).collect()
}

/// What is told of a backup that was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    format_version: &'static str,
    database: &'a str,
    #[serde(flatten)]
    backup: &'a BackedUp,
}

fn report(database: &str, done: &BackedUp) -> String {
    let proven = match &done.verified {
        None => "not at all".into(),
        Some(verified) => super::verify::proven(verified),
    };
    let mut text = format!(
        "Backup    {}\nDatabase  {database}   PostgreSQL {} · {} tables with {} rows · as of {:.0}\nStored    {} ({} before compression), SHA-256 {}\nProven    {proven}\n",
        done.url,
        done.server_version,
        done.tables,
        done.rows,
        done.snapshot_at,
        bytes(done.bytes),
        bytes(done.raw_bytes),
        done.sha256,
    );
    for lack in &done.omitted {
        text.push_str(&format!("Lacks     {lack}\n"));
    }
    text
}
