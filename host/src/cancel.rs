//! Stopping an operation from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{ErrorCode, PersistError, Result};

/// Stops the operations of the engines that it was given to: from another
/// thread, or from a handler of Ctrl-C. Clones are the same token.
///
/// A stopped operation fails with [`ErrorCode::Cancelled`] within a fraction of
/// a second, and leaves nothing behind: what was stored before is there, and
/// unfinished uploads are aborted.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that stops nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops everything that has this token, also what begins later.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
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
