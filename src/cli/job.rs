//! `pgreeve job`: the other end of a Job. A task comes in, files hold its secrets, and a report goes out.
//!
//! It runs as the first process of its container: it heeds SIGTERM, which such a process would otherwise never feel, and starts no other
//! process that could be left behind. Whatever happens, a panic included, the report says it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use crate::api::Reason;
use crate::api::condition::shorten;
use crate::api::reason::Class;
use crate::cluster::jobs::mounts;
use crate::job::backup::Workshop;
use crate::job::backup::seal::Identity;
use crate::job::{self, Access, archive};
use crate::pass;
use crate::plan::action::Blocked;
use crate::plan::task::{self, Task};
use crate::postgres::{Session, Target};
use crate::signals;
use crate::storage::{self, Credentials};
use crate::target;

/// What holds the task where no file does.
const VARIABLE: &str = "PGREEVE_TASK";

/// Longest report, in bytes: more of it Kubernetes cuts off (core/v1 Container.terminationMessagePath).
const LIMIT: usize = 4096;

/// How long a task may take to end early: Kubernetes kills a Pod 30 s after it told it to stop.
const GRACE: Duration = Duration::from_secs(25);

/// How long of that is for taking away what an upload had sent.
const SETTLE: Duration = Duration::from_secs(20);

/// How often the log says how a task is coming along.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Does one task of the operator, in the Pod of a Job
///
/// The operator makes such Jobs; nobody needs to call it. The task is JSON, in the file of --task or in the environment variable
/// PGREEVE_TASK, and holds no secret. The report is JSON too: what was done (exit code 0), or a reason and a message. Exit code 3 says that
/// another try is no use before somebody has changed something, exit code 1 that it may be.
#[derive(Args, Debug)]
pub struct Job {
    /// File with the task; without it, PGREEVE_TASK holds the task
    #[arg(long, value_name = "FILE")]
    task: Option<PathBuf>,
    /// Directory with a file for each key of a Secret, in connection/, ca/, store/ and store-ca/
    #[arg(long, default_value = mounts::SECRETS, value_name = "DIRECTORY")]
    secrets: PathBuf,
    /// Directory with room for what cannot be streamed
    #[arg(long, default_value = mounts::SCRATCH, value_name = "DIRECTORY")]
    scratch: PathBuf,
    /// Copies this program into a directory, and does nothing else
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "task")]
    install: Option<PathBuf>,
    /// Where the volume is that a destination names
    #[arg(long, default_value = mounts::VOLUME, value_name = "DIRECTORY")]
    volume: PathBuf,
    /// Where the report goes: at most 4096 bytes
    #[arg(long, default_value = mounts::REPORT, value_name = "FILE")]
    report: PathBuf,
}

impl Job {
    /// Does the task, or says why not, until it is told to stop.
    pub async fn run(self) -> Result<Exit, Failure> {
        if let Some(directory) = &self.install {
            let program = std::env::current_exe().context("this program does not know where it is")?;
            let copied = std::fs::copy(program, directory.join("pgreeve"));
            copied.with_context(|| format!("this program cannot be copied to {}", directory.display()))?;
            return Ok(Exit::Ok);
        }
        let stop = signals::stop()?;
        let report = self.report.clone();
        let outcome = guarded(self.work(stop)).await;
        let exit = exit(&outcome);
        let text = text(&outcome);
        match &outcome {
            Ok(_) => tracing::info!(report = %text, "done"),
            Err(blocked) => tracing::error!(reason = %blocked.reason, "{}", blocked.message),
        }
        std::fs::write(&report, text).with_context(|| format!("the report cannot be written to {}", report.display()))?;
        Ok(exit)
    }

    async fn work(self, stop: CancellationToken) -> Result<job::Report, Blocked> {
        let task = read_task(self.task.as_deref())?;
        let access = access(&task, &self.secrets, self.volume, self.scratch)?;
        let work = work(payload(&task)?, access, stop.clone());
        tokio::select! {
            outcome = work => outcome,
            () = overdue(stop) => Err(told_to_stop()),
        }
    }
}

