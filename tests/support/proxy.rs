//! A proxy that breaks things on purpose, in front of an S3 server, and counts
//! what passes.

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

use super::tls;

/// The requests of S3 that this project sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
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

pub(crate) const OPERATIONS: [Operation; 9] = [
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

/// By how much [`Fault::Delay`] makes an answer late.
pub(crate) const DELAY: Duration = Duration::from_secs(5);

/// By how much [`Fault::LateReply`] makes an answer late.
const LATE: Duration = Duration::from_secs(1);

/// By how much [`Fault::Slow`] makes an answer late.
const FAR_AWAY: Duration = Duration::from_millis(30);

/// What can go wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer comes later than anybody waits.
    Delay,
    /// The connection is closed before the request was read.
    Refuse,
    /// The connection is reset while the request is read.
    ResetRequest,
    /// The connection is reset while the answer is sent.
    ResetResponse,
    /// The connection ends in an orderly way before the answer does.
    CutBody,
    /// The answer is shorter, and says so itself.
    ShortenBody,
    /// A bit of the request's body is turned.
    FlipRequest,
    /// A bit of the answer's body is turned.
    FlipResponse,
    /// The request is carried out, its answer is lost.
    LoseReply,
    /// The request is carried out, its answer comes a moment later.
    LateReply,
    /// The same, after as long as a service far away takes.
    Slow,
    /// The conditions are taken out of the request.
    StripConditions,
    /// The service answers with this, and does nothing.
    Answer(u16, &'static str),
    /// The service answers 200, and then with an error.
    ErrorIn200,
    /// The service answers with this status, and goes on for ever.
    Endless(u16),
    /// The service answers 200 and this.
    Body(&'static str),
}

/// Which of the requests that fit are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    First,
    Second,
    Always,
    /// The one of this number, counted from 1.
    Nth(u32),
    /// The first so many of every so many: 2 of 5.
    Of(u32, u32),
}

/// A request that came by.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) operation: Operation,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) answered: usize,
    pub(crate) arrived: Instant,
    /// When all of its answer was there; never if nobody waited for it.
    pub(crate) ended: Option<Instant>,
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
    /// How often a fault was put in.
    hits: u32,
    /// How many connections were made.
    connections: u32,
    /// How many requests are under way, and were at most.
    under_way: u32,
    most_under_way: u32,
    /// One lock a path: requests for one object go one after the other.
    turns: Option<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A proxy in front of a server. It stops when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

type Body = BoxBody<Bytes, io::Error>;

impl Proxy {
    pub(crate) fn start(server: SocketAddr) -> Self {
        Self::start_as(server, None)
    }

    /// The same, spoken to through TLS: whoever wants to has to trust
    /// [`tls::authority`].
    pub(crate) fn start_tls(server: SocketAddr) -> Self {
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
                    // A connection that is dropped is reset, not ended.
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
                let state = Arc::clone(&shared);
                let serve = service_fn(move |request| pass(Arc::clone(&state), server, request));
                let tls = tls.clone();
                tokio::spawn(async move {
                    // Dropped, a connection ends without the goodbye of TLS.
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

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Puts a fault into requests of this kind, or of any.
    pub(crate) fn inject(&self, operation: impl Into<Option<Operation>>, fault: Fault, when: When) {
        self.state.lock().unwrap().rules.push(Rule { operation: operation.into(), fault, when, met: 0 });
    }

    /// No more faults.
    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().rules.clear();
    }

    /// Forgets what was seen.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock().unwrap();
        state.seen.clear();
        state.most_under_way = 0;
    }

    /// From now on, requests for one object go one after the other, which makes
    /// conditions hold in a server that checks and acts in two steps.
    pub(crate) fn take_turns(&self) {
        self.state.lock().unwrap().turns.get_or_insert_default();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub(crate) fn connections(&self) -> u32 {
        self.state.lock().unwrap().connections
    }

    /// How many requests were under way at once, at most.
    pub(crate) fn most_under_way(&self) -> u32 {
        self.state.lock().unwrap().most_under_way
    }

    pub(crate) fn hits(&self) -> u32 {
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

/// The fault for a request, if it is its turn.
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

/// The first bytes, and then nothing more: an error, or an end.
fn cut(bytes: Bytes) -> Body {
    let frames = vec![Ok(Frame::data(bytes)), Err(io::Error::other("cut"))];
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

/// The beginning of an answer in XML, and never its end.
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
            // As a server does that has read the request.
            let _ = request.into_body().collect().await;
            let body = if is_head { full("") } else { full(error_body(code)) };
            let response = Response::builder().status(status);
            // In whole seconds, as the header has it.
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
    // What has arrived whole is carried out, also if whoever sent it is gone; and
    // until it is, it is its turn.
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
        // Where there is no body, the head is what is lost.
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

/// Sends a request to the server, on a connection of its own.
async fn forward(server: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<(http::response::Parts, Bytes)> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let (parts, body) = response.into_parts();
    Ok((parts, body.collect().await.map_err(io::Error::other)?.to_bytes()))
}
