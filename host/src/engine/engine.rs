//! The engine: a compiled component, its limits and a storage.

use std::sync::Arc;
use std::time::Instant;

use persist_model::{Permissions, PersistError, Precondition, Result, SnapshotMetadata, SnapshotOptions};

use crate::cancel::CancelToken;
use crate::engine::restore::SnapshotReader;
use crate::engine::salvage::Salvager;
use crate::engine::save::SnapshotWriter;
use crate::engine::settings::Settings;
use crate::sandbox::{Guest, Limits, Share, log};
use crate::storage::{StorageAdapter, is_lost_upload};
use crate::workers::WorkerPool;

/// Saves and restores snapshots in one storage. Each operation runs in a fresh instance
/// of the component. Clones are cheap and share the compiled code. An engine can be
/// used from many threads at once.
#[derive(Clone)]
pub struct Engine {
    pub(super) pool: Arc<WorkerPool>,
    pub(super) storage: Arc<dyn StorageAdapter>,
    pub(super) limits: Limits,
    pub(super) cancel: CancelToken,
    /// Permissions of files that are written; see [`WriteOptions::permissions`](crate::WriteOptions::permissions).
    pub(super) permissions: Option<Permissions>,
    /// The settings it was built with, for the engine of a child process.
    pub(super) settings: Settings,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("storage", &self.storage).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes an engine from its parts.
    pub(super) fn new(pool: Arc<WorkerPool>, storage: Arc<dyn StorageAdapter>, limits: Limits, settings: Settings) -> Self {
        Self { pool, storage, limits, cancel: CancelToken::new(), permissions: None, settings }
    }

    /// Returns this engine with another storage.
    #[must_use]
    pub fn with_storage(&self, storage: Arc<dyn StorageAdapter>) -> Self {
        Self { storage, ..self.clone() }
    }

    /// Returns the engine's storage.
    pub fn storage(&self) -> &Arc<dyn StorageAdapter> {
        &self.storage
    }

    /// Returns the token that cancels its operations.
    #[cfg(feature = "tokio")]
    pub(crate) fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Returns this engine with a token that cancels its operations.
    #[must_use]
    pub fn with_cancel(&self, cancel: &CancelToken) -> Self {
        let storage = self.storage.with_cancel(cancel).unwrap_or_else(|| Arc::clone(&self.storage));
        Self { storage, cancel: cancel.clone(), ..self.clone() }
    }

    /// Returns this engine with permissions for the files that it writes, such as those
    /// of the file that a state comes from. See [`WriteOptions::permissions`](crate::WriteOptions::permissions).
    #[must_use]
    pub fn with_permissions(&self, permissions: Option<Permissions>) -> Self {
        Self { permissions, ..self.clone() }
    }

