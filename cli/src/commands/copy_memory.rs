//! How much memory the copies of one command may take together.

use std::sync::{Condvar, Mutex, PoisonError};

/// The maximum memory of all copies together, in bytes.
const MEMORY: u64 = 512 << 20;

/// The memory of one copy in bytes, besides the parts of its objects: an instance of the
/// component that verifies the bytes.
pub(super) const INSTANCE: u64 = 16 << 20;

/// The memory available to all copies.
pub(super) struct Memory {
    free: Mutex<u64>,
    freed: Condvar,
}

/// A share of the memory, returned when it is dropped.
pub(super) struct Share<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { free: Mutex::new(MEMORY), freed: Condvar::new() }
    }

    /// Waits until this much is free. A request for more than the total gets all of it.
    pub(super) fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(MEMORY);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Share { memory: self, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.memory.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.memory.freed.notify_all();
    }
}
