//! Running an operation of the host without the GIL, with cancellation and progress.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use persist_host::{ErrorCode, PersistError};
use pyo3::prelude::*;

use crate::error::{add_cause, exception};
use crate::running::{IN_LOG, Running};

/// How often a running operation runs Python's signal handlers, and how often it reports
/// progress.
const INTERVAL: Duration = Duration::from_millis(50);

/// Cancels operations from another thread.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct CancelToken(persist_host::CancelToken);

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self(persist_host::CancelToken::new())
    }

    /// Cancels all operations with this token.
    fn cancel(&self) {
        self.0.cancel();
    }
}

/// The exception that Python code raised within an operation.
#[derive(Clone, Default)]
pub(crate) struct Raised(Arc<Mutex<Option<PyErr>>>);

impl Raised {
    /// Keeps an exception, unless one is kept already.
    pub(crate) fn keep(&self, error: PyErr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn take(&self) -> Option<PyErr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// One operation, with its cancellation and its progress callback.
pub(crate) struct Operation {
    pub(crate) token: persist_host::CancelToken,
    raised: Raised,
    progress: Option<Py<PyAny>>,
    told: Instant,
    /// What the operation changed in the storage, once it has.
    change: OnceLock<&'static str>,
    /// The process that the operation belongs to.
    process: u32,
}

impl Operation {
    /// Creates an operation that the token cancels. Without a token, a signal whose
    /// handler raises cancels it, such as Ctrl-C.
    pub(crate) fn new(token: Option<&Bound<'_, CancelToken>>, progress: Option<Py<PyAny>>) -> Self {
        let raised = Raised::default();
        let token = token.map_or_else(|| interrupted_by_signals(raised.clone()), |token| token.get().0.clone());
        Self { token, raised, progress, told: Instant::now(), change: OnceLock::new(), process: std::process::id() }
    }

    /// Returns whether the operation was begun in this process. After a fork, the
    /// parent's threads may hold locks that the operation needs.
    pub(crate) fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// Runs a part of the operation without the GIL.
    pub(crate) fn run<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> Result<T, PersistError> + Send) -> PyResult<T> {
        self.check_process(py)?;
        let done = py.detach(|| {
            let _running = Running::begin();
            work()
        });
        self.end(py, done)
    }

    /// Like [`run`](Self::run), for work that reports progress.
    pub(crate) fn run_telling<T: Send>(
        &mut self,
        py: Python<'_>,
        work: impl FnOnce(&mut Self) -> Result<T, PersistError> + Send,
    ) -> PyResult<T> {
        self.check_process(py)?;
        let done = py.detach(|| {
            let _running = Running::begin();
            work(self)
        });
        self.end(py, done)
    }

    fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_here() {
            return Ok(());
        }
        let error =
            PersistError::new(ErrorCode::InvalidArgument, "the file was opened before this process was forked, and belongs to its parent");
        Err(exception(py, &error.hint("open it again in this process")))
    }

    fn end<T>(&self, py: Python<'_>, done: Result<T, PersistError>) -> PyResult<T> {
        // An exception is raised even if it came too late to stop anything.
        let Some(raised) = IN_LOG.take().or_else(|| self.raised.take()) else {
            return done.map_err(|error| exception(py, &error));
        };
        // If the storage was changed, the exception has to say so.
        match done {
            Ok(_) => {
                if let Some(done) = self.change.get() {
                    add_note(py, &raised, done);
                }
            }
            Err(error) if error.code() == ErrorCode::Cancelled && error.detail().hint.is_none() => {}
            Err(error) => add_cause(py, &raised, &error),
        }
        Err(raised)
    }

    /// Records what the operation has done, for an interrupt that comes too late.
    pub(crate) fn note_change(&self, done: &'static str) {
        // An operation makes one change, so a recorded note says the same.
        let _ = self.change.set(done);
    }

    /// Reports progress of `done` of `total` bytes of state, but not too often.
    ///
    /// # Errors
    /// `Cancelled` if the callback raised.
    pub(crate) fn tell(&mut self, done: u64, total: Option<u64>) -> Result<(), PersistError> {
        let Some(progress) = &self.progress else { return Ok(()) };
        if Some(done) != total && self.told.elapsed() < INTERVAL {
            return Ok(());
        }
        self.told = Instant::now();
        let called = Python::attach(|py| progress.call1(py, (done, total)));
        called.map(drop).map_err(|error| {
            self.raised.keep(error);
            PersistError::new(ErrorCode::Cancelled, "cancelled")
        })
    }
}

/// Adds a note to an exception, which needs Python 3.11.
fn add_note(py: Python<'_>, raised: &PyErr, note: &str) {
    let raised = raised.value(py);
    if raised.hasattr("add_note").unwrap_or(false) {
        // A failure to add the note must not hide the exception.
        let _ = raised.call_method1("add_note", (note,));
    }
}

/// Returns a token that runs Python's signal handlers, which run only on the main thread.
fn interrupted_by_signals(raised: Raised) -> persist_host::CancelToken {
    let looked = Mutex::new(Instant::now());
    persist_host::CancelToken::asking(move || {
        {
            let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.elapsed() < INTERVAL {
                return false;
            }
            *looked = Instant::now();
        }
        if let Some(error) = IN_LOG.take() {
            raised.keep(error);
            return true;
        }
        Python::attach(|py| py.check_signals()).map_err(|error| raised.keep(error)).is_err()
    })
}
