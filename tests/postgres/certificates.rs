//! Does pgreeve know a server that proves who it is from one that does not, and say what is wrong?

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pgreeve::postgres::connect::{Password, Session, Target, Tls};
use pgreeve::postgres::error::FaultKind;
use pgreeve::postgres::{Fault, pooler};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::postgres::{Database, Options, Server};
use crate::support::process::{directory, run};

/// A server with TLS whose certificate can be replaced, and a role to log in as.
struct Tested {
    server: Arc<Server>,
    database: Database,
    user: String,
    /// Another CA, with a directory for keys and certificates.
    home: PathBuf,
}

impl Tested {
    async fn new() -> Self {
        let server = Server::start(17, &Options { tcp: true, tls: true, ..Options::default() });
        let database = Database::on(Arc::clone(&server)).await;
        let user = database.roles().await.operator;
        Self { server, database, user, home: directory("certificates") }
    }

    fn ca(&self) -> Option<Vec<u8>> {
        self.server.ca.clone().map(String::into_bytes)
    }

    async fn open(&self, host: &str, tls: Tls) -> Result<Session, Fault> {
        Session::open(&Target {
            host: host.into(),
            port: self.server.port,
            database: self.database.name.clone(),
            user: self.user.clone(),
            password: Some(Password::new(Database::password(&self.user))),
            tls,
        })
        .await
    }

    /// What a log-in is refused with: kind, message and advice.
    async fn refusal(&self, host: &str, tls: Tls) -> (FaultKind, String) {
        let fault = self.open(host, tls).await.unwrap_err();
        let again = "the same fault has the same message";
        (fault.kind, format!("{}; {}", fault.message, fault.advice.unwrap_or_else(|| panic!("no advice; {again}"))))
    }

    /// Makes the server show this certificate from now on.
    async fn show(&self, certificate: &Path, key: &Path) {
        let data = self.server.socket.join("data");
        std::fs::copy(certificate, data.join("server.crt")).unwrap();
        // Written into the file that is there, which belongs to the server's user.
        std::fs::write(data.join("server.key"), std::fs::read(key).unwrap()).unwrap();
        self.reload("select").await;
    }

    /// Until a new session finds the new settings, and with them the new certificate.
    async fn reload(&self, sql: &str) {
        let admin = self.server.superuser("postgres").await;
        admin.batch_execute(sql).await.unwrap();
        let before = self.loaded_at().await;
        admin.batch_execute("select pg_reload_conf()").await.unwrap();
        while self.loaded_at().await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn loaded_at(&self) -> String {
        let session = self.server.superuser("postgres").await;
        session.query_one("select pg_conf_load_time()::text", &[]).await.unwrap().get(0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// A certificate for `localhost` by the server's own CA that ends as it begins.
    fn expired(&self) -> (PathBuf, PathBuf) {
        let (request, certificate, key) = (self.path("old.csr"), self.path("old.crt"), self.path("old.key"));
        openssl(&format!("req {NEW_KEY} -subj /CN=localhost -keyout {} -out {}", key.display(), request.display()));
        let ca = self.server.socket.join("ca.crt");
        let ca_key = self.server.socket.join("ca.key");
        std::fs::write(self.path("names"), "subjectAltName=DNS:localhost\n").unwrap();
        openssl(&format!(
            "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -days 0 -extfile {} -out {}",
            request.display(),
            ca.display(),
            ca_key.display(),
            self.path("names").display(),
            certificate.display()
        ));
        // It is good until the second is over in which it was made.
        std::thread::sleep(Duration::from_millis(1100));
        (certificate, key)
    }

    /// A certificate for `localhost` that nobody else vouches for.
    fn self_signed(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = (self.path("self.crt"), self.path("self.key"));
        openssl(&format!(
            "req -x509 {NEW_KEY} -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {} -out {}",
            key.display(),
            certificate.display()
        ));
        (certificate, key)
    }
}

impl Drop for Tested {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.home).unwrap();
    }
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

fn openssl(arguments: &str) {
    run(Command::new("openssl").args(arguments.split_whitespace()));
}

fn assert_says(refusal: &(FaultKind, String), words: &[&str]) {
    assert_eq!(refusal.0, FaultKind::Tls, "{refusal:?}");
    assert!(words.iter().all(|word| refusal.1.contains(word)), "{words:?} in {refusal:?}");
}

#[tokio::test]
async fn a_private_ca_vouches_for_the_server_and_its_name() {
    let tested = Tested::new().await;
    let full = |ca| Tls::VerifyFull { ca };
    let session = tested.open("localhost", full(tested.ca())).await.unwrap();
    let query = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()";
    let row = session.client().query_one(query, &[]).await.unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, &str>(1)), (true, "TLSv1.3"));

