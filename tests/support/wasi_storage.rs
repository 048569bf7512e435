//! The component `storage-fs` as a storage: what a host that knows WASI alone has.

#![allow(dead_code, reason = "each test uses a part")]

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use persist_host::{
    ByteRange, Conditions, ErrorCode, ObjectInfo, PersistError, Precondition, ReadOptions, Result, StorageAdapter, StorageReader,
    StorageWriter, WriteOptions,
};
use wasmtime::component::{Component, Linker, Resource, ResourceAny, ResourceTable};
use wasmtime::{Config, Engine, Store, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{HostDescriptor as _, PathFlags};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

pub(crate) use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode as Os;

#[path = "../../xtask/src/component.rs"]
mod component;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({ path: "../wit", world: "storage-provider" });
}

use bindings::exports::persist::snapshot::storage as wit;

struct Wasi {
    table: ResourceTable,
    ctx: WasiCtx,
    /// What was asked of the host since it was last looked at, of what the
    /// protocol of a write is made of.
    calls: Vec<&'static str>,
    /// The call that fails, and how.
    fault: Option<(&'static str, Os)>,
}

impl Wasi {
    /// Does a call, unless it is to fail.
    fn noted(
        &mut self,
        call: &'static str,
        work: impl FnOnce(&mut Self) -> std::result::Result<(), FsError>,
    ) -> wasmtime::Result<(std::result::Result<(), Os>,)> {
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
    type Link = (Fd, PathFlags, String, Fd, String);
    types.func_wrap("[method]descriptor.link-at", |mut store: StoreContextMut<'_, Wasi>, (from, flags, old, to, new): Link| {
        store.data_mut().noted(LINK, |wasi| wasi.filesystem().link_at(from, flags, old, to, new))
    })
}

pub(crate) const SYNC_FILE: &str = "sync file";
pub(crate) const SYNC_FOLDER: &str = "sync folder";
pub(crate) const RENAME: &str = "rename";
pub(crate) const LINK: &str = "link";

impl WasiView for Wasi {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// Compiled once for a process.
static COMPILED: LazyLock<(Engine, Component)> = LazyLock::new(|| {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("components");
    let built = component::build_package(workspace, "persist-storage-fs", &target).expect("it builds");
    let engine = Engine::new(&Config::new()).unwrap();
    let component = Component::from_file(&engine, built).unwrap();
    (engine, component)
});

struct Instance {
    store: Store<Wasi>,
    provider: bindings::StorageProvider,
}

/// Files below a folder that is given to the component, and to nothing else.
#[derive(Clone)]
pub(crate) struct WasiStorage(Arc<Mutex<Instance>>);

impl fmt::Debug for WasiStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WasiStorage")
    }
}

impl WasiStorage {
    pub(crate) fn new(folder: &Path) -> Self {
        let (engine, component) = &*COMPILED;
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
        note_calls(&mut linker).unwrap();
        let mut ctx = WasiCtx::builder();
        // Not there yet: the first write makes it.
        ctx.env("PERSIST_LOCAL_PATH", format!("/files/{ROOT}"));
        ctx.preopened_dir(folder, "/files", FsPerms::ReadWrite).unwrap();
        let mut store = Store::new(engine, Wasi { table: ResourceTable::new(), ctx: ctx.build(), calls: Vec::new(), fault: None });
        let provider = bindings::StorageProvider::instantiate(&mut store, component, &linker).unwrap();
        Self(Arc::new(Mutex::new(Instance { store, provider })))
    }

    /// What was asked of the host since the last time.
    pub(crate) fn take_calls(&self) -> Vec<&'static str> {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut instance.store.data_mut().calls)
    }

    /// From now on, this call fails like this.
    pub(crate) fn inject(&self, fault: Option<(&'static str, Os)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).store.data_mut().fault = fault;
    }

    fn call<T>(
        &self,
        key: &str,
        call: impl FnOnce(&wit::Guest, &mut Store<Wasi>) -> wasmtime::Result<std::result::Result<T, wit::Error>>,
    ) -> Result<T> {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Instance { store, provider } = &mut *instance;
        let outcome = call(provider.persist_snapshot_storage(), store).expect("the component does not trap");
        outcome.map_err(|error| PersistError::new(code(error.code), error.message).at(self.locate(key)))
    }
}

