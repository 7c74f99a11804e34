//! A real S3 server: versitygw over a directory, in which each directory is a bucket.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use super::process::{Supervised, directory, free_port};
use super::{cache, certificate, unique};

/// What opens it.
pub const ACCESS_KEY: &str = "reeve-access";
/// The secret half.
pub const SECRET_KEY: &str = "reeve-secret-canary";

/// A running server.
pub struct S3 {
    /// Its URL.
    pub endpoint: String,
    /// Where its buckets are.
    pub home: PathBuf,
    /// Who signed its certificate, as PEM, if it has one.
    ca: Option<String>,
    _process: Supervised,
}

/// The server that all tests of this binary share.
pub fn s3() -> Arc<S3> {
    static SERVER: OnceLock<Arc<S3>> = OnceLock::new();
    Arc::clone(SERVER.get_or_init(S3::start))
}

impl S3 {
    /// Starts a server; it ends when dropped.
    ///
    /// # Panics
    /// Where the program is missing, or does not answer.
    pub fn start() -> Arc<Self> {
        Self::started(false)
    }

    /// The same, with a certificate of an authority that nobody knows.
    ///
    /// # Panics
    /// See [`S3::start`].
    pub fn with_certificate() -> Arc<Self> {
        Self::started(true)
    }

    /// Who signed its certificate.
    ///
    /// # Panics
    /// Where it has none.
    pub fn ca(&self) -> &str {
        self.ca.as_ref().unwrap()
    }

    fn started(is_certified: bool) -> Arc<Self> {
        let started = (0..5).find_map(|_| Self::try_start(is_certified));
        started.map(Arc::new).expect("versitygw does not start: run hack/tools.sh versitygw")
    }

    fn try_start(is_certified: bool) -> Option<Self> {
        let home = directory("s3");
        let buckets = home.join("buckets");
        std::fs::create_dir(&buckets).unwrap();
        let port = free_port();
        let mut command = Command::new(cache().join("bin/versitygw"));
        command.args(["--access", ACCESS_KEY, "--secret", SECRET_KEY, "--keep-alive", "--quiet"]);
        command.args(["--port", &format!("127.0.0.1:{port}")]);
        let ca = is_certified.then(|| {
            let (certificate, key) = (home.join("server.crt"), home.join("server.key"));
            let ca = certificate::issue("DNS:localhost,IP:127.0.0.1", &home, &certificate, &key);
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
            ca
        });
        command.arg("posix").arg(&buckets);
        let process = Supervised::start(&home, "TERM", &command);
        process.answering(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok())?;
        let scheme = if is_certified { "https" } else { "http" };
        Some(Self { endpoint: format!("{scheme}://127.0.0.1:{port}"), home: buckets, ca, _process: process })
    }

    /// A new, empty bucket.
    pub fn bucket(&self) -> String {
        let name = unique("bucket").replace('_', "-");
        std::fs::create_dir(self.home.join(&name)).unwrap();
        name
    }

    /// The keys of a bucket, and below `.sgwtmp` what is not finished.
    pub fn files(&self, bucket: &str) -> Vec<String> {
        fn walk(directory: &std::path::Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let root = self.home.join(bucket);
        let mut found = vec![];
        walk(&root, &mut found);
        let mut keys: Vec<String> = found.iter().map(|path| path.strip_prefix(&root).unwrap().display().to_string()).collect();
        keys.sort();
        keys
    }
}
