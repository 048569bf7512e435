//! The state of a guest in the host: its limits and its storage. Each operation has its
//! own [`Sandbox`], so the bytes of two tenants are never in the same memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use persist_model::{Permissions, PersistError, Result};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::cancel::CancelToken;
use crate::sandbox::bindings::{ReaderHandle, StorageFailure};
use crate::sandbox::budget::Share;
use crate::sandbox::errors::Stopped;
use crate::sandbox::limits::Limits;
use crate::sandbox::wasi;
use crate::storage::{ByteRange, ObjectInfo, StorageAdapter, StorageReader};

/// The most bytes that one call of the guest may make the host copy. The guest's
/// library writes at most 8 MiB at a time.
const MAX_COPY: usize = 16 << 20;

/// Writers and readers that a guest may hold at once. It needs one or two.
const MAX_HANDLES: usize = 64;

/// Everything that belongs to one running guest.
pub(crate) struct Sandbox {
    pub(super) storage: Arc<dyn StorageAdapter>,
    limits: Limits,
    memory: Share,
    cancel: CancelToken,
    pub(super) table: ResourceTable,
    wasi: WasiCtx,
    /// The objects that the guest may list, if they are already known.
    pub(super) listing: Option<Vec<ObjectInfo>>,
    /// The permissions of files that the guest writes; see
    /// [`WriteOptions::permissions`](crate::WriteOptions::permissions).
    pub(super) permissions: Option<Permissions>,
    /// The reader that was opened last, and its range.
    pub(super) opened: Option<(u32, ByteRange)>,
    /// The last error of the storage that this call into the guest was told.
    pub(super) failed: Option<PersistError>,
    /// Whether this call into the guest committed a write or deleted something. The
    /// rest of the call only reports the outcome and is no longer cancelled.
    pub(super) has_changed: bool,
    /// When the call into the guest began, and how much time since then was spent in
    /// storage, which does not count towards the deadline.
    call_began: Instant,
    in_storage: Duration,
}

impl Sandbox {
    /// Makes a store for one guest.
    ///
    /// # Errors
    /// As [`wasi::context`].
    pub(crate) fn store(
        engine: &wasmtime::Engine,
        storage: Arc<dyn StorageAdapter>,
        limits: Limits,
        memory: Share,
        cancel: CancelToken,
    ) -> Result<Store<Self>> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let sandbox = Self {
            storage,
            limits,
            memory,
            cancel,
            table,
            wasi: wasi::context()?,
            listing: None,
            permissions: None,
            opened: None,
            failed: None,
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
        Ok(store)
    }

    /// Answers listings from these objects.
    pub(crate) fn list_only(&mut self, objects: Vec<ObjectInfo>) {
        self.listing = Some(objects);
    }

    /// Sets the permissions of files that are written.
    pub(crate) fn write_with(&mut self, permissions: Option<Permissions>) {
        self.permissions = permissions;
    }

    /// Takes over the reader that was opened last, if it is still open and reads the
    /// first `length` bytes of an object.
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
        sandbox.failed = None;
        sandbox.has_changed = false;
        sandbox.call_began = Instant::now();
        sandbox.in_storage = Duration::ZERO;
        store.set_epoch_deadline(1);
    }

    /// Does work in storage. Its time does not count towards the deadline.
    pub(super) fn in_storage<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> std::result::Result<T, StorageFailure>,
    ) -> std::result::Result<T, StorageFailure> {
        self.cancel.check()?;
        let began = Instant::now();
        let done = work(self);
        self.in_storage += began.elapsed();
        done
    }
}

/// A reader at its end. Its bytes are read by the host.
struct Ended(ObjectInfo);

impl StorageReader for Ended {
    fn info(&self) -> &ObjectInfo {
        &self.0
    }

    fn read(&mut self, _: u32) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

impl WasiView for Sandbox {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
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

    /// One, so that the limit of a memory is the limit of the instance.
    fn memories(&self) -> usize {
        1
    }
}
