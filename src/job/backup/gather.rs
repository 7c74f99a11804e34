//! How is the output of a program read that writes a little at a time? After a moment, in which more of it has come: `pg_dump` writes 7 KiB at
//! a time, and both sides of its pipe would wake a hundred thousand times for each 700 MB.
//!
//! Not through the runtime's poller: that wakes for each write whether anybody reads or not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::ChildStdout;
use tokio::time::{Instant, Sleep, sleep_until};

/// Room of the pipe: what a process without privileges may ask for (pipe(7), /proc/sys/fs/pipe-max-size).
const ROOM: usize = 1 << 20;

/// How long an emptied pipe is left alone. The fastest server fills half of it in this time.
const MOMENT: Duration = Duration::from_millis(1);

/// A program's output, with as much room as it takes to be read with pauses; where the system does not give it, as it comes.
///
/// # Errors
/// Where the pipe cannot be taken over.
pub fn output(stdout: ChildStdout) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    match rustix::pipe::fcntl_setpipe_size(&stdout, ROOM) {
        Ok(room) if room >= ROOM => {
            let source = File::from_std(stdout.into_owned_fd()?.into());
            Ok(Box::new(Gathered { source, pause: None }))
        }
        _ => Ok(Box::new(stdout)),
    }
}

/// Waits a moment after each read that has emptied its source.
struct Gathered<R> {
    source: R,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Gathered<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.source).poll_read(context, into))?;
        let is_over = into.filled().len() == before;
        if into.remaining() > 0 && !is_over {
            self.pause = Some(Box::pin(sleep_until(Instant::now() + MOMENT)));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::AsyncReadExt as _;
    use tokio::process::Command;

    use super::*;

    #[tokio::test]
    async fn what_is_written_little_by_little_comes_whole_and_in_larger_pieces() {
        let script = "for n in 1 2 3; do head -c 300000 /dev/zero | tr '\\0' $n; done";
        let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = output(child.stdout.take().unwrap()).unwrap();
        let (mut whole, mut pieces) = (vec![], 0);
        while output.read_buf(&mut whole).await.unwrap() > 0 {
            pieces += 1;
            whole.reserve(ROOM);
        }
        assert!(child.wait().await.unwrap().success());
        let expected = [b'1', b'2', b'3'].map(|digit| vec![digit; 300_000]).concat();
        assert!(whole == expected, "{} bytes", whole.len());
        assert!(pieces < 300, "{pieces}");
    }
}
