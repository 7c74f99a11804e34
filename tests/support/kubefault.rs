//! What happens when a request to Kubernetes is lost, refused or answered with the past? A layer below the client that does it.
//!
//! It sits under the client's own retries, numbers every request that changes something, and lets it meet what was planned for
//! its number. Reads and watches can be made to lie as an API server that lags behind does.

mod answer;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tokio::sync::watch as channel;
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

pub use watch::WatchFault;

/// What happens to one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// The connection breaks before the request is sent.
    CutBefore,
    /// It is carried out; the connection breaks before the answer arrives.
    CutAfter,
    /// It is refused with this status, and with this many seconds of `Retry-After`.
    Refused(u16, Option<u32>),
    /// It is carried out, and answered with this status all the same, as a 504 may be.
    Disowned(u16),
    /// It disappears: nobody answers.
    Swallowed,
    /// It is carried out, and nobody answers.
    Unanswered,
    /// Nobody answers it nor anything else for this long, and every watch breaks.
    Outage(Duration),
}

/// What happens to reads that are no watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// Each is answered as the first one of the same path was.
    Stale,
    /// They are refused with this status.
    Refused(u16),
    /// The connection breaks.
    Cut,
}

/// A request that changed something, or would have.
#[derive(Clone, Debug)]
pub struct Write {
    /// Counted from 1.
    pub number: usize,
    /// Method and path.
    pub what: String,
    /// Its body.
    pub body: String,
    /// What was done to it.
    pub fault: Option<WriteFault>,
}

/// The faults of one client, and the log of what it wrote.
#[derive(Clone, Default)]
pub struct KubeFaults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    writes: Vec<Write>,
    planned: BTreeMap<usize, WriteFault>,
    each: Option<(WriteFault, BTreeSet<String>)>,
    unmet: usize,
    met: usize,
    reads: Option<(ReadFault, usize)>,
    first_answers: HashMap<String, Bytes>,
    watch: Option<(WatchFault, usize)>,
    outage_until: Option<Instant>,
    outages: channel::Sender<()>,
}

type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
type Answer = Result<Response<ResponseBody>, BoxError>;

impl KubeFaults {
    /// A client whose every request passes here. It retries by itself as the product's does.
    pub fn client(&self, config: &Config) -> Client {
        let https = config.rustls_https_connector().unwrap();
        let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build::<_, Body>(https);
        let stack = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .layer(RetryLayer::new(RetryPolicy::server_retry()))
            .option_layer(config.auth_layer().unwrap())
            .map_err(BoxError::from)
            .service(Faulty { inner: http, faults: self.clone() });
        Client::new(stack, config.default_namespace.clone())
    }

    /// Everything that was written so far.
    pub fn writes(&self) -> Vec<Write> {
        self.lock().writes.clone()
    }

    /// How many writes there were so far.
    pub fn count(&self) -> usize {
        self.lock().writes.len()
    }

    /// The write with this number will meet this fault.
    pub fn plan(&self, number: usize, fault: WriteFault) {
        let mut state = self.lock();
        state.unmet += 1;
        state.planned.insert(number, fault);
    }

    /// From now on every write but events will meet this fault when it is sent for the first time; which number stands where in it does not
    /// make another one of it.
    pub fn plan_each(&self, fault: WriteFault) {
        self.lock().each = Some((fault, BTreeSet::new()));
    }

    /// How many faults of writes have been met so far.
    pub fn met(&self) -> usize {
        self.lock().met
    }

    /// The next `times` reads will meet this fault. A read that has no past passes and does not count for [`ReadFault::Stale`].
    pub fn plan_reads(&self, fault: ReadFault, times: usize) {
        self.lock().reads = Some((fault, times));
    }

    /// The next `times` events of watches will meet this fault.
    pub fn plan_watch(&self, fault: WatchFault, times: usize) {
        self.lock().watch = Some((fault, times));
    }

