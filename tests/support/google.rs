//! A stand-in for Google Cloud Storage. Its XML API is that of S3 but for who asks and under which condition something is written
//! (<https://cloud.google.com/storage/docs/xml-api/overview>), so this asks for Google's, and passes the rest on to a real S3 server.

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequest;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::process::run;
use super::versitygw::{ACCESS_KEY, S3, SECRET_KEY};

/// Who may come in.
pub const ACCOUNT: &str = "reeve@shop.iam.gserviceaccount.com";

/// What S3 leaves as it is in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The stand-in.
pub struct Google {
    /// Its URL.
    pub endpoint: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Google {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Google {
    /// Stands before this server; a bucket of it is a bucket here.
    pub async fn before(server: &S3) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let way = Arc::new((server.endpoint.clone(), reqwest::Client::builder().no_proxy().build().unwrap()));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let way = Arc::clone(&way);
                let service = service_fn(move |request| {
                    let way = Arc::clone(&way);
                    async move { answer(&way.0, &way.1, request).await }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { endpoint, task }
    }

    /// The key of a service account, as Google's console makes it.
    pub fn key(account: &str) -> String {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key.pem");
        run(Command::new("openssl").args(["genpkey", "-quiet", "-algorithm", "RSA", "-out"]).arg(&path));
        let private_key = std::fs::read_to_string(&path).unwrap();
        json!({"type": "service_account", "client_email": account, "private_key_id": "canary", "private_key": private_key})
            .to_string()
    }
}

async fn answer(to: &str, client: &reqwest::Client, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).map_err(std::io::Error::other)?;
    let authorization = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match authorization.strip_prefix("Bearer ").and_then(claims) {
        None => return Ok(refused(401, "AuthenticationRequired", "Authentication required.")),
        Some(claims) if claims["iss"] != ACCOUNT => return Ok(refused(403, "AccessDenied", "Access denied.")),
        Some(_) => {}
    }
    let path = percent_decode_str(parts.uri.path()).decode_utf8_lossy();
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("{to}{}{query}", utf8_percent_encode(&path, PATH));
    let mut signed: HttpRequest = Request::builder().method(parts.method).uri(&url).body(body.clone().into()).unwrap();
    for name in ["range", "content-type"] {
        if let Some(value) = parts.headers.get(name) {
            signed.headers_mut().insert(name, value.clone());
        }
    }
    // Generation 0 is that of no object.
    if parts.headers.get("x-goog-if-generation-match").is_some_and(|generation| generation == "0") {
        signed.headers_mut().insert("if-none-match", "*".parse().unwrap());
    }
    let credential = AwsCredential { key_id: ACCESS_KEY.into(), secret_key: SECRET_KEY.into(), token: None };
    AwsAuthorizer::new(&credential, "s3", "us-east-1").try_authorize(&mut signed, None).unwrap();
    let (head, _) = signed.into_parts();
    let answer = client.request(head.method, url).headers(head.headers).body(body).send().await.map_err(std::io::Error::other)?;
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    *response.body_mut() = Full::new(answer.bytes().await.map_err(std::io::Error::other)?);
    Ok(response)
}

/// What a token says of itself. That it is signed by who it says, Google would check.
fn claims(token: &str) -> Option<Value> {
    let claims = token.split('.').nth(1)?;
    let digit =
        |byte: u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".iter().position(|known| *known == byte);
    let bits: Option<Vec<u8>> = claims.bytes().map(|byte| digit(byte).map(|value| value as u8)).collect();
    let bits: Vec<u8> = bits?.iter().flat_map(|value| (0..6).rev().map(move |bit| value >> bit & 1)).collect();
    let bytes: Vec<u8> = bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)).collect();
    serde_json::from_slice(&bytes).ok()
}

fn refused(status: u16, code: &str, message: &str) -> Response<Full<Bytes>> {
    let body = format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Response::builder()
        .status(status)
        .header("content-type", "application/xml; charset=UTF-8")
        .body(Full::new(body.into()))
        .unwrap()
}
