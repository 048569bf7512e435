//! The engine: one compiled component, its limits and a storage.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Config;
use wasmtime::component::Linker;

use crate::bindings::PersistPre;
use crate::cancel::CancelToken;
use crate::clock::Clock;
use crate::component::{self, CompileCache};
use crate::crew::Crew;
use crate::error::{ErrorCode, PersistError, Result};
use crate::guest::{Guest, Shared, log};
use crate::list::Snapshots;
use crate::metadata::{SnapshotMetadata, SnapshotOptions};
use crate::parallel::Permits;
use crate::pool;
use crate::restore::SnapshotReader;
use crate::salvage::Salvager;
use crate::sandbox::{Limits, Sandbox};
use crate::save::SnapshotWriter;
use crate::storage::{Precondition, ReadOptions, StorageAdapter, WriteOptions};
use crate::{ByteRange, MemoryStorage};

/// Enough for every snapshot within the format's limits: blocks of 8 MiB and
/// the largest table, a few times over.
const DEFAULT_MEMORY_LIMIT: usize = 128 << 20;

/// More would wait for each other, and for the disk.
const MAX_WORKERS: usize = 64;

/// For one call into the component, which works on a few megabytes: under a
/// second everywhere but on the smallest machines.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// Saves and restores snapshots in one storage, each operation in a fresh
/// instance of the component. Clones are cheap and share the compiled code;
/// an engine can be used from many threads at once.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    storage: Arc<dyn StorageAdapter>,
    limits: Limits,
    cancel: CancelToken,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("storage", &self.storage).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Sets up an [`Engine`].
#[derive(Clone)]
pub struct EngineBuilder {
    wasm: Cow<'static, [u8]>,
    storage: Option<Arc<dyn StorageAdapter>>,
    limits: Limits,
    cache: CompileCache,
    workers: Option<usize>,
}

impl std::fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("storage", &self.storage)
            .field("limits", &self.limits)
            .field("cache", &self.cache)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// Where snapshots are; an empty memory of its own unless set.
    #[must_use]
    pub fn storage(self, storage: impl StorageAdapter + 'static) -> Self {
        self.shared_storage(Arc::new(storage))
    }

    /// Where snapshots are, shared with others.
    #[must_use]
    pub fn shared_storage(mut self, storage: Arc<dyn StorageAdapter>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Another component of the world `persist` than the built-in one. It gets
    /// the same sandbox; what it returns is passed on.
    #[must_use]
    pub fn component(mut self, wasm: impl Into<Cow<'static, [u8]>>) -> Self {
        self.wasm = wasm.into();
        self
    }

    /// The most memory that one instance of the component may have, in bytes;
    /// 128 MiB unless set. Usual is 5 to 25 MB.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.limits.memory = bytes;
        self
    }

    /// The longest that the component may compute in one call; 30 s unless
    /// set. A call works on a few megabytes, and time in storage does not count, so
    /// that this bounds a component that hangs, not a large transfer.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.limits.deadline = deadline;
        self
    }

    /// How many instances work on the blocks of a snapshot at once: one for each
    /// processor unless set, at most 64. One is the operation's own, on the
    /// caller's thread; the others are shared by all operations of the engine.
    /// What is stored does not depend on it.
    ///
    /// Each takes up to 25 MB, and two blocks on their way to it and from it.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Where compiled code is kept between runs; the user's cache folder
    /// unless set.
    #[must_use]
    pub fn compile_cache(mut self, cache: CompileCache) -> Self {
        self.cache = cache;
        self
    }

    /// Loads the component, compiling it if no compiled code is kept.
    ///
    /// # Errors
    /// `Other` where the machine can't run it.
    pub fn build(self) -> Result<Engine> {
        let began = Instant::now();
        let (engine, component) = self.load(pool::config(self.limits.memory)).or_else(|error| {
            tracing::debug!(%error, "memory can't be reserved for many instances: each gets its own");
            self.load(pool::config_without())
        })?;
        let clock = Clock::start(engine.weak())
            .map_err(|error| PersistError::new(ErrorCode::Other, format!("no thread could be started: {error}")))?;
        tracing::debug!(ms = began.elapsed().as_millis(), "the engine is ready");
        let storage = self.storage.clone().unwrap_or_else(|| Arc::new(MemoryStorage::new()));
        let limits = self.limits;
        let workers = self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).min(MAX_WORKERS);
        let permits = Arc::new(Permits::new(workers));
        Ok(Engine {
            shared: Arc::new(Shared { engine, component, clock, builder: self, permits, crew: Crew::new(workers.saturating_sub(1)) }),
            storage,
            limits,
            cancel: CancelToken::new(),
        })
    }

    /// The component under these settings, ready to be instantiated.
    fn load(&self, config: wasmtime::Result<Config>) -> Result<(wasmtime::Engine, PersistPre<Sandbox>)> {
        let failed = |error: wasmtime::Error| PersistError::new(ErrorCode::Other, format!("the component can't run here: {error:#}"));
        let engine = config.and_then(|config| wasmtime::Engine::new(&config)).map_err(failed)?;
        let component = component::load(&engine, &self.wasm, &self.cache)?;
        let mut linker = Linker::new(&engine);
        crate::bindings::storage::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |sandbox: &mut Sandbox| sandbox)
            .map_err(failed)?;
        crate::wasi::link(&mut linker, &component).map_err(failed)?;
        let component = linker.instantiate_pre(&component).and_then(PersistPre::new).map_err(failed)?;
        Ok((engine, component))
    }
}

