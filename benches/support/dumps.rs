//! What is backed up, by whom, and into which store? A database of documents, identifiers and text, a bucket, and the tools that
//! scripts use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::servers;
use crate::servers::postgres::{Options, Server};
use crate::servers::versitygw::{ACCESS_KEY, S3, SECRET_KEY};

/// The major whose programs Debian 12 has.
pub const MAJOR: u32 = 15;

/// Rows of all tables together that make a megabyte of an archive without compression.
const ROWS: usize = 4_180;

/// A server, a bucket, a directory, and the programs of all contestants.
pub struct Ground {
    /// The server that is backed up.
    pub postgres: Arc<Server>,
    /// The store.
    pub s3: Arc<S3>,
    /// What goes to a disk first.
    pub files: TempDir,
}

impl Ground {
    /// Starts the servers.
    pub fn start() -> Self {
        let settings = ["shared_buffers = 2GB", "max_wal_size = 8GB", "jit = off"].map(String::from).to_vec();
        Self {
            postgres: Server::start(MAJOR, &Options { tcp: true, settings, ..Options::default() }),
            s3: S3::start(),
            files: tempfile::tempdir().unwrap(),
        }
    }

    /// Creates a database whose archive has about so many megabytes without compression.
    pub fn fill(&self, database: &str, megabytes: usize) {
        self.sql("postgres", &[&format!("create database {database}")]);
        fill(&self.postgres, database, "postgres", megabytes);
    }

    /// Runs these one after the other, in one session of the superuser.
    pub fn sql(&self, database: &str, statements: &[&str]) -> String {
        let mut psql = self.command("psql", database);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        for statement in statements {
            psql.args(["-c", statement]);
        }
        servers::process::run(&mut psql)
    }

    /// A script for bash, which knows `$BUCKET`, `$ENDPOINT`, `$WORK` and `$PGREEVE`, and how the database and the store are reached.
    pub fn script(&self, script: &str, database: &str, bucket: &str) -> Command {
        let mut bash = self.command("bash", database);
        bash.args(["-c", script]).env("BUCKET", bucket);
        bash.env("RESTIC_REPOSITORY", format!("s3:{}/{bucket}", self.s3.endpoint));
        bash
    }

    /// A program, with the environment of all contestants.
    pub fn command(&self, program: &str, database: &str) -> Command {
        let mut command = command(program, &self.postgres, database);
        command.envs([
            ("PGREEVE_DATABASE_URL", self.postgres.url("postgres", database)),
            ("PGREEVE", env!("CARGO_BIN_EXE_pgreeve").into()),
            ("ENDPOINT", self.s3.endpoint.clone()),
            ("AWS_ENDPOINT_URL", self.s3.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
            ("AWS_DEFAULT_REGION", "us-east-1".into()),
            // Nothing of the machine's owner.
            ("AWS_CONFIG_FILE", "/dev/null".into()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("RESTIC_PASSWORD", "canary".into()),
            ("RESTIC_CACHE_DIR", self.files.path().join("restic").display().to_string()),
            ("WORK", self.files.path().display().to_string()),
        ]);
        command
    }

    /// Bytes of all that lies in a bucket.
    pub fn stored(&self, bucket: &str) -> u64 {
        let root = self.s3.home.join(bucket);
        self.s3.files(bucket).iter().map(|key| std::fs::metadata(root.join(key)).map_or(0, |found| found.len())).sum()
    }

    /// Removes a bucket with all that lies in it.
    pub fn remove(&self, bucket: &str) {
        std::fs::remove_dir_all(self.s3.home.join(bucket)).unwrap();
    }
}

/// Fills a database with tables of this role, so that its archive has about so many megabytes without compression.
pub fn fill(server: &Server, database: &str, role: &str, megabytes: usize) {
    let rows = megabytes * ROWS;
    let mut psql = command("psql", server, database);
    psql.env("PGOPTIONS", format!("-c role={role}"));
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/benches/support/shop.sql")]);
    for (table, share) in [("customers", 1), ("messages", 3), ("events", 6)] {
        psql.args(["-v", &format!("{table}={}", rows * share / 10)]);
    }
    servers::process::run(&mut psql);
}

/// A program that connects to this database as superuser unless it is told otherwise.
pub fn command(program: &str, server: &Server, database: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", path()).env("PGHOST", &server.socket).env("PGPORT", server.port.to_string());
    command.envs([("PGUSER", "postgres"), ("PGDATABASE", database)]);
    command
}

/// PostgreSQL's own programs first, then ours.
fn path() -> String {
    let usual = std::env::var("PATH").unwrap_or_default();
    format!("/usr/lib/postgresql/{MAJOR}/bin:{}:{usual}", servers::cache().join("bin").display())
}

/// Whether a program is on the contestants' PATH.
pub fn has(program: &str) -> bool {
    std::env::split_paths(&path()).map(|directory: PathBuf| directory.join(program)).any(|file| Path::new(&file).is_file())
}