/// The task itself. What knows how to end early does so and reports what it has done; of anything else the sessions close, and the server
/// rolls back.
async fn work(payload: job::Task, access: Access, stop: CancellationToken) -> Result<job::Report, Blocked> {
    match payload {
        job::Task::ArchiveRows(rows) => {
            let target = access.target()?;
            let session = Session::open(target).await.map_err(|fault| pass::blocked(&target.to_string(), &fault))?;
            let watch = archive::Watch { stop, progress: Some(listener()) };
            archive::carry_out(&rows, &session, &watch).await.map(job::Report::RowsMoved)
        }
        payload => {
            let done = stop.run_until_cancelled(job::run(&payload, &access)).await;
            storage::settled(SETTLE).await;
            done.unwrap_or_else(|| Err(told_to_stop()))
        }
    }
}

/// Writes to the log how a run is coming along, now and then.
fn listener() -> archive::Listener {
    let last = Mutex::new(Instant::now());
    Arc::new(move |progress| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= TOLD_EVERY {
            *last = Instant::now();
            tracing::info!(?progress, "under way");
        }
    })
}

async fn overdue(stop: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn told_to_stop() -> Blocked {
    Blocked::new(Reason::JobFailed, "it was told to stop (SIGTERM); what it has done stays, and the next try goes on")
}

/// The outcome of work that may panic.
async fn guarded<T: Send + 'static>(work: impl Future<Output = Result<T, Blocked>> + Send + 'static) -> Result<T, Blocked> {
    // What a panic says may quote anything, so it stays in the log.
    let panicked = || Blocked::new(Reason::JobFailed, "it panicked, which is a bug in pgreeve; its log says where");
    tokio::spawn(work).await.unwrap_or_else(|_| Err(panicked()))
}

/// How the program ends: whether the Job's next Pod is worth a try.
fn exit<T>(outcome: &Result<T, Blocked>) -> Exit {
    match outcome {
        Ok(_) => Exit::Ok,
        Err(blocked) if blocked.reason.class() == Class::Stalled => Exit::Blocked,
        Err(_) => Exit::Error,
    }
}

/// The report, short enough.
fn text<T: Serialize>(outcome: &Result<T, Blocked>) -> String {
    let blocked = match outcome {
        Ok(report) => match serde_json::to_string(report) {
            Ok(text) if text.len() <= LIMIT => return text,
            _ => &Blocked::new(
                Reason::JobFailed,
                "the task is done, but its report does not fit its 4096 bytes, which is a bug in pgreeve",
            ),
        },
        Err(blocked) => blocked,
    };
    // One byte of a message takes six in JSON at worst.
    let short = |limit| Blocked::new(blocked.reason, shorten(&blocked.message, limit));
    let texts = [3000, 600].map(|limit| serde_json::to_string(&short(limit)).unwrap_or_default());
    texts.into_iter().find(|text| text.len() <= LIMIT).unwrap_or_default()
}

fn read_task(file: Option<&Path>) -> Result<Task, Blocked> {
    let invalid = |message: String| Blocked::new(Reason::InvalidSpec, message);
    let text = match file {
        Some(file) => std::fs::read_to_string(file).map_err(|error| invalid(format!("task {}: {error}", file.display())))?,
        None => std::env::var(VARIABLE).map_err(|_| invalid(format!("no task: give --task, or set {VARIABLE}")))?,
    };
    let version = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok()?.get("version")?.as_u64();
    if let Some(version) = version(&text).filter(|version| *version != u64::from(task::VERSION)) {
        return Err(invalid(format!(
            "the task has version {version} and this image understands {}; let the operator and its Jobs run one image",
            task::VERSION
        )));
    }
    serde_json::from_str(&text).map_err(|error| invalid(format!("the task cannot be read: {error}")))
}

