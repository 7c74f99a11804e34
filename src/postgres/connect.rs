//! How is a session opened? One connection with timeouts and a name, closed when dropped.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::error::{Fault, FaultKind};
pub use super::tls::Tls;
use super::tls::connector;

/// Longest that connecting may take, TLS and authentication included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest that a peer's host may leave what was sent to it unacknowledged; then it is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a dropped session may take to say good-bye, which spares the server a line in its log.
const FAREWELL: Duration = Duration::from_secs(1);

/// A password. It is printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself, for a file that only we can read.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Where to connect, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name, address, or the directory of a unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// User.
    pub user: String,
    /// Password, if one is needed.
    pub password: Option<Password>,
    /// What is verified.
    pub tls: Tls,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}@{open}{}{close}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

/// An open session. Dropping it closes the connection, and the server rolls back what was not committed.
pub struct Session {
    client: Client,
    tls: Tls,
    asked: Mutex<HashMap<&'static str, Asked>>,
    /// The connection lives as long as this does.
    open: Mutex<Option<oneshot::Sender<Infallible>>>,
}

/// How a question was asked last.
enum Asked {
    Before,
    Prepared(Statement),
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("closed", &self.is_closed()).finish()
    }
}

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    /// A [`Fault`] whose kind says what is wrong: unreachable, TLS, authentication, and so on.
    pub async fn open(target: &Target) -> Result<Self, Fault> {
        Self::open_within(target, CONNECT_TIMEOUT).await
    }

    /// The same, within another time than ten seconds, TLS and authentication included.
    ///
    /// # Errors
    /// See [`Session::open`].
    pub async fn open_within(target: &Target, limit: Duration) -> Result<Self, Fault> {
        match tokio::time::timeout(limit, Self::connect(target)).await {
            Ok(session) => session,
            Err(_) => {
                let message = format!("{}:{} did not answer within {} s", target.host, target.port, limit.as_secs_f64());
                Err(Fault::new(FaultKind::Unreachable, message))
            }
        }
    }

    async fn connect(target: &Target) -> Result<Self, Fault> {
        let mut config = config(target);
        let refused = |error: tokio_postgres::Error| Fault::connecting(&error, &target.user, &target.database);
        let (open, dropped) = oneshot::channel();
        let client = match connector(&target.tls)? {
            None => {
                let (client, connection) = config.ssl_mode(SslMode::Disable).connect(NoTls).await.map_err(refused)?;
                tokio::spawn(drive(connection, dropped));
                client
            }
            Some(connector) => {
                let (client, connection) = config.ssl_mode(SslMode::Require).connect(connector).await.map_err(refused)?;
                tokio::spawn(drive(connection, dropped));
                client
            }
        };
        Ok(Self { client, tls: target.tls.clone(), asked: Mutex::default(), open: Mutex::new(Some(open)) })
    }

    /// The driver's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks. The first time that takes one round trip and leaves nothing behind in the server's session; what is asked again is
    /// prepared, because planning is most of what a question about one table's catalog rows costs (0.4 of 0.6 ms, measured on 15).
    ///
    /// # Errors
    /// What the server or the connection said.
    pub async fn query(&self, text: &'static str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Fault> {
        let values: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|(value, _)| *value).collect();
        let asked = self.asked().insert(text, Asked::Before);
        let statement = match asked {
            None => return self.client.query_typed(text, parameters).await.map_err(Fault::from),
            Some(Asked::Before) => {
                let types: Vec<Type> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
                self.client.prepare_typed(text, &types).await?
            }
            Some(Asked::Prepared(statement)) => statement,
        };
        self.asked().insert(text, Asked::Prepared(statement.clone()));
        self.client.query(&statement, &values).await.map_err(Fault::from)
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<&'static str, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed() || self.opened().is_none()
    }

    /// Closes the connection, whatever it is doing, before the session is dropped.
    pub fn hang_up(&self) {
        drop(self.opened().take());
    }

    fn opened(&self) -> MutexGuard<'_, Option<oneshot::Sender<Infallible>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server to cancel the statement that runs in this session, over a connection of its own.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn cancel(&self) -> Result<(), Fault> {
        let token = self.client.cancel_token();
        let cancelling = |error: tokio_postgres::Error| Fault::connecting(&error, "", "");
        match connector(&self.tls)? {
            None => token.cancel_query(NoTls).await.map_err(cancelling),
            Some(connector) => token.cancel_query(connector).await.map_err(cancelling),
        }
    }

    /// Begins a transaction that can only read, with settings under which the catalog prints the same text everywhere.
    ///
    /// # Errors
    /// What the server or the connection said.
    pub async fn begin_reading(&self) -> Result<(), Fault> {
        self.client.batch_execute(BEGIN_READING).await.map_err(Fault::from)
    }

    /// Ends the transaction of [`Session::begin_reading`].
    ///
    /// # Errors
    /// What the server or the connection said.
    pub async fn end_reading(&self) -> Result<(), Fault> {
        self.client.batch_execute("ROLLBACK").await.map_err(Fault::from)
    }
}

/// Everything is local to the transaction, so that it holds behind any pooler. `search_path` comes first: what follows resolves
/// in `pg_catalog` alone.
const BEGIN_READING: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SELECT pg_catalog.set_config('search_path', '', true); \
    SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '30s'; \
    SET LOCAL standard_conforming_strings = on";

fn config(target: &Target) -> Config {
    let mut config = Config::new();
    config
        .host(&target.host)
        .port(target.port)
        .dbname(&target.database)
        .user(&target.user)
        .application_name("pgreeve")
        .keepalives_idle(SILENCE)
        .keepalives_interval(SILENCE / 3)
        .keepalives_retries(3)
        .tcp_user_timeout(SILENCE);
    if let Some(Password(password)) = &target.password {
        config.password(password);
    }
    config
}

/// Drives the connection until it ends, or its session is dropped or hung up: then, what is left of it ends within a second, whatever the
/// server is doing.
async fn drive<E>(connection: impl Future<Output = Result<(), E>>, dropped: oneshot::Receiver<Infallible>) {
    tokio::pin!(connection);
    let is_dropped = tokio::select! {
        ended = &mut connection => { drop(ended); false }
        _ = dropped => true,
    };
    if is_dropped {
        drop(tokio::time::timeout(FAREWELL, connection).await);
    }
}
