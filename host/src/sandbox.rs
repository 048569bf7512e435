//! What a guest lives in: its limits, and the storage that it may use. One
//! [`Sandbox`] an operation, so that no two tenants' bytes are ever in the same
//! memory.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use crate::bindings::{ReaderHandle, StorageFailure, WriterHandle, storage as wit, types};
use crate::budget::Share;
use crate::cancel::{CancelToken, cancelled};
use crate::error::{ErrorCode, HINT, PersistError};
use crate::permissions::Permissions;
use crate::storage::{
    ByteRange, Capabilities, LevelEntry, MAX_READ, ObjectInfo, Precondition, ReadAnswer, ReadOptions, ReadRequest, StorageAdapter,
    StorageReader, WriteOptions,
};

/// What the component may import, by the interface's name without version:
/// its storage, and what Rust's standard library links anyway.
pub(crate) const ALLOWED_IMPORTS: [&str; 19] = [
    "persist:snapshot/storage",
    "persist:snapshot/types",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// The most bytes that one call of the guest may make the host copy. The
/// library in the guest writes at most 8 MiB at a time.
const MAX_COPY: usize = 16 << 20;

/// Writers and readers that a guest may hold at once; it needs one or two.
const MAX_HANDLES: usize = 64;

/// The most objects that a guest may list, read or delete in one call, by the
/// contract.
const MAX_LISTING: u32 = 1000;

/// How often the engine's clock ticks while a guest runs; deadlines are this exact.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// The limits of one guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) memory: usize,
    pub(crate) deadline: Duration,
}

impl Default for Limits {
    /// Memory enough for every snapshot within the format's limits: blocks of 8 MiB
    /// and the largest table, a few times over. A call works on a few megabytes:
    /// under a second everywhere but on the smallest machines.
    fn default() -> Self {
        Self { memory: 128 << 20, deadline: Duration::from_secs(30) }
    }
}

/// Why the host stopped a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stopped {
    Memory { wanted: usize, limit: usize },
    TotalMemory { limit: u64 },
    Deadline(Duration),
    Cancelled,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { wanted, limit } => write!(f, "the component wanted {wanted} bytes of memory, it may have {limit}"),
            Self::TotalMemory { limit } => write!(f, "all that is being written and read at once wanted more than {limit} bytes of memory"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Deadline(limit) => write!(f, "the component computed for more than {} s in one call", limit.as_secs_f64()),
        }
    }
}

impl std::error::Error for Stopped {}

/// Whether the system had no memory, or no addresses, for an instance.
fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        let of_system = cause.downcast_ref::<std::io::Error>().and_then(rustix::io::Errno::from_io_error);
        of_system.or_else(|| cause.downcast_ref::<rustix::io::Errno>().copied()) == Some(rustix::io::Errno::NOMEM)
    })
}

/// What the error of a call into the guest means.
pub(crate) fn trapped(error: &wasmtime::Error) -> PersistError {
    // What the storage said and the guest is not told.
    if let Some(told) = error.downcast_ref::<PersistError>() {
        return told.clone();
    }
    match error.downcast_ref::<Stopped>() {
        Some(stopped @ Stopped::Memory { .. }) => PersistError::new(ErrorCode::MemoryLimit, stopped.to_string())
            .hint("raise the engine's memory limit, as with PERSIST_MEMORY_LIMIT"),
        Some(stopped @ Stopped::TotalMemory { .. }) => PersistError::new(ErrorCode::LimitExceeded, stopped.to_string())
            .hint("finish or close some of it first, or raise the engine's total memory limit, as with PERSIST_TOTAL_MEMORY_LIMIT"),
        Some(stopped @ Stopped::Deadline(_)) => PersistError::new(ErrorCode::Deadline, stopped.to_string())
            .hint("raise the engine's deadline, as with PERSIST_DEADLINE, or use a faster codec or level"),
        Some(Stopped::Cancelled) => cancelled(),
        None if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
            let message = format!("{} snapshots are being written or read at once, and no more can be", crate::pool::MAX_INSTANCES);
            PersistError::new(ErrorCode::LimitExceeded, message).hint("finish or close some of them first")
        }
        None if is_out_of_memory(error) => {
            PersistError::new(ErrorCode::MemoryLimit, format!("the system has no memory for the component: {}", error.root_cause()))
                .hint("free some memory, or allow this process more of it, as with 'ulimit -v'")
        }
        None => {
            let cause = error.downcast_ref::<wasmtime::Trap>().map_or_else(|| error.root_cause().to_string(), ToString::to_string);
            PersistError::new(ErrorCode::Other, format!("the component failed: {cause}"))
        }
    }
}

