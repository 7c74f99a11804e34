//! A real server of Azure's blob protocol: Microsoft's own Azurite, over a directory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pgreeve::api::Destination;
use pgreeve::api::destination::Azure;
use pgreeve::storage::Credentials;

use super::process::{Supervised, directory, free_port, run};
use super::{cache, unique};

/// The storage account.
pub const ACCOUNT: &str = "reeveaccount";
/// What its key is before base64, which is how it is given.
const SECRET: &str = "reeve-azure-canary";
/// The key as Azure shows it.
pub const KEY: &str = "cmVldmUtYXp1cmUtY2FuYXJ5";
/// Version of the protocol, as the requests of the tests speak it.
const VERSION: &str = "2021-12-02";

/// A running server.
pub struct Azurite {
    port: u16,
    _process: Supervised,
}

/// The server that all tests of this binary share.
pub fn azurite() -> Arc<Azurite> {
    static SERVER: OnceLock<Arc<Azurite>> = OnceLock::new();
    Arc::clone(SERVER.get_or_init(|| {
        (0..5).find_map(|_| Azurite::try_start()).map(Arc::new).expect("azurite does not start: run hack/tools.sh azurite")
    }))
}

impl Azurite {
    fn try_start() -> Option<Self> {
        let home = directory("azurite");
        let blobs = home.join("blobs");
        std::fs::create_dir(&blobs).unwrap();
        let port = free_port();
        let mut command = Command::new("env");
        command.arg(format!("AZURITE_ACCOUNTS={ACCOUNT}:{KEY}")).arg(cache().join("bin/azurite-blob"));
        command.args([
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            &port.to_string(),
            "--silent",
            "--disableTelemetry",
            "--location",
        ]);
        command.arg(&blobs);
        let process = Supervised::start(&home, "TERM", &command);
        process.answering(|| TcpStream::connect(("127.0.0.1", port)).ok())?;
        Some(Self { port, _process: process })
    }

    /// Its URL, which names the account as Azurite's do.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// A new, empty container.
    pub fn container(&self) -> String {
        let name = unique("container").replace('_', "-");
        let date = run(Command::new("date").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).env("LC_ALL", "C"));
        let headers = format!("x-ms-date:{}\nx-ms-version:{VERSION}", date.trim());
        // "Authorize with Shared Key": the verb, eleven headers that are absent, ours, and the resource.
        let text = format!("PUT{}{headers}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container", "\n".repeat(12));
        let request = format!(
            "PUT /{ACCOUNT}/{name}?restype=container HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n{}\r\nauthorization: SharedKey {ACCOUNT}:{}\r\n\r\n",
            headers.replace('\n', "\r\n"),
            signature(&text)
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        name
    }

    /// A shared access signature of the account for its blobs, with these rights, such as `rwdlac`.
    pub fn sas(rights: &str) -> String {
        // "Create an account SAS": what is absent is an empty line too.
        let (services, kinds, until) = ("b", "sco", "2100-01-01T00:00:00Z");
        let signed = signature(&format!("{ACCOUNT}\n{rights}\n{services}\n{kinds}\n\n{until}\n\n\n{VERSION}\n\n"));
        let signed = signed.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("sv={VERSION}&ss={services}&srt={kinds}&sp={rights}&se={}&sig={signed}", until.replace(':', "%3A"))
    }
}

/// A container of the shared server.
pub struct Container {
    pub server: Arc<Azurite>,
    pub name: String,
}

impl Container {
    /// A new, empty one.
    pub fn new() -> Self {
        // The first to come decides; whoever comes later finds the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let server = azurite();
        let name = server.container();
        Self { server, name }
    }

    /// A directory in it, as it is declared.
    pub fn destination(&self, prefix: &str) -> Destination {
        let azure = Azure {
            account: ACCOUNT.into(),
            container: self.name.clone(),
            prefix: Some(prefix.into()),
            endpoint: Some(self.server.endpoint()),
            ..Azure::default()
        };
        Destination { azure: Some(azure), ..Destination::default() }
    }
}

/// What a Secret with this one key opens.
pub fn credentials(key: &str, value: &str) -> Credentials {
    let secret = [(key.to_owned(), value.as_bytes().to_vec())].into();
    Credentials { secret, patience: Duration::from_secs(10), ..Credentials::default() }
}

/// HMAC-SHA256 by the account's key, as base64.
fn signature(text: &str) -> String {
    let script = r#"printf %s "$1" | openssl dgst -sha256 -hmac "$2" -binary | openssl base64 -A"#;
    run(Command::new("sh").args(["-c", script, "sign", text, SECRET]))
}
