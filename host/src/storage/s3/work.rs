//! Runs requests on the adapter's threads, and waits for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use persist_model::{ErrorCode, PersistError, Result};

use super::error::Failure;
use crate::cancel::{CancelToken, cancelled};
use crate::system::process::Process;

/// How often a caller that waits for a request checks for cancellation.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// How long ending a cancelled operation may take in total. A service may carry out a
/// request that it received completely even if the connection is closed, and may keep a
/// part of an upload that was aborted in the meantime. Requests in progress are
/// therefore waited for. A request that is still being sent after this time never
/// arrives completely.
pub(super) const WINDING_DOWN: Duration = Duration::from_secs(3);

/// How much of that time is reserved for aborting an upload.
const TAKING_BACK: Duration = Duration::from_secs(1);

/// The time by which a cancelled operation must have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End(Instant);

impl End {
    /// Counts from the token's cancellation, or from now if it was not cancelled.
    pub(super) fn of(cancel: &CancelToken) -> Self {
        Self(cancel.since().unwrap_or_else(Instant::now) + WINDING_DOWN)
    }

    /// Returns the deadline for requests in progress.
    fn requests(self, is_taken_back: bool) -> Instant {
        if is_taken_back { self.0 - TAKING_BACK } else { self.0 }
    }
}

/// Work that was started. Dropping it aborts it.
pub(super) struct Work<T> {
    pub(super) process: Process,
    pub(super) done: Receiver<T>,
    pub(super) task: Option<tokio::task::JoinHandle<()>>,
}

impl<T> Work<T> {
    /// Waits for the work until the token is cancelled. This works on any thread,
    /// including one that runs async tasks.
    ///
    /// # Errors
    /// `Cancelled`, and `Configuration` in a process that was forked in the meantime.
    /// The work continues until it is dropped.
    pub(super) fn wait(&self, cancel: &CancelToken) -> Result<T> {
        loop {
            match self.done.recv_timeout(CANCEL_INTERVAL) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Timeout) => self.process.check().and_then(|()| cancel.check())?,
                Err(RecvTimeoutError::Disconnected) => return Err(aborted()),
            }
        }
    }

    /// Returns the result of the work, if it has one by then.
    fn wait_until(&self, until: Instant) -> Option<T> {
        self.done.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Returns the result of the work, if it has one before the abort has to begin.
    pub(super) fn wait_before_taking_back(&self, end: End) -> Option<T> {
        self.wait_until(end.requests(true))
    }

    /// Waits for work that aborts something, until it is done or the time for ending a
    /// cancelled operation is over. Work that is not done by then continues as long as
    /// the process does.
    pub(super) fn wait_to_take_back(mut self, cancel: &CancelToken, end: End, is_last_chance: bool) -> Option<T> {
        let end = if is_last_chance {
            end
        } else {
            match self.wait(cancel) {
                Ok(done) => return Some(done),
                Err(_) => End::of(cancel),
            }
        };
        let done = self.wait_until(end.0);
        if done.is_none() {
            self.task = None;
        }
        done
    }
}

/// How long aborted work takes at most to reach its next wait, where it ends.
const ABORTING: Duration = Duration::from_millis(100);

impl<T> Work<Result<T, Failure>> {
    /// Waits for work that changes something, and reports the outcome even after a
    /// cancellation. `what` is the message if the outcome is unknown. If the change was
    /// never `begun`, nothing has changed. If `is_taken_back`, time is left to abort
    /// the upload.
    pub(super) fn wait_for_change(&self, cancel: &CancelToken, what: &str, begun: &AtomicBool, is_taken_back: bool) -> Result<T> {
        let cancelled = match self.wait(cancel) {
            Ok(done) => return done.map_err(|failure| failure.error),
            Err(error) if error.code() != ErrorCode::Cancelled => return Err(error),
            Err(cancelled) => cancelled,
        };
        let mut done = self.wait_until(End::of(cancel).requests(is_taken_back) - ABORTING);
        let mut has_ended = done.is_some();
        if !has_ended {
            if let Some(task) = &self.task {
                task.abort();
            }
            // Once it has ended, it can't begin the change any more.
            let aborted = self.done.recv_timeout(ABORTING);
            has_ended = !matches!(aborted, Err(RecvTimeoutError::Timeout));
            done = aborted.ok();
        }
        match done {
            Some(Ok(done)) => Ok(done),
            // The outcome is known.
            Some(Err(failure)) if failure.error.code() != ErrorCode::OutcomeUnknown => Err(cancelled),
            None if has_ended && !begun.load(Ordering::Acquire) => Err(cancelled),
            _ => Err(Failure::from(cancelled).outcome_unknown(what).error),
        }
    }
}

pub(super) fn aborted() -> PersistError {
    cancelled().hint("the threads that send the requests have ended")
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        // In a child process, the task belongs to the parent.
        if let Some(task) = self.task.as_ref().filter(|_| self.process.is_this()) {
            task.abort();
        }
    }
}
