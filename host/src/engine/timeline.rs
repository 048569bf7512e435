//! Timelines keep every step of a session, and store only what is new in each.

use std::time::Instant;

use persist_model::{ErrorCode, PersistError, Result, SnapshotMetadata};
use persist_model::{ListFilter, OnConflict, Policy, PruneReport, SnapshotOptions, Step, StepSelector};

use sha2::{Digest, Sha256};

use crate::engine::engine::Engine;
use crate::engine::growing::GrowingState;
use crate::engine::history::{Checks, History, PAGE};
use crate::engine::restore::SnapshotReader;
use crate::engine::writing::{StepWriter, Writing};
use crate::sandbox::{log, timelines, wit};
use crate::system::process::OfProcess;

/// The largest state that the component takes as a whole, in bytes.
const MAX_WHOLE: usize = 64 << 20;

/// How often a large state is sent again after other writers appended.
const MAX_RESENDS: u32 = 20;

/// A timeline: a folder that has each step of a session as one object. It keeps the newest
/// step's state, so that the next append reads nothing. Dropping it calls
/// [`finish`](Self::finish).
pub struct Timeline {
    engine: Engine,
    folder: String,
    /// The instance that appends, since the first append.
    writing: Option<OfProcess<Writing>>,
}

impl std::fmt::Debug for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timeline").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the timeline in a folder, such as `support/case-1/`. Reads nothing yet.
    ///
    /// # Errors
    /// `Configuration` for a folder that can't be the beginning of a key.
    pub fn timeline(&self, folder: &str) -> Result<Timeline> {
        let folder = folder.trim_end_matches('/');
        if !folder.is_empty() {
            persist_paths::key::check_key(folder)?;
        }
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Ok(Timeline { engine: self.clone(), folder, writing: None })
    }
}

impl Engine {
    /// Applies a policy to the snapshots of one session that are no timeline, given from the
    /// oldest to the newest. Returns for each the rules that keep it; none if it is not kept.
    /// The newest is always kept.
    ///
    /// # Errors
    /// `Configuration` for a policy without rules.
    pub fn apply_policy(&self, keep: &Policy, snapshots: &[SnapshotMetadata]) -> Result<Vec<Vec<String>>> {
        let candidates: Vec<timelines::Candidate> = snapshots.iter().map(timelines::Candidate::from).collect();
        let keep = timelines::Policy::from(keep);
        self.guest()?.call(|persist, store| persist.persist_snapshot_timelines().call_apply_policy(store, &keep, &candidates))
    }
}

impl Timeline {
    /// Returns the folder, which ends with `/`; empty for the root of the storage.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Returns where the timeline is, as a user would write it.
    pub fn location(&self) -> String {
        self.engine.storage().locate(&self.folder)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the instance that appends. A dead one is replaced.
    fn writing(&mut self) -> Result<&mut Writing> {
        let is_alive = match &mut self.writing {
            Some(writing) => !writing.get()?.guest.is_dead(),
            None => false,
        };
        if !is_alive {
            self.writing = Some(OfProcess::new(Writing::start(&self.engine, &self.folder, true)?));
        }
        match &mut self.writing {
            Some(writing) => writing.get(),
            None => Err(PersistError::new(ErrorCode::Other, "the timeline has no instance")),
        }
    }

    /// Runs an operation in a fresh instance, and logs its outcome.
    fn fresh<T>(&self, operation: &str, run: impl FnOnce(&mut Writing) -> Result<T>) -> Result<T> {
        // These may append a step.
        let is_appending = matches!(operation, "prune" | "remove" | "repair");
        let run = || run(&mut Writing::start(&self.engine, &self.folder, is_appending)?);
        self.engine.logged(operation, &self.folder, run, |_| (0, 0))
    }

    /// Appends a state as the next step. If `options.snapshot_index` is not 0, it is the number
    /// that the step has to get.
    ///
    /// # Errors
    /// `AlreadyExists` if another writer was faster, unless `on_conflict` is
    /// [`OnConflict::Rebase`], or if the next step has another number than the options name;
    /// `Configuration` for invalid options, or a storage that
    /// doesn't support [`if_absent`](crate::Capabilities::if_absent); and any error of the
    /// storage. As for every write, the code tells the outcome.
    pub fn append(&mut self, state: &[u8], options: &SnapshotOptions, on_conflict: OnConflict) -> Result<Step> {
        self.append_hashed(state, None, options, on_conflict)
    }

    /// Appends a state as [`append`](Self::append) does. It is hashed only where it has changed.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_growing(&mut self, state: &mut GrowingState, options: &SnapshotOptions, on_conflict: OnConflict) -> Result<Step> {
        let hash = state.content_hash();
        self.append_hashed(state.bytes(), Some(hash), options, on_conflict)
    }

