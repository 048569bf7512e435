//! Stopping an operation from outside.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::error::{ErrorCode, PersistError, Result};

/// Stops the operations of the engines that it was given to: from another
/// thread, or from a handler of Ctrl-C. Clones are the same token.
///
/// A stopped operation fails with [`ErrorCode::Cancelled`] within a fraction of
/// a second, and leaves nothing behind: what was stored before is there, and
/// unfinished uploads are aborted. Requests that write to a bucket have some of
/// three seconds to end before that, and aborting has the rest of them; an object
/// that is stored by then is there, and the operation succeeds. Where that can't
/// be known the error's code says so; an upload that is left is named.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Since when it is cancelled.
    since: OnceLock<Instant>,
    ask: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("since", &self.since).finish_non_exhaustive()
    }
}

impl CancelToken {
    /// A token that stops nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that also stops once `ask` says so. Operations ask on the thread
    /// that runs them, many times a second: for a language that runs its
    /// handlers of signals on one thread only.
    pub fn asking(ask: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { since: OnceLock::new(), ask: Some(Box::new(ask)) }))
    }

    /// Stops everything that has this token, also what begins later.
    pub fn cancel(&self) {
        let _ = self.0.since.set(Instant::now());
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.since().is_some()
    }

    /// Since when it is cancelled, if it is.
    pub(crate) fn since(&self) -> Option<Instant> {
        if self.0.since.get().is_none() && self.0.ask.as_ref().is_some_and(|ask| ask()) {
            self.cancel();
        }
        self.0.since.get().copied()
    }

    /// For work that goes on for long: fails once it was cancelled.
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
