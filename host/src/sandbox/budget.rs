//! The memory that all instances of an engine share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The memory of an engine that is left, in bytes.
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

/// The memory that one instance took. It is given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    /// How many bytes it must leave to others.
    reserve: u64,
    taken: u64,
    /// The size of the last growth that was allowed, which may still fail.
    last: u64,
}

impl Share {
    /// Makes a share that never takes the last `reserve` bytes.
    pub(crate) fn new(budget: &Arc<Budget>, reserve: u64) -> Self {
        Self { budget: Arc::clone(budget), reserve, taken: 0, last: 0 }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes this many bytes. Returns whether they were left.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let rest = |left: u64| left.checked_sub(bytes).filter(|rest| *rest >= self.reserve);
        let taken = self.budget.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).is_ok();
        if taken {
            self.taken += bytes;
            self.last = bytes;
        }
        taken
    }

    /// Gives back the bytes that were taken last.
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
