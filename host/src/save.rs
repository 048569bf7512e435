//! Saving a state piece by piece.

use std::io;
use std::time::Instant;

use wasmtime::component::ResourceAny;

use crate::error::{PersistError, Result};
use crate::guest::{Guest, log};
use crate::metadata::{SnapshotMetadata, SnapshotOptions};

/// State that goes into the component in one call, at most: one block of zstd,
/// two of gzip.
const CHUNK: usize = 2 << 20;

/// A snapshot being written. Dropped without [`commit`](Self::commit), it
/// leaves nothing behind.
pub struct SnapshotWriter {
    guest: Guest,
    saver: ResourceAny,
    location: String,
    began: Instant,
}

impl SnapshotWriter {
    pub(crate) fn open(mut guest: Guest, key: &str, options: SnapshotOptions) -> Result<Self> {
        let began = Instant::now();
        let options = options.into();
        let location = guest.storage().locate(key);
        match guest.call(|persist, store| persist.persist_snapshot_snapshots().call_open_saver(store, key, &options)) {
            Ok(saver) => Ok(Self { guest, saver, location, began }),
            Err(error) => Err(error.at(&location)).inspect_err(|error| log("snapshot", &location, began, Err(error))),
        }
    }

    /// Appends to the state. After an error the writer can only be dropped.
    ///
    /// # Errors
    /// What the storage says.
    pub fn write_state(&mut self, state: &[u8]) -> Result<()> {
        for chunk in state.chunks(CHUNK) {
            let saver = self.saver;
            let written = self.guest.call(|persist, store| persist.persist_snapshot_snapshots().saver().call_write(store, saver, chunk));
            written.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Completes the snapshot and makes it visible, all of it at once.
    ///
    /// # Errors
    /// As [`Engine::snapshot`](crate::Engine::snapshot).
    pub fn commit(mut self) -> Result<SnapshotMetadata> {
        let saver = self.saver;
        let committed = self.guest.call(|persist, store| persist.persist_snapshot_snapshots().saver().call_commit(store, saver));
        let metadata = SnapshotMetadata::from(committed.map_err(|error| self.failed(error))?);
        log("snapshot", &self.location, self.began, Ok((metadata.uncompressed_size, metadata.stored_size)));
        Ok(metadata)
    }

    fn failed(&self, error: PersistError) -> PersistError {
        let error = error.at(&self.location);
        log("snapshot", &self.location, self.began, Err(&error));
        error
    }
}

impl io::Write for SnapshotWriter {
    fn write(&mut self, state: &[u8]) -> io::Result<usize> {
        self.write_state(state)?;
        Ok(state.len())
    }

    /// Does nothing: what is not committed is nowhere.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
