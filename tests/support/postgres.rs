//! Where does a test find a PostgreSQL of its own? One server a major and test binary, one database a test.
//!
//! The servers run as a user that is not root, listen on a Unix socket in a temporary directory, let everybody in there, and
//! promise nothing about a crash of the machine. TCP, with SCRAM and perhaps TLS, is opened only for those who ask.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use super::process::{Supervised, directory, free_port, is_root, run};
use super::{cache, certificate, eventually, unique};

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

    /// A server of 15 or later gets a standby, which follows it asynchronously, and answers who only reads. The settings are this
    /// server's.
    ///
    /// The copy is a base backup by the low-level API (PostgreSQL, "Making a Base Backup Using the Low Level API"): the servers of the
    /// tests come without pg_basebackup.
    ///
    /// # Panics
    /// Where the backup fails, or the standby does not answer.
    pub async fn standby(&self) -> Arc<Self> {
        let home = directory(&format!("standby{}", self.major));
        let data = home.join("data");
        let client = self.superuser("postgres").await;
        client.batch_execute("select pg_backup_start('standby', true)").await.unwrap();
        // What comes or goes while it is copied, the WAL mends.
        drop(Command::new("cp").arg("-a").arg(self.socket.join("data")).arg(&data).output());
        let label: String = client.query_one("select labelfile from pg_backup_stop(false)", &[]).await.unwrap().get(0);
        std::fs::write(data.join("backup_label"), label).unwrap();
        std::fs::write(data.join("standby.signal"), "").unwrap();
        std::fs::remove_file(data.join("postmaster.pid")).unwrap();
        let own = [
            format!("unix_socket_directories = '{}'\nlisten_addresses = ''", home.display()),
            format!("primary_conninfo = 'host={} port={} user=postgres'", self.socket.display(), self.port),
            "wal_receiver_status_interval = 1".into(),
        ];
        append(&data.join("postgresql.conf"), &own.join("\n"));
        if is_root() {
            run(Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(&home));
        }
        let mut postgres = as_nobody(program(self.major, "postgres"));
        postgres.arg("-D").arg(&data);
        let process = Supervised::start(&home, "QUIT", &postgres);
        let standby = Self { major: self.major, socket: home, port: self.port, ca: None, process };
        let url = standby.url("postgres", "postgres");
        let answers = standby.process.answering(|| blocking(connect(url.clone())).ok());
        assert!(answers.is_some(), "the standby ended:\n{}", standby.log());
        Arc::new(standby)
    }

    /// Waits until this standby has replayed whatever its primary has committed by now.
    pub async fn catch_up(&self, primary: &Self) {
        // A commit that is waited for takes everything before it to the disk, and so to the standby.
        let commit = "set synchronous_commit = on; begin; select pg_current_xact_id(); commit";
        let primary = primary.superuser("postgres").await;
        primary.batch_execute(commit).await.unwrap();
        let reached: String = primary.query_one("select pg_current_wal_flush_lsn()::text", &[]).await.unwrap().get(0);
        let standby = self.superuser("postgres").await;
        let query = format!("select pg_last_wal_replay_lsn() >= '{reached}'");
        eventually("the standby has caught up", Duration::from_secs(30), async || {
            standby.query_one(&query, &[]).await.unwrap().get::<_, bool>(0).then_some(())
        })
        .await;
    }

    /// This standby hears nothing more from its primary.
    pub async fn stop_following(&self) {
        let client = self.superuser("postgres").await;
        client.batch_execute("alter system set primary_conninfo = ''").await.unwrap();
        client.batch_execute("select pg_reload_conf()").await.unwrap();
        let receives = "select exists (select from pg_stat_activity where backend_type = 'walreceiver')";
        eventually("the standby stops following", Duration::from_secs(30), async || {
            (!client.query_one(receives, &[]).await.unwrap().get::<_, bool>(0)).then_some(())
        })
        .await;
    }

    /// Makes a primary of this standby, with what it has got.
    pub async fn promote(&self) {
        let client = self.superuser("postgres").await;
        assert!(client.query_one("select pg_promote(true, 60)", &[]).await.unwrap().get::<_, bool>(0), "{}", self.log());
    }

    /// Ends the server at once: sessions break off, nothing is written any more.
    pub fn crash(&self) {
        let pid = self.pid().expect("a server that runs").to_string();
        run(Command::new("kill").args(["-s", "QUIT", &pid]));
        while !self.process.has_ended() {
            std::thread::sleep(Duration::from_millis(5));
        }
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

    /// A new database with all that is in this one, in which nobody is at work.
    pub async fn copy(&self) -> Self {
        let (server, name) = (self.server(), unique("db"));
        let create = format!("create database {name} template {}", self.name);
        server.superuser("postgres").await.batch_execute(&create).await.unwrap();
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
pub fn blocking<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    let done = || std::thread::spawn(run).join().unwrap();
    // Whatever else lives in this runtime, such as a proxy, goes on meanwhile.
    match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(done),
        _ => done(),
    }
}

/// Where `pg_dump` and its like of a major are that the system does not have: 16 and 18.
pub fn programs(major: u32) -> PathBuf {
    cache().join(format!("programs/{major}/bin"))
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
        // In its directory: what a killed server leaves elsewhere, nobody removes.
        "dynamic_shared_memory_type = mmap".into(),
        "max_connections = 300\nshared_buffers = 64MB\nmax_prepared_transactions = 10\nlc_messages = 'C'".into(),
        "timezone = 'UTC'\nlog_timezone = 'UTC'\nlog_checkpoints = off\nlog_line_prefix = '%m [%p] %u@%d '".into(),
    ];
    settings.extend(options.settings.iter().cloned());
    append(&data.join("postgresql.conf"), &settings.join("\n"));
    // The socket is in a directory that only these tests know.
    let access = "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(data.join("pg_hba.conf"), access).unwrap();
    if options.standby {
        std::fs::write(data.join("standby.signal"), "").unwrap();
    }
}

/// A certificate of a CA of its own. Returns the CA.
fn write_certificates(home: &Path, data: &Path) -> String {
    let key = data.join("server.key");
    // Not for 127.0.0.1: that a name must be the certificate's is tested there.
    let ca = certificate::issue("DNS:localhost", home, &data.join("server.crt"), &key);
    if is_root() {
        chown(&key, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    ca
}

fn append(file: &Path, text: &str) {
    let before = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, format!("{before}\n{text}\n")).unwrap();
}
