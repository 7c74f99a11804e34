//! Does a pooler stand between us and the server, and does it lose session state?

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::connect::{Session, Target};
use super::error::{Fault, FaultKind};

/// How long a server connection of a pooler is waited for. With one to give, it is there in milliseconds.
const WAIT: Duration = Duration::from_secs(2);

const PID: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Whether session state gets lost between two transactions of one connection, as behind a pooler in transaction mode.
///
/// Without a pooler nothing is opened: the server process then is the one that the log-in told (PostgreSQL, Message Formats:
/// BackendKeyData), where a pooler tells a number of its own. Behind a pooler, a second connection takes whichever server connection is
/// free, and keeps it in an open transaction. If the first one finds itself on another server process after that, it never had
/// one of its own.
///
/// # Errors
/// What the server, the pooler or the connection said.
pub async fn pools_transactions(session: &Session, target: &Target) -> Result<bool, Fault> {
    let before = pid(session).await?;
    if told_pid(session).await == Some(before) {
        return Ok(false);
    }
    let other = Session::open(target).await?;
    let began = tokio::time::timeout(WAIT, other.client().batch_execute("BEGIN READ ONLY; SELECT 1")).await;
    // There is no server connection for it while the first one is between two transactions: that one keeps its own.
    let Ok(Ok(())) = began else { return Ok(false) };
    let after = pid(session);
    tokio::pin!(after);
    match tokio::time::timeout(WAIT, &mut after).await {
        Ok(after) => Ok(after? != before),
        // Either the other one has the only server connection, and gives it back now, or nothing answers any more.
        Err(_) => {
            drop(other);
            let answer = tokio::time::timeout(WAIT, after).await;
            let lost = |_| Fault::new(FaultKind::ConnectionLost, "no answer to a query");
            answer.map_err(lost)?.map(|_| true)
        }
    }
}

/// What to say where it does.
pub fn fault() -> Fault {
    Fault::new(FaultKind::Pooled, "the connection leads through a pooler that loses session state between transactions")
}

async fn pid(session: &Session) -> Result<i32, Fault> {
    // As a simple query: a prepared one may meet another session's name behind a pooler, which is what is to be found out.
    for message in session.client().simple_query(PID).await? {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            return row.get(0).and_then(|pid| pid.parse().ok()).ok_or_else(|| Fault::new(FaultKind::Statement, "no process id"));
        }
    }
    Err(Fault::new(FaultKind::ConnectionLost, "no answer to a query"))
}

/// The process id that the log-in told. The driver shows it only in the cancel request that it would send; so it sends one, to us.
async fn told_pid(session: &Session) -> Option<i32> {
    const SSL_REQUEST: i32 = 80_877_103;
    let (ours, mut theirs) = tokio::io::duplex(64);
    let token = session.client().cancel_token();
    let send = async { token.cancel_query_raw(ours, Plain).await.ok() };
    let receive = async {
        let mut code = first_words(&mut theirs).await?;
        if code == SSL_REQUEST {
            theirs.write_all(b"S").await.ok()?;
            code = first_words(&mut theirs).await?;
        }
        let pid = theirs.read_i32().await.ok();
        let mut rest = vec![];
        theirs.read_to_end(&mut rest).await.ok()?;
        pid.filter(|_| code == CANCEL_REQUEST)
    };
    tokio::join!(send, receive).1
}

const CANCEL_REQUEST: i32 = 80_877_102;

/// Length and code of a request; the code.
async fn first_words(stream: &mut DuplexStream) -> Option<i32> {
    stream.read_i32().await.ok()?;
    stream.read_i32().await.ok()
}

/// "TLS" within this process: nothing is encrypted and nothing leaves.
struct Plain;

impl TlsConnect<DuplexStream> for Plain {
    type Stream = PlainStream;
    type Error = io::Error;
    type Future = Ready<io::Result<PlainStream>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        ready(Ok(PlainStream(stream)))
    }
}

struct PlainStream(DuplexStream);

impl TlsStream for PlainStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
