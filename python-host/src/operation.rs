//! Running an operation of the host without the interpreter's lock, so that it
//! can be stopped, and tells how far it is.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use persist_host::{ErrorCode, PersistError};
use pyo3::prelude::*;

use crate::error::{add_cause, exception};

/// How often a running operation lets Python's handlers of signals run, and
/// how often it calls back.
const INTERVAL: Duration = Duration::from_millis(50);

/// Stops operations from another thread.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct CancelToken(persist_host::CancelToken);

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self(persist_host::CancelToken::new())
    }

    /// Stops everything that has this token.
    fn cancel(&self) {
        self.0.cancel();
    }
}

/// What Python code that ran within an operation has raised.
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

thread_local! {
    /// How many operations run on this thread, one within another.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
    /// What Python code of a log raised on this thread, as Ctrl-C does.
    static IN_LOG: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// An operation that runs on this thread, until it is dropped.
struct Running;

impl Running {
    fn begin() -> Self {
        RUNNING.set(RUNNING.get() + 1);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}

/// Leaves an exception to the operation that runs on this thread: it stops, and
/// raises it. Where none does, as on a worker's thread, `sys.unraisablehook`
/// gets it.
pub(crate) fn interrupt(py: Python<'_>, raised: PyErr) {
    if RUNNING.get() > 0 {
        IN_LOG.set(Some(raised));
    } else {
        raised.write_unraisable(py, None);
    }
}

/// One operation: how it is stopped, and whom it tells.
pub(crate) struct Operation {
    pub(crate) token: persist_host::CancelToken,
    raised: Raised,
    progress: Option<Py<PyAny>>,
    told: Instant,
    /// What it has done to the storage, once it has.
    change: OnceLock<&'static str>,
    /// The process that it belongs to.
    process: u32,
}

impl Operation {
    /// An operation that ends with the token; without one, with a signal whose
    /// handler raises, as that of Ctrl-C.
    pub(crate) fn new(token: Option<&Bound<'_, CancelToken>>, progress: Option<Py<PyAny>>) -> Self {
        let raised = Raised::default();
        let token = token.map_or_else(|| interrupted_by_signals(raised.clone()), |token| token.get().0.clone());
        Self { token, raised, progress, told: Instant::now(), change: OnceLock::new(), process: std::process::id() }
    }

    /// Whether it was begun in this process, and not in one that this was forked
    /// off: that one's threads may hold what is asked for.
    pub(crate) fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// Runs a part of the operation without the interpreter's lock.
    pub(crate) fn run<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> Result<T, PersistError> + Send) -> PyResult<T> {
        self.check_process(py)?;
        let done = py.detach(|| {
            let _running = Running::begin();
            work()
        });
        self.end(py, done)
    }

    /// The same for work that tells how far it is.
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
        // Also where it came too late to stop anything.
        let Some(raised) = IN_LOG.take().or_else(|| self.raised.take()) else {
            return done.map_err(|error| exception(py, &error));
        };
        // What raises must not read as if nothing had happened, where something has.
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

    /// Keeps what the operation has done, for an interrupt that comes too late.
    pub(crate) fn note_change(&self, done: &'static str) {
        // An operation makes one change: what is kept already says the same.
        let _ = self.change.set(done);
    }

    /// Says how far it is, not too often: `done` of `total` bytes of state.
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

/// Adds a note to an exception, from Python 3.11 on: before that there are none.
fn add_note(py: Python<'_>, raised: &PyErr, note: &str) {
    let raised = raised.value(py);
    if raised.hasattr("add_note").unwrap_or(false) {
        // One that can't be added must not hide what was raised.
        let _ = raised.call_method1("add_note", (note,));
    }
}

/// A token that runs Python's handlers of signals, where they can run: on the
/// main thread.
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
