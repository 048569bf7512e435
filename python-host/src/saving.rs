//! What the ways of saving a state have in common, and those of restoring one.

use persist_host::{ErrorCode, PersistError, SnapshotMetadata, SnapshotReader, SnapshotWriter};
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

/// Reads a state of at most `max_size` bytes.
pub(crate) fn read_state(
    mut reader: SnapshotReader,
    location: &str,
    max_size: u64,
    operation: &mut Operation,
) -> Result<(Vec<u8>, SnapshotMetadata), PersistError> {
    let metadata = reader.metadata().clone();
    let total = metadata.uncompressed_size;
    // Checked before reading, and again by the bytes that are actually read.
    let check = |size: u64| {
        if size <= max_size {
            return Ok(());
        }
        let error = PersistError::new(ErrorCode::LimitExceeded, format!("the state has {total} bytes, but max_size is {max_size}"));
        Err(error
            .at(location)
            .hint("pass a larger max_size if you trust the source of the snapshot, or read it in pieces with Store.open(key)"))
    };
    check(total)?;
    let state = reader.read_state(|done| check(done).and_then(|()| operation.tell(done, Some(total))))?;
    Ok((state, metadata))
}
