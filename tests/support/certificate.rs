//! A certificate authority of a test, and a certificate of it for this machine.

use std::path::Path;
use std::process::Command;

use super::process::run;

/// Writes a certificate for these names, such as `DNS:localhost`, and its key. Returns the authority that signed it, whose files go to `home`.
pub fn issue(names: &str, home: &Path, certificate: &Path, key: &Path) -> String {
    let subject = names;
    let path = |name: &str| home.join(name).display().to_string();
    let openssl = |arguments: &str| run(Command::new("openssl").args(arguments.split_whitespace()));
    let (ca, ca_key, request, names) = (path("ca.crt"), path("ca.key"), path("server.csr"), path("names"));
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {new_key} -days 2 -subj /CN=test-ca -keyout {ca_key} -out {ca}"));
    openssl(&format!("req {new_key} -subj /CN=localhost -keyout {} -out {request}", key.display()));
    std::fs::write(&names, format!("subjectAltName={subject}\n")).unwrap();
    let signed_by = format!("-CA {ca} -CAkey {ca_key} -CAcreateserial -days 2 -extfile {names}");
    openssl(&format!("x509 -req -in {request} {signed_by} -out {}", certificate.display()));
    std::fs::read_to_string(ca).unwrap()
}
