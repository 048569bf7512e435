//! A host of the bare component, whose storage is a map in memory. A component that traps, wants
//! too much memory or does not end is stopped, and the host goes on. Dense, to be seen whole.
#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(missing_docs)]

use std::{collections::BTreeMap, mem::take, thread, time::Duration};
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Config, Engine, Result, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

#[allow(unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit", world: "persist", imports: { default: trappable },
        with: { "persist:snapshot/storage.writer": super::Object, "persist:snapshot/storage.reader": super::Object },
    });
}
pub use bindings::{Persist, exports::persist::snapshot::snapshots, persist::snapshot::storage};

/// What is stored, by key.
pub type Objects = BTreeMap<String, Vec<u8>>;
/// An object that is being written or read: its key, and bytes of it.
pub struct Object(String, Vec<u8>);
/// What one instance of the component lives in.
#[derive(Default)]
pub struct Host(Objects, ResourceTable, WasiCtx, StoreLimits);
type Answer<T> = Result<Result<T, storage::Error>>;
fn error(code: storage::ErrorCode, message: &str) -> storage::Error { storage::Error { code, retryable: false, message: message.to_owned(), details: vec![] } }
fn missing() -> storage::Error { error(storage::ErrorCode::NotFound, "there is no such object") }
fn unsupported<T>() -> Answer<T> { Ok(Err(error(storage::ErrorCode::Unsupported, "no conditions here"))) }
fn info(key: &str, object: &[u8]) -> storage::ObjectInfo {
    storage::ObjectInfo { key: key.to_owned(), size: object.len() as u64, etag: None, modified: None }
}
impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> { WasiCtxView { ctx: &mut self.2, table: &mut self.1 } }
}
impl storage::Host for Host {
    fn supported_conditions(&mut self) -> Result<storage::Conditions> { Ok(storage::Conditions::empty()) }
    fn open_write(&mut self, key: String, options: storage::WriteOptions) -> Answer<Resource<Object>> {
        if !matches!(options.precondition, storage::Precondition::None) { return unsupported() }
        Ok(Ok(self.1.push(Object(key, Vec::new()))?))
    }
    fn open_read(&mut self, key: String, options: storage::ReadOptions) -> Answer<Resource<Object>> {
        let Some(object) = self.0.get(&key) else { return Ok(Err(missing())) };
        let (skip, most) = match options.range {
            storage::ByteRange::All => (0, u64::MAX),
            storage::ByteRange::Span(span) => (span.offset, span.length),
            storage::ByteRange::Suffix(last) => ((object.len() as u64).saturating_sub(last), last),
        };
        let wanted = object.iter().skip(usize::try_from(skip)?).take(usize::try_from(most)?).copied().collect();
        Ok(Ok(self.1.push(Object(key, wanted))?))
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
    fn write(&mut self, writer: Resource<Object>, chunk: Vec<u8>) -> Answer<()> {
        let object = &mut self.1.get_mut(&writer)?.1;
        if object.len() + chunk.len() > 1 << 30 { return Ok(Err(error(storage::ErrorCode::NoSpace, "an object has at most 1 GiB here"))) }
        object.extend(chunk); Ok(Ok(()))
    }
    fn commit(&mut self, writer: Resource<Object>) -> Answer<storage::ObjectInfo> {
        let Object(key, object) = self.1.delete(writer)?;
        self.0.insert(key.clone(), object);
        storage::Host::stat(self, key)
    }
    fn drop(&mut self, writer: Resource<Object>) -> Result<()> { self.1.delete(writer)?; Ok(()) }
}
impl storage::HostReader for Host {
    fn info(&mut self, reader: Resource<Object>) -> Result<storage::ObjectInfo> {
        let key = &self.1.get(&reader)?.0;
        Ok(info(key, self.0.get(key).map_or(&[], Vec::as_slice)))
    }
    fn read(&mut self, reader: Resource<Object>, max: u32) -> Answer<Vec<u8>> {
        let rest = &mut self.1.get_mut(&reader)?.1;
        Ok(Ok(rest.drain(..rest.len().min(max as usize)).collect()))
    }
    fn drop(&mut self, reader: Resource<Object>) -> Result<()> { self.1.delete(reader)?; Ok(()) }
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
    /// Calls into a fresh instance (after a trap one can't be entered again), which may have
    /// 128 MiB, and compute for so many tenths of a second.
    pub fn call<T>(&self, objects: &mut Objects, tenths: u64, call: impl FnOnce(&Persist, &mut Store<Host>) -> Result<T>) -> Result<T> {
        let limits = StoreLimitsBuilder::new().memory_size(128 << 20).memories(1).instances(32).table_elements(100_000).trap_on_grow_failure(true).build();
        let mut store = Store::new(self.0.engine(), Host(take(objects), ResourceTable::new(), WasiCtx::default(), limits));
        store.data_mut().1.set_max_capacity(64); // Handles.
        store.limiter(|host| &mut host.3); store.set_epoch_deadline(tenths);
        let called = Persist::instantiate(&mut store, &self.0, &self.1).and_then(|persist| call(&persist, &mut store));
        *objects = take(&mut store.data_mut().0);
        called
    }
}