/// Everything that belongs to one running guest.
pub(crate) struct Sandbox {
    storage: Arc<dyn StorageAdapter>,
    limits: Limits,
    memory: Share,
    cancel: CancelToken,
    table: ResourceTable,
    /// What the guest may list, where that is known already.
    listing: Option<Vec<ObjectInfo>>,
    /// What files that the guest writes get; see [`WriteOptions::permissions`].
    permissions: Option<Permissions>,
    /// The reader that was opened last, and of what.
    opened: Option<(u32, ByteRange)>,
    /// Whether a write was committed, or something deleted, in this call into the
    /// guest: the rest of it only says what came of that, and is not cancelled any
    /// more.
    has_changed: bool,
    /// When the call into the guest began, and how much of the time since then
    /// was spent in storage, which the deadline does not count.
    call_began: Instant,
    in_storage: Duration,
}

impl Sandbox {
    /// A store for one guest.
    pub(crate) fn store(
        engine: &wasmtime::Engine,
        storage: Arc<dyn StorageAdapter>,
        limits: Limits,
        memory: Share,
        cancel: CancelToken,
    ) -> Store<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let sandbox = Self {
            storage,
            limits,
            memory,
            cancel,
            table,
            listing: None,
            permissions: None,
            opened: None,
            has_changed: false,
            call_began: Instant::now(),
            in_storage: Duration::ZERO,
        };
        let mut store = Store::new(engine, sandbox);
        store.limiter(|sandbox| sandbox);
        store.set_hostcall_fuel(MAX_COPY);
        store.epoch_deadline_callback(|context| {
            let sandbox = context.data();
            if !sandbox.has_changed && sandbox.cancel.is_cancelled() {
                return Err(Stopped::Cancelled.into());
            }
            let computed = sandbox.call_began.elapsed().saturating_sub(sandbox.in_storage);
            if computed > sandbox.limits.deadline {
                return Err(Stopped::Deadline(sandbox.limits.deadline).into());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        store
    }

    /// Answers listings from these objects.
    pub(crate) fn list_only(&mut self, objects: Vec<ObjectInfo>) {
        self.listing = Some(objects);
    }

    /// Gives files that are written these permissions.
    pub(crate) fn write_with(&mut self, permissions: Option<Permissions>) {
        self.permissions = permissions;
    }

    /// Takes over the reader that was opened last, if it is of these first bytes
    /// of an object and was not given back.
    pub(crate) fn take_reader(&mut self, length: u64) -> Option<Box<dyn StorageReader>> {
        let (handle, range) = self.opened.take()?;
        if range != (ByteRange::Span { offset: 0, length }) {
            return None;
        }
        let reader = self.table.get_mut(&Resource::<ReaderHandle>::new_own(handle)).ok()?;
        let ended = Ended(reader.0.info().clone());
        Some(std::mem::replace(&mut reader.0, Box::new(ended)))
    }

    /// Starts the clock of a call into the guest.
    pub(crate) fn begin_call(store: &mut Store<Self>) {
        let sandbox = store.data_mut();
        sandbox.has_changed = false;
        sandbox.call_began = Instant::now();
        sandbox.in_storage = Duration::ZERO;
        store.set_epoch_deadline(1);
    }

    /// Does something in storage, on the storage's time.
    fn in_storage<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StorageFailure>) -> Result<T, StorageFailure> {
        self.cancel.check()?;
        let began = Instant::now();
        let done = work(self);
        self.in_storage += began.elapsed();
        done
    }
}

/// A reader that has nothing to give: its bytes go another way.
struct Ended(ObjectInfo);

impl StorageReader for Ended {
    fn info(&self) -> &ObjectInfo {
        &self.0
    }

