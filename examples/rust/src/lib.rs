//! A host of the bare component, whose storage is a map in memory. A component that traps, wants
//! too much memory or does not end is stopped, and the host goes on. Dense, to be seen whole.
#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(missing_docs)]

use bytes::Bytes;
use std::{collections::BTreeMap, mem::take, thread, time::Duration};
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Config, Engine, Result, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

#[allow(unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit", world: "persist", imports: { default: trappable },
        with: { "persist:snapshot/storage.writer": super::Writer, "persist:snapshot/storage.reader": super::Reader },
    });
}
pub use bindings::{Persist, exports::persist::snapshot::snapshots, persist::snapshot::storage};

/// What is stored, by key.
pub type Objects = BTreeMap<String, Bytes>;
/// An object that is being written: its key, and its bytes so far.
pub struct Writer(String, Vec<u8>);
/// One that is being read: what it was when that began, and the bytes that are left.
pub struct Reader(storage::ObjectInfo, Bytes);
/// What one instance of the component lives in; the last is how many bytes it may still write.
pub struct Host(Objects, ResourceTable, WasiCtx, StoreLimits, usize);
/// How long a call may compute, in tenths of a second, and how many bytes it may write in all.
pub struct Limits { pub tenths: u64, pub bytes: usize }
pub const LIMITS: Limits = Limits { tenths: 300, bytes: 1 << 30 };
/// What an object takes besides its key and its bytes.
const ENTRY: usize = 256;
type Answer<T> = Result<Result<T, storage::Error>>;
fn error(code: storage::ErrorCode, message: &str) -> storage::Error { storage::Error { code, retryable: false, message: message.to_owned(), details: vec![] } }
fn missing() -> storage::Error { error(storage::ErrorCode::NotFound, "there is no such object") }
fn unsupported<T>() -> Answer<T> { Ok(Err(error(storage::ErrorCode::Unsupported, "no conditions here"))) }
fn info(key: &str, object: &[u8]) -> storage::ObjectInfo { storage::ObjectInfo { key: key.to_owned(), size: object.len() as u64, etag: None, modified: None } }
fn spend(room: &mut usize, bytes: usize) -> Result<(), storage::Error> {
    *room = room.checked_sub(bytes).ok_or_else(|| error(storage::ErrorCode::NoSpace, "this call may write no more"))?; Ok(())
}
impl WasiView for Host { fn ctx(&mut self) -> WasiCtxView<'_> { WasiCtxView { ctx: &mut self.2, table: &mut self.1 } } }
impl storage::Host for Host {
    fn supported_conditions(&mut self) -> Result<storage::Conditions> { Ok(storage::Conditions::empty()) }
    fn open_write(&mut self, key: String, options: storage::WriteOptions) -> Answer<Resource<Writer>> {
        if !matches!(options.precondition, storage::Precondition::None) { return unsupported() }
        if let Err(error) = spend(&mut self.4, key.len() + ENTRY) { return Ok(Err(error)) }
        Ok(Ok(self.1.push(Writer(key, Vec::new()))?))
    }
    fn open_read(&mut self, key: String, options: storage::ReadOptions) -> Answer<Resource<Reader>> {
        let Some(object) = self.0.get(&key) else { return Ok(Err(missing())) };
        let size = object.len() as u64;
        let (start, end) = match options.range {
            storage::ByteRange::All => (0, size),
            storage::ByteRange::Span(span) => (span.offset.min(size), span.offset.saturating_add(span.length).min(size)),
            storage::ByteRange::Suffix(last) => (size.saturating_sub(last), size),
        };
        let (info, wanted) = (info(&key, object), object.slice(usize::try_from(start)?..usize::try_from(end)?));
        Ok(Ok(self.1.push(Reader(info, wanted))?))
    }
    fn stat(&mut self, key: String) -> Answer<storage::ObjectInfo> { Ok(self.0.get(&key).map(|object| info(&key, object)).ok_or_else(missing)) }
    fn delete(&mut self, key: String, precondition: storage::Precondition) -> Answer<()> {
        if !matches!(precondition, storage::Precondition::None) { return unsupported() }
        Ok(self.0.remove(&key).map(drop).ok_or_else(missing))
    }
    fn list_objects(&mut self, prefix: String, after: Option<String>, limit: u32) -> Answer<Vec<storage::ObjectInfo>> {
        let wanted = self.0.iter().filter(|(key, _)| key.starts_with(&prefix) && Some(*key) > after.as_ref());
        Ok(Ok(wanted.take(limit as usize).map(|(key, object)| info(key, object)).collect()))
    }
}
impl storage::HostWriter for Host {
    fn write(&mut self, writer: Resource<Writer>, chunk: Vec<u8>) -> Answer<()> {
        if let Err(error) = spend(&mut self.4, chunk.len()) { return Ok(Err(error)) }
        self.1.get_mut(&writer)?.1.extend(chunk); Ok(Ok(()))
    }
    fn commit(&mut self, writer: Resource<Writer>) -> Answer<storage::ObjectInfo> {
        let Writer(key, object) = self.1.delete(writer)?;
        self.0.insert(key.clone(), object.into_boxed_slice().into());
        storage::Host::stat(self, key)
    }
    fn drop(&mut self, writer: Resource<Writer>) -> Result<()> { self.1.delete(writer)?; Ok(()) }
}
impl storage::HostReader for Host {
    fn info(&mut self, reader: Resource<Reader>) -> Result<storage::ObjectInfo> { Ok(self.1.get(&reader)?.0.clone()) }
    fn read(&mut self, reader: Resource<Reader>, max: u32) -> Answer<Vec<u8>> {
        let rest = &mut self.1.get_mut(&reader)?.1;
        Ok(Ok(rest.split_to(rest.len().min(max as usize)).into()))
    }
    fn drop(&mut self, reader: Resource<Reader>) -> Result<()> { self.1.delete(reader)?; Ok(()) }
}
/// A compiled component, and what its instances are linked with.
pub struct Plugin(Component, Linker<Host>);
impl Plugin {
    pub fn new(wasm: &[u8]) -> Result<Self> {
        let engine = Engine::new(Config::new().epoch_interruption(true))?;
        let (mut linker, clock) = (Linker::new(&engine), engine.weak());
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        storage::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)?;
        thread::spawn(move || while let Some(engine) = clock.upgrade() { engine.increment_epoch(); drop(engine); thread::sleep(Duration::from_millis(100)) });
        Ok(Self(Component::new(&engine, wasm)?, linker))
    }
    /// Calls into a fresh instance: after a trap one can't be entered again. It may have 128 MiB.
    pub fn call<T>(&self, objects: &mut Objects, most: Limits, call: impl FnOnce(&Persist, &mut Store<Host>) -> Result<T>) -> Result<T> {
        let limits = StoreLimitsBuilder::new().memory_size(128 << 20).memories(1).instances(32).table_elements(100_000).trap_on_grow_failure(true).build();
        let mut store = Store::new(self.0.engine(), Host(take(objects), ResourceTable::new(), WasiCtx::default(), limits, most.bytes));
        store.data_mut().1.set_max_capacity(64); // Handles.
        store.limiter(|host| &mut host.3); store.set_epoch_deadline(most.tenths);
        let called = Persist::instantiate(&mut store, &self.0, &self.1).and_then(|persist| call(&persist, &mut store));
        *objects = take(&mut store.data_mut().0);
        called
    }
}
