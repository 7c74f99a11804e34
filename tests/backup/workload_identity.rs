//! Does the cloud's way of giving a Pod a key open the store, where no Secret does?

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use crate::support::certificate;
use crate::support::versitygw::{ACCESS_KEY, SECRET_KEY, s3};

/// Answers one request with this, and says what it was.
fn answer(mut stream: impl Read + Write, kind: &str, body: &str) -> String {
    let mut request = [0; 8192];
    let length = stream.read(&mut request).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close", body.len());
    write!(stream, "{head}\r\n\r\n{body}").unwrap();
    stream.flush().unwrap();
    String::from_utf8_lossy(&request[..length]).into_owned()
}

/// One who hands out keys, once. Answers its port.
fn handing_out(answer: impl FnOnce(TcpStream) -> String + Send + 'static) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, std::thread::spawn(move || answer(listener.accept().unwrap().0)))
}

/// The backups of an empty bucket are listed with this environment, in which no key stands.
fn lists_with(environment: &[(&str, String)]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgreeve"));
    command.args(["backups", "list", &format!("s3://{}", s3().bucket()), "--endpoint", &s3().endpoint]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let output = command.envs(environment.iter().map(|(name, value)| (name, value))).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.starts_with("no backups below"), "{said}");
}

/// EKS Pod Identity: the environment names an agent on the node.
#[test]
fn an_agent_of_the_node_hands_out_the_key() {
    let key =
        json!({"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": "", "Expiration": "2099-01-01T00:00:00Z"});
    let (port, asked) = handing_out(move |stream| answer(stream, "application/json", &key.to_string()));
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "of-the-pod").unwrap();
    lists_with(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://127.0.0.1:{port}/v1/credentials")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.path().display().to_string()),
    ]);
    assert!(asked.join().unwrap().to_lowercase().contains("authorization: of-the-pod"));
}

/// IRSA: the token of the service account is exchanged for a key of its role, over TLS.
#[test]
fn a_token_of_the_service_account_is_exchanged_for_a_key() {
    let home = tempfile::tempdir().unwrap();
    let (certificate, key, ca) = (home.path().join("server.crt"), home.path().join("server.key"), home.path().join("trusted"));
    let authority = certificate::issue("IP:127.0.0.1", home.path(), &certificate, &key);
    std::fs::write(&ca, authority).unwrap();
    let chain: Vec<_> = CertificateDer::pem_file_iter(&certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let role = format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId>\
         <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken></SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    let (port, asked) = handing_out(move |stream| {
        let server = rustls::ServerConnection::new(config).unwrap();
        answer(rustls::StreamOwned::new(server, stream), "text/xml", &role)
    });
    let token = home.path().join("token");
    std::fs::write(&token, "of-the-service-account").unwrap();
    lists_with(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/backups".into()),
        ("AWS_ENDPOINT_URL_STS", format!("https://127.0.0.1:{port}")),
        ("SSL_CERT_FILE", ca.display().to_string()),
    ]);
    let asked = asked.join().unwrap();
    for words in ["Action=AssumeRoleWithWebIdentity", "WebIdentityToken=of-the-service-account", "role%2Fbackups"] {
        assert!(asked.contains(words), "{words}: {asked}");
    }
}
