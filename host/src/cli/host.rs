//! What the commands run on here: an engine, and the storages that it reaches.

use std::io::{self, Read};
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use persist_cli::{Done, Entries, FileWriter, Host, IfExists, Keys, Progress, Reader, Search, TotalProgress, Writer};

use super::interrupt;
use super::output::Output;
use super::progress;
use super::storage::StorageArguments;
use crate::index::Index;
use crate::key::folder_above;
use crate::{
    CancelToken, Durability, Engine, ErrorCode, LocalFileStorage, Permissions, PersistError, Precondition, Result, SnapshotMetadata,
    SnapshotOptions, SnapshotReader, SnapshotWriter, StorageAdapter, StorageConfig, StorageLocation, StorageWriter, WriteOptions,
};

/// State that is read at a time.
const CHUNK: u64 = 2 << 20;

/// Snapshots that are worked on at once, unless the user says how many.
const MAX_JOBS: usize = 8;

/// How often a wait for the state looks whether Ctrl-C was pressed.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// The engine of one command, and its storages: those of one bucket share its
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

    /// The storage that a location is in.
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

    /// The engine, made when it is needed.
    fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = self.arguments.engine()?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// The engine on the storage of a location.
    fn engine_at(&self, location: &StorageLocation) -> Result<Engine> {
        let storage = self.open(location)?;
        Ok(self.engine()?.with_storage(storage))
    }

    /// The engine on the storage of a location that changes, stopped by Ctrl-C.
    pub(crate) fn writing(&self, location: &StorageLocation, durability: persist_cli::Durability) -> Result<Engine> {
        let storage = match location {
            StorageLocation::Local { .. } => StorageConfig { durability: durability.into(), ..self.config.clone() }.open(location)?,
            _ => self.open(location)?,
        };
        Ok(self.engine()?.with_storage(storage).with_cancel(&interrupt::token()))
    }

    /// The same, stopped by Ctrl-C.
    pub(crate) fn stoppable(&self, location: &StorageLocation) -> Result<Engine> {
        Ok(self.engine_at(location)?.with_cancel(&interrupt::token()))
    }

    /// The same for what only reads, so that there is nothing to undo.
    fn reading(&self, location: &StorageLocation) -> Result<Engine> {
        Ok(self.engine_at(location)?.with_cancel(&interrupt::token_to_read()))
    }

    /// The same for what is read and goes to `output`. What goes into a file is
    /// undone by Ctrl-C. What went to stdout, a pipe or a device can't be taken back,
    /// and whoever is to read it may keep us waiting for ever.
    pub(crate) fn engine_to(&self, location: &StorageLocation, output: &Path) -> Result<Engine> {
        if persist_cli::is_stream(output) {
            interrupt::end_at_once();
            return self.engine_at(location);
        }
        self.stoppable(location)
    }
}

/// The location of a file that a state goes to: a path or a URL; `follow` says
/// what a link leads to.
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

/// A file that a state goes to.
struct StateFile(Box<dyn StorageWriter>);

impl FileWriter for StateFile {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.0.write(chunk)
    }

    fn commit(self: Box<Self>) -> Result<()> {
        self.0.commit().map(drop)
    }
}

/// Parts of a state, the last of them empty.
type Parts = Box<dyn FnMut() -> Result<io::Result<Vec<u8>>>>;

fn read_part(state: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut part = Vec::new();
    state.take(CHUNK).read_to_end(&mut part).map(|_| part)
}

