//! Checks every stored byte of a snapshot.

use std::cell::Cell;

use persist_model::{PersistError, Result, SnapshotMetadata};
use persist_paths::timeline::is_step;
use wasmtime::component::ResourceAny;

use crate::engine::engine::{Engine, OPEN_ATTEMPTS, metadata_sizes};
use crate::sandbox::Guest;
use crate::storage::{ByteRange, ReadOptions};

/// Stored bytes passed to a verifier at a time.
pub(super) const STORED_CHUNK: u32 = 1 << 20;

impl Engine {
    /// Checks every byte of a snapshot and the hash of its state.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn verify(&self, key: &str) -> Result<SnapshotMetadata> {
        self.verify_with(key, |_| {})
    }

    /// Verifies a snapshot as [`verify`](Self::verify) does, and reports progress:
    /// `progress` is called now and then with the number of stored bytes checked so
    /// far. It starts at 0 again if the snapshot is replaced in the meantime.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn verify_with(&self, key: &str, mut progress: impl FnMut(u64)) -> Result<SnapshotMetadata> {
        if is_step(key) {
            return self.verify_step(key, progress);
        }
        let checked = Cell::new(0);
        let check = || {
            let open = |_: &SnapshotMetadata| {
                checked.set(0);
                Ok(Some(()))
            };
            let each = |(): &mut (), chunk: &[u8]| {
                checked.set(checked.get() + chunk.len() as u64);
                progress(checked.get());
                Ok(())
            };
            self.read_verified(key, open, each).map(|(metadata, _)| metadata)
        };
        self.logged("verify", key, check, metadata_sizes)
    }

    /// Restores the state of a step, which checks everything that it refers to.
    fn verify_step(&self, key: &str, mut progress: impl FnMut(u64)) -> Result<SnapshotMetadata> {
        let check = || {
            let mut reader = self.reader(key)?;
            let mut read = 0;
            while let Some(chunk) = reader.next_chunk()? {
                read += chunk.len() as u64;
                progress(read);
            }
            Ok(reader.metadata().clone())
        };
        self.logged("verify", key, check, metadata_sizes)
    }

    /// Reads a snapshot's stored bytes from first to last and verifies them. `open`
    /// gets the metadata and returns a sink, or none if the snapshot need not be read.
    /// `each` gets the sink and each chunk that was passed to the verifier. A returned
    /// sink has received a whole and correct snapshot.
    pub(super) fn read_verified<T>(
        &self,
        key: &str,
        mut open: impl FnMut(&SnapshotMetadata) -> Result<Option<T>>,
        mut each: impl FnMut(&mut T, &[u8]) -> Result<()>,
    ) -> Result<(SnapshotMetadata, Option<T>)> {
        let mut attempt = 1;
        loop {
            // Opening has its own attempts.
            let mut guest = self.guest()?;
            let verifier = guest.call(|persist, store| persist.persist_snapshot_snapshots().call_open_verifier(store, key))?;
            let metadata =
                guest.call(|persist, store| persist.persist_snapshot_snapshots().verifier().call_metadata(store, verifier).map(Ok))?;
            let metadata = SnapshotMetadata::from(metadata);
            let Some(mut sink) = open(&metadata)? else { return Ok((metadata, None)) };
            match self.hand_over(&mut guest, verifier, key, metadata.etag, |chunk| each(&mut sink, chunk)) {
                // Replaced while it was read: verify the new version.
                Err(PersistError::Conflict(_)) if attempt < OPEN_ATTEMPTS => attempt += 1,
                verified => return Ok((verified?, Some(sink))),
            }
        }
    }

    /// Passes a whole object to a verifier, and returns the verifier's result.
    fn hand_over(
        &self,
        guest: &mut Guest,
        verifier: ResourceAny,
        key: &str,
        if_match: Option<String>,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<SnapshotMetadata> {
        let mut object = self.storage.open_read(key, ReadOptions { range: ByteRange::All, if_match })?;
        loop {
            self.cancel.check()?;
            let chunk = object.read(STORED_CHUNK)?;
            if chunk.is_empty() {
                break;
            }
            guest.call(|persist, store| persist.persist_snapshot_snapshots().verifier().call_write(store, verifier, &chunk))?;
            each(&chunk)?;
        }
        let metadata = guest.call(|persist, store| persist.persist_snapshot_snapshots().verifier().call_finish(store, verifier))?;
        Ok(SnapshotMetadata::from(metadata))
    }
}
