//! The native host of the commands: an engine and the storages it reaches.

use std::io::{self, Read};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use persist_host::{
    Diff, Engine, ListingIndex, LocalFileStorage, SnapshotReader, SnapshotWriter, StorageAdapter, StorageConfig, StorageWriter,
    WriteOptions,
};
use persist_model::{
    Change, DiffKind, ErrorCode, Permissions, PersistError, Policy, Precondition, Result, SnapshotMetadata, SnapshotOptions, StepSelector,
};
use persist_paths::StorageLocation;
use persist_paths::key::folder_above;

use crate::choices::{Durability, IfExists};
use crate::host::{
    Access, DiffSource, Differences, Done, Entries, FileWriter, Host, Object, Objects, Page, Progress, Reader, Search, Stdout, Timeline,
    TotalProgress, Writer,
};
use crate::native::options::StorageArguments;
use crate::native::reading::{Parts, read_ahead};
use crate::native::{interrupt, pager, progress};
use crate::output::Output;
use crate::target::is_stream;

/// How many snapshots are worked on at once, unless the user chooses a number.
const MAX_JOBS: usize = 8;

/// The engine of one command and its storages. Locations in one bucket share its
/// connections.
pub(crate) struct Native<'a> {
    arguments: &'a StorageArguments,
    pub(crate) config: StorageConfig,
    engine: OnceLock<Engine>,
    buckets: Mutex<Vec<(String, Arc<dyn StorageAdapter>)>>,
}

impl<'a> Native<'a> {
    pub(crate) fn new(arguments: &'a StorageArguments) -> Result<Self> {
        Ok(Self { arguments, config: arguments.config()?, engine: OnceLock::new(), buckets: Mutex::default() })
    }

    /// Opens the storage of a location.
    fn open(&self, location: &StorageLocation) -> Result<Arc<dyn StorageAdapter>> {
        let StorageLocation::S3 { bucket, .. } = location else { return self.config.open(location) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, storage)) = buckets.iter().find(|(known, _)| known == bucket) {
            return Ok(Arc::clone(storage));
        }
        let storage = self.config.open(location)?;
        buckets.push((bucket.clone(), Arc::clone(&storage)));
        Ok(storage)
    }

    /// Returns the engine, which is built on first use.
    fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = self.arguments.engine()?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// Returns an engine on the storage of a location.
    fn engine_at(&self, location: &StorageLocation) -> Result<Engine> {
        let storage = self.open(location)?;
        Ok(self.engine()?.with_storage(storage))
    }

    /// Returns an engine for writing to a location. Ctrl-C cancels its operations.
    pub(crate) fn writing(&self, location: &StorageLocation, durability: Durability) -> Result<Engine> {
        let storage = match location {
            StorageLocation::Local { .. } => {
                let mut config = self.config.clone();
                config.durability = durability.into();
                config.open(location)?
            }
            _ => self.open(location)?,
        };
        Ok(self.engine()?.with_storage(storage).with_cancel(&interrupt::token()))
    }

    /// Like [`engine_at`](Self::engine_at), but Ctrl-C cancels the operations.
    pub(crate) fn stoppable(&self, location: &StorageLocation) -> Result<Engine> {
        Ok(self.engine_at(location)?.with_cancel(&interrupt::token()))
    }

    /// Like [`stoppable`](Self::stoppable), for operations that only read and have
    /// nothing to undo.
    fn reading(&self, location: &StorageLocation) -> Result<Engine> {
        Ok(self.engine_at(location)?.with_cancel(&interrupt::token_to_read()))
    }

    /// Returns a state to compare, and an engine that reads it.
    fn diff_source(&self, source: DiffSource) -> Result<(persist_host::DiffSource, Engine)> {
        let at = |location: &StorageLocation| self.reading(location);
        Ok(match source {
            DiffSource::Stored(location) => (persist_host::DiffSource::Stored(location.key().to_owned()), at(&location)?),
            DiffSource::Object(location) => (persist_host::DiffSource::Object(location.key().to_owned()), at(&location)?),
            DiffSource::Bytes(bytes) => (persist_host::DiffSource::Bytes(bytes), self.engine()?.clone()),
        })
    }

    /// Returns an engine for reading a state that goes to `output`. Ctrl-C rolls back a
    /// file. A stream cannot be rolled back, and its reader may block forever, so there
    /// Ctrl-C ends the command at once.
    pub(crate) fn engine_to(&self, location: &StorageLocation, output: &Path) -> Result<Engine> {
        if is_stream(output) {
            interrupt::end_at_once();
            return self.engine_at(location);
        }
        self.stoppable(location)
    }
}

