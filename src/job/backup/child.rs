//! How does a program end? Well, or with what it last said: an exit code that nobody reads is how empty backups come about.

use std::process::ExitStatus;
use std::sync::Arc;

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

/// A program that runs.
pub struct Running {
    /// The process.
    pub child: Child,
    name: Arc<str>,
    said: JoinHandle<String>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("name", &self.name).finish()
    }
}

/// Starts a program whose standard error is a pipe.
///
/// # Errors
/// Why it cannot be started.
pub fn start(name: &str, command: &mut Command) -> Result<Running, Blocked> {
    let mut child =
        command.spawn().map_err(|error| Blocked::new(Reason::ActionFailed, format!("{name} cannot be started: {error}")))?;
    let stderr = child.stderr.take();
    let said = tokio::spawn(async move {
        match stderr {
            Some(stderr) => last_words(stderr).await,
            None => String::new(),
        }
    });
    Ok(Running { child, name: name.into(), said })
}

/// The end of what a program says, as it says it.
async fn last_words(stderr: ChildStderr) -> String {
    let mut stderr = BufReader::new(stderr);
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count) = stderr.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(KEPT);
        drop(kept.drain(..surplus));
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

impl Running {
    /// Waits for its end, and answers what it said.
    ///
    /// # Errors
    /// [`Reason::ToolFailed`] with what it said, where it did not end with code 0.
    pub async fn end(mut self) -> Result<String, Blocked> {
        let status = self.child.wait().await;
        let said = self.said.await.unwrap_or_default();
        match status {
            Ok(status) if status.success() => Ok(said),
            Ok(status) => Err(failed(&self.name, status, &said)),
            Err(error) => Err(Blocked::new(Reason::ToolFailed, format!("{}: {error}", self.name))),
        }
    }

    /// Ends it now, whatever it does.
    pub async fn kill(mut self) {
        drop(self.child.kill().await);
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
        let blocked = running.end().await.unwrap_err();
        assert_eq!(blocked.reason, Reason::ToolFailed);
        assert!(blocked.message.starts_with("pg_dump ended with exit status: 1: pg_dump: error: no room"), "{}", blocked.message);
    }

    #[tokio::test]
    async fn a_program_that_is_killed_has_not_ended_well() {
        let running = start("pg_dump", &mut shell("kill -9 $$")).unwrap();
        assert!(running.end().await.unwrap_err().message.contains("signal: 9"));
    }

    #[tokio::test]
    async fn a_program_that_talks_for_ever_fills_no_memory() {
        let running = start("pg_dump", &mut shell("yes warning | head -n 100000 >&2; echo the end >&2")).unwrap();
        let said = running.end().await.unwrap();
        assert!(said.len() <= KEPT && said.ends_with("the end"), "{}", said.len());
    }
}
