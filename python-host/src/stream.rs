//! States that are written and read in pieces.

use std::sync::{Mutex, MutexGuard, PoisonError};

use persist_host::{ErrorCode, PersistError, SnapshotReader, SnapshotWriter};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::operation::Operation;
use crate::saving::{CHUNK, commit, metadata_json};

/// Small writes are buffered up to this many bytes.
const BUFFER: usize = 256 << 10;

/// A snapshot being written. Nothing is stored without `commit`.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Writer {
    open: Mutex<Option<Open>>,
    operation: Operation,
}

struct Open {
    writer: SnapshotWriter,
    buffer: Vec<u8>,
}

fn closed() -> PersistError {
    PersistError::new(ErrorCode::InvalidArgument, "the snapshot is closed").hint("open it again")
}

impl Open {
    fn write(&mut self, state: &[u8]) -> Result<(), PersistError> {
        if self.buffer.len() + state.len() >= BUFFER {
            self.flush()?;
        }
        if state.len() >= BUFFER {
            return state.chunks(CHUNK).try_for_each(|chunk| self.writer.write_state(chunk));
        }
        self.buffer.extend_from_slice(state);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PersistError> {
        let written = self.writer.write_state(&self.buffer);
        self.buffer.clear();
        written
    }
}

impl Writer {
    pub(crate) fn new(writer: SnapshotWriter, operation: Operation) -> Self {
        Self { open: Mutex::new(Some(Open { writer, buffer: Vec::new() })), operation }
    }

    /// Locks the open snapshot. Call it only without the GIL.
    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // `abort` releases the GIL, since cleaning up may wait for a thread that takes
        // it.
        Python::attach(|py| self.abort(py));
    }
}

#[pymethods]
impl Writer {
    /// Appends to the state.
    fn write(&self, py: Python<'_>, state: &[u8]) -> PyResult<()> {
        self.operation.run(py, || {
            let mut open = self.open();
            let written = open.as_mut().ok_or_else(closed)?.write(state);
            if written.is_err() {
                // An incomplete state must not become a snapshot.
                *open = None;
            }
            written
        })
    }

    /// Makes the snapshot visible, and returns its metadata as JSON.
    fn commit(&self, py: Python<'_>) -> PyResult<String> {
        let metadata = self.operation.run(py, || {
            let mut open = self.open().take().ok_or_else(closed)?;
            open.flush()?;
            commit(open.writer, &self.operation)
        })?;
        metadata_json(py, &metadata)
    }

    /// Discards the snapshot. In a forked process this does nothing, since the snapshot
    /// belongs to the parent.
    fn abort(&self, py: Python<'_>) {
        if !self.operation.is_here() {
            return;
        }
        py.detach(|| drop(self.open().take()));
    }
}

/// A snapshot being read.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Reader {
    reader: Mutex<Option<SnapshotReader>>,
    operation: Operation,
    /// The metadata as JSON.
    #[pyo3(get)]
    metadata: String,
}

impl Reader {
    pub(crate) fn new(reader: SnapshotReader, operation: Operation, metadata: String) -> Self {
        Self { reader: Mutex::new(Some(reader)), operation, metadata }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}

#[pymethods]
impl Reader {
    /// Returns the next piece of the state, at most 8 MiB; empty only at the end.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let chunk = self.operation.run(py, || {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            let chunk = reader.as_mut().map_or(Ok(None), SnapshotReader::next_chunk);
            chunk.map(Option::unwrap_or_default)
        })?;
        Ok(PyBytes::new(py, &chunk))
    }

    /// Releases the reader's resources, unless they belong to the parent of a forked
    /// process.
    fn close(&self, py: Python<'_>) {
        if !self.operation.is_here() {
            return;
        }
        py.detach(|| drop(self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}