fn code(code: wit::ErrorCode) -> ErrorCode {
    use wit::ErrorCode as From;
    match code {
        From::NotFound => ErrorCode::NotFound,
        From::AlreadyExists => ErrorCode::AlreadyExists,
        From::PreconditionFailed => ErrorCode::PreconditionFailed,
        From::AccessDenied => ErrorCode::AccessDenied,
        From::Credentials => ErrorCode::Credentials,
        From::NoSuchBucket => ErrorCode::NoSuchBucket,
        From::InvalidKey => ErrorCode::InvalidKey,
        From::Unavailable => ErrorCode::Unavailable,
        From::Timeout => ErrorCode::Timeout,
        From::NoSpace => ErrorCode::NoSpace,
        From::Unsupported => ErrorCode::Unsupported,
        From::Io => ErrorCode::Io,
        From::Other => ErrorCode::Other,
    }
}

fn info(info: wit::ObjectInfo) -> ObjectInfo {
    ObjectInfo { key: info.key, size: info.size, etag: info.etag, modified: info.modified }
}

fn precondition(precondition: Precondition) -> wit::Precondition {
    match precondition {
        Precondition::None => wit::Precondition::None,
        Precondition::IfAbsent => wit::Precondition::IfAbsent,
        Precondition::IfMatch(etag) => wit::Precondition::IfMatch(etag),
    }
}

impl StorageAdapter for WasiStorage {
    fn summary(&self) -> String {
        "files by way of WASI".to_owned()
    }

    fn locate(&self, key: &str) -> String {
        format!("/files/new/folder/{key}")
    }

    fn supported_conditions(&self) -> Conditions {
        let conditions = self.call("", |storage, store| storage.call_supported_conditions(store).map(Ok)).unwrap();
        Conditions { if_absent: conditions.contains(wit::Conditions::IF_ABSENT), if_match: conditions.contains(wit::Conditions::IF_MATCH) }
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        let options = wit::WriteOptions {
            precondition: precondition(options.precondition),
            size_hint: options.size_hint,
            content_type: options.content_type,
            attributes: options.attributes.into_iter().collect(),
        };
        let handle = self.call(key, |storage, store| storage.call_open_write(store, key, &options))?;
        Ok(Box::new(Writer { storage: self.clone(), key: key.to_owned(), handle: Some(handle) }))
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        let range = match options.range {
            ByteRange::All => wit::ByteRange::All,
            ByteRange::Span { offset, length } => wit::ByteRange::Span(wit::Span { offset, length }),
            ByteRange::Suffix(length) => wit::ByteRange::Suffix(length),
        };
        let options = wit::ReadOptions { range, if_match: options.if_match };
        let handle = self.call(key, |storage, store| storage.call_open_read(store, key, &options))?;
        let found = self.call(key, |storage, store| storage.reader().call_info(store, handle).map(Ok))?;
        Ok(Box::new(Reader { storage: self.clone(), info: info(found), handle }))
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        self.call(key, |storage, store| storage.call_stat(store, key)).map(info)
    }

    fn delete_object(&self, key: &str, condition: Precondition) -> Result<()> {
        self.call(key, |storage, store| storage.call_delete(store, key, &precondition(condition)))
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let listed = self.call(prefix, |storage, store| storage.call_list_objects(store, prefix, start_after, limit))?;
        Ok(listed.into_iter().map(info).collect())
    }
}

struct Writer {
    storage: WasiStorage,
    key: String,
    handle: Option<ResourceAny>,
}

impl StorageWriter for Writer {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        let handle = self.handle.expect("it is not committed");
        self.storage.call(&self.key, |storage, store| storage.writer().call_write(store, handle, chunk))
    }

    fn commit(mut self: Box<Self>) -> Result<ObjectInfo> {
        let handle = self.handle.take().expect("it is committed once");
        self.storage.call(&self.key, |storage, store| storage.writer().call_commit(store, handle)).map(info)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            let mut instance = self.storage.0.lock().unwrap_or_else(PoisonError::into_inner);
            handle.resource_drop(&mut instance.store).expect("it can be dropped");
        }
    }
}

struct Reader {
    storage: WasiStorage,
    info: ObjectInfo,
    handle: ResourceAny,
}

impl StorageReader for Reader {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        let handle = self.handle;
        self.storage.call(&self.info.key, |storage, store| storage.reader().call_read(store, handle, max))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut instance = self.storage.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.resource_drop(&mut instance.store).expect("it can be dropped");
    }
}

/// An empty storage, and what has to live as long as it.
/// Where keys are in the folder that the component is given.
pub(crate) const ROOT: &str = "new/folder";

pub(crate) fn below(folder: &Path) -> Arc<dyn StorageAdapter> {
    Arc::new(WasiStorage::new(folder))
}

pub(crate) fn fresh() -> (Arc<dyn StorageAdapter>, Box<dyn Any>) {
    let folder = tempfile::tempdir().expect("a folder");
    (below(folder.path()), Box::new(folder))
}