    /// Whether every planned fault has been met, to its end.
    pub fn all_met(&self) -> bool {
        let state = self.lock();
        state.unmet == 0 && state.reads.is_none() && state.watch.is_none() && !state.is_out()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn next_write(&self, what: String, body: &Bytes) -> Option<WriteFault> {
        let mut state = self.lock();
        let number = state.writes.len() + 1;
        let planned = state.planned.remove(&number);
        let fault = planned.or_else(|| state.unnumbered(&what, body));
        state.unmet += usize::from(planned.is_none() && fault.is_some());
        if let Some(WriteFault::Outage(time)) = fault {
            state.outage_until = Some(Instant::now() + time);
            state.outages.send_replace(());
        }
        state.writes.push(Write { number, what, body: String::from_utf8_lossy(body).into_owned(), fault });
        fault
    }

    /// The fault that this read meets, and the past that it is to be told.
    fn next_read(&self, path: &str) -> Option<(ReadFault, Bytes)> {
        let mut state = self.lock();
        let (fault, times) = state.reads?;
        let past = state.first_answers.get(path).cloned();
        if fault == ReadFault::Stale && past.is_none() {
            return None;
        }
        state.reads = (times > 1).then_some((fault, times - 1));
        Some((fault, past.unwrap_or_default()))
    }

    fn next_event(&self) -> Option<WatchFault> {
        let mut state = self.lock();
        let (fault, times) = state.watch?;
        state.watch = (times > 1).then_some((fault, times - 1));
        Some(fault)
    }
}

impl State {
    /// The fault that a write meets for what it is.
    fn unnumbered(&mut self, what: &str, body: &Bytes) -> Option<WriteFault> {
        let (fault, known) = self.each.as_mut()?;
        let text = format!("{what} {}", String::from_utf8_lossy(body)).replace(|c: char| c.is_ascii_digit(), "");
        (!what.contains("/events") && known.insert(text)).then_some(*fault)
    }

    /// Whether nobody answers just now.
    fn is_out(&self) -> bool {
        self.outage_until.is_some_and(|until| Instant::now() < until)
    }
}

#[derive(Clone)]
struct Faulty<S> {
    inner: S,
    faults: KubeFaults,
}

impl<S, B> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // `oneshot` waits for it
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        let shared = faults.clone();
        let send = async move |request| {
            if shared.lock().is_out() {
                return Err(answer::broken());
            }
            let response = inner.oneshot(request).await.map_err(Into::into)?;
            Ok(response.map(|body: B| body.map_err(Into::into).boxed_unsync()))
        };
        let query = request.uri().query().unwrap_or_default();
        let watch = ["watch=true", "watch=1"].iter().any(|flag| query.contains(flag));
        let reads = [Method::GET, Method::HEAD].contains(request.method()) || is_a_question(request.uri().path());
        match (reads, watch) {
            (false, _) => Box::pin(write(faults, request, send)),
            (true, true) => Box::pin(async move { Ok(send(request).await?.map(|body| watch::distorted(body, faults))) }),
            (true, false) => Box::pin(read(faults, request, send)),
        }
    }
}

/// Reviews are sent with POST and change nothing.
fn is_a_question(path: &str) -> bool {
    path.starts_with("/apis/authorization.k8s.io/") || path.starts_with("/apis/authentication.k8s.io/")
}

async fn write<F: Future<Output = Answer>>(
    faults: KubeFaults,
    request: Request<Body>,
    send: impl FnOnce(Request<Body>) -> F,
) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let fault = faults.next_write(format!("{} {}", head.method, head.uri.path()), &body);
    let send = send(Request::from_parts(head, Body::from(body)));
    let Some(fault) = fault else { return send.await };
    let answer = meet(fault, send).await;
    {
        let mut state = faults.lock();
        state.unmet -= 1;
        state.met += 1;
    }
    match fault {
        WriteFault::Swallowed | WriteFault::Unanswered => std::future::pending().await,
        _ => answer,
    }
}

async fn meet(fault: WriteFault, send: impl Future<Output = Answer>) -> Answer {
    match fault {
        WriteFault::CutBefore | WriteFault::Swallowed | WriteFault::Outage(_) => Err(answer::broken()),
        WriteFault::Refused(status, retry_after) => Ok(answer::refused(status, retry_after)),
        WriteFault::CutAfter | WriteFault::Unanswered => {
            send.await?.into_body().collect().await?;
            Err(answer::broken())
        }
        WriteFault::Disowned(status) => {
            send.await?.into_body().collect().await?;
            Ok(answer::refused(status, None))
        }
    }
}

async fn read<F: Future<Output = Answer>>(
    faults: KubeFaults,
    request: Request<Body>,
    send: impl FnOnce(Request<Body>) -> F,
) -> Answer {
    let path = request.uri().path().to_owned();
    match faults.next_read(&path) {
        Some((ReadFault::Cut, _)) => return Err(answer::broken()),
        Some((ReadFault::Refused(status), _)) => return Ok(answer::refused(status, None)),
        Some((ReadFault::Stale, past)) => return Ok(answer::json(200, past)),
        None => {}
    }
    let (head, body) = send(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    if head.status.is_success() {
        faults.lock().first_answers.entry(path).or_insert_with(|| body.clone());
    }
    Ok(Response::from_parts(head, answer::full(body)))
}

/// Longest that a held-back event waits for the one that is to overtake it.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(300);
