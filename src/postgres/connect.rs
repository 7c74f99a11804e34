//! How is a session opened? One connection with timeouts and a name, closed when dropped.

use std::fmt;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row};

use super::error::{Fault, FaultKind};
pub use super::tls::Tls;
use super::tls::connector;

/// Longest that connecting may take, TLS and authentication included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A password. It is printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
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
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

/// An open session. Dropping it closes the connection, and the server rolls back what was not committed.
pub struct Session {
    client: Client,
    tls: Tls,
    connection: JoinHandle<()>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("closed", &self.client.is_closed()).finish()
    }
}

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    /// A [`Fault`] whose kind says what is wrong: unreachable, TLS, authentication, and so on.
    pub async fn open(target: &Target) -> Result<Self, Fault> {
        let mut config = Config::new();
        config
            .host(&target.host)
            .port(target.port)
            .dbname(&target.database)
            .user(&target.user)
            .application_name("pgreeve")
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(Duration::from_secs(30));
        if let Some(Password(password)) = &target.password {
            config.password(password);
        }
        let opening = Self::connect(config, &target.tls);
        match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
            Ok(session) => session,
            Err(_) => Err(Fault::new(
                FaultKind::Unreachable,
                format!("{}:{} did not answer within {} s", target.host, target.port, CONNECT_TIMEOUT.as_secs()),
            )),
        }
    }

    async fn connect(mut config: Config, tls: &Tls) -> Result<Self, Fault> {
        use tokio_postgres::config::SslMode;
        let connecting = |error: tokio_postgres::Error| Fault::connecting(&error);
        let (client, connection): (_, JoinHandle<()>) = match connector(tls)? {
            None => {
                config.ssl_mode(SslMode::Disable);
                let (client, connection) = config.connect(NoTls).await.map_err(connecting)?;
                (client, tokio::spawn(async move { drop(connection.await) }))
            }
            Some(connector) => {
                config.ssl_mode(SslMode::Require);
                let (client, connection) = config.connect(connector).await.map_err(connecting)?;
                (client, tokio::spawn(async move { drop(connection.await) }))
            }
        };
        Ok(Self { client, tls: tls.clone(), connection })
    }

    /// The driver's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks, in one round trip: the types of the parameters are given, so nothing is prepared first. That leaves nothing behind in
    /// the server session either.
    ///
    /// # Errors
    /// What the server or the connection said.
    pub async fn query(&self, text: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Fault> {
        self.client.query_typed(text, parameters).await.map_err(Fault::from)
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks the server to cancel the statement that runs in this session, over a connection of its own.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn cancel(&self) -> Result<(), Fault> {
        let token = self.client.cancel_token();
        let cancelling = |error: tokio_postgres::Error| Fault::connecting(&error);
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

impl Drop for Session {
    fn drop(&mut self) {
        // Closes the socket at once instead of when the last clone of an inner channel goes away.
        self.connection.abort();
    }
}
