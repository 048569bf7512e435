//! What the operations of an engine share: compiled code, memory, threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sandbox::{Budget, Runtime};
use crate::workers::crew::Crew;

/// What all operations of an engine share.
pub(crate) struct WorkerPool {
    pub(crate) runtime: Arc<Runtime>,
    /// For the workers of all operations, and their threads.
    pub(crate) permits: Arc<Permits>,
    pub(crate) crew: Arc<Crew>,
    /// The memory of all instances.
    pub(crate) budget: Arc<Budget>,
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        if self.runtime.process.is_this() {
            self.crew.close();
        }
    }
}

/// The threads that an engine may use at once in addition to those of its callers. They
/// keep many operations at once from taking much more memory than one.
#[derive(Debug)]
pub(crate) struct Permits(AtomicUsize);

impl Permits {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        // One worker is the operation itself.
        Arc::new(Self(AtomicUsize::new(workers.saturating_sub(1))))
    }

    /// Takes a permit, if one is left at this moment.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Permit> {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1)).ok()?;
        Some(Permit(Arc::clone(self)))
    }
}

pub(crate) struct Permit(Arc<Permits>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::AcqRel);
    }
}
