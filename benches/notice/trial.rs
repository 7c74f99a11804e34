//! How does one tool fare with one fault? It backs up while the fault strikes; then what is left is looked for, and restored.

use std::fmt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Handle;

use super::faults::Fault;
use super::tools::Tool;
use super::{DATABASE, prepare};
use crate::servers::s3faults::{self, Proxy};
use crate::servers::unique;
use crate::support::dumps::Ground;
use crate::support::watched;

/// Every row of every table, summed up.
const DIGEST: &str = "select string_agg(sum, ' ') from (
    select count(*) || ':' || sum(hashtextextended(t::text, 0)) as sum from customers t union all
    select count(*) || ':' || sum(hashtextextended(t::text, 0)) from events t union all
    select count(*) || ':' || sum(hashtextextended(t::text, 0)) from messages t) sums";

/// One tool and one fault.
pub struct Trial<'a> {
    /// The servers of all trials.
    pub ground: &'a Ground,
    /// The tool.
    pub tool: &'static Tool,
    /// The fault.
    pub fault: Fault,
    /// What the database holds.
    pub expected: &'a str,
    /// Where proxies run.
    pub runtime: &'a Handle,
}

/// What became of it.
pub struct Outcome {
    verdict: Verdict,
    said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The tool succeeds, and what it stored is whole.
    Whole,
    /// The tool fails, and nothing is left that passes for a backup.
    Fails,
    /// The tool fails, and what is left is whole.
    FailsWhole,
    /// The tool fails, and something is left that passes for a backup and is none.
    FailsLeaving,
    /// The tool succeeds, and nothing is there.
    Nothing,
    /// The tool succeeds, and what it stored is not whole.
    Broken,
    /// Its own check fails.
    Seen,
    /// Its own check is content.
    Unseen,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            Verdict::Whole => "unhurt, whole",
            Verdict::Fails => "notices",
            Verdict::FailsWhole => "notices; what it leaves is whole",
            Verdict::FailsLeaving => "notices, but leaves what looks like a backup",
            Verdict::Nothing => "**no**: success, and there is no backup",
            Verdict::Broken => "**no**: success, and the backup is broken",
            Verdict::Seen => "its check fails",
            Verdict::Unseen => "**no**: its check is content",
        })
    }
}

impl Outcome {
    /// Whether somebody believes in a backup that is none.
    pub fn is_deceived(&self) -> bool {
        matches!(self.verdict, Verdict::Nothing | Verdict::Broken | Verdict::Unseen)
    }

    /// Whether the tool said that it failed, and left something that passes for a backup all the same.
    pub fn leaves_something_false(&self) -> bool {
        self.verdict == Verdict::FailsLeaving
    }

    /// Whether nothing was hurt.
    pub fn is_whole(&self) -> bool {
        self.verdict == Verdict::Whole
    }

    /// The last line that the tool said.
    pub fn said(&self) -> &str {
        self.said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default()
    }
}

/// What stands there for one trial.
struct Site<'a> {
    trial: &'a Trial<'a>,
    ground: &'a Ground,
    bucket: String,
    work: TempDir,
}

impl Trial<'_> {
    /// Plays it.
    pub fn play(&self) -> Outcome {
        if self.fault != Fault::ServerKilled {
            return self.play_on(self.ground);
        }
        let own = Ground::start();
        prepare(&own);
        // What is restored needs a server that runs.
        self.play_on(&own)
    }

    fn play_on(&self, ground: &Ground) -> Outcome {
        let site = Site { trial: self, ground, bucket: ground.s3.bucket(), work: tempfile::tempdir().unwrap() };
        if self.tool.needs.contains(&"restic") {
            crate::servers::process::run(&mut site.script("restic -q init"));
        }
        let proxy = self.runtime.block_on(Proxy::before(&ground.s3.endpoint, site.home()));
        let (fault, makes_it_exist) = (self.fault, self.tool.makes_it_exist);
        let how =
            if fault == Fault::FalseEnd { s3faults::Fault::FalseSuccess } else { s3faults::Fault::Refuse(403, "AccessDenied") };
        proxy.break_those(move |request| fault.breaks(request, makes_it_exist), how);
        let (is_well, said) = site.back_up(&proxy.endpoint);
        let outcome = if fault.is_later() { site.later(is_well) } else { site.judge(is_well, said) };
        ground.remove(&site.bucket);
        outcome
    }
}

