//! Appends states to a timeline: the instance of the component that keeps the newest state.

use std::io;
use std::time::Instant;

use persist_model::{ErrorCode, OnConflict, PersistError, Result, SnapshotOptions, Step};
use sha2::{Digest, Sha256};
use wasmtime::component::ResourceAny;

use crate::engine::engine::Engine;
use crate::sandbox::{Guest, Limits, Share, log, wit};

/// State passed to the component in one call, when it is not taken as a whole.
const CHUNK: usize = 1 << 20;

/// The memory that the component may use while it appends, unless a limit was set: the
/// newest state, the next one, and what is new.
const MEMORY: usize = 384 << 20;

/// An instance of the component with an open timeline.
pub(super) struct Writing {
    pub(super) guest: Guest,
    pub(super) timeline: ResourceAny,
}

impl Writing {
    pub(super) fn start(engine: &Engine, folder: &str, is_appending: bool) -> Result<Self> {
        let memory = engine.settings.memory_limit.unwrap_or(MEMORY);
        let limits = if is_appending { Limits { memory, ..engine.limits } } else { engine.limits };
        let share = Share::new(&engine.pool.budget, 0);
        let mut guest = Guest::start(&engine.pool.runtime, &engine.storage, limits, share, &engine.cancel)?;
        guest.write_with(engine.permissions);
        let timeline =
            guest.call(|persist, store| persist.persist_snapshot_timelines().timeline().call_constructor(store, folder).map(Ok))?;
        Ok(Self { guest, timeline })
    }

    pub(super) fn append(&mut self, state: &[u8], hash: &[u8; 32], options: &SnapshotOptions, on_conflict: OnConflict) -> Result<Step> {
        let timeline = self.timeline;
        let options = wit::SaveOptions { host_hashes: true, ..options.clone().into() };
        let appended = self.guest.call(|persist, store| {
            let timelines = persist.persist_snapshot_timelines();
            timelines.timeline().call_append(store, timeline, state, &options, on_conflict.into(), Some(hash))
        })?;
        Ok(appended.into())
    }

    pub(super) fn open_appender(&mut self, options: &SnapshotOptions, on_conflict: OnConflict) -> Result<ResourceAny> {
        let timeline = self.timeline;
        let options = wit::SaveOptions { host_hashes: true, ..options.clone().into() };
        self.guest.call(|persist, store| {
            persist.persist_snapshot_timelines().timeline().call_open_appender(store, timeline, &options, on_conflict.into())
        })
    }

    fn write(&mut self, appender: ResourceAny, state: &[u8]) -> Result<()> {
        state.chunks(CHUNK).try_for_each(|chunk| {
            self.guest.call(|persist, store| persist.persist_snapshot_timelines().appender().call_write(store, appender, chunk))
        })
    }

    fn commit(&mut self, appender: ResourceAny, hash: &[u8]) -> Result<Step> {
        let committed =
            self.guest.call(|persist, store| persist.persist_snapshot_timelines().appender().call_commit(store, appender, Some(hash)))?;
        Ok(committed.into())
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        let timeline = self.timeline;
        self.guest.call(|persist, store| persist.persist_snapshot_timelines().timeline().call_finish(store, timeline))
    }
}

/// Appends a state piece by piece. If it is dropped without [`commit`](Self::commit),
/// nothing is stored.
pub struct StepWriter<'a> {
    writing: &'a mut Writing,
    /// None once it was committed.
    appender: Option<ResourceAny>,
    hash: Sha256,
    location: String,
    began: Instant,
}

impl std::fmt::Debug for StepWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepWriter").field("location", &self.location).finish_non_exhaustive()
    }
}

impl<'a> StepWriter<'a> {
    pub(super) fn open(writing: &'a mut Writing, options: &SnapshotOptions, on_conflict: OnConflict, location: String) -> Result<Self> {
        let appender = writing.open_appender(options, on_conflict).map_err(|error| error.at(&location))?;
        Ok(Self { writing, appender: Some(appender), hash: Sha256::new(), location, began: Instant::now() })
    }

    /// Appends to the state. After an error, the writer can only be dropped.
    ///
    /// # Errors
    /// Any error of the storage.
    pub fn write_state(&mut self, state: &[u8]) -> Result<()> {
        self.hash.update(state);
        let Some(appender) = self.appender else { return Err(committed()) };
        self.writing.write(appender, state).map_err(|error| error.at(&self.location))
    }

    /// Completes the step and makes it visible, as a whole.
    ///
    /// # Errors
    /// As [`Timeline::append`](crate::Timeline::append). A state of more than 64 MiB can't be appended again after
    /// another writer's: with [`OnConflict::Rebase`], a lost race is `Conflict`.
    pub fn commit(mut self) -> Result<Step> {
        let hash: [u8; 32] = self.hash.finalize_reset().into();
        let appender = self.appender.take().ok_or_else(committed)?;
        let appended = self.writing.commit(appender, &hash).map_err(|error| error.at(&self.location));
        let sizes = |step: &Step| (step.metadata.uncompressed_size, step.metadata.stored_size);
        log("append", &self.location, self.began, appended.as_ref().map(sizes));
        appended
    }
}

fn committed() -> PersistError {
    PersistError::new(ErrorCode::Other, "the state was already appended")
}

impl Drop for StepWriter<'_> {
    fn drop(&mut self) {
        // A commit has taken it.
        if let Some(appender) = self.appender.take() {
            let _ = self.writing.guest.drop_resource(appender);
        }
    }
}

impl io::Write for StepWriter<'_> {
    fn write(&mut self, state: &[u8]) -> io::Result<usize> {
        self.write_state(state)?;
        Ok(state.len())
    }

    /// Does nothing, since only a commit stores anything.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
