//! Cancels operations from outside.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use persist_model::{ErrorCode, PersistError, Result};

/// Cancels the operations of the engines that it is given to, from another thread or
/// from a Ctrl-C handler. Clones are the same token.
///
/// A cancelled operation fails with [`ErrorCode::Cancelled`] within a fraction of a
/// second. The earlier snapshot is unchanged, and unfinished uploads are aborted.
/// Requests that write to a bucket, and the abort after them, have three seconds in
/// all. If the object is stored within that time, the operation succeeds. If that can't
/// be determined, the error's code says so. The error names an upload that could not be
/// aborted.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// When it was cancelled.
    since: OnceLock<Instant>,
    ask: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("since", &self.since).finish_non_exhaustive()
    }
}

impl CancelToken {
    /// Returns a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a token that is also cancelled once `ask` returns true. Operations call
    /// `ask` many times a second, on the thread that runs them. Use it for languages
    /// that run signal handlers on one thread only.
    pub fn asking(ask: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { since: OnceLock::new(), ask: Some(Box::new(ask)) }))
    }

    /// Cancels all operations that have this token, including those that start later.
    pub fn cancel(&self) {
        let _ = self.0.since.set(Instant::now());
    }

    /// Returns whether the token was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.since().is_some()
    }

    /// Returns when the token was cancelled, if it was.
    pub(crate) fn since(&self) -> Option<Instant> {
        if self.0.since.get().is_none() && self.0.ask.as_ref().is_some_and(|ask| ask()) {
            self.cancel();
        }
        self.0.since.get().copied()
    }

    /// Fails if the token was cancelled. Call it regularly in work that takes long.
    ///
    /// # Errors
    /// [`ErrorCode::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }
}

pub(crate) fn cancelled() -> PersistError {
    PersistError::new(ErrorCode::Cancelled, "cancelled")
}
