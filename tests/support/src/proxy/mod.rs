//! A proxy in front of an S3 server that injects faults and records the requests.

mod body;
mod exchange;
mod fault;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::tls;
use exchange::pass;
use state::{Rule, State};

pub use fault::{AGO, DELAY, Fault, OPERATIONS, Operation, When};
pub use state::Seen;

/// A proxy in front of a server. It stops when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

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
