//! A layer between the SDK and the connections. It records when a request is handed to
//! a connection, and limits the responses that the SDK reads as a whole.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat, SdkBody};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Limited;

/// The largest response that is read as a whole. A page of 1,000 keys of 1,024 bytes,
/// with every byte written as `&quot;`, takes 6.2 MB.
pub(super) const MAX_ANSWER: usize = 8 << 20;

/// The most tags in such a response. An element may take much more memory than its
/// text. A page of 1,000 keys with everything that S3 says about them has 20,000.
pub(super) const MAX_TAGS: usize = 50_000;

/// The error of a response with more than [`MAX_TAGS`].
#[derive(Debug)]
pub(super) struct TooManyTags;

impl fmt::Display for TooManyTags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "more than {MAX_TAGS} tags")
    }
}

impl Error for TooManyTags {}

/// A body that fails if it has too many tags.
struct FewTags {
    body: SdkBody,
    left: usize,
}

impl http_body::Body for FewTags {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let tags = data.iter().filter(|byte| **byte == b'<').count();
            let Some(left) = self.left.checked_sub(tags) else { return Poll::Ready(Some(Err(TooManyTags.into()))) };
            self.left = left;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

/// How the body of a response is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// As a whole, by the SDK.
    Small,
    /// In chunks, unless the response is an error.
    Streamed,
}

/// One attempt of a request.
struct Attempt {
    body: Body,
    was_sent: Cell<bool>,
}

tokio::task_local! {
    static ATTEMPT: Attempt;
    static BEGUN: Arc<AtomicBool>;
    static RESPONDED: Cell<Option<u64>>;
}

/// Runs work that sends requests, and remembers the service's clock for [`responded`].
pub(super) async fn timed<T>(work: impl Future<Output = T>) -> T {
    RESPONDED.scope(Cell::new(None), work).await
}

/// Returns the service's clock at the last response to this work, in milliseconds since
/// 1970. The SDK's results leave out the header that says it, `Date`.
pub(super) fn responded() -> Option<u64> {
    RESPONDED.try_with(Cell::get).ok().flatten()
}

fn date(answer: &HttpResponse) -> Option<u64> {
    let date = DateTime::from_str(answer.headers().get("date")?, DateTimeFormat::HttpDate).ok()?;
    u64::try_from(date.to_millis().ok()?).ok()
}

/// Runs the requests that make the actual change, unlike those before them. `begun` is
/// set once one of them is handed to a connection.
pub(super) async fn noting<T>(begun: &Arc<AtomicBool>, change: impl Future<Output = T>) -> T {
    BEGUN.scope(Arc::clone(begun), change).await
}

/// Sends a request. Returns its result, and whether it was handed to a connection. If
/// it failed before that, for example without credentials, it was never sent.
pub(super) async fn sending<T>(body: Body, request: impl Future<Output = T>) -> (T, bool) {
    let attempt = Attempt { body, was_sent: Cell::new(false) };
    ATTEMPT.scope(attempt, async { (request.await, ATTEMPT.with(|attempt| attempt.was_sent.get())) }).await
}

/// The connections of a bucket's client. Requests for credentials use other ones.
#[derive(Debug)]
pub(super) struct Transport(SharedHttpClient);

impl Transport {
    pub(super) fn new(client: SharedHttpClient) -> Self {
        Self(client)
    }
}

impl HttpClient for Transport {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connection(self.0.http_connector(settings, components)))
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

#[derive(Debug)]
struct Connection(SharedHttpConnector);

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let noted = ATTEMPT.try_with(|attempt| {
            attempt.was_sent.set(true);
            attempt.body
        });
        // Outside the scope of a change, the request makes none.
        let _ = BEGUN.try_with(|begun| begun.store(true, Ordering::Release));
        let body = noted.unwrap_or(Body::Small);
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            let _ = RESPONDED.try_with(|responded| responded.set(date(&answer)));
            if body == Body::Streamed && answer.status().is_success() {
                return Ok(answer);
            }
            // Reading fails above the limits.
            Ok(answer.map(|body| SdkBody::from_body_1_x(Limited::new(FewTags { body, left: MAX_TAGS }, MAX_ANSWER))))
        })
    }
}
