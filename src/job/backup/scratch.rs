//! Where is a restore tried? On a server of our own, in the scratch directory, that nobody else can reach and that is gone afterwards.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::child::{self, Running};
use super::preload;
use super::room::{self, Room};
use super::tools::Tools;
use super::verdict::{self, Witness};
use crate::api::Reason;
use crate::plan::action::Blocked;
use crate::plan::backup::manifest::{Manifest, Properties};
use crate::postgres::connect::Tls;
use crate::postgres::{Session, Target};
use crate::sql::quote::{ident, literal};

/// The superuser of the server.
const SUPERUSER: &str = "postgres";

/// The database that is restored into.
const DATABASE: &str = "restored";

/// How long the server may take to come up.
const START: Duration = Duration::from_secs(60);

/// Durability is of no use to a server that lives for one restore. Each of its errors is logged in a line that begins with the SQLSTATE. Shared
/// memory lies in its directory: in a Pod `/dev/shm` has 64 MiB, and what a killed server leaves there nobody removes.
const SETTINGS: [&str; 16] = [
    "dynamic_shared_memory_type=mmap",
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=4GB",
    "autovacuum=off",
    "archive_mode=off",
    "shared_buffers=128MB",
    "maintenance_work_mem=64MB",
    "logging_collector=off",
    "log_line_prefix=%e ",
    "log_error_verbosity=terse",
    "log_min_error_statement=panic",
];

/// A server, until it is dropped or stopped.
pub struct Scratch {
    running: Option<Running>,
    directory: Room,
    /// What of the original could not be had, such as its locale.
    pub differs: Vec<String>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("directory", &self.directory.path()).finish()
    }
}

impl Scratch {
    /// Starts a server with an empty database like that of the manifest.
    ///
    /// # Errors
    /// [`Reason::ToolsMissing`] where the image has no server, [`Reason::ScratchFull`] where it has no room, or what initdb or the server
    /// said.
    pub async fn start(tools: &Tools, scratch: &Path, manifest: &Manifest) -> Result<Self, Blocked> {
        Self::started(tools, scratch, manifest).await.map_err(|blocked| verdict::of_start(blocked, scratch))
    }

    async fn started(tools: &Tools, scratch: &Path, manifest: &Manifest) -> Result<Self, Blocked> {
        if !tools.has_server() {
            let message = format!(
                "a restore is tried on a server of major {}, and there is no initdb or postgres beside pg_dump: in a Pod, correct the operator's images.postgres; elsewhere install postgresql-{}",
                manifest.major(),
                manifest.major()
            );
            return Err(Blocked::new(Reason::ToolsMissing, message));
        }
        let directory = Room::on(scratch).await?;
        let data = directory.path().join("data");
        let mut initdb = tools.program("initdb");
        initdb
            .args(["--username", SUPERUSER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data);
        let made = child::start("initdb", as_nobody_special(&mut initdb, &directory)?)?.end().await;
        made.map_err(|ended| ended.blocked)?;
        let wanted = preload::wanted(manifest);
        let prepare = |command: &mut Command| as_nobody_special(command, &directory).map(drop);
        let libraries = preload::found(tools, (&data, directory.path()), wanted, prepare).await?;
        let mut postgres = tools.bound("postgres").await;
        postgres.arg("-D").arg(&data).arg("-k").arg(directory.path());
        let more = preload::settings(&libraries, DATABASE);
        postgres.args(SETTINGS.into_iter().chain(more.iter().map(String::as_str)).flat_map(|setting| ["-c", setting]));
        let running = child::start("postgres", as_nobody_special(&mut postgres, &directory)?)?;
        let mut server = Self { running: Some(running), directory, differs: vec![] };
        let session = server.wait().await?;
        server.fill(&session, manifest).await?;
        Ok(server)
    }

    async fn wait(&mut self) -> Result<Session, Blocked> {
        let begun = Instant::now();
        let target = self.target(SUPERUSER);
        loop {
            match Session::open(&target).await {
                Ok(session) => return Ok(session),
                Err(fault) if begun.elapsed() > START => {
                    return Err(Blocked::new(Reason::ToolFailed, format!("the server for the restore did not come up: {fault}")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            let has_ended = self.running.as_mut().is_some_and(|running| matches!(running.child.try_wait(), Ok(Some(_))));
            if has_ended && let Some(running) = self.running.take() {
                let quiet = || Blocked::new(Reason::ToolFailed, "the server for the restore ended by itself");
                return Err(running.end().await.err().map_or_else(quiet, |ended| ended.blocked));
            }
        }
    }

    /// Roles that the dump names, and a database like the original.
    async fn fill(&mut self, session: &Session, manifest: &Manifest) -> Result<(), Blocked> {
        let refused = |error: tokio_postgres::Error| crate::pass::blocked("preparing the server for the restore", &error.into());
        for role in manifest.roles.iter().filter(|role| *role != SUPERUSER) {
            session.client().batch_execute(&format!("CREATE ROLE {}", ident(role))).await.map_err(refused)?;
        }
        let like = &manifest.database.properties;
        if let Err(error) = session.client().batch_execute(&create(like)).await {
            let fault = crate::postgres::Fault::from(error);
            if !fault.sqlstate.as_deref().is_some_and(verdict::speaks) {
                return Err(crate::pass::blocked("preparing the server for the restore", &fault));
            }
            let locale = like.locale.as_deref().unwrap_or(&like.collate);
            let said = &fault.message;
            self.differs
                .push(format!("restored with locale C, since this server does not know the database's own, {locale}: {said}"));
            let plain = format!("CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING {}", literal(&like.encoding));
            session.client().batch_execute(&plain).await.map_err(refused)?;
        }
        Ok(())
    }

    fn target(&self, database: &str) -> Target {
        Target {
            host: self.directory.path().display().to_string(),
            port: 5432,
            database: database.into(),
            user: SUPERUSER.into(),
            password: None,
            tls: Tls::Disable,
        }
    }

    /// The database that is restored into.
    pub fn database(&self) -> Target {
        self.target(DATABASE)
    }

    /// Ends the server, removes its files, and answers what is known of it.
    pub async fn stop(mut self) -> Witness {
        let Some(mut running) = self.running.take() else { return Witness { runs: false, log: String::new() } };
        let runs = matches!(running.child.try_wait(), Ok(None));
        Witness { runs, log: running.kill().await }
    }
}

/// PostgreSQL refuses to run as root, as which a person may well run us on a machine of their own: then it runs as whom the directory
/// is given to. A Pod never runs as root.
fn as_nobody_special<'a>(command: &'a mut Command, directory: &Room) -> Result<&'a mut Command, Blocked> {
    let path: PathBuf = directory.path().to_owned();
    let owner = std::fs::metadata(&path).map(|found| std::os::unix::fs::MetadataExt::uid(&found));
    if owner.ok() != Some(0) && !is_given(&path) {
        return Ok(command);
    }
    let given = std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY));
    given.map_err(|error| room::unusable(&path, &error))?;
    Ok(command.uid(NOBODY).gid(NOBODY))
}

/// Nobody, on every distribution.
const NOBODY: u32 = 65534;

fn is_given(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == NOBODY)
}

fn create(like: &Properties) -> String {
    let mut create = format!(
        "CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        literal(&like.encoding),
        literal(&like.collate),
        literal(&like.ctype)
    );
    match (like.provider.as_str(), &like.locale) {
        ("icu", Some(locale)) => create.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale))),
        ("builtin", Some(locale)) => create.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(locale))),
        _ => {}
    }
    create
}
