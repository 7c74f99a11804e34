//! What passes between one client and the server, and where is it broken?

use std::collections::HashMap;
use std::io::Result;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::{Receiver, channel};

use super::effect::{Kind, kind};
use super::message::{CANCEL, GSS, Message, PROTOCOL_3, Startup, TLS, read_message, read_startup, text};
use super::{Fault, Shared, StartupFault, lock};

/// Serves a connection until either side closes it or a fault does.
pub async fn serve(mut client: TcpStream, socket: PathBuf, number: usize, state: Shared) {
    // An error is a closed connection, which is what dropping both streams makes of it.
    if let Ok(Some(startup)) = negotiate(&mut client, &socket, &state).await
        && let Ok(mut server) = UnixStream::connect(&socket).await
        && server.write_all(&startup.bytes).await.is_ok()
    {
        let mut session = Session::new(number, state);
        let _ = session.relay(client, server).await;
        session.met();
    }
}

/// Everything before the session proper. `None` where nothing is left to do.
async fn negotiate(client: &mut TcpStream, socket: &PathBuf, state: &Shared) -> Result<Option<Startup>> {
    while let Some(startup) = read_startup(client).await? {
        match startup.code {
            TLS | GSS => client.write_all(b"N").await?,
            CANCEL => {
                UnixStream::connect(socket).await?.write_all(&startup.bytes).await?;
                return Ok(None);
            }
            PROTOCOL_3 => {
                return meet_startup_fault(client, state).await.map(|passed| passed.then_some(startup));
            }
            // Newer minor versions are for the server to negotiate.
            _ => return Ok(Some(startup)),
        }
    }
    Ok(None)
}

async fn meet_startup_fault(client: &mut TcpStream, state: &Shared) -> Result<bool> {
    let fault = lock(state).next_startup();
    match fault {
        None => return Ok(true),
        Some(StartupFault::Closed) => {}
        Some(StartupFault::Silent) => while read_message(client).await?.is_some() {},
        Some(StartupFault::Refused(sqlstate)) => {
            client.write_all(&Message::fatal(sqlstate, "refused by the proxy").bytes).await?
        }
    }
    Ok(false)
}

struct Session {
    number: usize,
    state: Shared,
    /// SQL by the name of the prepared statement, and by that of the portal.
    prepared: HashMap<String, String>,
    portals: HashMap<String, String>,
    /// Messages passed on that the server answers with ReadyForQuery, and such answers.
    asked: u64,
    answered: u64,
    /// The open transaction has changed something.
    dirty: bool,
    /// Nothing from this answer on reaches the client; when it is complete, the connection breaks.
    withhold: Option<u64>,
    /// It does not break, but falls silent.
    stays: bool,
    /// The client's messages are thrown away up to its next Sync, as a server does after an error.
    skip_to_sync: bool,
    /// A fault is being met; it has been when the connection ends, or with the answer to what it was planned for.
    meeting: bool,
    /// Nothing passes any more.
    silent: bool,
}

impl Session {
    fn new(number: usize, state: Shared) -> Self {
        let (prepared, portals) = Default::default();
        Self {
            number,
            state,
            prepared,
            portals,
            asked: 0,
            answered: 0,
            dirty: false,
            withhold: None,
            stays: false,
            skip_to_sync: false,
            meeting: false,
            silent: false,
        }
    }

    async fn relay(&mut self, client: TcpStream, server: UnixStream) -> Result<()> {
        let (client_read, mut to_client) = client.into_split();
        let (server_read, mut to_server) = server.into_split();
        // Reading a message is not cancel-safe, so each side has a task for it.
        let (mut from_client, mut from_server) = (messages(client_read), messages(server_read));
        let mut outages = lock(&self.state).outages.subscribe();
        loop {
            let go_on = tokio::select! {
                _ = outages.changed() => false,
                message = from_client.recv() => match message {
                    Some(message) => self.ask(message, &mut to_server, &mut to_client).await?,
                    None => false,
                },
                message = from_server.recv() => match message {
                    Some(message) => self.answer(message, &mut to_client).await?,
                    None => false,
                },
            };
            if !go_on {
                return Ok(());
            }
        }
    }

