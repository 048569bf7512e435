//! The component `storage-fs` in a host that only knows WASI and records its calls to the
//! file system.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use wasmtime::component::{Component, Linker, Resource, ResourceAny, ResourceTable};
use wasmtime::{Engine, Store, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{HostDescriptor as _, PathFlags};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use self::bindings::StorageProvider;
use self::bindings::exports::persist::snapshot::storage as wit;
use crate::{built, precompiled};

pub use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode as Os;

#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod bindings {
    wasmtime::component::bindgen!({ path: "../../wit", world: "storage-provider" });
}

/// The data of the store.
pub struct Wasi {
    table: ResourceTable,
    ctx: WasiCtx,
    /// The recorded calls of the write protocol.
    calls: Vec<&'static str>,
    /// The call that fails, and how.
    fault: Option<(&'static str, Os)>,
    /// How often a folder was read, and the number of the first read that fails, if any
    /// does.
    lists: usize,
    fails_from: usize,
}

impl Wasi {
    /// Records a call and makes it, unless it is set to fail.
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

/// Records the calls of the write protocol.
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

pub const SYNC_FILE: &str = "sync file";
pub const SYNC_FOLDER: &str = "sync folder";
pub const RENAME: &str = "rename";
pub const LINK: &str = "link";
pub const LIST: &str = "list";

/// The folder of the keys, relative to the folder that the component is given.
pub const ROOT: &str = "new/folder";

impl WasiView for Wasi {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// The environment variable with the path of the component, if another process of the
/// test has built it.
pub const BUILT: &str = "PERSIST_TEST_STORAGE_FS";

/// Returns the path of the component, which is built if necessary.
pub fn built() -> PathBuf {
    if let Some(built) = std::env::var_os(BUILT) {
        return built.into();
    }
    built::library("persist-storage-fs")
}

static COMPILED: LazyLock<(Engine, Component)> = LazyLock::new(|| {
    let engine = Engine::new(&precompiled::settings()).unwrap();
    let compiled = precompiled::precompiled(&std::fs::read(built()).expect("it is there"));
    // SAFETY: it was compiled by this build, just now or earlier.
    let component = unsafe { Component::deserialize(&engine, compiled) }.unwrap();
    (engine, component)
});

struct Instance {
    store: Store<Wasi>,
    provider: StorageProvider,
}

/// Files in a folder, accessed through the component.
#[derive(Clone)]
pub struct WasiFiles(Arc<Mutex<Instance>>);

impl WasiFiles {
    pub fn new(folder: &Path) -> Self {
        let (engine, component) = &*COMPILED;
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
        note_calls(&mut linker).unwrap();
        let mut ctx = WasiCtx::builder();
        // It does not exist yet: the first write creates it.
        ctx.env("PERSIST_LOCAL_PATH", format!("/files/{ROOT}"));
        ctx.preopened_dir(folder, "/files", FsPerms::ReadWrite).unwrap();
        let mut store = Store::new(
            engine,
            Wasi { table: ResourceTable::new(), ctx: ctx.build(), calls: Vec::new(), fault: None, lists: 0, fails_from: 0 },
        );
        // Epochs never advance.
        store.set_epoch_deadline(1);
        let provider = StorageProvider::instantiate(&mut store, component, &linker).unwrap();
        Self(Arc::new(Mutex::new(Instance { store, provider })))
    }

    /// Returns the calls recorded since the last time.
    pub fn take_calls(&self) -> Vec<&'static str> {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut instance.store.data_mut().calls)
    }

    /// Returns how often a folder was read since the last time.
    pub fn take_lists(&self) -> usize {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut instance.store.data_mut().lists)
    }

    /// Makes reading a folder fail after this many more reads.
    pub fn close_after(&self, reads: usize, os: Os) {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wasi = instance.store.data_mut();
        (wasi.lists, wasi.fails_from, wasi.fault) = (0, reads + 1, Some((LIST, os)));
    }

    /// From now on, makes a call fail.
    pub fn inject(&self, fault: Option<(&'static str, Os)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).store.data_mut().fault = fault;
    }

    /// Calls the component.
    pub fn call<T>(&self, call: impl FnOnce(&wit::Guest, &mut Store<Wasi>) -> wasmtime::Result<T>) -> T {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Instance { store, provider } = &mut *instance;
        call(provider.persist_snapshot_storage(), store).expect("the component does not trap")
    }

    /// Drops a writer or a reader.
    pub fn drop_handle(&self, handle: ResourceAny) {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handle.resource_drop(&mut instance.store).expect("it can be dropped");
    }
}