    fn append_hashed(&mut self, state: &[u8], hash: Option<[u8; 32]>, options: &SnapshotOptions, on_conflict: OnConflict) -> Result<Step> {
        let began = Instant::now();
        let options = options.clone().size_hint(Some(state.len() as u64));
        let location = self.location();
        let appended = self.append_inner(state, hash, &options, on_conflict).map_err(|error| error.at(&location));
        let sizes = |step: &Step| (step.metadata.uncompressed_size, step.metadata.stored_size);
        log("append", &location, began, appended.as_ref().map(sizes));
        appended
    }

    fn append_inner(&mut self, state: &[u8], hash: Option<[u8; 32]>, options: &SnapshotOptions, on_conflict: OnConflict) -> Result<Step> {
        self.check_conditions()?;
        if state.len() <= MAX_WHOLE {
            let hash = hash.unwrap_or_else(|| Sha256::digest(state).into());
            return self.writing()?.append(state, &hash, options, on_conflict);
        }
        let mut resends = 0;
        loop {
            let mut send = || {
                let mut writer = self.writer(options, on_conflict)?;
                writer.write_state(state)?;
                writer.commit()
            };
            match send() {
                Err(PersistError::Conflict(_)) if on_conflict == OnConflict::Rebase && resends < MAX_RESENDS => resends += 1,
                appended => return appended,
            }
        }
    }

    /// A timeline relies on the storage to let only one writer have a number.
    pub(super) fn check_conditions(&self) -> Result<()> {
        if self.engine.storage().capabilities().if_absent {
            return Ok(());
        }
        let message = "the storage has no conditional writes, so two writers of a timeline could overwrite each other";
        Err(PersistError::new(ErrorCode::Unsupported, message)
            .hint("use a storage with conditional writes, or save snapshots; in a bucket, the option s3-one-writer is for a single writer"))
    }

