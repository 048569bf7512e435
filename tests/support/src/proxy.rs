//! A proxy in front of an S3 server that injects faults and records the requests.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::tls;

/// The S3 requests that Persist sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    ListObjects,
    CreateUpload,
    UploadPart,
    CompleteUpload,
    AbortUpload,
}

pub const OPERATIONS: [Operation; 9] = [
    Operation::PutObject,
    Operation::GetObject,
    Operation::HeadObject,
    Operation::DeleteObject,
    Operation::ListObjects,
    Operation::CreateUpload,
    Operation::UploadPart,
    Operation::CompleteUpload,
    Operation::AbortUpload,
];

/// How much [`Fault::Delay`] delays a response.
pub const DELAY: Duration = Duration::from_secs(5);

/// How much [`Fault::LateReply`] delays a response.
const LATE: Duration = Duration::from_secs(1);

/// How much [`Fault::Slow`] delays a response.
const FAR_AWAY: Duration = Duration::from_millis(30);

/// What can go wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The response comes after the timeout of every client.
    Delay,
    /// The connection is closed before the request is read.
    Refuse,
    /// The connection is reset while the request is read.
    ResetRequest,
    /// The connection is reset while the response is sent.
    ResetResponse,
    /// The connection is closed normally before the end of the response.
    CutBody,
    /// The response is shorter, and its headers say so.
    ShortenBody,
    /// A bit of the request's body is flipped.
    FlipRequest,
    /// A bit of the response's body is flipped.
    FlipResponse,
    /// The request is carried out, and its response is lost.
    LoseReply,
    /// The request is carried out, and its response comes a moment later.
    LateReply,
    /// The same, with the latency of a distant service.
    Slow,
    /// The preconditions are removed from the request.
    StripConditions,
    /// The service returns this error and does nothing.
    Answer(u16, &'static str),
    /// The service returns status 200 with an error in the body.
    ErrorIn200,
    /// The service returns this status and an endless body.
    Endless(u16),
    /// The service returns status 200 and this body.
    Body(&'static str),
}

/// Which of the matching requests get the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    First,
    Second,
    Always,
    /// The request with this number, counted from 1.
    Nth(u32),
    /// The first requests of each group: `Of(2, 5)` is 2 of every 5.
    Of(u32, u32),
}

/// A request that the proxy received.
#[derive(Clone, Debug)]
pub struct Seen {
    pub operation: Operation,
    pub path: String,
    pub range: Option<String>,
    pub headers: HashMap<String, String>,
    pub answered: usize,
    pub arrived: Instant,
    /// When the response was complete, or `None` if the client did not wait for it.
    pub ended: Option<Instant>,
}

struct Rule {
    operation: Option<Operation>,
    fault: Fault,
    when: When,
    met: u32,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    /// How many faults were injected.
    hits: u32,
    /// How many connections were opened.
    connections: u32,
    /// How many requests are in progress, and the maximum so far.
    under_way: u32,
    most_under_way: u32,
    /// One lock per path, so that requests for one object run one after the other.
    turns: Option<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A proxy in front of a server. It stops when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

type Body = BoxBody<Bytes, io::Error>;

impl Proxy {
    pub fn start(server: SocketAddr) -> Self {
        Self::start_as(server, None)
    }

    /// Starts a proxy with TLS. Clients have to trust [`tls::authority`].
    pub fn start_tls(server: SocketAddr) -> Self {
        Self::start_as(server, Some(tls::acceptor()))
    }

    fn start_as(server: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                let resets = |rule: &Rule| matches!(rule.fault, Fault::ResetRequest | Fault::ResetResponse);
                if shared.lock().unwrap().rules.iter().any(resets) {
                    // A dropped connection is reset instead of closed.
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
                let state = Arc::clone(&shared);
                let serve = service_fn(move |request| pass(Arc::clone(&state), server, request));
                let tls = tls.clone();
                tokio::spawn(async move {
                    // A dropped connection ends without TLS's close_notify.
                    let http = hyper::server::conn::http1::Builder::new();
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), serve).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let _ = http.serve_connection(TokioIo::new(stream), serve).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, scheme, state, _runtime: runtime }
    }

    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Injects a fault into requests of this kind, or of any kind.
    pub fn inject(&self, operation: impl Into<Option<Operation>>, fault: Fault, when: When) {
        self.state.lock().unwrap().rules.push(Rule { operation: operation.into(), fault, when, met: 0 });
    }

