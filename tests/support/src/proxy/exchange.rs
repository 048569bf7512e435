//! One request and its response, with the fault that it gets.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::{Body, cut, endless, error_body, full};
use super::fault::{AGO, DELAY, FAR_AWAY, Fault, LATE, Operation};
use super::state::{Seen, State, fault_for};

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
        _ if has("lifecycle") => Operation::GetLifecycle,
        _ if has("versioning") => Operation::GetVersioning,
        _ => Operation::GetObject,
    }
}

pub(crate) async fn pass(state: Arc<Mutex<State>>, server: SocketAddr, request: Request<Incoming>) -> io::Result<Response<Body>> {
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
    let has_condition = ["if-match", "if-none-match"].iter().any(|name| request.headers().contains_key(*name));
    let fault = match fault_for(&state, operation) {
        Some(Fault::RefuseConditions) if has_condition => Some(Fault::Answer(501, "NotImplemented")),
        fault => fault,
    };
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
        Some(Fault::Earlier) => {
            let date = httpdate::fmt_http_date(SystemTime::now() - AGO);
            response.headers_mut().insert("date", date.parse().expect("a date"));
        }
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
