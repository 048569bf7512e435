//! Retries requests. One budget covers everything that can fail in a request, including
//! the body of its response, which the SDK's own retries do not.

use std::future::Future;
use std::time::Duration;

use super::error::{Doubt, Failure};

/// The longest wait that a server may ask for with `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How many attempts to make, and how long to wait between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    pub(super) max_attempts: u32,
    pub(super) initial_backoff: Duration,
    pub(super) max_backoff: Duration,
}

impl Retries {
    /// Runs a request until it succeeds, fails permanently, or has no attempts left.
    pub(super) async fn run<T, F>(self, operation: &str, mut request: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut doubt = Doubt::None;
        let mut attempt = 1;
        loop {
            let failure = match request().await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            doubt = doubt.max(failure.doubt);
            if !failure.retryable() || attempt >= self.max_attempts {
                return Err(Failure { doubt, ..failure });
            }
            let delay = self.delay(attempt, failure.retry_after);
            tracing::warn!(
                operation,
                attempt,
                max_attempts = self.max_attempts,
                delay_ms = delay.as_millis(),
                code = failure.error.code().as_str(),
                error = %failure.error,
                "retrying"
            );
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    /// Returns the delay before the next attempt. It doubles each time, and at least
    /// half of it is waited, so that many clients that failed together do not return
    /// together.
    fn delay(self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let longest = self.initial_backoff.saturating_mul(1 << (attempt - 1).min(20)).min(self.max_backoff);
        let jitter = getrandom::u32().unwrap_or_default() % 1000;
        let backoff = longest / 2 + (longest / 2) * jitter / 1000;
        retry_after.map_or(backoff, |asked| backoff.max(asked.min(MAX_RETRY_AFTER)))
    }
}
