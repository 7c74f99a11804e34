//! A proxy before an S3 server that numbers every request and breaks the one that it is told to break.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status and S3's code for it, and goes no further.
    Refuse(u16, &'static str),
    /// The connection ends before the server hears of it.
    CutBefore,
    /// The server carries it out, and the connection ends instead of its answer.
    CutAfter,
    /// Half of the answer's body comes, as if that were all.
    Truncate,
    /// A byte of the answer's body is another one.
    Alter,
    /// The answer's ETag is another one.
    WrongTag,
    /// It is answered with 200 and an error in the body, and goes no further.
    FalseSuccess,
    /// Before it, every object of data is removed, as by a lifecycle rule.
    Vanish,
    /// Before it, a byte of every object of data is changed where it is stored.
    Rot,
    /// It is never answered, and the server never hears of it.
    HoldBefore,
    /// The server carries it out, and it is never answered.
    HoldAfter,
}

/// Those that a request can end with.
pub const ALL: [Fault; 13] = [
    Fault::Refuse(403, "AccessDenied"),
    Fault::Refuse(404, "NoSuchBucket"),
    Fault::Refuse(404, "NoSuchUpload"),
    Fault::Refuse(500, "InternalError"),
    Fault::Refuse(503, "SlowDown"),
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::Truncate,
    Fault::Alter,
    Fault::WrongTag,
    Fault::FalseSuccess,
    Fault::Vanish,
    Fault::Rot,
];

/// Which requests are broken, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The number of the first, from zero.
    pub first: usize,
    /// Whether all that follow are broken too.
    pub lasting: bool,
    /// How.
    pub fault: Fault,
}

/// Whether a request, given as its method, path and query, is broken.
type Which = Box<dyn Fn(&str) -> bool + Send>;

#[derive(Default)]
struct State {
    requests: Vec<String>,
    plan: Option<Plan>,
    those: Option<(Which, Fault)>,
    /// Requests that wait for an answer which does not come.
    held: usize,
}

/// The proxy.
pub struct Proxy {
    /// Its URL.
    pub endpoint: String,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Stands before the server at `to`, whose bucket is the directory `bucket`.
    pub async fn before(to: &str, bucket: PathBuf) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let way = Arc::new(Way {
            to: to.into(),
            bucket,
            state: Arc::clone(&state),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        });
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let way = Arc::clone(&way);
                let service = service_fn(move |request| {
                    let way = Arc::clone(&way);
                    async move { way.answer(request).await }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { endpoint, state, task }
    }

    /// Numbers anew, and breaks by this plan from now on.
    pub fn play(&self, plan: Option<Plan>) {
        *self.state.lock().unwrap() = State { plan, ..State::default() };
    }

    /// Numbers anew, and breaks these requests in this way from now on. A request is its method, path and query: `PUT /bucket/key?partNumber=1`.
    pub fn break_those(&self, which: impl Fn(&str) -> bool + Send + 'static, fault: Fault) {
        *self.state.lock().unwrap() = State { those: Some((Box::new(which), fault)), ..State::default() };
    }

    /// Whether a request waits for an answer which does not come.
    pub fn holds(&self) -> bool {
        self.state.lock().unwrap().held > 0
    }

    /// The requests since then, each as method and what it is about, and how it asks the store to encrypt.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

struct Way {
    to: String,
    bucket: PathBuf,
    state: Arc<Mutex<State>>,
    client: reqwest::Client,
}

/// Ends the connection.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl Way {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
        let fault = {
            let mut state = self.state.lock().unwrap();
            let number = state.requests.len();
            let about = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let query = request.uri().query().unwrap_or_default().to_owned();
            let encryption = ["x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"];
            let encryption: String = encryption
                .iter()
                .filter_map(|name| request.headers().get(*name)?.to_str().ok())
                .map(|value| format!(" {value}"))
                .collect();
            state.requests.push(format!("{} {about}?{query}{encryption}", request.method()));
            let whole = format!("{} {}", request.method(), request.uri());
            let those = state.those.as_ref().filter(|(which, _)| which(&whole)).map(|(_, fault)| *fault);
            let planned = state.plan.filter(|plan| number == plan.first || (plan.lasting && number > plan.first));
            those.or(planned.map(|plan| plan.fault))
        };
        let is_head = request.method() == Method::HEAD;
        match fault {
            Some(Fault::CutBefore) => return Err(Cut),
            Some(Fault::HoldBefore) => return self.hold().await,
            Some(Fault::Refuse(status, code)) => {
                drop(request.into_body().collect().await);
                return Ok(error(status, code, is_head));
            }
            Some(Fault::FalseSuccess) => {
                drop(request.into_body().collect().await);
                return Ok(error(200, "InternalError", is_head));
            }
            Some(Fault::Vanish) => self.each_object(|path| std::fs::remove_file(path).unwrap()),
            Some(Fault::Rot) => self.each_object(|path| {
                let mut bytes = std::fs::read(path).unwrap();
                let at = bytes.len() / 2;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 0x20;
                }
                std::fs::write(path, bytes).unwrap();
            }),
            _ => {}
        }
        let answer = self.forward(request).await.ok_or(Cut)?;
        match fault {
            Some(Fault::CutAfter) => Err(Cut),
            Some(Fault::HoldAfter) => self.hold().await,
            fault => Ok(spoiled(answer, fault)),
        }
    }

    async fn hold<T>(&self) -> T {
        self.state.lock().unwrap().held += 1;
        std::future::pending().await
    }

    /// The server's answer; none where the connection to it broke, as when the client has gone in the middle of its request.
    async fn forward(&self, request: Request<Incoming>) -> Option<(StatusCode, http::HeaderMap, Bytes)> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let url = format!("{}{}", self.to, parts.uri.path_and_query().map_or("/", |path| path.as_str()));
        let answer = self.client.request(parts.method, url).headers(parts.headers).body(body).send().await.ok()?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Some((status, headers, answer.bytes().await.unwrap_or_default()))
    }

    fn each_object(&self, change: impl Fn(&std::path::Path)) {
        fn walk(directory: &std::path::Path, change: &dyn Fn(&std::path::Path)) {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
                // Where the server keeps the parts of uploads begins with a dot.
                if path.is_dir() && !name.starts_with('.') {
                    walk(&path, change);
                } else if path.is_file() && name != "manifest.json" {
                    change(&path);
                }
            }
        }
        walk(&self.bucket, &change);
    }
}

fn error(status: u16, code: &str, is_head: bool) -> Response<Full<Bytes>> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>played</Message></Error>");
    let body = if is_head { Bytes::new() } else { Bytes::from(body) };
    Response::builder().status(status).header("content-type", "application/xml").body(Full::new(body)).unwrap()
}

fn spoiled((status, headers, mut body): (StatusCode, http::HeaderMap, Bytes), fault: Option<Fault>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    match fault {
        Some(Fault::Truncate) if !body.is_empty() => {
            body = body.slice(..body.len() / 2);
            answer.headers_mut().insert("content-length", body.len().into());
        }
        Some(Fault::Alter) if !body.is_empty() => {
            let mut bytes = body.to_vec();
            let at = bytes.len() / 2;
            bytes[at] ^= 0x20;
            body = bytes.into();
        }
        Some(Fault::WrongTag) if answer.headers().contains_key("etag") => {
            answer.headers_mut().insert("etag", "\"00000000000000000000000000000000\"".parse().unwrap());
        }
        _ => {}
    }
    *answer.body_mut() = Full::new(body);
    answer
}
