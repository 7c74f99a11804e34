//! Where does the demo's PostgreSQL come from? A scratch server in a directory of its own, gone with the command.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tempfile::TempDir;

use crate::postgres::Session;
use crate::postgres::connect::{Target, Tls};

/// `nobody`, as nearly every system numbers it. PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// A running server. Dropped, it ends and leaves nothing.
pub struct Server {
    programs: PathBuf,
    home: TempDir,
    process: Child,
}

impl Server {
    /// Starts one from whatever programs of PostgreSQL are found, the newest first.
    ///
    /// # Errors
    /// If none are found, or the server does not start; its log is quoted.
    pub async fn start() -> anyhow::Result<Self> {
        let programs = programs().ok_or_else(|| {
            anyhow!("no initdb and postgres of PostgreSQL 14 or later were found in PATH or under /usr/lib/postgresql; install PostgreSQL, or set PGREEVE_CACHE to a directory with postgres/<major>/bin")
        })?;
        let home = tempfile::Builder::new().prefix("pgreeve-demo-").tempdir()?;
        if is_root()? {
            chown(home.path(), Some(NOBODY), Some(NOBODY)).context("the scratch directory cannot be given to another user")?;
        }
        let data = home.path().join("data");
        let initdb = command(&programs.join("initdb"))?
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions", "-D"])
            .arg(&data)
            .output()?;
        if !initdb.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&initdb.stderr));
        }
        let process = postgres(&programs, home.path(), &data)?;
        let mut server = Self { programs, home, process };
        server.wait().await?;
        Ok(server)
    }

    /// Where to connect as this role.
    pub fn target(&self, user: &str, database: &str) -> Target {
        Target {
            host: self.home.path().display().to_string(),
            port: 5432,
            database: database.to_owned(),
            user: user.to_owned(),
            password: None,
            tls: Tls::Disable,
        }
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        for _ in 0..600 {
            if Session::open(&self.target("postgres", "postgres")).await.is_ok() {
                return Ok(());
            }
            if self.process.try_wait()?.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        bail!("the scratch server does not answer; its log:\n{log}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // pg_ctl ends the postmaster so that it takes its shared memory with it; killing it would not.
        let stop = command(&self.programs.join("pg_ctl")).and_then(|mut pg_ctl| {
            Ok(pg_ctl.args(["-m", "immediate", "stop", "-D"]).arg(self.home.path().join("data")).output()?)
        });
        if !stop.is_ok_and(|output| output.status.success()) {
            drop(self.process.kill());
        }
        drop(self.process.wait());
    }
}

fn postgres(programs: &Path, home: &Path, data: &Path) -> anyhow::Result<Child> {
    let log = File::create(home.join("log"))?;
    let socket = format!("unix_socket_directories={}", home.display());
    let settings = ["listen_addresses=", &socket, "port=5432", "fsync=off", "synchronous_commit=off", "full_page_writes=off"];
    let mut command = command(&programs.join("postgres"))?;
    command.arg("-D").arg(data).args(settings.iter().flat_map(|setting| ["-c", *setting]));
    // An interrupt from the keyboard is for the demo, which then ends the server.
    Ok(command.process_group(0).stdout(log.try_clone()?).stderr(log).spawn()?)
}

fn command(program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).current_dir("/");
    if is_root()? {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command)
}

fn is_root() -> anyhow::Result<bool> {
    Ok(std::fs::metadata("/proc/self").map(|metadata| metadata.uid() == 0).unwrap_or(false))
}

/// The newest directory that holds the programs.
fn programs() -> Option<PathBuf> {
    let cache = std::env::var_os("PGREEVE_CACHE").map_or_else(|| PathBuf::from("/var/cache/pgreeve"), PathBuf::from);
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for place in [cache.join("postgres"), PathBuf::from("/usr/lib/postgresql")] {
        let majors = std::fs::read_dir(place).into_iter().flatten().filter_map(Result::ok);
        found.extend(majors.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path).map(|directory| (14, directory)));
    found.retain(|(major, directory)| {
        *major >= 14 && ["initdb", "postgres", "pg_ctl"].iter().all(|name| directory.join(name).is_file())
    });
    found.into_iter().max_by_key(|(major, _)| *major).map(|(_, directory)| directory)
}
