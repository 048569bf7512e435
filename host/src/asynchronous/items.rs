//! What an operation finds, one after the other.

use std::fmt;

use persist_model::Result;

use super::{Operation, blocking};
use crate::cancel::cancelled;

type Iter<T> = Box<dyn Iterator<Item = Result<T>> + Send>;
pub(super) type Opened<T> = Result<Iter<T>>;

/// Where [`Items`] are.
enum State<T> {
    Closed(Box<dyn FnOnce() -> Opened<T> + Send>),
    Open(Iter<T>),
    /// The last one was asked for, and nobody waited for the answer.
    Dropped,
    Ended,
}

/// What an operation finds, one after the other. It is read while it is asked for.
pub struct Items<T> {
    state: State<T>,
    _operation: Operation,
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Items<T> {
    pub(super) fn new(operation: Operation, open: impl FnOnce() -> Opened<T> + Send + 'static) -> Self {
        Self { state: State::Closed(Box::new(open)), _operation: operation }
    }

    /// Returns the next one, or nothing at the end. An error is the last one, unless the blocking
    /// form goes on after it. After a future was dropped before it was done, there is one more
    /// error, and no more.
    pub async fn next(&mut self) -> Option<Result<T>> {
        let state = std::mem::replace(&mut self.state, State::Dropped);
        let work = move || {
            let mut items = match state {
                State::Closed(open) => match open() {
                    Ok(items) => items,
                    Err(error) => return (State::Ended, Some(Err(error))),
                },
                State::Open(items) => items,
                State::Dropped => return (State::Ended, Some(Err(cancelled()))),
                State::Ended => return (State::Ended, None),
            };
            match items.next() {
                None => (State::Ended, None),
                item => (State::Open(items), item),
            }
        };
        match blocking(work).await {
            Ok((state, item)) => {
                self.state = state;
                item
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Returns all that are left.
    ///
    /// # Errors
    /// The first error.
    pub async fn collect(mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            all.push(item?);
        }
        Ok(all)
    }
}