    /// Stops injecting faults.
    pub fn heal(&self) {
        self.state.lock().unwrap().rules.clear();
    }

    /// Forgets the recorded requests.
    pub fn forget(&self) {
        let mut state = self.state.lock().unwrap();
        state.seen.clear();
        state.most_under_way = 0;
    }

    /// From now on, requests for one object run one after the other, so that
    /// preconditions hold on a server that checks and acts in two steps.
    pub fn take_turns(&self) {
        self.state.lock().unwrap().turns.get_or_insert_default();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub fn connections(&self) -> u32 {
        self.state.lock().unwrap().connections
    }

    /// Returns the maximum number of concurrent requests so far.
    pub fn most_under_way(&self) -> u32 {
        self.state.lock().unwrap().most_under_way
    }

    pub fn hits(&self) -> u32 {
        self.state.lock().unwrap().hits
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

fn operation(request: &Request<Incoming>) -> Operation {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
    match *request.method() {
        Method::PUT if has("uploadId") => Operation::UploadPart,
        Method::PUT => Operation::PutObject,
        Method::POST if has("uploads") => Operation::CreateUpload,
        Method::POST if has("delete") => Operation::DeleteObject,
        Method::POST => Operation::CompleteUpload,
        Method::DELETE if has("uploadId") => Operation::AbortUpload,
        Method::DELETE => Operation::DeleteObject,
        Method::HEAD => Operation::HeadObject,
        _ if has("list-type") => Operation::ListObjects,
        _ => Operation::GetObject,
    }
}

/// Returns the fault for a request, if it gets one.
fn fault_for(state: &Mutex<State>, operation: Operation) -> Option<Fault> {
    let mut state = state.lock().unwrap();
    let mut found = None;
    for rule in state.rules.iter_mut().filter(|rule| rule.operation.is_none_or(|wanted| wanted == operation)) {
        rule.met += 1;
        let is_hit = match rule.when {
            When::First => rule.met == 1,
            When::Second => rule.met == 2,
            When::Always => true,
            When::Nth(number) => rule.met == number,
            When::Of(some, all) => (rule.met - 1) % all < some,
        };
        if is_hit && found.is_none() {
            found = Some(rule.fault);
        }
    }
    state.hits += u32::from(found.is_some());
    found
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// Returns a body that fails after these bytes.
fn cut(bytes: Bytes) -> Body {
    let frames = vec![Ok(Frame::data(bytes)), Err(io::Error::other("cut"))];
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

/// Returns an endless body of XML.
fn endless() -> Body {
    let frame = Bytes::from("<Contents><Key>and so on</Key></Contents>".repeat(2000));
    let frames = futures_util::stream::repeat_with(move || Ok(Frame::data(frame.clone())));
    BodyExt::boxed(StreamBody::new(frames))
}

fn error_body(code: &str) -> String {
    let message = match code {
        "AuthorizationHeaderMalformed" => "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
        _ => "as asked for",
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

async fn pass(state: Arc<Mutex<State>>, server: SocketAddr, request: Request<Incoming>) -> io::Result<Response<Body>> {
    {
        let mut state = state.lock().unwrap();
        state.under_way += 1;
        state.most_under_way = state.most_under_way.max(state.under_way);
    }
    let answer = answer(Arc::clone(&state), server, request).await;
    state.lock().unwrap().under_way -= 1;
    answer
}

async fn answer(state: Arc<Mutex<State>>, server: SocketAddr, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let operation = operation(&request);
    let path = request.uri().path().to_owned();
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    let seen = Seen {
        operation,
        path: path.clone(),
        range: header("range"),
        headers: headers.collect(),
        answered: 0,
        arrived: Instant::now(),
        ended: None,
    };
    let index = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen);
        state.seen.len() - 1
    };
    let fault = fault_for(&state, operation);
    let is_head = operation == Operation::HeadObject;
    match fault {
        Some(Fault::Refuse) => return Err(io::Error::other("refused")),
        Some(Fault::ResetRequest) => {
            let mut body = request.into_body();
            let _ = body.frame().await;
            return Err(io::Error::other("reset"));
        }
        Some(Fault::Delay) => tokio::time::sleep(DELAY).await,
        Some(Fault::Answer(status, code)) => {
            // Like a server that has read the request.
            let _ = request.into_body().collect().await;
            let body = if is_head { full("") } else { full(error_body(code)) };
            let response = Response::builder().status(status);
            // The header is in whole seconds.
            let response = match code {
                "SlowDown" => response.header("retry-after", "1"),
                "PermanentRedirect" => response.header("x-amz-bucket-region", "eu-west-1"),
                _ => response,
            };
            return Ok(response.body(body).expect("a response"));
        }
        Some(Fault::ErrorIn200) if !is_head => {
            let _ = request.into_body().collect().await;
            return Ok(Response::builder().status(StatusCode::OK).body(full(error_body("InternalError"))).expect("a response"));
        }
        Some(Fault::Body(body)) => return Ok(Response::new(full(body))),
        Some(Fault::Endless(status)) => {
            let _ = request.into_body().collect().await;
            return Ok(Response::builder().status(status).body(endless()).expect("a response"));
        }
        _ => {}
    }
    let turn = state.lock().unwrap().turns.as_mut().map(|turns| Arc::clone(turns.entry(path).or_default()));
    let turn = match turn {
        Some(turn) => Some(turn.lock_owned().await),
        None => None,
    };
    let (mut parts, body) = request.into_parts();
    let mut body = body.collect().await.map_err(io::Error::other)?.to_bytes().to_vec();
    if fault == Some(Fault::FlipRequest) {
        let middle = body.len() / 2;
        if let Some(byte) = body.get_mut(middle) {
            *byte ^= 1;
        }
    }
    if fault == Some(Fault::StripConditions) {
        parts.headers.remove("if-match");
        parts.headers.remove("if-none-match");
    }
    let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
    // A complete request is carried out even if the client is gone, and keeps its turn
    // until then.
    let exchange = tokio::spawn(async move {
        let answer = forward(server, request).await;
        drop(turn);
        answer
    });
    let (parts, answer) = exchange.await.map_err(io::Error::other)??;
    match fault {
        Some(Fault::LateReply) => tokio::time::sleep(LATE).await,
        Some(Fault::Slow) => tokio::time::sleep(FAR_AWAY).await,
        _ => {}
    }
    if let Some(seen) = state.lock().unwrap().seen.get_mut(index) {
        seen.answered = answer.len();
        seen.ended = Some(Instant::now());
    }
    let half = answer.slice(..answer.len() / 2);
    let mut response = Response::from_parts(parts, full(answer.clone()));
    match fault {
        Some(Fault::LoseReply) => return Err(io::Error::other("lost")),
        // Without a body, the head is lost.
        Some(Fault::ResetResponse | Fault::CutBody) if answer.is_empty() => return Err(io::Error::other("cut")),
        Some(Fault::ResetResponse | Fault::CutBody) => *response.body_mut() = cut(half),
        Some(Fault::ShortenBody) if !answer.is_empty() => {
            response.headers_mut().remove("content-length");
            response.headers_mut().insert("content-length", half.len().into());
            *response.body_mut() = full(half);
        }
        Some(Fault::FlipResponse) if !answer.is_empty() => {
            let mut answer = answer.to_vec();
            let middle = answer.len() / 2;
            answer[middle] ^= 1;
            *response.body_mut() = full(answer);
        }
        _ => {}
    }
    Ok(response)
}

/// Sends a request to the server on a new connection.
async fn forward(server: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<(http::response::Parts, Bytes)> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let (parts, body) = response.into_parts();
    Ok((parts, body.collect().await.map_err(io::Error::other)?.to_bytes()))
}
