//! What happens when the connection to PostgreSQL breaks at the worst moment? A proxy that breaks it there.
//!
//! It numbers every message that changes something: a simple query, or the execution of a prepared one. COMMIT counts where its
//! transaction changed something. A fault set for a number is met once. What the client sees is what a real server, or
//! a real network, would have shown it; the server's own transaction is always in the state that the client was told.

mod connection;
pub mod effect;
mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks, and the server never hears of it.
    CutBefore,
    /// The server has done it; the connection breaks before the answer arrives.
    CutAfter,
    /// The server refuses it with this SQLSTATE. 08, 57P01, 57P02 and 57P03 end the session.
    Refused(&'static str),
    /// It is held back for this long.
    Delayed(Duration),
    /// It disappears, and so does everything after it; the connection stays open, and nobody answers any more.
    Swallowed,
    /// The server has done it; its answer disappears, and so does everything after it; the connection stays open.
    Unanswered,
    /// Before the server hears of it, every connection breaks, and new ones are closed at once for this long.
    Outage(Duration),
}

/// What happens to new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupFault {
    /// They are closed at once.
    Closed,
    /// Nobody answers them.
    Silent,
    /// They get this SQLSTATE, such as `57P03`, `53300` or `28P01`.
    Refused(&'static str),
}

/// A message that changed something, or would have.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Counted from 1.
    pub number: usize,
    /// Which connection it came from, counted from 1.
    pub connection: usize,
    /// Its text.
    pub sql: String,
    /// What was done to it.
    pub fault: Option<Fault>,
}

/// A proxy on a port of 127.0.0.1, for as long as this value lives.
pub struct PgProxy {
    /// The port.
    pub port: u16,
    state: Shared,
    _connections: JoinSet<()>,
}

type Shared = Arc<Mutex<State>>;

#[derive(Default)]
struct State {
    effects: Vec<Effect>,
    planned: BTreeMap<usize, Fault>,
    each: Option<(Fault, BTreeSet<String>)>,
    unmet: usize,
    met: usize,
    startup: Option<(StartupFault, usize)>,
    connections: usize,
    witness: Option<Witness>,
    refusal: Option<Refusal>,
    outage_until: Option<Instant>,
    outages: watch::Sender<()>,
}

/// Is shown the text of every effect before the server is.
type Witness = Arc<dyn Fn(&str) + Send + Sync>;

/// Says which SQLSTATE, if any, an effect of this text is answered with.
type Refusal = Arc<dyn Fn(&str) -> Option<&'static str> + Send + Sync>;

impl PgProxy {
    /// Stands before the server with this socket, which must let everybody in: the proxy passes every message on as it is.
    pub async fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Shared::default();
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, socket, Arc::clone(&state)));
        Self { port, state, _connections: connections }
    }

    /// A connection string that leads here, without TLS.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:any@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Everything that changed something so far.
    pub fn effects(&self) -> Vec<Effect> {
        lock(&self.state).effects.clone()
    }

    /// How many effects there were so far.
    pub fn count(&self) -> usize {
        lock(&self.state).effects.len()
    }

    /// The effect with this number will meet this fault.
    pub fn plan(&self, number: usize, fault: Fault) {
        let mut state = lock(&self.state);
        state.unmet += 1;
        state.planned.insert(number, fault);
    }

    /// From now on every effect will meet this fault when its text is sent for the first time.
    pub fn plan_each(&self, fault: Fault) {
        lock(&self.state).each = Some((fault, BTreeSet::new()));
    }

    /// How many faults of effects have been met so far, to their end.
    pub fn met(&self) -> usize {
        lock(&self.state).met
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    /// From now on this sees every effect before the server does.
    pub fn show(&self, witness: impl Fn(&str) + Send + Sync + 'static) {
        lock(&self.state).witness = Some(Arc::new(witness));
    }

    /// From now on every effect is refused for which this names a SQLSTATE, as by a server that does not allow it.
    pub fn refuse(&self, refusal: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static) {
        lock(&self.state).refusal = Some(Arc::new(refusal));
    }

    /// Whether every effect for which a fault is planned has begun.
    pub fn all_begun(&self) -> bool {
        lock(&self.state).planned.is_empty()
    }

    /// Whether every planned fault has been met, to its end.
    pub fn all_met(&self) -> bool {
        let state = lock(&self.state);
        state.unmet == 0 && state.startup.is_none() && !state.is_out()
    }

    /// The next `times` connections will meet this fault.
    pub fn plan_startup(&self, fault: StartupFault, times: usize) {
        lock(&self.state).startup = Some((fault, times));
    }

    /// Ends all connections that go through here.
    pub fn cut(&self) {
        lock(&self.state).outages.send_replace(());
    }
}

async fn accept(listener: TcpListener, socket: PathBuf, state: Shared) {
    let mut connections = JoinSet::new(); // aborted with this task: the server sees them close
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let number = {
            let mut state = lock(&state);
            state.connections += 1;
            state.connections
        };
        let _ = client.set_nodelay(true);
        connections.spawn(connection::serve(client, socket.clone(), number, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

impl State {
    /// Numbers an effect; returns the fault that it is to meet.
    fn next_effect(&mut self, connection: usize, sql: String) -> Option<Fault> {
        let number = self.effects.len() + 1;
        let planned = self.planned.remove(&number);
        let fault = planned.or_else(|| self.unnumbered(&sql));
        self.unmet += usize::from(planned.is_none() && fault.is_some());
        if let Some(Fault::Outage(time)) = fault {
            self.outage_until = Some(Instant::now() + time);
            self.outages.send_replace(());
        }
        self.effects.push(Effect { number, connection, sql, fault });
        fault
    }

    /// The fault that an effect meets for its text.
    fn unnumbered(&mut self, sql: &str) -> Option<Fault> {
        let refused = self.refusal.as_ref().and_then(|refusal| refusal(sql)).map(Fault::Refused);
        let each = self.each.as_mut().and_then(|(fault, known)| known.insert(sql.to_owned()).then_some(*fault));
        each.or(refused)
    }

    /// Whether nobody is let in just now.
    fn is_out(&self) -> bool {
        self.outage_until.is_some_and(|until| Instant::now() < until)
    }

    fn next_startup(&mut self) -> Option<StartupFault> {
        if self.is_out() {
            return Some(StartupFault::Closed);
        }
        let (fault, times) = self.startup?;
        self.startup = (times > 1).then_some((fault, times - 1));
        Some(fault)
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}
