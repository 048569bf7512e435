//! The operations that run on a thread, and exceptions that Python code raised there.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;

thread_local! {
    /// The number of nested operations on this thread.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
    /// The exception that a Python log handler raised on this thread, such as that of
    /// Ctrl-C.
    pub(crate) static IN_LOG: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Marks an operation as running on this thread until it is dropped.
pub(crate) struct Running;

impl Running {
    pub(crate) fn begin() -> Self {
        RUNNING.set(RUNNING.get() + 1);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}

/// Leaves an exception to the operation on this thread, which stops and raises it. If no
/// operation runs here, as on a worker's thread, passes it to `sys.unraisablehook`.
pub(crate) fn interrupt(py: Python<'_>, raised: PyErr) {
    if RUNNING.get() > 0 {
        IN_LOG.set(Some(raised));
    } else {
        raised.write_unraisable(py, None);
    }
}
