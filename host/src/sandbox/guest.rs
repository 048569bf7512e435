//! Runs instances of the component and calls into them.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Instant;

use persist_model::Permissions;
use persist_model::{ErrorCode, PersistError, Result};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::cancel::CancelToken;
use crate::sandbox::bindings::{Persist, snapshots as wit};
use crate::sandbox::budget::Share;
use crate::sandbox::errors::{from_guest, trapped};
use crate::sandbox::limits::Limits;
use crate::sandbox::runtime::Runtime;
use crate::sandbox::state::Sandbox;
use crate::storage::{ObjectInfo, StorageAdapter, StorageReader};

/// A running instance of the component.
pub(crate) struct Guest {
    store: Store<Sandbox>,
    bindings: Persist,
    runtime: Arc<Runtime>,
    storage: Arc<dyn StorageAdapter>,
    limits: Limits,
    cancel: CancelToken,
    /// Why the instance was stopped. After a trap it can't be entered again.
    dead: Option<PersistError>,
}

impl Guest {
    /// Starts an instance on this storage. Its memory is taken from this share.
    pub(crate) fn start(
        runtime: &Arc<Runtime>,
        storage: &Arc<dyn StorageAdapter>,
        limits: Limits,
        memory: Share,
        cancel: &CancelToken,
    ) -> Result<Self> {
        runtime.process.check()?;
        let mut store = Sandbox::store(&runtime.engine, Arc::clone(storage), limits, memory, cancel.clone())?;
        Sandbox::begin_call(&mut store);
        let running = runtime.clock.run();
        let bindings = runtime.component.instantiate(&mut store).map_err(trapped)?;
        drop(running);
        let (runtime, storage, cancel) = (Arc::clone(runtime), Arc::clone(storage), cancel.clone());
        Ok(Self { store, bindings, runtime, storage, limits, cancel, dead: None })
    }

    /// Returns the limits of this instance.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the token that cancels this instance's operation.
    pub(crate) fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// Takes over the reader that the component opened on the first `length` bytes of
    /// an object, if it did. The component's own reader is then at its end.
    pub(crate) fn take_reader(&mut self, length: u64) -> Option<Box<dyn StorageReader>> {
        self.store.data_mut().take_reader(length)
    }

    /// Returns whether the instance was stopped and can't be entered again.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    /// Fails if the operation was cancelled.
    pub(crate) fn check_cancel(&self) -> Result<()> {
        self.cancel.check()
    }

    /// Returns the storage that the instance uses.
    pub(crate) fn storage(&self) -> &dyn StorageAdapter {
        &*self.storage
    }

    /// Lets the component list exactly these objects, without asking the storage again.
    pub(crate) fn list_only(&mut self, objects: Vec<ObjectInfo>) {
        self.store.data_mut().list_only(objects);
    }

    /// Sets the permissions of files that the component writes.
    pub(crate) fn write_with(&mut self, permissions: Option<Permissions>) {
        self.store.data_mut().write_with(permissions);
    }

    /// Drops a resource of the component.
    pub(crate) fn drop_resource(&mut self, resource: ResourceAny) -> Result<()> {
        self.call(|_, store| resource.resource_drop(store).map(Ok))
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
        let running = self.runtime.clock.run();
        let outcome = call(&self.bindings, &mut self.store);
        drop(running);
        match outcome {
            Ok(result) => {
                let failed = self.store.data_mut().failed.take();
                result.map_err(|error| {
                    let error = from_guest(error, &*self.storage);
                    // The guest passes on what the storage said, and may say more.
                    let is_same = |failed: &PersistError| error.detail().message.contains(&failed.detail().message);
                    match failed.filter(is_same) {
                        Some(failed) => error.caused_as(&failed),
                        None => error,
                    }
                })
            }
            Err(trap) => {
                let error = trapped(trap);
                if error.code() != ErrorCode::Cancelled {
                    tracing::warn!(error = ?error.source().unwrap_or(&error), "the component was stopped");
                }
                self.dead = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// Logs one line for an operation: what, where, how much, how long.
pub(crate) fn log(operation: &str, location: &str, began: Instant, sizes: std::result::Result<(u64, u64), &PersistError>) {
    let ms = began.elapsed().as_millis();
    match sizes {
        Ok((state_bytes, stored_bytes)) => tracing::debug!(operation, location, state_bytes, stored_bytes, ms, "done"),
        Err(error) => tracing::debug!(operation, location, code = error.code().as_str(), %error, ms, "failed"),
    }
}