    fn read(&mut self, _: u32) -> crate::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

impl ResourceLimiter for Sandbox {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.limits.memory {
            return Err(Stopped::Memory { wanted: desired, limit: self.limits.memory }.into());
        }
        if !self.memory.take(desired.saturating_sub(current) as u64) {
            return Err(Stopped::TotalMemory { limit: self.memory.budget().limit() }.into());
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.undo();
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Tables hold functions, and the guest has a few thousand.
        Ok(desired <= 100_000)
    }

    fn instances(&self) -> usize {
        32
    }

    /// One, so that the limit of a memory is that of the instance.
    fn memories(&self) -> usize {
        1
    }
}

/// The name under which a location passes through the guest, as a hint does
/// under [`HINT`].
const LOCATION: &str = "location";

fn to_guest(error: &PersistError) -> wit::Error {
    let detail = error.detail();
    let mut details = detail.facts.clone();
    details.extend(detail.location.clone().map(|location| (LOCATION.to_owned(), location)));
    details.extend(detail.hint.clone().map(|hint| (HINT.to_owned(), hint)));
    wit::Error { code: detail.code.into(), retryable: detail.retryable, key: None, message: detail.message.clone(), details }
}

/// The error that the guest reports, with what passed through it taken out again.
pub(crate) fn from_guest(error: wit::Error, storage: &dyn StorageAdapter) -> PersistError {
    let code = ErrorCode::from(error.code);
    let mut facts = error.details;
    let mut take = |name: &str| facts.iter().position(|(found, _)| found == name).map(|index| facts.remove(index).1);
    let (location, hint) = (take(LOCATION), take(HINT));
    let location = location.or_else(|| error.key.map(|key| storage.locate(&key)));
    let hint = hint.or_else(|| code.advice().map(str::to_owned));
    PersistError::from_detail(crate::error::ErrorDetail { code, message: error.message, location, retryable: error.retryable, hint, facts })
}

impl From<ObjectInfo> for wit::ObjectInfo {
    fn from(info: ObjectInfo) -> Self {
        let ObjectInfo { key, size, etag, modified, content_type, attributes, storage_time } = info;
        Self { key, size, etag, modified, content_type, attributes, storage_time }
    }
}

impl From<wit::ByteRange> for ByteRange {
    fn from(range: wit::ByteRange) -> Self {
        match range {
            wit::ByteRange::All => Self::All,
            wit::ByteRange::Span(span) => Self::Span { offset: span.offset, length: span.length },
            wit::ByteRange::Suffix(length) => Self::Suffix(length),
        }
    }
}

impl From<wit::Precondition> for Precondition {
    fn from(precondition: wit::Precondition) -> Self {
        match precondition {
            wit::Precondition::None => Self::None,
            wit::Precondition::IfAbsent => Self::IfAbsent,
            wit::Precondition::IfMatch(etag) => Self::IfMatch(etag),
        }
    }
}

/// What a call asks for in one go, by the contract.
fn within_limit(count: usize, what: &str) -> Result<(), PersistError> {
    if count <= MAX_LISTING as usize {
        return Ok(());
    }
    Err(PersistError::new(ErrorCode::LimitExceeded, format!("{count} {what} in one call are more than the {MAX_LISTING} that are allowed")))
}

/// The length of a page, by the contract: the host would hold all of it.
fn check_page(limit: u32) -> Result<(), PersistError> {
    if (1..=MAX_LISTING).contains(&limit) {
        return Ok(());
    }
    Err(PersistError::new(ErrorCode::InvalidArgument, format!("a listing has 1 to {MAX_LISTING} entries at a time, not {limit}")))
}

impl wit::Host for Sandbox {
    fn capabilities(&mut self) -> wasmtime::Result<wit::CapabilitySet> {
        use wit::CapabilitySet as Flag;
        let Capabilities { if_absent, if_match, copy_range, content_type, attributes, storage_time } = self.storage.capabilities();
        let claimed = [
            (if_absent, Flag::IF_ABSENT),
            (if_match, Flag::IF_MATCH),
            (copy_range, Flag::COPY_RANGE),
            (content_type, Flag::CONTENT_TYPE),
            (attributes, Flag::ATTRIBUTES),
            (storage_time, Flag::STORAGE_TIME),
            // Every adapter can, at least one by one.
            (true, Flag::READ_MANY | Flag::DELETE_MANY | Flag::LIST_LEVEL),
        ];
        Ok(claimed.into_iter().filter(|(is_claimed, _)| *is_claimed).fold(Flag::empty(), |flags, (_, flag)| flags | flag))
    }