fn payload(task: &Task) -> Result<job::Task, Blocked> {
    let action = &task.action;
    job::Task::of(action).ok_or_else(|| Blocked::new(Reason::InvalidSpec, format!("{action} is no task for a Job")))
}

/// What the files say, by the same rules as what the operator reads from the API.
fn access(task: &Task, secrets: &Path, volume: PathBuf, scratch: PathBuf) -> Result<Access, Blocked> {
    let target = if task.needs_database() { Some(database(task, secrets)?) } else { None };
    let storage = storage(task, secrets, volume)?;
    let workshop = Workshop {
        // Where nobody has made the directory of a Pod, the system's own serves.
        scratch: if scratch.is_dir() { scratch } else { std::env::temp_dir() },
        recipients: files(&secrets.join(mounts::RECIPIENTS))?.remove("recipients"),
        identity: identity(task, secrets)?,
        ..Workshop::default()
    };
    Ok(Access { target, budget: target::budget(&task.limits)?, storage, workshop })
}

/// What decrypts what the task reads. Where it names a Secret that is not there, what is encrypted would be proven by its bytes alone, and
/// nobody hear of it before a Restore needs the Secret.
fn identity(task: &Task, secrets: &Path) -> Result<Option<Identity>, Blocked> {
    let identity = files(&secrets.join(mounts::IDENTITY))?.remove("identity");
    if let (None, Some(named)) = (&identity, task.identity()) {
        let message = format!(
            "identitySecretRef: Secret {} does not exist in namespace {}, or has no key identity; create it, or correct its name",
            named.name, task.object.namespace
        );
        return Err(Blocked::new(Reason::SecretNotFound, message));
    }
    identity.map(|text| Identity::read(&text)).transpose()
}

/// What opens the task's store.
fn storage(task: &Task, secrets: &Path, volume: PathBuf) -> Result<Credentials, Blocked> {
    let ca = files(&secrets.join(mounts::STORE_CA))?.into_values().next();
    if let (None, Some((destination, reference))) = (&ca, task.destination().and_then(|to| Some((to, to.ca()?)))) {
        let message = format!(
            "{destination}: Secret {} does not exist in namespace {}, or has no key {}; create it, or correct caSecretRef",
            reference.name, task.object.namespace, reference.key
        );
        return Err(Blocked::new(Reason::SecretNotFound, message));
    }
    Ok(Credentials { secret: files(&secrets.join(mounts::STORE))?, ca, volume, ..Credentials::default() })
}

/// Where the task's database is.
fn database(task: &Task, secrets: &Path) -> Result<Target, Blocked> {
    let object = format!("PostgresDatabase {}", task.database);
    let namespace = &task.object.namespace;
    let Some(declared) = &task.connection else {
        return Err(Blocked::new(Reason::InvalidSpec, format!("{object}: the task does not say how it is reached")));
    };
    let connection = files(&secrets.join(mounts::CONNECTION))?;
    if connection.is_empty() {
        let name = &declared.secret_ref.name;
        let message = format!(
            "{object}: Secret {name} does not exist in namespace {namespace}, or has none of the keys of a connection; create or correct it"
        );
        return Err(Blocked::new(Reason::SecretNotFound, message));
    }
    let ca = files(&secrets.join(mounts::CA))?;
    target::resolve(&object, declared, namespace, &connection, ca)
}

/// The files of a directory by name; none where there is no such directory, as for a Secret that is not there.
fn files(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>, Blocked> {
    let unreadable =
        |error: std::io::Error| Blocked::new(Reason::SecretInvalid, format!("{} cannot be read: {error}", directory.display()));
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        // Kubernetes keeps the files of a Secret behind links in directories of its own, whose names begin with two dots.
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with("..")
        {
            found.insert(name, std::fs::read(entry.path()).map_err(unreadable)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