    /// A message from the client. False breaks the connection.
    async fn ask(
        &mut self,
        message: Message,
        server: &mut (impl AsyncWrite + Unpin),
        client: &mut (impl AsyncWrite + Unpin),
    ) -> Result<bool> {
        if self.silent {
            return Ok(true);
        }
        if self.skip_to_sync {
            self.skip_to_sync = message.tag != b'S';
            return Ok(true);
        }
        if self.withhold.is_some_and(|answer| self.asked >= answer) {
            return Ok(true); // the connection is as good as broken
        }
        let fault = self.sql(&message).and_then(|sql| self.number_effect(sql));
        self.meeting |= fault.is_some();
        match fault {
            None => {}
            Some(Fault::CutBefore | Fault::Outage(_)) => return Ok(false),
            Some(fault @ (Fault::CutAfter | Fault::Unanswered)) => {
                self.withhold = Some(self.asked + 1);
                self.stays = fault == Fault::Unanswered;
            }
            Some(Fault::Swallowed) => {
                self.silent = true;
                self.met();
                return Ok(true);
            }
            Some(Fault::Delayed(time)) => tokio::time::sleep(time).await,
            Some(Fault::Refused(sqlstate)) if ends_session(sqlstate) => {
                client.write_all(&Message::fatal(sqlstate, "terminated by the proxy").bytes).await?;
                return Ok(false);
            }
            Some(Fault::Refused(sqlstate)) => {
                self.skip_to_sync = message.tag == b'E';
                return self.pass_on(&raise(sqlstate), server).await;
            }
        }
        self.pass_on(&message, server).await
    }

    async fn pass_on(&mut self, message: &Message, server: &mut (impl AsyncWrite + Unpin)) -> Result<bool> {
        if [b'Q', b'S', b'F'].contains(&message.tag) {
            self.asked += 1;
        }
        server.write_all(&message.bytes).await?;
        Ok(true)
    }

    /// A message from the server. False breaks the connection.
    async fn answer(&mut self, message: Message, client: &mut (impl AsyncWrite + Unpin)) -> Result<bool> {
        let withheld = self.withhold.is_some_and(|answer| self.answered + 1 >= answer);
        if message.tag == b'Z' && self.logged_in() {
            self.answered += 1;
            let idle = message.body() == b"I";
            self.dirty &= !(idle && self.asked == self.answered);
        }
        if message.tag == b'Z' && self.withhold.is_none() {
            self.met();
        }
        if self.silent {
            return Ok(true);
        }
        if withheld {
            let is_complete = self.withhold.is_some_and(|answer| self.answered >= answer);
            if is_complete && self.stays {
                self.silent = true;
                self.met();
            }
            return Ok(!is_complete || self.stays);
        }
        client.write_all(&message.bytes).await?;
        Ok(true)
    }

    /// The fault that is being met, if any, has been met.
    fn met(&mut self) {
        let met = usize::from(std::mem::take(&mut self.meeting));
        let mut state = lock(&self.state);
        state.unmet -= met;
        state.met += met;
    }

    /// The first ReadyForQuery ends the login and answers no question.
    fn logged_in(&self) -> bool {
        self.asked > 0
    }

    /// The SQL that this message would run, if it runs any.
    fn sql(&mut self, message: &Message) -> Option<String> {
        let (first, rest) = text(message.body().get(usize::from(message.tag == b'C')..)?);
        match message.tag {
            b'Q' => return Some(first),
            b'P' => drop(self.prepared.insert(first, text(rest).0)),
            b'B' => drop(self.portals.insert(first, self.prepared.get(&text(rest).0).cloned().unwrap_or_default())),
            b'E' => return self.portals.get(&first).cloned(),
            _ => {}
        }
        None
    }

    fn number_effect(&mut self, sql: String) -> Option<Fault> {
        let counts = match kind(&sql) {
            Kind::Pass => false,
            Kind::Commit => self.dirty,
            Kind::Effect => true,
        };
        self.dirty |= counts;
        if !counts {
            return None;
        }
        let witness = lock(&self.state).witness.clone();
        if let Some(witness) = witness {
            witness(&sql);
        }
        lock(&self.state).next_effect(self.number, sql)
    }
}

fn messages(mut from: impl AsyncRead + Unpin + Send + 'static) -> Receiver<Message> {
    let (to, messages) = channel(64);
    tokio::spawn(async move {
        // Whoever no longer reads the messages has closed the connection.
        while let Ok(Some(message)) =
            tokio::select! { message = read_message(&mut from) => message, () = to.closed() => Ok(None) }
        {
            if to.send(message).await.is_err() {
                return;
            }
        }
    });
    messages
}

fn ends_session(sqlstate: &str) -> bool {
    sqlstate.starts_with("08") || ["57P01", "57P02", "57P03"].contains(&sqlstate)
}

/// The server itself raises the error, so that its transaction is in the state that the client is told.
fn raise(sqlstate: &str) -> Message {
    Message::query(&format!("do $raise$ begin raise sqlstate '{sqlstate}' using message = 'refused by the proxy'; end $raise$"))
}
