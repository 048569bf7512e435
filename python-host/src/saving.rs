//! What saving a state at once and saving it in pieces have in common.

use persist_host::{ErrorCode, PersistError, SnapshotMetadata, SnapshotWriter};
use pyo3::prelude::*;

use crate::error::exception;
use crate::operation::Operation;

pub(crate) fn metadata_json(py: Python<'_>, metadata: &SnapshotMetadata) -> PyResult<String> {
    serde_json::to_string(metadata).map_err(|error| {
        exception(py, &PersistError::new(ErrorCode::InvalidFormat, format!("the snapshot's metadata is not valid: {error}")))
    })
}

/// Makes a snapshot visible.
pub(crate) fn commit(writer: SnapshotWriter, operation: &Operation) -> Result<SnapshotMetadata, PersistError> {
    let metadata = writer.commit()?;
    operation.note_change("the snapshot was stored all the same");
    Ok(metadata)
}

/// How many bytes of a state are passed on between two checks for signals.
pub(crate) const CHUNK: usize = 1 << 20;
