//! The component `storage-fs` in a host that knows WASI alone, and notes what it
//! asks of files. Who includes this has the bindings: in `super::bindings`, of
//! the world `storage-provider`.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use wasmtime::component::{Component, Linker, Resource, ResourceAny, ResourceTable};
use wasmtime::{Engine, Store, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{HostDescriptor as _, PathFlags};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

pub(crate) use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode as Os;

use super::bindings::StorageProvider;
use super::bindings::exports::persist::snapshot::storage as wit;

#[path = "precompiled.rs"]
mod precompiled;

/// The store's own.
pub(crate) struct Wasi {
    table: ResourceTable,
    ctx: WasiCtx,
    /// What was asked of the host since it was last looked at, of what the
    /// protocol of a write is made of.
    calls: Vec<&'static str>,
    /// The call that fails, and how.
    fault: Option<(&'static str, Os)>,
    /// How often a folder was read, and from which time on that fails, if it does.
    lists: usize,
    fails_from: usize,
}

impl Wasi {
    /// Does a call, unless it is to fail.
    fn noted(&mut self, call: &'static str, work: impl FnOnce(&mut Self) -> Result<(), FsError>) -> wasmtime::Result<(Result<(), Os>,)> {
        self.calls.push(call);
        match self.fault {
            Some((faulty, os)) if faulty == call => Ok((Err(os),)),
            _ => Ok((match work(self) {
                Ok(()) => Ok(()),
                Err(error) => Err(error.downcast()?),
            },)),
        }
    }
}

/// The calls that a write is made of, noted before they are done.
fn note_calls(linker: &mut Linker<Wasi>) -> wasmtime::Result<()> {
    type Fd = Resource<Descriptor>;
    let mut types = linker.allow_shadowing(true).instance("wasi:filesystem/types@0.2.12")?;
    types.func_wrap("[method]descriptor.sync", |mut store: StoreContextMut<'_, Wasi>, (fd,): (Fd,)| {
        let wasi = store.data_mut();
        let call = if matches!(wasi.table.get(&fd)?, Descriptor::File(_)) { SYNC_FILE } else { SYNC_FOLDER };
        wasi.noted(call, |wasi| wasi.filesystem().sync(fd))
    })?;
    types.func_wrap(
        "[method]descriptor.rename-at",
        |mut store: StoreContextMut<'_, Wasi>, (from, old, to, new): (Fd, String, Fd, String)| {
            store.data_mut().noted(RENAME, |wasi| wasi.filesystem().rename_at(from, old, to, new))
        },
    )?;
    types.func_wrap("[method]descriptor.read-directory", |mut store: StoreContextMut<'_, Wasi>, (fd,): (Fd,)| {
        let wasi = store.data_mut();
        wasi.lists += 1;
        Ok((match wasi.fault {
            Some((LIST, os)) if wasi.lists >= wasi.fails_from => Err(os),
            _ => match wasi.filesystem().read_directory(fd) {
                Ok(entries) => Ok(entries),
                Err(error) => Err(error.downcast()?),
            },
        },))
    })?;
    type Link = (Fd, PathFlags, String, Fd, String);
    types.func_wrap("[method]descriptor.link-at", |mut store: StoreContextMut<'_, Wasi>, (from, flags, old, to, new): Link| {
        store.data_mut().noted(LINK, |wasi| wasi.filesystem().link_at(from, flags, old, to, new))
    })
}

pub(crate) const SYNC_FILE: &str = "sync file";
pub(crate) const SYNC_FOLDER: &str = "sync folder";
pub(crate) const RENAME: &str = "rename";
pub(crate) const LINK: &str = "link";
pub(crate) const LIST: &str = "list";

/// Where keys are in the folder that the component is given.
pub(crate) const ROOT: &str = "new/folder";

impl WasiView for Wasi {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// Says where the component is that another process of a test has built.
pub(crate) const BUILT: &str = "PERSIST_TEST_STORAGE_FS";

/// The component, built if need be.
pub(crate) fn built() -> PathBuf {
    if let Some(built) = std::env::var_os(BUILT) {
        return built.into();
    }
    precompiled::built::library("persist-storage-fs")
}

static COMPILED: LazyLock<(Engine, Component)> = LazyLock::new(|| {
    let engine = Engine::new(&precompiled::settings()).unwrap();
    let compiled = precompiled::precompiled(&std::fs::read(built()).expect("it is there"));
    // SAFETY: it was compiled just now, or in a folder of this build.
    let component = unsafe { Component::deserialize(&engine, compiled) }.unwrap();
    (engine, component)
});

struct Instance {
    store: Store<Wasi>,
    provider: StorageProvider,
}

/// Files below a folder that is given to the component, and to nothing else.
#[derive(Clone)]
pub(crate) struct WasiFiles(Arc<Mutex<Instance>>);

impl WasiFiles {
    pub(crate) fn new(folder: &Path) -> Self {
        let (engine, component) = &*COMPILED;
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
        note_calls(&mut linker).unwrap();
        let mut ctx = WasiCtx::builder();
        // Not there yet: the first write makes it.
        ctx.env("PERSIST_LOCAL_PATH", format!("/files/{ROOT}"));
        ctx.preopened_dir(folder, "/files", FsPerms::ReadWrite).unwrap();
        let mut store = Store::new(
            engine,
            Wasi { table: ResourceTable::new(), ctx: ctx.build(), calls: Vec::new(), fault: None, lists: 0, fails_from: 0 },
        );
        // Nobody makes epochs.
        store.set_epoch_deadline(1);
        let provider = StorageProvider::instantiate(&mut store, component, &linker).unwrap();
        Self(Arc::new(Mutex::new(Instance { store, provider })))
    }

    /// What was asked of the host since the last time.
    pub(crate) fn take_calls(&self) -> Vec<&'static str> {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut instance.store.data_mut().calls)
    }

    /// How often a folder was read since the last time.
    pub(crate) fn take_lists(&self) -> usize {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut instance.store.data_mut().lists)
    }

    /// The next time but so many that a folder is read, and from then on, it fails.
    pub(crate) fn close_after(&self, reads: usize, os: Os) {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wasi = instance.store.data_mut();
        (wasi.lists, wasi.fails_from, wasi.fault) = (0, reads + 1, Some((LIST, os)));
    }

    /// From now on, this call fails like this.
    pub(crate) fn inject(&self, fault: Option<(&'static str, Os)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).store.data_mut().fault = fault;
    }

    /// Calls the component.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&wit::Guest, &mut Store<Wasi>) -> wasmtime::Result<T>) -> T {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Instance { store, provider } = &mut *instance;
        call(provider.persist_snapshot_storage(), store).expect("the component does not trap")
    }

    /// Gives a writer or a reader back.
    pub(crate) fn drop_handle(&self, handle: ResourceAny) {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handle.resource_drop(&mut instance.store).expect("it can be dropped");
    }
}
