//! A real S3 server: versitygw over a directory, in which each directory is a bucket.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use super::process::{Supervised, directory, free_port};
use super::{cache, unique};

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
        (0..5).find_map(|_| Self::try_start()).map(Arc::new).expect("versitygw does not start: run hack/tools.sh versitygw")
    }

    fn try_start() -> Option<Self> {
        let home = directory("s3");
        let buckets = home.join("buckets");
        std::fs::create_dir(&buckets).unwrap();
        let port = free_port();
        let mut command = Command::new(cache().join("bin/versitygw"));
        command.args(["--access", ACCESS_KEY, "--secret", SECRET_KEY, "--keep-alive", "--quiet"]);
        command.args(["--port", &format!("127.0.0.1:{port}"), "posix"]).arg(&buckets);
        let process = Supervised::start(&home, "TERM", &command);
        process.answering(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok())?;
        Some(Self { endpoint: format!("http://127.0.0.1:{port}"), home: buckets, _process: process })
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
