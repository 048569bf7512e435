//! Sinks for JSON, and helpers for writing it.

use persist_host::{ErrorCode, PersistError};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::exception;

/// A receiver of JSON.
pub(crate) trait Sink {
    /// Takes the next piece; the last one may be empty.
    fn take(&mut self, py: Python<'_>, piece: &[u8], is_last: bool) -> PyResult<()>;
}

impl Sink for Vec<u8> {
    fn take(&mut self, _py: Python<'_>, piece: &[u8], _is_last: bool) -> PyResult<()> {
        self.extend_from_slice(piece);
        Ok(())
    }
}

/// Collects JSON and lets other Python threads run between the pieces.
pub(crate) struct Yielding(pub(crate) Vec<u8>);

impl Sink for Yielding {
    fn take(&mut self, py: Python<'_>, piece: &[u8], _is_last: bool) -> PyResult<()> {
        self.0.extend_from_slice(piece);
        py.detach(|| {});
        Ok(())
    }
}

pub(crate) fn write<T: serde::Serialize + ?Sized>(json: &mut Vec<u8>, value: &T) -> PyResult<()> {
    serde_json::to_writer(json, value).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

/// Returns the name of a value's type with its article: `a dict`, `an Agent`.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().qualname().map_or_else(|_| "value".to_owned(), |name| name.to_string());
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// Returns the `repr` of a key, cut if it is long.
pub(crate) fn shown(key: &Bound<'_, PyAny>) -> String {
    let text = key.repr().map_or_else(|_| "…".to_owned(), |repr| repr.to_string());
    let mut characters = text.chars();
    let short: String = characters.by_ref().take(60).collect();
    if characters.next().is_some() { format!("{short}…") } else { short }
}

pub(crate) fn changed(py: Python<'_>) -> PyErr {
    let error = PersistError::new(ErrorCode::Other, "the state was changed while it was being saved");
    exception(py, &error.hint("save a copy, or use asnapshot, which copies first"))
}
