//! Memory that all instances of an engine have together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is left of the memory of an engine, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU64,
    limit: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(limit), limit })
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }
}

/// What one instance has of it; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    /// What it leaves to others.
    reserve: u64,
    taken: u64,
    /// By the growth that was allowed last, which may still fail.
    last: u64,
}

impl Share {
    /// A share that never takes the last `reserve` bytes.
    pub(crate) fn new(budget: &Arc<Budget>, reserve: u64) -> Self {
        Self { budget: Arc::clone(budget), reserve, taken: 0, last: 0 }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes so many bytes more, if they are left.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let rest = |left: u64| left.checked_sub(bytes).filter(|rest| *rest >= self.reserve);
        let taken = self.budget.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).is_ok();
        if taken {
            self.taken += bytes;
            self.last = bytes;
        }
        taken
    }

    /// Gives back what was taken last.
    pub(crate) fn undo(&mut self) {
        let last = std::mem::take(&mut self.last);
        self.taken -= last;
        self.budget.left.fetch_add(last, Ordering::AcqRel);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.taken, Ordering::AcqRel);
    }
}