impl Site<'_> {
    fn home(&self) -> PathBuf {
        self.ground.s3.home.join(&self.bucket)
    }

    /// With nothing wrong about it.
    fn script(&self, script: &str) -> Command {
        let mut bash = self.ground.script(script, DATABASE, &self.bucket);
        let manifest = self.ground.s3.files(&self.bucket).into_iter().find(|key| key.ends_with("manifest.json"));
        bash.env("MANIFEST", manifest.unwrap_or_default()).env("WORK", self.work.path()).env("TMPDIR", self.work.path());
        bash.env("RESTIC_CACHE_DIR", self.work.path().join("restic"));
        bash
    }

    /// Whether the tool says that all is well, and what it says else.
    fn back_up(&self, endpoint: &str) -> (bool, String) {
        let Trial { tool, fault, .. } = self.trial;
        let (programs, mark) = (self.work.path().join("programs"), self.work.path().join("mark"));
        let postgres = &self.ground.postgres;
        fault.programs(&programs, postgres.pid().unwrap(), &mark);
        let limited = if *fault == Fault::DiskFull { "trap '' XFSZ; ulimit -f 2048; " } else { "" };
        let mut bash = self.script(&format!("PATH=$PROGRAMS:$PATH; {limited}{}", tool.back_up));
        bash.env("PROGRAMS", &programs).env("ENDPOINT", endpoint).env("AWS_ENDPOINT_URL", endpoint);
        bash.env("RESTIC_REPOSITORY", format!("s3:{endpoint}/{}", self.bucket));
        bash.env("MORE", if *fault == Fault::NoTable { tool.table } else { "" });
        let port = postgres.port;
        match fault {
            Fault::WrongPassword => {
                bash.envs([("PGHOST", "127.0.0.1"), ("PGUSER", "reader"), ("PGPASSWORD", "wrong")]);
                bash.env("PGREEVE_DATABASE_URL", format!("postgres://reader:wrong@127.0.0.1:{port}/{DATABASE}?sslmode=disable"));
            }
            Fault::RowSecurity => {
                bash.env("PGUSER", "reader").env("PGREEVE_DATABASE_URL", postgres.url("reader", DATABASE));
            }
            _ => {}
        }
        if *fault == Fault::RunnerKilled {
            return (kill_at(&mut bash, &mark), "killed".into());
        }
        let ran = watched::listen(&mut bash);
        (ran.status.success(), ran.said)
    }

    /// What is left, after a backup during which something broke.
    fn judge(&self, is_well: bool, said: String) -> Outcome {
        let is_there = watched::listen(&mut self.script(self.trial.tool.find)).status.success();
        let verdict = match (is_well, is_there, is_there && self.is_whole()) {
            (true, _, true) => Verdict::Whole,
            (true, true, false) => Verdict::Broken,
            (true, false, _) => Verdict::Nothing,
            (false, false, _) => Verdict::Fails,
            (false, true, true) => Verdict::FailsWhole,
            (false, true, false) => Verdict::FailsLeaving,
        };
        Outcome { verdict, said }
    }

    /// Whether what is stored restores to what was there. The server of all trials takes it, since the trial's own may be gone.
    fn is_whole(&self) -> bool {
        let (trial, database) = (self.trial, unique("truth"));
        let server = trial.ground;
        server.sql("postgres", &[&format!("create database {database}")]);
        let mut restore = self.script(trial.tool.restore);
        restore.env("PGHOST", &server.postgres.socket).env("PGPORT", server.postgres.port.to_string());
        restore.env("PGDATABASE", &database).env("PGREEVE_DATABASE_URL", server.postgres.url("postgres", &database));
        let restored = watched::listen(&mut restore).status.success();
        let is_same = restored && digest(server, &database).as_deref() == Some(trial.expected);
        server.sql("postgres", &[&format!("drop database {database} with (force)")]);
        is_same
    }

    /// A whole backup is struck in the store; then the tool looks at it.
    fn later(&self, is_well: bool) -> Outcome {
        let Trial { tool, fault, .. } = self.trial;
        let before = watched::listen(&mut self.script(tool.check));
        assert!(is_well && before.status.success(), "{}: {}", tool.name, before.said);
        let size = |key: &String| std::fs::metadata(self.home().join(key)).unwrap().len();
        let keys = self.ground.s3.files(&self.bucket).into_iter().filter(|key| key.contains(tool.data));
        let data = keys.max_by_key(size).expect("the bucket holds the data");
        let mut check = self.script(tool.check);
        fault.strike(&self.home().join(data));
        let after = watched::listen(&mut check);
        Outcome { verdict: if after.status.success() { Verdict::Unseen } else { Verdict::Seen }, said: after.said }
    }
}

/// What a database holds, or nothing if it cannot be read.
pub fn digest(ground: &Ground, database: &str) -> Option<String> {
    let mut psql = ground.command("psql", database);
    let ran = watched::listen(psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", DIGEST]));
    ran.status.success().then(|| ran.said.trim().to_owned())
}

/// Kills a program with all that it has started, a moment after `mark` came to be. Answers whether it had ended well by itself.
fn kill_at(command: &mut Command, mark: &Path) -> bool {
    let mut child = command.process_group(0).spawn().unwrap();
    let begun = Instant::now();
    while !mark.exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "half of the dump has not come");
        std::thread::sleep(Duration::from_millis(20));
    }
    // What was written has gone to the store, as far as it is sent before the end.
    std::thread::sleep(Duration::from_secs(1));
    let group = format!("-{}", child.id());
    crate::servers::process::run(Command::new("kill").args(["-KILL", "--", &group]));
    child.wait().unwrap().success()
}