impl Engine {
    /// An engine to be set up.
    pub fn builder() -> EngineBuilder {
        EngineBuilder {
            wasm: Cow::Borrowed(component::COMPONENT),
            storage: None,
            limits: Limits { memory: DEFAULT_MEMORY_LIMIT, deadline: DEFAULT_DEADLINE },
            cache: CompileCache::default(),
            workers: None,
        }
    }

    /// The same engine on another storage.
    #[must_use]
    pub fn with_storage(&self, storage: Arc<dyn StorageAdapter>) -> Self {
        Self { storage, ..self.clone() }
    }

    /// The storage.
    pub fn storage(&self) -> &Arc<dyn StorageAdapter> {
        &self.storage
    }

    /// The same engine, whose operations end when the token is cancelled.
    #[must_use]
    pub fn with_cancel(&self, cancel: &CancelToken) -> Self {
        let storage = self.storage.with_cancel(cancel).unwrap_or_else(|| Arc::clone(&self.storage));
        Self { storage, cancel: cancel.clone(), ..self.clone() }
    }

    /// An engine like this one for a child process that was forked off: of the
    /// threads of its parent none runs in it, and what they were holding is held
    /// for ever. A storage with threads of its own, as S3, has to be opened anew.
    ///
    /// # Errors
    /// As [`EngineBuilder::build`].
    pub fn after_fork(&self) -> Result<Self> {
        let fresh = self.shared.builder.clone().build()?;
        Ok(Self { shared: fresh.shared, ..self.clone() })
    }

    /// A fresh instance.
    pub(crate) fn guest(&self) -> Result<Guest> {
        Guest::start(&self.shared, &self.storage, self.limits, &self.cancel)
    }

    /// Runs an operation and logs what became of it; never what is in a state.
    fn logged<T>(&self, operation: &str, key: &str, run: impl FnOnce() -> Result<T>, sizes: impl FnOnce(&T) -> (u64, u64)) -> Result<T> {
        let began = Instant::now();
        let result = run().map_err(|error| error.at(self.storage.locate(key)));
        log(operation, &self.storage.locate(key), began, result.as_ref().map(sizes));
        result
    }

