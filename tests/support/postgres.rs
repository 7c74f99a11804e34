//! Where does a test find a PostgreSQL of its own? One server a major and test binary, one database a test.
//!
//! The servers run as a user that is not root, listen on a Unix socket in a temporary directory, let everybody in there, and
//! promise nothing about a crash of the machine. TCP, with SCRAM and perhaps TLS, is opened only for those who ask.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use tokio_postgres::{Client, NoTls};

use super::process::{Supervised, directory, free_port, is_root, run};
use super::{cache, certificate, unique};

/// The majors that pgreeve supports.
pub const MAJORS: [u32; 5] = [14, 15, 16, 17, 18];

/// `nobody`, as Debian numbers it.
const NOBODY: u32 = 65534;

/// What a server is like, beyond its major.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Listens on 127.0.0.1 too, and asks for a password there.
    pub tcp: bool,
    /// Offers TLS, with a certificate for `localhost` by a CA of its own.
    pub tls: bool,
    /// Is in recovery for ever: read, never written.
    pub standby: bool,
    /// Lines for `postgresql.conf`.
    pub settings: Vec<String>,
}

/// A running server.
pub struct Server {
    /// Its major.
    pub major: u32,
    /// The directory of its socket, which is the `host` to connect to.
    pub socket: PathBuf,
    /// The port in its socket's name, and on 127.0.0.1 where that was asked for.
    pub port: u16,
    /// The CA of its certificate in PEM, where TLS was asked for.
    pub ca: Option<String>,
    process: Supervised,
}

/// The server of this major that all tests of this binary share, where a superuser `postgres` may do anything.
pub fn server(major: u32) -> Arc<Server> {
    static SERVERS: [OnceLock<Arc<Server>>; 5] = [const { OnceLock::new() }; 5];
    let index = MAJORS.iter().position(|known| *known == major).unwrap_or_else(|| panic!("no PostgreSQL {major}"));
    Arc::clone(SERVERS[index].get_or_init(|| Server::start(major, &Options::default())))
}

impl Server {
    /// Starts a server for this test alone; it ends when dropped.
    ///
    /// # Panics
    /// Where the programs are missing, or the server does not answer.
    pub fn start(major: u32, options: &Options) -> Arc<Self> {
        // A port that was free may be taken before the server binds it.
        let server = (0..5).find_map(|_| Self::try_start(major, options));
        Arc::new(server.unwrap_or_else(|| panic!("PostgreSQL {major} does not start with {options:?}")))
    }