    fn open_write(&mut self, key: String, options: wit::WriteOptions) -> Result<Resource<WriterHandle>, StorageFailure> {
        let options = WriteOptions {
            precondition: options.precondition.into(),
            object_size_hint: options.object_size_hint,
            content_type: options.content_type,
            attributes: options.attributes,
            permissions: self.permissions,
            ..WriteOptions::default()
        };
        let writer = self.in_storage(|sandbox| Ok(sandbox.storage.open_write(&key, options)?))?;
        Ok(self.table.push(WriterHandle(writer))?)
    }

    fn open_read(&mut self, key: String, options: wit::ReadOptions) -> Result<Resource<ReaderHandle>, StorageFailure> {
        let range = options.range.into();
        let options = ReadOptions { range, if_match: options.if_match };
        let reader = self.in_storage(|sandbox| Ok(sandbox.storage.open_read(&key, options)?))?;
        let handle = self.table.push(ReaderHandle(reader))?;
        self.opened = Some((handle.rep(), range));
        Ok(handle)
    }

    fn stat(&mut self, key: String) -> Result<wit::ObjectInfo, StorageFailure> {
        self.in_storage(|sandbox| Ok(sandbox.storage.stat(&key)?)).map(wit::ObjectInfo::from)
    }

    fn delete(&mut self, key: String, precondition: wit::Precondition) -> Result<(), StorageFailure> {
        let deleted = self.in_storage(|sandbox| Ok(sandbox.storage.delete_object(&key, precondition.into())?));
        self.has_changed = true;
        deleted
    }

    fn read_many(&mut self, requests: Vec<wit::ReadRequest>) -> Result<Vec<Result<wit::ReadAnswer, wit::Error>>, StorageFailure> {
        within_limit(requests.len(), "reads")?;
        let requests: Vec<ReadRequest> = requests
            .into_iter()
            .map(|request| ReadRequest { key: request.key, range: request.range.into(), if_match: request.if_match })
            .collect();
        let mut wanted = 0_u64;
        for request in &requests {
            wanted = wanted.saturating_add(match request.range {
                ByteRange::Span { length, .. } | ByteRange::Suffix(length) => length,
                ByteRange::All => {
                    let message = "a read of many objects has to say how many bytes it wants at most";
                    return Err(PersistError::new(ErrorCode::InvalidArgument, message).into());
                }
            });
        }
        if wanted > u64::from(MAX_READ) {
            let message = format!("reads of {wanted} bytes in one call are more than the {MAX_READ} that are allowed");
            return Err(PersistError::new(ErrorCode::LimitExceeded, message).into());
        }
        let answers = self.in_storage(|sandbox| Ok(sandbox.storage.read_many(&requests)?))?;
        Ok(answers
            .into_iter()
            .map(|answer| {
                answer.map(|ReadAnswer { info, bytes }| wit::ReadAnswer { info: info.into(), bytes }).map_err(|error| to_guest(&error))
            })
            .collect())
    }