    /// Fails in a process that was forked after the engine was made.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.pool.runtime.process.check()
    }

    /// Returns what all operations of this engine share.
    #[cfg(test)]
    pub(crate) fn pool(&self) -> &Arc<WorkerPool> {
        &self.pool
    }

    /// Starts a fresh instance.
    pub(crate) fn guest(&self) -> Result<Guest> {
        Guest::start(&self.pool.runtime, &self.storage, self.limits, Share::new(&self.pool.budget, 0), &self.cancel)
    }

    /// Runs an operation and logs its outcome, but never the content of a state.
    pub(super) fn logged<T>(
        &self,
        operation: &str,
        key: &str,
        run: impl FnOnce() -> Result<T>,
        sizes: impl FnOnce(&T) -> (u64, u64),
    ) -> Result<T> {
        let began = Instant::now();
        let result = run().map_err(|error| error.at(self.storage.locate(key)));
        log(operation, &self.storage.locate(key), began, result.as_ref().map(sizes));
        result
    }

    /// Saves a state that is in memory.
    ///
    /// # Errors
    /// `Configuration` for invalid options or an invalid key, `AlreadyExists` or
    /// `Conflict` if the precondition fails, and any error of the storage. After an
    /// error, the earlier snapshot is still there.
    pub fn snapshot(&self, key: &str, state: &[u8], options: &SnapshotOptions) -> Result<SnapshotMetadata> {
        let options = options.clone().size_hint(Some(state.len() as u64));
        sent_whole(|| {
            let mut writer = self.writer(key, options.clone())?;
            writer.write_state(state)?;
            writer.commit()
        })
    }

    /// Returns a writer that saves a state piece by piece, in bounded memory. Nothing
    /// is stored until the writer is committed.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn writer(&self, key: &str, options: SnapshotOptions) -> Result<SnapshotWriter> {
        let mut guest = self.guest()?;
        guest.write_with(self.permissions);
        SnapshotWriter::open(guest, &self.pool, key, options)
    }

    /// Restores a state into memory.
    ///
    /// # Errors
    /// `NotFound`, `Integrity` for a damaged snapshot, `InvalidFormat` for an object
    /// that is not a snapshot, and any error of the storage.
    pub fn restore(&self, key: &str) -> Result<Vec<u8>> {
        let mut attempt = 1;
        loop {
            match self.reader(key)?.read_state(|_| Ok(())) {
                // Replaced while it was read. This happens only in a storage without
                // etags. The new version is as good.
                Err(PersistError::Conflict(_)) if attempt < OPEN_ATTEMPTS => attempt += 1,
                read => return read,
            }
        }
    }

    /// Returns a reader that restores a state piece by piece, in bounded memory.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn reader(&self, key: &str) -> Result<SnapshotReader> {
        SnapshotReader::open(self.guest()?, &self.pool, key)
    }

    /// Returns the metadata of a snapshot after checking its digest. Reads only the
    /// last 64 KiB, whatever the size of the state.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn metadata(&self, key: &str) -> Result<SnapshotMetadata> {
        let read = || {
            let mut guest = self.guest()?;
            let metadata = guest.call(|persist, store| persist.persist_snapshot_snapshots().call_get_metadata(store, key))?;
            Ok(SnapshotMetadata::from(metadata))
        };
        self.logged("metadata", key, read, metadata_sizes)
    }

    /// Returns a salvager that reads what is left of a damaged snapshot: every intact
    /// block, or, without a block table, the data up to the first damage. The result is
    /// not verified as a whole; the report says how much of it was checked and what is
    /// missing.
    ///
    /// # Errors
    /// `NotFound`, `InvalidFormat` for an object that does not begin like a snapshot,
    /// and any error of the storage.
    pub fn salvage(&self, key: &str) -> Result<Salvager> {
        Salvager::open(self.guest()?, key)
    }

    /// Returns whether an object with this key exists, whatever its content. An error
    /// is never reported as false.
    ///
    /// # Errors
    /// Any error of the storage.
    pub fn exists(&self, key: &str) -> Result<bool> {
        let ask = || self.guest()?.call(|persist, store| persist.persist_snapshot_snapshots().call_exists(store, key));
        self.logged("exists", key, ask, |_| (0, 0))
    }

    /// Deletes the object with this key, whether or not it is a snapshot.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` if the precondition fails, and any error of the storage.
    pub fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        let precondition = precondition.into();
        let delete = || self.guest()?.call(|persist, store| persist.persist_snapshot_snapshots().call_delete(store, key, &precondition));
        self.logged("delete", key, delete, |()| (0, 0))
    }
}

/// Sends an object, and sends it again from the beginning if its upload was lost before
/// it was complete.
pub(super) fn sent_whole<T>(mut send: impl FnMut() -> Result<T>) -> Result<T> {
    match send() {
        Err(error) if is_lost_upload(&error) => send(),
        sent => sent,
    }
}

/// How many times a snapshot is opened if it is replaced while being opened or read.
pub(super) const OPEN_ATTEMPTS: u32 = 3;

pub(super) fn metadata_sizes(metadata: &SnapshotMetadata) -> (u64, u64) {
    (metadata.uncompressed_size, metadata.stored_size)
}