    fn try_start(major: u32, options: &Options) -> Option<Self> {
        let home = directory(&format!("postgres{major}"));
        let port = if options.tcp { free_port() } else { 5432 };
        if is_root() {
            chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = home.join("data");
        let initdb = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions", "-D"];
        run(as_nobody(program(major, "initdb")).args(initdb).arg(&data));
        let ca = options.tls.then(|| write_certificates(&home, &data));
        write_configuration(&home, &data, port, options);
        let mut postgres = as_nobody(program(major, "postgres"));
        postgres.arg("-D").arg(&data);
        let process = Supervised::start(&home, "QUIT", &postgres);
        let server = Self { major, socket: home, port, ca, process };
        let url = server.url("postgres", "postgres");
        if server.process.answering(|| blocking(connect(url.clone())).ok()).is_none() {
            eprintln!("PostgreSQL {major} ended:\n{}", server.log());
            return None;
        }
        Some(server)
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Path of its socket.
    pub fn socket_file(&self) -> PathBuf {
        self.socket.join(format!(".s.PGSQL.{}", self.port))
    }

    /// A connection string for its socket.
    pub fn url(&self, role: &str, database: &str) -> String {
        let socket = self.socket.display().to_string().replace('/', "%2F");
        format!("postgres://{role}@{socket}:{}/{database}", self.port)
    }

    /// A session of the superuser in this database.
    pub async fn superuser(&self, database: &str) -> Client {
        connect(self.url("postgres", database)).await.unwrap()
    }
}

/// A database for one test, dropped with it.
pub struct Database {
    server: Arc<Server>,
    /// Its name.
    pub name: String,
}

/// Roles as a careful team has them: neither is a superuser.
#[derive(Clone, Debug)]
pub struct Roles {
    /// Owns the tables; cannot log in.
    pub owner: String,
    /// Logs in and is a member of the owner.
    pub operator: String,
}

impl Database {
    /// A new, empty database on the shared server of this major.
    pub async fn create(major: u32) -> Self {
        Self::on(server(major)).await
    }

    /// A new, empty database.
    pub async fn on(server: Arc<Server>) -> Self {
        let name = unique("db");
        server.superuser("postgres").await.batch_execute(&format!("create database {name}")).await.unwrap();
        Self { server, name }
    }

    /// The server that holds it.
    pub fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// A connection string for this role, over the server's socket.
    pub fn url(&self, role: &str) -> String {
        self.server.url(role, &self.name)
    }

    /// A session of the superuser.
    pub async fn superuser(&self) -> Client {
        self.connect("postgres").await
    }

    /// A session of this role.
    ///
    /// # Panics
    /// Where the server refuses it.
    pub async fn connect(&self, role: &str) -> Client {
        connect(self.url(role)).await.unwrap()
    }

    /// Creates [`Roles`] of names that are this database's alone; the owner may create in schema `public`.
    pub async fn roles(&self) -> Roles {
        let roles = Roles { owner: format!("{}_owner", self.name), operator: format!("{}_operator", self.name) };
        let Roles { owner, operator } = &roles;
        let sql = format!(
            "create role {owner} nologin; create role {operator} login password 'secret of {operator}' in role {owner};
             grant create, usage on schema public to {owner}"
        );
        self.superuser().await.batch_execute(&sql).await.unwrap();
        roles
    }

    /// The password of an operator that [`Database::roles`] made. It matters over TCP alone.
    pub fn password(operator: &str) -> String {
        format!("secret of {operator}")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (name, url) = (self.name.clone(), self.server.url("postgres", "postgres"));
        blocking(async move {
            let client = connect(url).await?;
            client.batch_execute(&format!("drop database if exists {name} with (force)")).await?;
            let roles = "select quote_ident(rolname) from pg_roles where starts_with(rolname, $1)";
            for role in client.query(roles, &[&format!("{name}_")]).await? {
                client.batch_execute(&format!("drop role {}", role.get::<_, &str>(0))).await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        })
        .unwrap_or_else(|error| eprintln!("database {}: {error:?}", self.name));
    }
}

/// A session whose connection is driven by the current runtime.
///
/// # Errors
/// What `tokio_postgres` says.
pub async fn connect(url: String) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Runs a future to its end from wherever it is needed, within another runtime too.
fn blocking<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    std::thread::spawn(run).join().unwrap()
}

fn program(major: u32, name: &str) -> PathBuf {
    let places = [cache().join(format!("postgres/{major}/bin")), format!("/usr/lib/postgresql/{major}/bin").into()];
    let found = places.iter().map(|place| place.join(name)).find(|program| program.exists());
    found.unwrap_or_else(|| panic!("no {name} of PostgreSQL {major} in {places:?}: run hack/tools.sh postgres{major}"))
}

/// A command for a program that refuses to run as root.
pub fn as_nobody(program: PathBuf) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into(), "--".into()]).arg(program);
    command
}

/// A cleanly stopped cluster with `standby.signal` and nobody to follow is a standby that has caught up.
fn write_configuration(home: &Path, data: &Path, port: u16, options: &Options) {
    let on_off = |on: bool| if on { "on" } else { "off" };
    let mut settings = vec![
        format!("listen_addresses = '{}'", if options.tcp { "127.0.0.1" } else { "" }),
        format!("port = {port}\nunix_socket_directories = '{}'\nssl = {}", home.display(), on_off(options.tls)),
        "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nautovacuum = off".into(),
        "max_connections = 300\nshared_buffers = 64MB\nmax_prepared_transactions = 10\nlc_messages = 'C'".into(),
        "timezone = 'UTC'\nlog_timezone = 'UTC'\nlog_checkpoints = off\nlog_line_prefix = '%m [%p] %u@%d '".into(),
    ];
    settings.extend(options.settings.iter().cloned());
    append(&data.join("postgresql.conf"), &settings.join("\n"));
    // The socket is in a directory that only these tests know.
    let access = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(data.join("pg_hba.conf"), access).unwrap();
    if options.standby {
        std::fs::write(data.join("standby.signal"), "").unwrap();
    }
}

/// A certificate of a CA of its own. Returns the CA.
fn write_certificates(home: &Path, data: &Path) -> String {
    let key = data.join("server.key");
    let ca = certificate::issue(home, &data.join("server.crt"), &key);
    if is_root() {
        chown(&key, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    ca
}

fn append(file: &Path, text: &str) {
    let before = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, format!("{before}\n{text}\n")).unwrap();
}