    // The name is another.
    let refusal = tested.refusal("127.0.0.1", full(tested.ca())).await;
    assert_says(&refusal, &["127.0.0.1", "localhost", "spec.connection.host", "VerifyCa"]);
    assert!(tested.open("127.0.0.1", Tls::VerifyCa { ca: tested.ca() }).await.is_ok(), "VerifyCa ignores the name");

    // The CA is another, or is not given, or is no CA.
    let (other, _) = tested.self_signed();
    let other = std::fs::read(other).unwrap();
    for tls in [full(Some(other.clone())), full(None), Tls::VerifyCa { ca: Some(other) }] {
        assert_says(&tested.refusal("localhost", tls).await, &["not come from a CA that is trusted", "caSecretRef"]);
    }
    assert_says(
        &tested.refusal("localhost", full(Some(b"hello".to_vec()))).await,
        &["-----BEGIN CERTIFICATE-----", "caSecretRef"],
    );

    // The server wants TLS, and we do not.
    let access = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(tested.server.socket.join("data/pg_hba.conf"), access).unwrap();
    tested.reload("select").await;
    let fault = tested.open("localhost", Tls::Disable).await.unwrap_err();
    assert_eq!((fault.kind, fault.sqlstate.as_deref()), (FaultKind::Authentication, Some("28000")));
    assert!(fault.advice.unwrap().contains("tls.mode"));

    // Behind TLS too, a session knows that nobody stands between, without a second connection.
    let target = Target {
        host: "localhost".into(),
        port: 1,
        database: String::new(),
        user: String::new(),
        password: None,
        tls: Tls::Disable,
    };
    assert_eq!(pooler::pools_transactions(&session, &target).await, Ok(false));
}

#[tokio::test]
async fn a_certificate_that_is_no_good_and_a_server_without_one_are_told_apart() {
    let tested = Tested::new().await;
    let full = |ca| Tls::VerifyFull { ca };
    let (certificate, key) = tested.expired();
    tested.show(&certificate, &key).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refusal = tested.refusal("localhost", full(tested.ca())).await;
    assert_says(&refusal, &["expired at 2", "Renew"]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(tested.refusal("localhost", full(tested.ca())).await, refusal, "the same words a second later");
    assert_says(&tested.refusal("localhost", Tls::VerifyCa { ca: tested.ca() }).await, &["expired"]);

    let (certificate, key) = tested.self_signed();
    tested.show(&certificate, &key).await;
    let itself = std::fs::read(&certificate).unwrap();
    assert_says(&tested.refusal("localhost", full(Some(itself))).await, &["self-signed", "caSecretRef"]);
    assert_says(&tested.refusal("localhost", full(tested.ca())).await, &["caSecretRef"]);

    tested.reload("alter system set ssl = off").await;
    assert_says(&tested.refusal("localhost", full(tested.ca())).await, &["does not support TLS", "Disable"]);
    assert!(tested.open("localhost", Tls::Disable).await.is_ok(), "Disable has to be said, and then is heeded");
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).await.unwrap();
        client.write_all(b"S").await.unwrap();
        let mut hello = vec![];
        client.read_to_end(&mut hello).await.unwrap();
        hello.len()
    });
    let target = Target {
        host: "127.0.0.1".into(),
        port,
        database: "d".into(),
        user: "u".into(),
        password: None,
        tls: Tls::VerifyFull { ca: None },
    };
    // Long enough for the hello on a machine whose cores are all busy: the system's roots are read before it.
    let fault = Session::open_within(&target, Duration::from_secs(4)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
    assert!(fault.message.contains("did not answer"), "{fault}");
    assert!(serve.await.unwrap() > 0, "a hello was sent, and then the connection closed");
}
