//! How is a server kept for as long as the test process lives, and not a moment longer?
//!
//! A shell stands between: it holds the reading end of a pipe whose writing end only the test process has. However that
//! process ends (by itself, by a panic, by SIGKILL), the kernel closes the pipe; the shell then ends the server by its process id
//! and removes its directory.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SUPERVISOR: &str = r#"
directory=$1 signal=$2
shift 2
"$@" </dev/null &
server=$!
echo "$server" >"$directory/server.pid"
cat >/dev/null
kill -s "$signal" "$server" 2>/dev/null
wait "$server"
rm -rf "$directory"
"#;

/// A server and the directory that goes with it. Dropped, it ends the server and waits for the directory to be gone.
pub struct Supervised {
    shell: Child,
    directory: PathBuf,
}

impl Supervised {
    /// Runs `command` until `signal` ends it. Its output goes to `log` in `directory`, which is removed with it.
    pub fn start(directory: &Path, signal: &str, command: &Command) -> Self {
        let log = File::create(directory.join("log")).unwrap();
        let shell = Command::new("sh")
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(directory)
            .arg(signal)
            .arg(command.get_program())
            .args(command.get_args())
            .process_group(0) // an interrupt from the keyboard reaches the tests, and through them the server
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { shell, directory: directory.to_owned() }
    }

    /// Asks until the server answers; `None` where it ended instead, as when its port was taken.
    ///
    /// # Panics
    /// After 60 seconds, with the server's log.
    pub fn answering<T>(&self, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(answer) = ask() {
                return Some(answer);
            }
            if self.has_ended() {
                return None;
            }
            assert!(Instant::now() < give_up, "no answer after 60 s; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process id of the server.
    pub fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.directory.join("server.pid")).ok()?.trim().parse().ok()
    }

    /// What the server has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Whether the server has ended; it stays a zombie until its shell ends.
    pub fn has_ended(&self) -> bool {
        self.pid().is_some_and(|pid| match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
            Err(_) => true,
        })
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A new directory that a [`Supervised`] will remove.
pub fn directory(name: &str) -> PathBuf {
    tempfile::Builder::new().prefix(&format!("pgreeve-{name}-")).tempdir().unwrap().keep()
}

/// A TCP port of 127.0.0.1 that nobody listens on now. Another process may take it: whoever uses it tries again then.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether this process runs as root, under whom PostgreSQL refuses to run.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a command to its end.
///
/// # Panics
/// With its output, where it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
