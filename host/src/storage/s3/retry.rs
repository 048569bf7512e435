//! Sending a request again. One budget covers everything that can go wrong with
//! a request, also the body of its answer, which the SDK's own retries do not.

use std::future::Future;
use std::time::Duration;

use super::error::{Doubt, Failure};

/// The longest that a server may make us wait by `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How often, and after which waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    pub(super) max_attempts: u32,
    pub(super) initial_backoff: Duration,
    pub(super) max_backoff: Duration,
}

impl Retries {
    /// Runs a request until it succeeds, fails for good, or has used up its
    /// attempts.
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

    /// Twice as long each time, of which at least half is waited: many clients that
    /// failed together do not come back together.
    fn delay(self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let longest = self.initial_backoff.saturating_mul(1 << (attempt - 1).min(20)).min(self.max_backoff);
        let jitter = getrandom::u32().unwrap_or_default() % 1000;
        let backoff = longest / 2 + (longest / 2) * jitter / 1000;
        retry_after.map_or(backoff, |asked| backoff.max(asked.min(MAX_RETRY_AFTER)))
    }
}