    /// Saves a state that is in memory.
    ///
    /// # Errors
    /// `Configuration` for options or a key that are not valid,
    /// `AlreadyExists` and `Conflict` by the precondition, and what the
    /// storage says. What was stored before is still there then.
    pub fn snapshot(&self, key: &str, state: &[u8], options: &SnapshotOptions) -> Result<SnapshotMetadata> {
        let options = SnapshotOptions { size_hint: Some(state.len() as u64), ..options.clone() };
        let mut writer = self.writer(key, options)?;
        writer.write_state(state)?;
        writer.commit()
    }

    /// Saves a state piece by piece, in bounded memory. Nothing is stored
    /// until the writer is committed.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn writer(&self, key: &str, options: SnapshotOptions) -> Result<SnapshotWriter> {
        SnapshotWriter::open(self.guest()?, key, options)
    }

    /// Restores a state into memory.
    ///
    /// # Errors
    /// `NotFound`, `Integrity` for a damaged snapshot, `InvalidFormat` for
    /// what is none, and what the storage says.
    pub fn restore(&self, key: &str) -> Result<Vec<u8>> {
        self.reader(key)?.read_state(|_| Ok(()))
    }

    /// Restores a state piece by piece, in bounded memory.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn reader(&self, key: &str) -> Result<SnapshotReader> {
        SnapshotReader::open(self.guest()?, key)
    }

    /// What a snapshot says of itself, after its digest was checked; reads at
    /// most its last 64 KiB, and the block table where that does not hold it.
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

    /// Checks every byte of a snapshot and the hash of its state.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn verify(&self, key: &str) -> Result<SnapshotMetadata> {
        self.verify_with(key, |_| {})
    }

    /// Checks a snapshot as [`verify`](Self::verify) does, and says now and
    /// then how many stored bytes were checked.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn verify_with(&self, key: &str, mut progress: impl FnMut(u64)) -> Result<SnapshotMetadata> {
        let mut checked = 0;
        let check = || {
            let each = |(): &mut (), chunk: &[u8]| {
                checked += chunk.len() as u64;
                progress(checked);
                Ok(())
            };
            self.read_verified(key, |_| Ok(Some(())), each).map(|(metadata, _)| metadata)
        };
        self.logged("verify", key, check, metadata_sizes)
    }

    /// Reads a snapshot's stored bytes from the first to the last, and has
    /// them checked on the way: `open` gets the metadata and gives a sink, or
    /// none if the snapshot need not be read; `each` gets the sink and a chunk
    /// that was handed to the verifier. A sink that comes back has got all of a
    /// snapshot that is whole and right.
    fn read_verified<T>(
        &self,
        key: &str,
        mut open: impl FnMut(&SnapshotMetadata) -> Result<Option<T>>,
        mut each: impl FnMut(&mut T, &[u8]) -> Result<()>,
    ) -> Result<(SnapshotMetadata, Option<T>)> {
        let mut attempt = 1;
        loop {
            let mut guest = self.guest()?;
            let verifier = guest.call(|persist, store| persist.persist_snapshot_snapshots().call_open_verifier(store, key))?;
            let metadata =
                guest.call(|persist, store| persist.persist_snapshot_snapshots().verifier().call_metadata(store, verifier).map(Ok))?;
            let metadata = SnapshotMetadata::from(metadata);
            let Some(mut sink) = open(&metadata)? else { return Ok((metadata, None)) };
            let mut object = match self.storage.open_read(key, ReadOptions { range: ByteRange::All, if_match: metadata.etag }) {
                // Replaced between the two reads: what is there now will do.
                Err(PersistError::Conflict(_)) if attempt < OPEN_ATTEMPTS => {
                    attempt += 1;
                    continue;
                }
                opened => opened?,
            };
            loop {
                self.cancel.check()?;
                let chunk = object.read(STORED_CHUNK)?;
                if chunk.is_empty() {
                    break;
                }
                guest.call(|persist, store| persist.persist_snapshot_snapshots().verifier().call_write(store, verifier, &chunk))?;
                each(&mut sink, &chunk)?;
            }
            let metadata = guest.call(|persist, store| persist.persist_snapshot_snapshots().verifier().call_finish(store, verifier))?;
            return Ok((SnapshotMetadata::from(metadata), Some(sink)));
        }
    }

    /// Copies a snapshot, byte for byte, to a key of another engine's storage,
    /// and verifies it on the way: what is damaged does not arrive. A snapshot
    /// of the same digest that is there already is left as it is. `progress`
    /// is told now and then how many stored bytes were copied.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), and what the target's storage says.
    pub fn copy(
        &self,
        key: &str,
        target: &Self,
        target_key: &str,
        precondition: Precondition,
        mut progress: impl FnMut(u64),
    ) -> Result<Copied> {
        let mut copied = 0;
        let copy = || {
            let mut existing = None;
            let open = |metadata: &SnapshotMetadata| {
                existing = target.metadata(target_key).ok().filter(|existing| existing.digest == metadata.digest);
                if existing.is_some() {
                    return Ok(None);
                }
                let options = WriteOptions {
                    precondition: precondition.clone(),
                    size_hint: Some(metadata.stored_size),
                    content_type: Some(metadata.compression_algorithm.media_type().to_owned()),
                    attributes: Vec::new(),
                };
                target.storage.open_write(target_key, options).map(Some)
            };
            let (metadata, writer) = self.read_verified(key, open, |writer, chunk| {
                writer.write(chunk)?;
                copied += chunk.len() as u64;
                progress(copied);
                Ok(())
            })?;
            match (existing, writer) {
                (_, Some(writer)) => {
                    let info = writer.commit()?;
                    Ok(Copied { metadata: SnapshotMetadata { key: info.key, etag: info.etag, ..metadata }, is_new: true })
                }
                (existing, None) => Ok(Copied { metadata: existing.unwrap_or(metadata), is_new: false }),
            }
        };
        self.logged("copy", key, copy, |copied| metadata_sizes(&copied.metadata))
    }

    /// What can still be had of a damaged snapshot, from its front up to the
    /// break. It is unverified as a whole; the report says how much of it was
    /// checked.
    ///
    /// # Errors
    /// `NotFound`, `InvalidFormat` for what has no beginning of a snapshot, and
    /// what the storage says.
    pub fn salvage(&self, key: &str) -> Result<Salvager> {
        Salvager::open(self.guest()?, key)
    }

    /// Whether there is an object with this key, whatever it holds. An error
    /// is never reported as false.
    ///
    /// # Errors
    /// What the storage says.
    pub fn exists(&self, key: &str) -> Result<bool> {
        let ask = || self.guest()?.call(|persist, store| persist.persist_snapshot_snapshots().call_exists(store, key));
        self.logged("exists", key, ask, |_| (0, 0))
    }

    /// Deletes a snapshot, or whatever else has this key.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` by the precondition, and what the storage says.
    pub fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        let precondition = precondition.into();
        let delete = || self.guest()?.call(|persist, store| persist.persist_snapshot_snapshots().call_delete(store, key, &precondition));
        self.logged("delete", key, delete, |()| (0, 0))
    }

    /// The snapshots whose keys begin with `prefix`, in the order of their
    /// keys. What can't be read is an entry too; an error of the storage is the
    /// last item.
    pub fn list(&self, prefix: &str) -> Snapshots {
        Snapshots::new(self, prefix)
    }
}

/// What became of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The snapshot where it was copied to.
    pub metadata: SnapshotMetadata,
    /// False if it was there already.
    pub is_new: bool,
}

/// How often a snapshot that is replaced while it is opened is opened anew.
const OPEN_ATTEMPTS: u32 = 3;

/// Stored bytes that are handed to a verifier at a time.
const STORED_CHUNK: u32 = 1 << 20;

fn metadata_sizes(metadata: &SnapshotMetadata) -> (u64, u64) {
    (metadata.uncompressed_size, metadata.stored_size)
}