/// Parses the path or URL of a file for a state. `follow` resolves symlinks.
fn file_of(path: &Path, follow: fn(&Path) -> Result<StorageLocation>) -> Result<StorageLocation> {
    match path.to_str() {
        Some(text) if text.contains("://") => StorageLocation::parse(text),
        _ => follow(path),
    }
}

impl Writer for SnapshotWriter {
    fn write(&mut self, state: &[u8]) -> Result<()> {
        self.write_state(state)
    }

    fn commit(self: Box<Self>) -> Result<SnapshotMetadata> {
        SnapshotWriter::commit(*self)
    }
}

impl Reader for SnapshotReader {
    fn metadata(&self) -> &SnapshotMetadata {
        self.metadata()
    }

    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        self.next_chunk()
    }
}

impl Differences for Diff {
    fn kind(&self) -> DiffKind {
        self.kind()
    }

    fn next_change(&mut self) -> Result<Option<Change>> {
        self.next().transpose()
    }

    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        self.next_bytes()
    }
}

/// A file that a state is written to.
struct StateFile(Box<dyn StorageWriter>);

impl FileWriter for StateFile {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.0.write(chunk)
    }

    fn commit(self: Box<Self>) -> Result<()> {
        self.0.commit().map(drop)
    }
}

impl Host for Native<'_> {
    fn locate(&self, text: &str) -> Result<StorageLocation> {
        self.config.locate(text)
    }

    fn locate_followed(&self, text: &str) -> Result<StorageLocation> {
        self.config.locate_followed(text)
    }

    fn timeline(&self, folder: &StorageLocation, access: Access) -> Result<Box<dyn Timeline>> {
        let engine = match access {
            Access::Read => self.reading(folder)?,
            Access::Write(durability) => self.writing(folder, durability)?,
        };
        Ok(Box::new(engine.timeline(folder.key())?))
    }

    fn apply_policy(&self, policy: &Policy, snapshots: &[SnapshotMetadata]) -> Result<Vec<Vec<String>>> {
        self.engine()?.apply_policy(policy, snapshots)
    }

    fn step_reader(&self, folder: &StorageLocation, step: &StepSelector, output: &Path) -> Result<(StorageLocation, Box<dyn Reader>)> {
        // What was read to find the step is not read again, as it would be with its key.
        let reader = self.engine_to(folder, output)?.timeline(folder.key())?.reader(step)?;
        Ok((folder.clone().with_key(&reader.metadata().key), Box::new(reader)))
    }

    fn written(&self, location: &StorageLocation) -> Result<String> {
        self.config.written(location)
    }

    fn locate_folder(&self, text: &str, has_to_exist: bool) -> Result<StorageLocation> {
        if has_to_exist { self.config.locate_existing_folder(text) } else { self.config.locate_folder(text) }
    }

    fn locate_folder_to_write(&self, text: &str) -> Result<StorageLocation> {
        self.config.locate_folder_to_write(text)
    }

    /// Rust's standard library replaces a closed stdin with /dev/null before `main` runs,
    /// so the two cannot be told apart.
    fn is_stdin_closed(&self) -> bool {
        let null = rustix::fs::stat("/dev/null").map(|null| null.st_rdev);
        let stdin = rustix::fs::fstat(io::stdin()).map(|stdin| stdin.st_rdev);
        matches!((null, stdin), (Ok(null), Ok(stdin)) if null == stdin)
    }

    fn locate_to_write(&self, text: &str) -> Result<StorageLocation> {
        self.config.locate_to_write(text)
    }

    fn is_same_file(&self, state: &Path, location: &StorageLocation) -> bool {
        use std::os::unix::fs::MetadataExt;
        let StorageLocation::Local { root, key } = location else { return false };
        let Ok(StorageLocation::Local { root: folder, key: name }) = file_of(state, StorageLocation::from_path_followed) else {
            return false;
        };
        let (Ok(state), Ok(dest)) = (folder.join(name).metadata(), root.join(key).metadata()) else { return false };
        state.is_file() && (state.dev(), state.ino()) == (dest.dev(), dest.ino())
    }

    fn parts(&self, state: Box<dyn Read + Send>) -> Parts {
        // If threads are scarce, the engine's clock has to get its thread before the
        // reader. An error of the engine is reported when the engine is needed.
        let _ = self.engine();
        read_ahead(state, interrupt::token())
    }

    fn writer(
        &self,
        location: &StorageLocation,
        options: SnapshotOptions,
        durability: Durability,
        permissions: Option<Permissions>,
    ) -> Result<Box<dyn Writer>> {
        let engine = self.writing(location, durability)?.with_permissions(permissions);
        Ok(Box::new(engine.writer(location.key(), options)?))
    }

    fn reader(&self, location: &StorageLocation, output: &Path) -> Result<Box<dyn Reader>> {
        Ok(Box::new(self.engine_to(location, output)?.reader(location.key())?))
    }

    fn metadata(&self, location: &StorageLocation) -> Result<SnapshotMetadata> {
        self.reading(location)?.metadata(location.key())
    }

    fn verify(&self, location: &StorageLocation, progress: Progress<'_>) -> Result<SnapshotMetadata> {
        self.reading(location)?.verify_with(location.key(), progress)
    }

    fn diff(&self, before: DiffSource, after: DiffSource) -> Result<Box<dyn Differences>> {
        let (before, first) = self.diff_source(before)?;
        let (after, second) = self.diff_source(after)?;
        Ok(Box::new(first.diff_with(before, &second, after)?))
    }

    fn page(&self, has_pager: bool) -> Box<dyn Page> {
        has_pager.then(pager::start).flatten().unwrap_or_else(|| Box::new(Stdout))
    }

    fn exists(&self, location: &StorageLocation) -> Result<bool> {
        self.reading(location)?.exists(location.key())
    }

    fn delete(&self, location: &StorageLocation, precondition: Precondition, durability: Durability) -> Result<()> {
        self.writing(location, durability)?.delete(location.key(), precondition)
    }

    fn objects(&self, place: &StorageLocation) -> Result<Objects> {
        let objects = self.reading(place)?.objects(place.key());
        Ok(Box::new(objects.map(|info| info.map(|info| Object { key: info.key, size: info.size }))))
    }

    fn delete_many(&self, place: &StorageLocation, keys: &[String], durability: Durability) -> Result<Vec<(String, PersistError)>> {
        let failures = self.writing(place, durability)?.storage().delete_many(keys)?;
        Ok(failures.into_iter().map(|failure| (failure.key, failure.error)).collect())
    }

    fn remove_empty_folders(&self, place: &StorageLocation, keys: &[String], and_itself: bool) {
        let Ok(storage) = self.open(place) else { return };
        let within = if and_itself { folder_above(place.key()) } else { place.key() };
        storage.remove_empty_folders(within, keys);
        // The named folder is the root of the storage, which the storage itself never
        // removes.
        if let StorageLocation::Local { root, key } = place
            && and_itself
            && key.is_empty()
            && self.config.local_base_path.is_none()
            && root.canonicalize().ok() != std::env::current_dir().and_then(|current| current.canonicalize()).ok()
        {
            let _ = std::fs::remove_dir(root);
        }
    }

    fn prepare(&self) {
        // Building the engine starts the thread of its clock.
        let _ = self.engine();
    }

    fn parallelism(&self, location: &StorageLocation) -> usize {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        self.open(location).map_or(1, |storage| storage.parallelism()).max(processors).min(MAX_JOBS)
    }

    fn list(&self, place: &StorageLocation, search: &Search) -> Result<Entries<'static>> {
        let engine = self.reading(place)?;
        let index = if search.is_fresh { None } else { ListingIndex::open(&**engine.storage()) };
        Ok(Box::new(engine.list_filtered(place.key(), search.filter.clone()).naturally().with_index(index)))
    }

    fn create_file(&self, path: &Path, size: Option<u64>, if_exists: IfExists, source: &StorageLocation) -> Result<Box<dyn FileWriter>> {
        let location = file_of(path, StorageLocation::from_path_to_write)?;
        let StorageLocation::Local { root, key } = &location else {
            let error = PersistError::new(ErrorCode::InvalidArgument, "the state can only be written to a local file").at(location);
            return Err(error.hint("give a path, or - for stdout"));
        };
        let permissions = self.open(source)?.permissions(source.key());
        let options = WriteOptions::default()
            .precondition(if_exists.precondition())
            .object_size_hint(size)
            .permissions(permissions)
            .leaves_holes(true);
        Ok(Box::new(StateFile(LocalFileStorage::new(root).open_write(key, options)?)))
    }

    fn progress(&self, output: &Output, doing: &'static str, total: Option<u64>) -> Progress<'static> {
        let mut bar = progress::Progress::new(output, doing, total);
        Box::new(move |done| bar.set(done))
    }

    fn total_progress(&self, output: &Output, doing: &'static str) -> TotalProgress {
        let mut bar = progress::Progress::new(output, doing, None);
        Box::new(move |Done { snapshots, bytes }| bar.set_of_many(snapshots, bytes))
    }
}

impl From<Durability> for persist_host::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Fsync => Self::Fsync,
            Durability::None => Self::None,
        }
    }
}
