//! The native host of the commands: an engine and the storages it reaches.

use std::io::{self, Read};
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use persist_host::{
    CancelToken, Diff, Engine, ListingIndex, LocalFileStorage, SnapshotReader, SnapshotWriter, StorageAdapter, StorageConfig,
    StorageWriter, WriteOptions,
};
use persist_model::{
    Change, DiffKind, ErrorCode, Permissions, PersistError, Precondition, Result, SnapshotMetadata, SnapshotOptions, StepSelector,
};
use persist_paths::StorageLocation;
use persist_paths::key::folder_above;
use persist_paths::timeline::HINT;

use crate::choices::{Durability, IfExists};
use crate::host::{
    DiffSource, Differences, Done, Entries, FileWriter, Host, Keys, Page, Progress, Reader, Search, Stdout, TotalProgress, Writer,
};
use crate::native::options::StorageArguments;
use crate::native::{interrupt, pager, progress};
use crate::output::Output;
use crate::target::is_stream;

/// How many bytes of a state are read at a time.
const CHUNK: u64 = 2 << 20;

/// How many snapshots are worked on at once, unless the user chooses a number.
const MAX_JOBS: usize = 8;

/// How often a thread that waits for the state checks for Ctrl-C.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

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
            StorageLocation::Local { .. } => StorageConfig { durability: durability.into(), ..self.config.clone() }.open(location)?,
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

    /// Returns whether a text is the path of something that is there.
    fn is_local_name(&self, text: &str) -> bool {
        match self.config.locate(text) {
            Ok(StorageLocation::Local { root, key }) => root.join(key).exists(),
            _ => false,
        }
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

/// The parts of a state, the last of which is empty.
type Parts = Box<dyn FnMut() -> Result<io::Result<Vec<u8>>>>;

fn read_part(state: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut part = Vec::new();
    state.take(CHUNK).read_to_end(&mut part).map(|_| part)
}

/// Reads the state on a separate thread, so that a silent pipe does not block Ctrl-C and
/// the next part is read ahead. If no thread can be started, reads on this one.
fn read_ahead(state: Box<dyn Read + Send>, token: CancelToken) -> Parts {
    let state = Arc::new(Mutex::new(state));
    let (sender, parts) = mpsc::sync_channel(1);
    let reading = Arc::clone(&state);
    let started = thread::Builder::new().name("persist-reader".to_owned()).spawn(move || {
        let mut state = reading.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let read = read_part(&mut **state);
            let is_last = !matches!(&read, Ok(part) if !part.is_empty());
            // Sending fails if nobody waits for the state any more.
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    });
    match started {
        Ok(_) => Box::new(move || next_part(&parts, &token)),
        Err(error) => {
            tracing::debug!(%error, "could not start a thread to read the state");
            Box::new(move || {
                token.check()?;
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(interrupt::while_waiting(|| read_part(&mut **state)))
            })
        }
    }
}

fn next_part(parts: &Receiver<io::Result<Vec<u8>>>, token: &CancelToken) -> Result<io::Result<Vec<u8>>> {
    loop {
        match parts.recv_timeout(CANCEL_INTERVAL) {
            Ok(part) => return Ok(part),
            Err(RecvTimeoutError::Timeout) => token.check()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PersistError::new(ErrorCode::Io, "could not read the state: the reader thread has ended"));
            }
        }
    }
}

impl Native<'_> {
    /// Returns the folder of a timeline and a step of it, if the text names one.
    pub(crate) fn named_step(&self, text: &str, at: Option<&str>) -> Result<Option<(StorageLocation, StepSelector)>> {
        let now = SystemTime::now();
        let (folder, selector) = match (at, text.rsplit_once('@')) {
            (Some(at), _) => (text, StepSelector::parse(at, now)?),
            // What looks like a step may be the name of a file or a folder.
            (None, Some((folder, step))) if !step.contains('/') && !self.is_local_name(text) => match StepSelector::parse(step, now) {
                Ok(selector) => (folder, selector),
                Err(error) if self.is_local_name(&format!("{folder}/{HINT}")) => return Err(error),
                Err(_) => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some((self.config.locate_folder(folder)?, selector)))
    }
}

impl Host for Native<'_> {
    fn locate(&self, text: &str) -> Result<StorageLocation> {
        self.config.locate(text)
    }

    fn locate_followed(&self, text: &str) -> Result<StorageLocation> {
        self.config.locate_followed(text)
    }

    fn locate_step(&self, text: &str, at: Option<&str>) -> Result<Option<StorageLocation>> {
        let Some((place, selector)) = self.named_step(text, at)? else { return Ok(None) };
        let step = self.reading(&place)?.timeline(place.key())?.find(&selector)?;
        Ok(Some(place.with_key(&step.metadata.key)))
    }

    fn step_reader(&self, text: &str, at: Option<&str>, output: &Path) -> Result<Option<(StorageLocation, Box<dyn Reader>)>> {
        let Some((place, selector)) = self.named_step(text, at)? else { return Ok(None) };
        // What was read to find the step is not read again, as it would be with its key.
        let reader = self.engine_to(&place, output)?.timeline(place.key())?.reader(&selector)?;
        Ok(Some((place.with_key(&reader.metadata().key), Box::new(reader))))
    }

    fn delete_timeline(&self, folder: &StorageLocation, durability: Durability) -> Result<u64> {
        self.writing(folder, durability)?.timeline(folder.key())?.delete()
    }

    fn unfinished_deletions(&self, place: &StorageLocation) -> Result<Vec<StorageLocation>> {
        let folders = self.reading(place)?.unfinished_deletions(place.key())?;
        Ok(folders.into_iter().map(|folder| place.clone().with_key(&folder)).collect())
    }

    fn written(&self, location: &StorageLocation) -> Result<String> {
        self.config.written(location)
    }

    fn locate_folder(&self, text: &str, has_to_exist: bool) -> Result<StorageLocation> {
        if has_to_exist { self.config.locate_existing_folder(text) } else { self.config.locate_folder(text) }
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

    fn keys(&self, place: &StorageLocation) -> Result<Keys> {
        Ok(Box::new(self.reading(place)?.keys(place.key())))
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
        let options = WriteOptions {
            precondition: if_exists.precondition(),
            object_size_hint: size,
            permissions,
            leaves_holes: true,
            ..WriteOptions::default()
        };
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
