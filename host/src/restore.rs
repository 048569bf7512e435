//! Restoring a state piece by piece.

use std::io;
use std::time::Instant;

use wasmtime::component::ResourceAny;

use crate::error::{ErrorCode, PersistError, Result};
use crate::guest::{Guest, log};
use crate::metadata::SnapshotMetadata;
use crate::storage::MAX_READ;

/// A snapshot being read. Every byte it gives was checked; the state is whole
/// only when the end was reached without an error.
pub struct SnapshotReader {
    guest: Guest,
    restorer: ResourceAny,
    metadata: SnapshotMetadata,
    location: String,
    began: Instant,
    ended: bool,
    /// For `io::Read`: a chunk, and how much of it was given out.
    chunk: Vec<u8>,
    given: usize,
}

impl SnapshotReader {
    pub(crate) fn open(mut guest: Guest, key: &str) -> Result<Self> {
        let began = Instant::now();
        let location = guest.storage().locate(key);
        let opened =
            guest.call(|persist, store| persist.persist_snapshot_snapshots().call_open_restorer(store, key)).and_then(|restorer| {
                let metadata =
                    guest.call(|persist, store| persist.persist_snapshot_snapshots().restorer().call_metadata(store, restorer).map(Ok))?;
                Ok((restorer, metadata.into()))
            });
        match opened {
            Ok((restorer, metadata)) => Ok(Self { guest, restorer, metadata, location, began, ended: false, chunk: Vec::new(), given: 0 }),
            Err(error) => Err(error.at(&location)).inspect_err(|error| log("restore", &location, began, Err(error))),
        }
    }

    /// The snapshot's metadata.
    pub fn metadata(&self) -> &SnapshotMetadata {
        &self.metadata
    }

    /// The next part of the state, at most a block of 8 MiB; none at the end.
    ///
    /// # Errors
    /// `Integrity` and `InvalidFormat` for a damaged snapshot, and what the
    /// storage says.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let restorer = self.restorer;
        let chunk = self
            .guest
            .call(|persist, store| persist.persist_snapshot_snapshots().restorer().call_read(store, restorer, MAX_READ))
            .map_err(|error| self.failed(error))?;
        if !chunk.is_empty() {
            return Ok(Some(chunk));
        }
        self.ended = true;
        log("restore", &self.location, self.began, Ok((self.metadata.uncompressed_size, self.metadata.stored_size)));
        Ok(None)
    }

    /// The rest of the state, in memory. `progress` is told how many bytes have
    /// come; an error of its own ends the reading.
    ///
    /// # Errors
    /// As [`next_chunk`](Self::next_chunk), and `ResourceLimit` for a state
    /// that the machine has no memory for.
    pub fn read_state(&mut self, mut progress: impl FnMut(u64) -> Result<()>) -> Result<Vec<u8>> {
        let mut state = Vec::new();
        while let Some(chunk) = self.next_chunk()? {
            state.try_reserve(chunk.len()).map_err(|_| {
                PersistError::new(ErrorCode::MemoryLimit, "the state is too large for this machine's memory")
                    .at(&self.location)
                    .hint("restore it piece by piece")
            })?;
            state.extend_from_slice(&chunk);
            progress(state.len() as u64)?;
        }
        Ok(state)
    }

    fn failed(&self, error: PersistError) -> PersistError {
        let error = error.at(&self.location);
        log("restore", &self.location, self.began, Err(&error));
        error
    }
}

impl io::Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.chunk.len() {
            self.given = 0;
            self.chunk = self.next_chunk()?.unwrap_or_default();
        }
        let mut rest = self.chunk.get(self.given..).unwrap_or_default();
        let read = io::Read::read(&mut rest, buffer)?;
        self.given += read;
        Ok(read)
    }
}
