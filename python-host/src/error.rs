//! Errors of the host as exceptions, and exceptions of a Python storage as
//! errors of the host.

use persist_host::{ErrorCode, PersistError};
use pyo3::exceptions::{
    PyConnectionError, PyFileExistsError, PyFileNotFoundError, PyMemoryError, PyOSError, PyPermissionError, PyTimeoutError,
};
use pyo3::prelude::*;

/// The exception for an error of the host: its class is by the error's code.
pub(crate) fn exception(py: Python<'_>, error: &PersistError) -> PyErr {
    let detail = error.detail();
    let make = || {
        let arguments = (error.code().as_str(), error.to_string(), &detail.location, detail.retryable, &detail.hint, detail.facts.clone());
        py.import("persist.errors")?.getattr("_from_host")?.call1(arguments)
    };
    make().map_or_else(|failed| failed, PyErr::from_value)
}

/// An argument of the wrong type.
pub(crate) fn wrong_type(py: Python<'_>, message: &str, hint: &str) -> PyErr {
    let make =
        || py.import("persist.errors")?.getattr("PersistTypeError")?.call1((message, "invalid-argument", None::<String>, false, hint));
    make().map_or_else(|failed| failed, PyErr::from_value)
}

/// What an exception of a storage that is written in Python means.
pub(crate) fn from_exception(py: Python<'_>, raised: &PyErr) -> PersistError {
    let is = |class: &Bound<'_, pyo3::types::PyType>| raised.is_instance(py, class.as_any());
    let code = if is(&py.get_type::<PyFileNotFoundError>()) {
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
        _ => format!("the storage failed: {raised}"),
    };
    PersistError::new(code, message)
}