    /// Returns a writer that appends a state piece by piece, in bounded memory. Nothing is
    /// stored until the writer is committed.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn writer(&mut self, options: &SnapshotOptions, on_conflict: OnConflict) -> Result<StepWriter<'_>> {
        self.check_conditions()?;
        let location = self.location();
        StepWriter::open(self.writing()?, options, on_conflict, location)
    }

    /// Writes down that the newest step that was appended here is there, so that its loss
    /// would be noticed. Dropping the timeline does it, too, but can't report an error.
    ///
    /// # Errors
    /// Any error of the storage. The steps are stored all the same.
    pub fn finish(&mut self) -> Result<()> {
        let location = self.location();
        match &mut self.writing {
            Some(writing) => writing.get()?.finish().map_err(|error| error.at(location)),
            None => Ok(()),
        }
    }

    /// Returns a step. Its key restores it, like that of a snapshot.
    ///
    /// # Errors
    /// `NotFound`; `Integrity` if the newest step is damaged, rather than an older step in
    /// its place; and any error of the storage.
    pub fn find(&self, wanted: &StepSelector) -> Result<Step> {
        let wanted = timelines::StepSelector::from(wanted);
        self.fresh("find", |writing| {
            let timeline = writing.timeline;
            let found =
                writing.guest.call(|persist, store| persist.persist_snapshot_timelines().timeline().call_find(store, timeline, &wanted))?;
            Ok(found.into())
        })
    }

    /// Returns a reader that restores the state of a step piece by piece, in bounded memory.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn reader(&self, wanted: &StepSelector) -> Result<SnapshotReader> {
        let Writing { guest, timeline } = Writing::start(&self.engine, &self.folder, false)?;
        let wanted = timelines::StepSelector::from(wanted);
        SnapshotReader::open_with(guest, &self.engine.pool, self.location(), |guest, options| {
            guest.call(|persist, store| {
                persist.persist_snapshot_timelines().timeline().call_open_restorer(store, timeline, &wanted, options)
            })
        })
    }

    /// Restores the state of a step into memory.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn load(&self, wanted: &StepSelector) -> Result<Vec<u8>> {
        self.reader(wanted)?.read_state(|_| Ok(()))
    }

    /// Iterates over the steps that match a filter, from the newest to the oldest. A step
    /// that can't be read is an entry, too. If only some of them are wanted, `limit` says
    /// how many, so that no more are read.
    ///
    /// # Errors
    /// `Integrity` if the end of the timeline was lost, and any error of the storage.
    pub fn history(&self, filter: ListFilter, limit: Option<u32>) -> Result<History> {
        let page = limit.unwrap_or(PAGE).clamp(1, PAGE);
        let mut writing = Writing::start(&self.engine, &self.folder, false)?;
        let (timeline, filter) = (writing.timeline, wit::ListFilter::from(filter));
        let opened = writing
            .guest
            .call(|persist, store| persist.persist_snapshot_timelines().timeline().call_open_history(store, timeline, Some(&filter), page));
        let location = self.location();
        let history = opened.map_err(|error| error.at(&location))?;
        Ok(History::new(writing.guest, history, page, limit, location))
    }

    /// Sets a label of a step, or removes it if there is no value. The label is an object
    /// of its own; the step does not change.
    ///
    /// # Errors
    /// `NotFound`, and any error of the storage.
    pub fn set_label(&self, number: u64, name: &str, value: Option<&str>) -> Result<()> {
        self.fresh("label", |writing| {
            let timeline = writing.timeline;
            writing
                .guest
                .call(|persist, store| persist.persist_snapshot_timelines().timeline().call_set_label(store, timeline, number, name, value))
        })
    }

    /// Removes the steps that a policy does not keep; with `dry_run`, only says what would
    /// happen. The newest step is always kept. Is safe while others append.
    ///
    /// # Errors
    /// `Configuration` for a policy without rules, and any error of the storage. If it was
    /// interrupted, pruning again finishes it.
    pub fn prune(&mut self, keep: &Policy, dry_run: bool) -> Result<PruneReport> {
        let keep = timelines::Policy::from(keep);
        self.fresh("prune", |writing| {
            let timeline = writing.timeline;
            let pruned = writing
                .guest
                .call(|persist, store| persist.persist_snapshot_timelines().timeline().call_prune(store, timeline, &keep, dry_run))?;
            Ok(pruned.into())
        })
    }

    /// Removes the steps with these numbers, as [`prune`](Self::prune) does; those that others
    /// depend on are hidden. The newest step is kept, and numbers without a step are ignored.
    /// Returns how many steps are no longer shown.
    ///
    /// # Errors
    /// Those of [`prune`](Self::prune).
    pub fn remove(&mut self, numbers: &[u64]) -> Result<u64> {
        self.fresh("remove", |writing| {
            let timeline = writing.timeline;
            writing.guest.call(|persist, store| persist.persist_snapshot_timelines().timeline().call_remove(store, timeline, numbers))
        })
    }

    /// Checks all steps, from the oldest to the newest, and then the other objects. With
    /// `read_data`, reads all data; otherwise only what describes the states.
    ///
    /// # Errors
    /// Any error of the storage.
    pub fn check(&self, read_data: bool) -> Result<Checks> {
        let mut writing = Writing::start(&self.engine, &self.folder, false)?;
        let (timeline, location) = (writing.timeline, self.location());
        let opened = writing
            .guest
            .call(|persist, store| persist.persist_snapshot_timelines().timeline().call_open_checker(store, timeline, read_data));
        let checker = opened.map_err(|error| error.at(&location))?;
        Ok(Checks::new(writing.guest, checker, location))
    }

    /// Rewrites what is derived from the steps, where it is missing or damaged. With
    /// `forget_damaged`, hides damaged steps; if the newest is damaged, first appends a step
    /// that repeats the newest undamaged one. Returns how many objects were written.
    ///
    /// # Errors
    /// `Integrity` if the newest step is damaged and `forget_damaged` is not set, and any error of
    /// the storage.
    pub fn repair(&mut self, forget_damaged: bool) -> Result<u64> {
        self.fresh("repair", |writing| {
            let timeline = writing.timeline;
            writing
                .guest
                .call(|persist, store| persist.persist_snapshot_timelines().timeline().call_repair(store, timeline, forget_damaged))
        })
    }

    /// Returns the bytes of a hint that names a step.
    pub(super) fn hint(&self, number: u64) -> Result<Vec<u8>> {
        self.fresh("hint", |writing| {
            let timeline = writing.timeline;
            writing.guest.call(|persist, store| persist.persist_snapshot_timelines().timeline().call_hint(store, timeline, number))
        })
    }

    /// Returns the number of the newest step, and the bytes of a hint that names it.
    pub(super) fn newest_hint(&self) -> Result<(u64, Vec<u8>)> {
        self.fresh("hint", |writing| {
            let timeline = writing.timeline;
            writing.guest.call(|persist, store| persist.persist_snapshot_timelines().timeline().call_newest_hint(store, timeline))
        })
    }

    /// Deletes the timeline like [`delete`](Self::delete), unless a step was appended after
    /// `newest`.
    ///
    /// # Errors
    /// `Conflict` if this is not the number of the newest step; and as for
    /// [`delete`](Self::delete).
    pub fn delete_after(&mut self, newest: u64) -> Result<u64> {
        self.fresh("delete", |writing| {
            let timeline = writing.timeline;
            writing.guest.call(|persist, store| persist.persist_snapshot_timelines().timeline().call_delete_after(store, timeline, newest))
        })
    }

    /// Deletes the timeline. Returns how many steps were removed. A marker of 192 bytes stays
    /// in place of each, until [`prune`](Self::prune) removes it a week later.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` if another writer has just appended, and any error of the
    /// storage. If it was interrupted, deleting again finishes it.
    pub fn delete(&mut self) -> Result<u64> {
        self.fresh("delete", |writing| {
            let timeline = writing.timeline;
            writing.guest.call(|persist, store| persist.persist_snapshot_timelines().timeline().call_delete(store, timeline))
        })
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        if let Some(Ok(writing)) = self.writing.as_mut().map(OfProcess::get) {
            let _ = writing.finish();
        }
    }
}
