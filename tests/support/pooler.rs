//! Where does a test find a pooler? A PgBouncer of its own, before a server's socket.

use std::process::Command;
use std::sync::Arc;

use super::apiserver::program;
use super::postgres::{Server, as_nobody, connect};
use super::process::{Supervised, directory, free_port};

/// A running PgBouncer; it ends when dropped.
pub struct Pooler {
    /// Its port on 127.0.0.1.
    pub port: u16,
    _process: Supervised,
    _server: Arc<Server>,
}

impl Pooler {
    /// Starts one in this mode (`session` or `transaction`), with this many server connections, for this role and password.
    ///
    /// # Panics
    /// Where it does not answer.
    pub async fn start(server: Arc<Server>, mode: &str, size: u32, role: &str, password: &str) -> Self {
        for _ in 0..5 {
            if let Some(pooler) = Self::try_start(&server, mode, size, role, password).await {
                return pooler;
            }
        }
        panic!("PgBouncer does not start");
    }

    async fn try_start(server: &Arc<Server>, mode: &str, size: u32, role: &str, password: &str) -> Option<Self> {
        let (home, port) = (directory("pgbouncer"), free_port());
        std::fs::write(home.join("users"), format!("\"{role}\" \"{password}\"\n")).unwrap();
        let configuration = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = plain\nauth_file = {}\npool_mode = {mode}\ndefault_pool_size = {size}\nserver_login_retry = 1\n\
             query_wait_timeout = 3\n",
            server.socket.display(),
            server.port,
            home.join("users").display(),
        );
        std::fs::write(home.join("pgbouncer.ini"), configuration).unwrap();
        // Whoever runs it must get in.
        drop(Command::new("chmod").args(["-R", "a+rX"]).arg(&home).status());
        let process = Supervised::start(&home, "KILL", as_nobody(program("pgbouncer")).arg(home.join("pgbouncer.ini")));
        process.answering(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok())?;
        Some(Self { port, _process: process, _server: Arc::clone(server) })
    }

    /// A session through it, driven by the current runtime.
    ///
    /// # Panics
    /// Where it is refused.
    pub async fn connect(&self, role: &str, password: &str, database: &str) -> tokio_postgres::Client {
        connect(format!("postgres://{role}:{password}@127.0.0.1:{}/{database}?sslmode=disable", self.port)).await.unwrap()
    }
}