/// Reads the state on a thread of its own: a pipe that nothing comes through
/// does not keep Ctrl-C waiting, and what comes next is read meanwhile. Where
/// there is no thread, it is read here.
fn read_ahead(state: Box<dyn Read + Send>, token: CancelToken) -> Parts {
    let state = Arc::new(Mutex::new(state));
    let (sender, parts) = mpsc::sync_channel(1);
    let reading = Arc::clone(&state);
    let started = thread::Builder::new().name("persist-reader".to_owned()).spawn(move || {
        let mut state = reading.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let read = read_part(&mut **state);
            let is_last = !matches!(&read, Ok(part) if !part.is_empty());
            // Nobody may be waiting any more.
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    });
    match started {
        Ok(_) => Box::new(move || next_part(&parts, &token)),
        Err(error) => {
            tracing::debug!(%error, "no thread to read the state");
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
                return Err(PersistError::new(ErrorCode::Io, "could not read the state: its thread has ended"));
            }
        }
    }
}

impl Host for Native<'_> {
    fn locate(&self, text: &str) -> Result<StorageLocation> {
        self.config.locate(text)
    }

    fn locate_followed(&self, text: &str) -> Result<StorageLocation> {
        self.config.locate_followed(text)
    }

    fn written(&self, location: &StorageLocation) -> Result<String> {
        self.config.written(location)
    }

    fn locate_folder(&self, text: &str, has_to_exist: bool) -> Result<StorageLocation> {
        if has_to_exist { self.config.locate_existing_folder(text) } else { self.config.locate_folder(text) }
    }

    /// A program that is started without a stdin gets /dev/null instead by Rust's
    /// standard library, before any code of ours.
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
        // Where threads are few, the engine's clock has to have its own before this
        // one. What is wrong with the engine is said where it is needed.
        let _ = self.engine();
        read_ahead(state, interrupt::token())
    }

    fn writer(
        &self,
        location: &StorageLocation,
        options: SnapshotOptions,
        durability: persist_cli::Durability,
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

    fn exists(&self, location: &StorageLocation) -> Result<bool> {
        self.reading(location)?.exists(location.key())
    }

    fn delete(&self, location: &StorageLocation, precondition: Precondition, durability: persist_cli::Durability) -> Result<()> {
        self.writing(location, durability)?.delete(location.key(), precondition)
    }

    fn keys(&self, place: &StorageLocation) -> Result<Keys> {
        Ok(Box::new(self.reading(place)?.keys(place.key())))
    }

    fn delete_many(
        &self,
        place: &StorageLocation,
        keys: &[String],
        durability: persist_cli::Durability,
    ) -> Result<Vec<(String, PersistError)>> {
        let failures = self.writing(place, durability)?.storage().delete_many(keys)?;
        Ok(failures.into_iter().map(|failure| (failure.key, failure.error)).collect())
    }

    fn remove_empty_folders(&self, place: &StorageLocation, keys: &[String], and_itself: bool) {
        let Ok(storage) = self.open(place) else { return };
        let within = if and_itself { folder_above(place.key()) } else { place.key() };
        storage.remove_empty_folders(within, keys);
        // The folder that was named is the storage's root, which is the user's.
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
        // Its clock has a thread.
        let _ = self.engine();
    }

    fn parallelism(&self, location: &StorageLocation) -> usize {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        self.open(location).map_or(1, |storage| storage.parallelism()).max(processors).min(MAX_JOBS)
    }

    fn list(&self, place: &StorageLocation, search: &Search) -> Result<Entries<'static>> {
        let engine = self.reading(place)?;
        let index = if search.is_fresh { None } else { Index::open(&**engine.storage()) };
        Ok(Box::new(engine.list_filtered(place.key(), search.filter.clone()).naturally().with_index(index)))
    }

    fn create_file(&self, path: &Path, size: Option<u64>, if_exists: IfExists, source: &StorageLocation) -> Result<Box<dyn FileWriter>> {
        let location = file_of(path, StorageLocation::from_path_to_write)?;
        let StorageLocation::Local { root, key } = &location else {
            let error = PersistError::new(ErrorCode::InvalidArgument, "the state can only go to a local file").at(location);
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

impl From<persist_cli::Durability> for Durability {
    fn from(durability: persist_cli::Durability) -> Self {
        match durability {
            persist_cli::Durability::Fsync => Self::Fsync,
            persist_cli::Durability::None => Self::None,
        }
    }
}
