//! The differences between two steps of a timeline.

use std::sync::{Mutex, PoisonError};

use persist_host::{Change, ChangeSummary, Excerpt, PersistError, View};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::operation::Operation;

/// The beginning of a value, and its size in bytes if that is not all of it.
type Value = (String, Option<u64>);

/// An operation, a path, and the values before and after.
type Changed = (&'static str, String, Option<Value>, Option<Value>);

/// The differences between two states. They can be gone through once.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Diff {
    diff: Mutex<persist_host::Diff>,
    operation: Operation,
    kind: &'static str,
    view: View,
}

impl Diff {
    pub(crate) fn new(diff: persist_host::Diff, view: View, operation: Operation) -> Self {
        let kind = diff.kind().as_str();
        Self { diff: Mutex::new(diff), operation, kind, view }
    }

    fn run<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut persist_host::Diff) -> Result<T, PersistError> + Send) -> PyResult<T> {
        self.operation.run(py, || work(&mut self.diff.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn value(excerpt: Option<Excerpt>) -> Option<Value> {
    excerpt.map(|excerpt| (excerpt.text, excerpt.is_cut.then_some(excerpt.size)))
}

#[pymethods]
impl Diff {
    /// Returns how the states are compared.
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Changed>> {
        let next = self.run(py, |diff| diff.find_map(|change| change.map(|change| self.view.shown(change)).transpose()).transpose())?;
        Ok(next.map(|Change { operation, path, before, after, .. }| (operation.as_str(), path, value(before), value(after))))
    }

    /// Returns the next part of the description of all differences; `None` at the end.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(self.run(py, persist_host::Diff::next_bytes)?.map(|bytes| PyBytes::new(py, &bytes)))
    }

    /// Returns what changed in one line.
    fn summary(&self, py: Python<'_>) -> PyResult<String> {
        self.run(py, |diff| {
            let mut summary = ChangeSummary::default();
            for change in diff {
                if let Some(change) = self.view.shown(change?) {
                    summary.add(&change);
                }
            }
            Ok(summary.to_string())
        })
    }
}
