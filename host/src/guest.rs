//! Running instances of the component, and calls into them.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::Store;

use crate::bindings::{Persist, snapshots as wit};
use crate::budget::{Budget, Share};
use crate::builder::EngineBuilder;
use crate::cancel::CancelToken;
use crate::crew::Crew;
use crate::error::{ErrorCode, PersistError, Result};
use crate::parallel::{Permits, Workers};
use crate::permissions::Permissions;
use crate::process::Process;
use crate::runtime::Runtime;
use crate::sandbox::{self, Limits, Sandbox};
use crate::storage::{MemoryStorage, ObjectInfo, StorageAdapter, StorageReader};

/// What all operations of an engine share.
pub(crate) struct Shared {
    pub(crate) runtime: Arc<Runtime>,
    /// What this was built from.
    pub(crate) builder: EngineBuilder,
    /// For the workers of all operations, and their threads.
    pub(crate) permits: Arc<Permits>,
    pub(crate) crew: Arc<Crew>,
    /// The memory of all instances.
    pub(crate) budget: Arc<Budget>,
    pub(crate) process: Process,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.process.is_this() {
            self.crew.close();
        }
    }
}

/// A running instance of the component.
pub(crate) struct Guest {
    store: Store<Sandbox>,
    bindings: Persist,
    shared: Arc<Shared>,
    storage: Arc<dyn StorageAdapter>,
    limits: Limits,
    cancel: CancelToken,
    /// After a trap an instance can't be entered again.
    dead: Option<PersistError>,
}

impl Guest {
    /// A fresh instance on this storage.
    pub(crate) fn start(shared: &Arc<Shared>, storage: &Arc<dyn StorageAdapter>, limits: Limits, cancel: &CancelToken) -> Result<Self> {
        Self::start_with(shared, storage, limits, Share::new(&shared.budget, 0), cancel)
    }

    /// A fresh instance for a worker, which works on bytes that it is handed and
    /// reaches no storage. It leaves memory for an operation.
    pub(crate) fn for_worker(shared: &Arc<Shared>, limits: Limits, stop: &CancelToken) -> Result<Self> {
        let nowhere: Arc<dyn StorageAdapter> = Arc::new(MemoryStorage::new());
        Self::start_with(shared, &nowhere, limits, Share::new(&shared.budget, limits.memory as u64), stop)
    }

    fn start_with(
        shared: &Arc<Shared>,
        storage: &Arc<dyn StorageAdapter>,
        limits: Limits,
        memory: Share,
        cancel: &CancelToken,
    ) -> Result<Self> {
        shared.process.check()?;
        let mut store = Sandbox::store(&shared.runtime.engine, Arc::clone(storage), limits, memory, cancel.clone());
        Sandbox::begin_call(&mut store);
        let running = shared.runtime.clock.run();
        let bindings = shared.runtime.component.instantiate(&mut store).map_err(|error| sandbox::trapped(&error))?;
        drop(running);
        let (shared, storage, cancel) = (Arc::clone(shared), Arc::clone(storage), cancel.clone());
        Ok(Self { store, bindings, shared, storage, limits, cancel, dead: None })
    }

    /// Workers for the operation of this instance, at most so many; none if the
    /// engine has none left.
    pub(crate) fn workers<I: Send + 'static, O: Send + 'static>(
        &self,
        most: usize,
        work: fn(&mut Self, &I) -> Result<O>,
    ) -> Option<Workers<I, O>> {
        Workers::start(&self.shared, self.limits, &self.cancel, most, work)
    }

    /// Takes over the reader that the component has opened of these first bytes
    /// of an object, if it has; the component's own is at its end then.
    pub(crate) fn take_reader(&mut self, length: u64) -> Option<Box<dyn StorageReader>> {
        self.store.data_mut().take_reader(length)
    }

    /// Whether it was stopped, and can't be entered again.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    /// Fails once the operation was cancelled.
    pub(crate) fn check_cancel(&self) -> Result<()> {
        self.cancel.check()
    }

    /// The storage that the instance uses.
    pub(crate) fn storage(&self) -> &dyn StorageAdapter {
        &*self.storage
    }

    /// Lets the component list these objects, and no other, without asking the
    /// storage again.
    pub(crate) fn list_only(&mut self, objects: Vec<ObjectInfo>) {
        self.store.data_mut().list_only(objects);
    }

    /// Gives files that the component writes these permissions.
    pub(crate) fn write_with(&mut self, permissions: Option<Permissions>) {
        self.store.data_mut().write_with(permissions);
    }

    /// Calls into the component.
    pub(crate) fn call<T>(
        &mut self,
        call: impl FnOnce(&Persist, &mut Store<Sandbox>) -> wasmtime::Result<std::result::Result<T, wit::Error>>,
    ) -> Result<T> {
        if let Some(error) = &self.dead {
            return Err(error.clone());
        }
        Sandbox::begin_call(&mut self.store);
        let running = self.shared.runtime.clock.run();
        let outcome = call(&self.bindings, &mut self.store);
        drop(running);
        match outcome {
            Ok(result) => result.map_err(|error| sandbox::from_guest(error, &*self.storage)),
            Err(trap) => {
                let error = sandbox::trapped(&trap);
                if error.code() != ErrorCode::Cancelled {
                    tracing::warn!(error = ?trap, "the component was stopped");
                }
                self.dead = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// One line for one operation: what, where, how much, how long.
pub(crate) fn log(operation: &str, location: &str, began: Instant, sizes: std::result::Result<(u64, u64), &PersistError>) {
    let ms = began.elapsed().as_millis();
    match sizes {
        Ok((state_bytes, stored_bytes)) => tracing::debug!(operation, location, state_bytes, stored_bytes, ms, "done"),
        Err(error) => tracing::debug!(operation, location, code = error.code().as_str(), %error, ms, "failed"),
    }
}
