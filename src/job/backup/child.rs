//! How does a program end? Well, or with what it last said: an exit code that nobody reads is how empty backups come about.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

use crate::api::Reason;
use crate::api::condition::shorten;
use crate::plan::action::Blocked;

/// How much of what a program says last is kept, in bytes.
const KEPT: usize = 4096;

/// Longest quotation in a message.
const QUOTED: usize = 600;

/// How long the last words of a program are waited for that was killed: processes of its own may live a little longer.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// A program that runs.
pub struct Running {
    /// The process.
    pub child: Child,
    name: Arc<str>,
    words: Words,
    listening: JoinHandle<()>,
}

/// The end of what a program has said so far.
#[derive(Clone, Debug, Default)]
struct Words(Arc<Mutex<Vec<u8>>>);

/// How a program ended that did not end well.
#[derive(Debug)]
pub struct Ended {
    /// [`Reason::ToolFailed`], with what it said.
    pub blocked: Blocked,
    /// All that it said last, of which the message quotes a part.
    pub said: String,
    /// Whether it was killed, instead of ending by itself with an exit code.
    pub killed: bool,
}

impl Ended {
    /// Whether it ended because of what it was given, and not for what it was not given: it was neither killed nor short of memory.
    pub fn is_verdict(&self) -> bool {
        !self.killed && !self.said.contains("out of memory")
    }
}

/// Starts a program whose standard error is a pipe.
///
/// # Errors
/// Why it cannot be started.
pub fn start(name: &str, command: &mut Command) -> Result<Running, Blocked> {
    let mut child =
        command.spawn().map_err(|error| Blocked::new(Reason::ActionFailed, format!("{name} cannot be started: {error}")))?;
    let words = Words::default();
    let listening = match child.stderr.take() {
        Some(stderr) => tokio::spawn(words.clone().listen(stderr)),
        None => tokio::spawn(async {}),
    };
    Ok(Running { child, name: name.into(), words, listening })
}

impl Words {
    /// Keeps the end of what a program says, as it says it.
    async fn listen(self, stderr: ChildStderr) {
        let mut stderr = BufReader::new(stderr);
        let mut buffer = [0; 1024];
        while let Ok(count) = stderr.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&buffer[..count]);
            let surplus = kept.len().saturating_sub(KEPT);
            drop(kept.drain(..surplus));
        }
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}

impl Running {
    /// Waits for its end, and answers what it said.
    ///
    /// # Errors
    /// [`Reason::ToolFailed`] with what it said, where it did not end with code 0.
    pub async fn end(mut self) -> Result<String, Ended> {
        let status = self.child.wait().await;
        drop(self.listening.await);
        let said = self.words.text();
        match status {
            Ok(status) if status.success() => Ok(said),
            Ok(status) => Err(Ended { blocked: failed(&self.name, status, &said), said, killed: status.code().is_none() }),
            Err(error) => {
                let blocked = Blocked::new(Reason::ToolFailed, format!("{}: {error}", self.name));
                Err(Ended { blocked, said, killed: true })
            }
        }
    }

    /// Ends it now, whatever it does, and answers what it said last.
    pub async fn kill(mut self) -> String {
        drop(self.child.kill().await);
        drop(tokio::time::timeout(AFTERWARDS, self.listening).await);
        self.words.text()
    }
}

fn failed(name: &str, status: ExitStatus, said: &str) -> Blocked {
    // What went wrong first explains the rest.
    let error = said.lines().find(|line| line.contains("error:") || line.contains("fatal:") || line.contains("FATAL:"));
    let quoted = match error {
        Some(line) if said.len() > QUOTED => shorten(line, QUOTED),
        _ => shorten(&said.lines().collect::<Vec<_>>().join("; "), QUOTED),
    };
    let quoted = if quoted.is_empty() { "it said nothing".into() } else { quoted };
    Blocked::new(Reason::ToolFailed, format!("{name} ended with {status}: {quoted}"))
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::piped());
        command
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted() {
        let running = start("pg_dump", &mut shell("echo 'pg_dump: error: no room' >&2; exit 1")).unwrap();
        let Ended { blocked, killed, .. } = running.end().await.unwrap_err();
        assert_eq!((blocked.reason, killed), (Reason::ToolFailed, false));
        assert!(blocked.message.starts_with("pg_dump ended with exit status: 1: pg_dump: error: no room"), "{}", blocked.message);
    }

    #[tokio::test]
    async fn a_program_that_is_killed_has_not_ended_well() {
        let running = start("pg_dump", &mut shell("kill -9 $$")).unwrap();
        let ended = running.end().await.unwrap_err();
        assert!(ended.killed && !ended.is_verdict() && ended.blocked.message.contains("signal: 9"), "{ended:?}");
        let mut running =
            start("postgres", shell("echo 'its last words' >&2; echo; exec sleep 60").stdout(Stdio::piped())).unwrap();
        running.child.stdout.take().unwrap().read_u8().await.unwrap();
        assert_eq!(running.kill().await, "its last words");
    }

    #[tokio::test]
    async fn a_program_that_talks_for_ever_fills_no_memory() {
        let running = start("pg_dump", &mut shell("yes warning | head -n 100000 >&2; echo the end >&2")).unwrap();
        let said = running.end().await.unwrap();
        assert!(said.len() <= KEPT && said.ends_with("the end"), "{}", said.len());
    }
}
