//! How long does a program run, and how much memory does it and what it starts take at most?

use std::collections::BTreeMap;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a running program is looked at. Its peak is kept by the kernel, so only what a process takes in its last moment is missed.
const EVERY: Duration = Duration::from_millis(20);

/// PostgreSQL's own programs, which all contestants run, and what starts programs.
const COMMON: [&str; 8] = ["bash", "sh", "setpriv", "initdb", "pg_dump", "pg_restore", "postgres", "psql"];

/// What became of a program.
#[derive(Debug)]
pub struct Watched {
    /// How it ended.
    pub status: ExitStatus,
    /// From its start to its end.
    pub took: Duration,
    /// Peak of the resident memory in MiB of the largest process that is none of PostgreSQL's own programs.
    pub peak: f64,
    /// What it printed, both ways; empty unless it was asked for.
    pub said: String,
}

/// Runs a program to its end. Its standard error is this process's own.
pub fn run(command: &mut Command) -> Watched {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let mut peaks = BTreeMap::new();
    let status = loop {
        look(child.id(), &mut peaks);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(EVERY),
        }
    };
    let peak = peaks.into_values().max().unwrap_or(0) as f64 / 1024.0;
    Watched { status, took: begun.elapsed(), peak, said: String::new() }
}

/// The same, with all that it prints, without a look at its memory.
pub fn listen(command: &mut Command) -> Watched {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Watched { status: output.status, took: begun.elapsed(), peak: 0.0, said }
}

/// Takes down the peak so far, in KiB, of this process and its descendants.
fn look(process: u32, peaks: &mut BTreeMap<u32, u64>) {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let status = read(format!("/proc/{process}/status"));
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    if field("Name:").is_some_and(|name| !COMMON.contains(&name)) {
        // One that has ended and is not yet waited for has none any more.
        let peak = field("VmHWM:").and_then(|text| text.parse().ok()).unwrap_or(0);
        let before = peaks.entry(process).or_default();
        *before = peak.max(*before);
    }
    // Children belong to the thread that started them (proc(5), /proc/pid/task/tid/children).
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        let children = read(thread.path().join("children").display().to_string());
        children.split_whitespace().filter_map(|child| child.parse().ok()).for_each(|child| look(child, peaks));
    }
}