    fn delete_many(&mut self, keys: Vec<String>) -> Result<Vec<wit::DeleteFailure>, StorageFailure> {
        within_limit(keys.len(), "deletes")?;
        let failures = self.in_storage(|sandbox| Ok(sandbox.storage.delete_many(&keys)?));
        self.has_changed = true;
        Ok(failures?.into_iter().map(|failure| wit::DeleteFailure { key: failure.key, error: to_guest(&failure.error) }).collect())
    }

    fn list_level(&mut self, prefix: String, start_after: Option<String>, limit: u32) -> Result<Vec<wit::LevelEntry>, StorageFailure> {
        check_page(limit)?;
        let found = self.in_storage(|sandbox| Ok(sandbox.storage.list_level(&prefix, start_after.as_deref(), limit)?))?;
        Ok(found
            .into_iter()
            .map(|entry| match entry {
                LevelEntry::Object(info) => wit::LevelEntry::Object(info.into()),
                LevelEntry::Prefix(prefix) => wit::LevelEntry::Prefix(prefix),
            })
            .collect())
    }

    fn list_objects(&mut self, prefix: String, start_after: Option<String>, limit: u32) -> Result<Vec<wit::ObjectInfo>, StorageFailure> {
        check_page(limit)?;
        if let Some(objects) = &self.listing {
            let is_wanted =
                |info: &&ObjectInfo| info.key.starts_with(&prefix) && start_after.as_ref().is_none_or(|after| info.key > *after);
            return Ok(objects.iter().filter(is_wanted).take(limit as usize).cloned().map(wit::ObjectInfo::from).collect());
        }
        let found = self.in_storage(|sandbox| Ok(sandbox.storage.list_objects(&prefix, start_after.as_deref(), limit)?))?;
        Ok(found.into_iter().map(wit::ObjectInfo::from).collect())
    }
}

impl types::Host for Sandbox {
    fn convert_error(&mut self, failure: StorageFailure) -> wasmtime::Result<wit::Error> {
        match failure {
            StorageFailure::Storage(error) => Ok(to_guest(&error)),
            StorageFailure::Trap(trap) => Err(trap),
        }
    }
}

impl wit::HostWriter for Sandbox {
    fn write(&mut self, handle: Resource<WriterHandle>, chunk: Vec<u8>) -> Result<(), StorageFailure> {
        self.in_storage(|sandbox| Ok(sandbox.table.get_mut(&handle)?.0.write(&chunk)?))
    }

    fn copy_range(
        &mut self,
        handle: Resource<WriterHandle>,
        source: String,
        span: wit::Span,
        if_match: Option<String>,
    ) -> Result<(), StorageFailure> {
        self.in_storage(|sandbox| {
            let writer = sandbox.table.get_mut(&handle)?;
            Ok(writer.0.copy_range(&source, span.offset, span.length, if_match.as_deref())?)
        })
    }

    fn commit(&mut self, handle: Resource<WriterHandle>) -> Result<wit::ObjectInfo, StorageFailure> {
        let writer = self.table.delete(handle)?;
        let committed = self.in_storage(|_| Ok(writer.0.commit()?));
        self.has_changed = true;
        committed.map(wit::ObjectInfo::from)
    }

    fn drop(&mut self, handle: Resource<WriterHandle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl wit::HostReader for Sandbox {
    fn info(&mut self, handle: Resource<ReaderHandle>) -> wasmtime::Result<wit::ObjectInfo> {
        Ok(self.table.get(&handle)?.0.info().clone().into())
    }

    fn read(&mut self, handle: Resource<ReaderHandle>, max: u32) -> Result<Vec<u8>, StorageFailure> {
        if max == 0 {
            return Ok(Vec::new());
        }
        self.in_storage(|sandbox| Ok(sandbox.table.get_mut(&handle)?.0.read(max)?))
    }

    fn drop(&mut self, handle: Resource<ReaderHandle>) -> wasmtime::Result<()> {
        self.opened = self.opened.filter(|(opened, _)| *opened != handle.rep());
        self.table.delete(handle)?;
        Ok(())
    }
}
