//! A listing of snapshots, which Python iterates over.

use std::sync::{Mutex, PoisonError};

use persist_host::{ListEntry, Snapshots};
use pyo3::prelude::*;

use crate::error::exception;
use crate::operation::Operation;
use crate::saving::metadata_json;

/// A key, its metadata as JSON, and the exception if it cannot be read.
type Entry = (String, String, Option<Py<PyAny>>);

/// The entries of a listing: metadata as JSON, or the exception and key of an object that
/// cannot be read.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Listing {
    snapshots: Mutex<Snapshots>,
    operation: Operation,
}

impl Listing {
    pub(crate) fn new(snapshots: Snapshots, operation: Operation) -> Self {
        Self { snapshots: Mutex::new(snapshots), operation }
    }
}

#[pymethods]
impl Listing {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Entry>> {
        let next = self.operation.run(py, || self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).next().transpose())?;
        Ok(match next {
            None => None,
            Some(ListEntry::Snapshot(metadata)) => Some((metadata.key.clone(), metadata_json(py, &metadata)?, None)),
            Some(ListEntry::Unreadable { key, error }) => {
                let raised = exception(py, &error);
                Some((key, String::new(), Some(raised.into_value(py).into_any())))
            }
        })
    }
}
