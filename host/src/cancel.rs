//! Stopping an operation from outside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{ErrorCode, PersistError, Result};

/// Stops the operations of the engines that it was given to: from another
/// thread, or from a handler of Ctrl-C. Clones are the same token.
///
/// A stopped operation fails with [`ErrorCode::Cancelled`] within a fraction of
/// a second, and leaves nothing behind: what was stored before is there, and
/// unfinished uploads are aborted. Requests that write to a bucket have three
/// seconds to end before that; an object that is stored by then is there, and
/// the operation succeeds. Where that can't be known the error's code says so.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_cancelled: AtomicBool,
    ask: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("is_cancelled", &self.is_cancelled).finish_non_exhaustive()
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
        Self(Arc::new(Shared { is_cancelled: AtomicBool::new(false), ask: Some(Box::new(ask)) }))
    }

    /// Stops everything that has this token, also what begins later.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Release);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        if !self.0.is_cancelled.load(Ordering::Acquire) && self.0.ask.as_ref().is_some_and(|ask| ask()) {
            self.cancel();
        }
        self.0.is_cancelled.load(Ordering::Acquire)
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
