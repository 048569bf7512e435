//! Conversion of the host's errors to exceptions, and of the exceptions of a Python
//! storage to errors of the host.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use persist_host::{ErrorCode, ErrorDetail, PersistError};
use pyo3::exceptions::{
    PyConnectionError, PyException, PyFileExistsError, PyFileNotFoundError, PyMemoryError, PyOSError, PyPermissionError, PyTimeoutError,
};
use pyo3::prelude::*;

use crate::running;

/// The name of the fact that identifies the exception an error came from.
const CAUSE: &str = "python_exception";

/// The maximum number of exceptions that are kept until the errors they caused come back.
/// More are needed only if that many threads fail at once.
const MAX_CAUSES: usize = 64;

/// The exceptions of storages written in Python, by number. They are kept here because
/// the component passes on errors only as text.
static CAUSES: Mutex<Causes> = Mutex::new(Causes { next: 0, kept: VecDeque::new() });

struct Causes {
    next: u64,
    kept: VecDeque<(u64, PyErr)>,
}

impl Causes {
    fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        work(&mut CAUSES.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps an exception and returns its number.
    fn keep(raised: PyErr) -> String {
        let (number, forgotten) = Self::with(|causes| {
            let number = causes.next;
            causes.next += 1;
            causes.kept.push_back((number, raised));
            (number, if causes.kept.len() > MAX_CAUSES { causes.kept.pop_front() } else { None })
        });
        // Dropped without the lock, since it may run Python code.
        drop(forgotten);
        number.to_string()
    }

    fn take(number: &str) -> Option<PyErr> {
        let number: u64 = number.parse().ok()?;
        Self::with(|causes| {
            let index = causes.kept.iter().position(|(kept, _)| *kept == number)?;
            causes.kept.remove(index).map(|(_, raised)| raised)
        })
    }
}

/// Returns the exception for an error of the host. Its class depends on the error's code.
pub(crate) fn exception(py: Python<'_>, error: &PersistError) -> PyErr {
    let detail = error.detail();
    let (causes, facts): (Vec<_>, Vec<_>) = detail.facts.iter().cloned().partition(|(name, _)| name == CAUSE);
    let make = || {
        let arguments = (error.code().as_str(), error.to_string(), &detail.location, detail.retryable, &detail.hint, facts);
        py.import("persist.errors")?.getattr("_from_host")?.call1(arguments)
    };
    let exception = make().map_or_else(|failed| failed, PyErr::from_value);
    if let Some(cause) = causes.first().and_then(|(_, number)| Causes::take(number)) {
        exception.set_cause(py, Some(cause));
    }
    exception
}

/// Returns all error codes.
#[pyfunction]
pub(crate) fn error_codes() -> Vec<&'static str> {
    ErrorCode::ALL.iter().map(|code| code.as_str()).collect()
}

/// Makes an error of the host the cause of an exception. An existing cause becomes the
/// cause of that error.
pub(crate) fn add_cause(py: Python<'_>, raised: &PyErr, error: &PersistError) {
    let cause = exception(py, error);
    if cause.cause(py).is_none() {
        cause.set_cause(py, raised.cause(py));
    }
    raised.set_cause(py, Some(cause));
}

/// Returns the exception for an argument of the wrong type.
pub(crate) fn wrong_type(py: Python<'_>, message: &str, hint: &str) -> PyErr {
    let make =
        || py.import("persist.errors")?.getattr("PersistTypeError")?.call1((message, "invalid-argument", None::<String>, false, hint));
    make().map_or_else(|failed| failed, PyErr::from_value)
}

/// Returns the error for an exception of a storage written in Python.
pub(crate) fn from_exception(py: Python<'_>, raised: &PyErr) -> PersistError {
    if !raised.is_instance_of::<PyException>(py) {
        // KeyboardInterrupt and SystemExit are not errors: the operation stops.
        running::interrupt(py, raised.clone_ref(py));
        return PersistError::new(ErrorCode::Cancelled, "cancelled");
    }
    let is = |class: &Bound<'_, pyo3::types::PyType>| raised.is_instance(py, class.as_any());
    let given = given_code(py, raised);
    let code = if let Some(code) = given {
        code
    } else if is(&py.get_type::<PyFileNotFoundError>()) {
        ErrorCode::NotFound
    } else if is(&py.get_type::<PyFileExistsError>()) {
        ErrorCode::AlreadyExists
    } else if is(&py.get_type::<PyPermissionError>()) {
        ErrorCode::AccessDenied
    } else if is(&py.get_type::<PyTimeoutError>()) {
        ErrorCode::Timeout
    } else if is(&py.get_type::<PyConnectionError>()) {
        ErrorCode::Unavailable
    } else if is(&py.get_type::<PyMemoryError>()) {
        ErrorCode::NoSpace
    } else if is(&py.get_type::<PyOSError>()) {
        ErrorCode::Io
    } else {
        ErrorCode::Other
    };
    let message = match code {
        ErrorCode::NotFound => "no object has this key".to_owned(),
        ErrorCode::AlreadyExists => "an object has this key".to_owned(),
        ErrorCode::AccessDenied => format!("access denied to the storage: {}", raised.value(py)),
        ErrorCode::Unavailable | ErrorCode::Timeout => format!("network error: {}", raised.value(py)),
        _ if given.is_some() => raised.value(py).to_string(),
        _ => format!("the storage failed: {raised}"),
    };
    let mut detail = PersistError::new(code, message).detail().clone();
    if given.is_some() {
        take_advice(py, raised, &mut detail);
    }
    // Missing objects are common and rarely become an exception.
    if code != ErrorCode::NotFound {
        detail.facts.push((CAUSE.to_owned(), Causes::keep(raised.clone_ref(py))));
    }
    PersistError::from_detail(detail)
}

/// Returns the code that a storage gave its error, on the error or on its class.
fn given_code(py: Python<'_>, raised: &PyErr) -> Option<ErrorCode> {
    let given = py.import("persist.errors").ok()?.getattr("_code_of").ok()?.call1((raised.value(py),)).ok()?;
    let given: Option<String> = given.extract().ok()?;
    ErrorCode::CONTRACT.iter().find(|code| Some(code.as_str()) == given.as_deref()).copied()
}

/// Takes over `retryable` and `hint` of a storage's own error.
fn take_advice(py: Python<'_>, raised: &PyErr, detail: &mut ErrorDetail) {
    let value = raised.value(py);
    if let Ok(retryable) = value.getattr("retryable").and_then(|retryable| retryable.extract()) {
        detail.retryable = retryable;
    }
    if let Ok(hint) = value.getattr("hint").and_then(|hint| hint.extract()) {
        detail.hint = hint;
    }
}
