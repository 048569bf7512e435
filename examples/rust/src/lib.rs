//! A host of the bare component, whose storage is a map in memory. A component that traps, wants
//! too much memory or does not end is stopped, and the host goes on. Dense, to be seen whole.
#![cfg_attr(rustfmt, rustfmt_skip)]

use bytes::Bytes;
use std::{collections::BTreeMap, mem::take, thread, time::Duration};
use wasmtime::{Cache, Config, Engine, Result, Store, StoreLimits, StoreLimitsBuilder, bail};
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit", world: "core", imports: { default: trappable },
        trappable_error_type: { "persist:snapshot/types.error" => wasmtime::Error },
        with: { "persist:snapshot/storage.writer": super::Writer, "persist:snapshot/storage.reader": super::Reader },
    });
}
pub use bindings::{Core, exports::persist::snapshot::snapshots, persist::snapshot::{storage, types}};
use storage::{ByteRange, CapabilitySet, DeleteFailure, Error, ErrorCode, LevelEntry, ObjectInfo, Precondition, ReadAnswer, ReadOptions, ReadRequest, Span, WriteOptions};

/// What is stored, by key.
pub type Objects = BTreeMap<String, Bytes>;
/// An object that is being written: its key, and its bytes so far.
pub struct Writer(String, Vec<u8>);
/// One that is being read: what it was when that began, and the bytes that are left.
pub struct Reader(ObjectInfo, Bytes);
/// What one instance of the component lives in; the last is how many bytes it may still write.
pub struct Host(Objects, ResourceTable, WasiCtx, StoreLimits, usize);
/// What an object counts besides its key and its bytes.
const ENTRY: usize = 4096;
/// An answer to the component; any other error stops it.
fn refuse<T>(code: ErrorCode, message: &str) -> Result<T> { Err(Error { code, retryable: false, key: None, message: message.to_owned(), details: vec![] }.into()) }
/// What is not claimed in `capabilities`.
fn unsupported<T>() -> Result<T> { refuse(ErrorCode::Unsupported, "not here: one object at a time, and no conditions") }
fn valid(key: &str) -> Result<()> {
    if key.len() <= 1024 && !key.contains(char::is_control) && key.split('/').all(|part| !["", ".", ".."].contains(&part)) { return Ok(()) }
    refuse(ErrorCode::InvalidKey, "a key is a path of up to 1,024 bytes, without '.' and '..'")
}
fn info(key: &str, object: &[u8]) -> ObjectInfo { ObjectInfo { key: key.to_owned(), size: object.len() as u64, etag: None, modified: None, content_type: None, attributes: vec![], storage_time: None } }
impl Host {
    fn object(&self, key: &str) -> Result<&Bytes> { valid(key)?; self.0.get(key).map_or_else(|| refuse(ErrorCode::NotFound, "there is no such object"), Ok) }
    fn spend(&mut self, bytes: usize) -> Result<()> { self.4 = self.4.checked_sub(bytes).map_or_else(|| refuse(ErrorCode::NoSpace, "this call may write no more"), Ok)?; Ok(()) }
}
impl WasiView for Host { fn ctx(&mut self) -> WasiCtxView<'_> { WasiCtxView { ctx: &mut self.2, table: &mut self.1 } } }
impl types::Host for Host { fn convert_error(&mut self, error: wasmtime::Error) -> Result<Error> { error.downcast() } }
impl storage::Host for Host {
    fn capabilities(&mut self) -> Result<CapabilitySet> { Ok(CapabilitySet::empty()) }
    fn open_write(&mut self, key: String, options: WriteOptions) -> Result<Resource<Writer>> {
        if !matches!(options.precondition, Precondition::None) { return unsupported() } valid(&key)?; self.spend(key.len() + ENTRY)?; Ok(self.1.push(Writer(key, Vec::new()))?)
    }
    fn open_read(&mut self, key: String, options: ReadOptions) -> Result<Resource<Reader>> {
        if options.if_match.is_some() { return unsupported() }
        let (object, size) = self.object(&key).map(|object| (object, object.len() as u64))?;
        let (start, end) = match options.range {
            ByteRange::All => (0, size),
            ByteRange::Span(span) => (span.offset.min(size), span.offset.saturating_add(span.length).min(size)),
            ByteRange::Suffix(last) => (size.saturating_sub(last), size),
        };
        Ok(self.1.push(Reader(info(&key, object), object.slice(usize::try_from(start)?..usize::try_from(end)?)))?)
    }
    fn stat(&mut self, key: String) -> Result<ObjectInfo> { Ok(info(&key, self.object(&key)?)) }
    fn delete(&mut self, key: String, precondition: Precondition) -> Result<()> {
        match precondition { Precondition::None => {} Precondition::IfAbsent => refuse(ErrorCode::InvalidArgument, "a delete can't ask for an absent object")?, _ => unsupported()? }
        self.object(&key)?; self.0.remove(&key); Ok(())
    }
    fn read_many(&mut self, _: Vec<ReadRequest>) -> Result<Vec<Result<ReadAnswer, Error>>> { unsupported() }
    fn delete_many(&mut self, _: Vec<String>) -> Result<Vec<DeleteFailure>> { unsupported() }
    fn list_level(&mut self, _: String, _: Option<String>, _: u32) -> Result<Vec<LevelEntry>> { unsupported() }
    fn list_objects(&mut self, prefix: String, after: Option<String>, limit: u32) -> Result<Vec<ObjectInfo>> {
        if !(1..=1000).contains(&limit) { return refuse(ErrorCode::InvalidArgument, "a listing has 1 to 1,000 entries") }
        let wanted = self.0.iter().filter(|(key, _)| key.starts_with(&prefix) && Some(*key) > after.as_ref());
        Ok(wanted.take(limit as usize).map(|(key, object)| info(key, object)).collect())
    }
}
impl storage::HostWriter for Host {
    fn write(&mut self, writer: Resource<Writer>, chunk: Vec<u8>) -> Result<()> { self.spend(chunk.len())?; self.1.get_mut(&writer)?.1.extend(chunk); Ok(()) }
    fn copy_range(&mut self, _: Resource<Writer>, _: String, _: Span, _: Option<String>) -> Result<()> { unsupported() }
    fn commit(&mut self, writer: Resource<Writer>) -> Result<ObjectInfo> {
        let Writer(key, object) = self.1.delete(writer)?; let info = info(&key, &object); self.0.insert(key, object.into_boxed_slice().into()); Ok(info)
    }
    fn drop(&mut self, writer: Resource<Writer>) -> Result<()> { self.1.delete(writer)?; Ok(()) }
}
impl storage::HostReader for Host {
    fn info(&mut self, reader: Resource<Reader>) -> Result<ObjectInfo> { Ok(self.1.get(&reader)?.0.clone()) }
    fn read(&mut self, reader: Resource<Reader>, max: u32) -> Result<Vec<u8>> {
        let rest = &mut self.1.get_mut(&reader)?.1; Ok(rest.split_to(rest.len().min(max as usize).min(1 << 20)).into())
    }
    fn drop(&mut self, reader: Resource<Reader>) -> Result<()> { self.1.delete(reader)?; Ok(()) }
}
/// A compiled component, and what its instances are linked with.
pub struct Plugin(Component, Linker<Host>);
impl Plugin {
    /// Compiles a component, or finds it compiled in the user's cache folder, if there is one.
    pub fn new(wasm: &[u8]) -> Result<Self> {
        let engine = Engine::new(Config::new().epoch_interruption(true).cache(Cache::from_file(None).ok()))?;
        let (mut linker, clock) = (Linker::new(&engine), engine.weak());
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        // Who waits does not compute, and would outwait the clock.
        let mut poll = linker.allow_shadowing(true).instance("wasi:io/poll@0.2.12")?;
        for wait in ["poll", "[method]pollable.block"] { poll.func_new(wait, |_, _, _, _| bail!("there is nothing to wait for here"))? }
        storage::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)?;
        thread::spawn(move || while let Some(engine) = clock.upgrade() { engine.increment_epoch(); drop(engine); thread::sleep(Duration::from_millis(100)) });
        Ok(Self(Component::new(&engine, wasm)?, linker))
    }
    /// Calls into a fresh instance: after a trap one can't be entered again. It may have 128 MiB,
    /// compute for so many tenths of a second, and write so many bytes, keys among them.
    pub fn call<T>(&self, objects: &mut Objects, tenths: u64, bytes: usize, call: impl FnOnce(&Core, &mut Store<Host>) -> Result<T>) -> Result<T> {
        let limits = StoreLimitsBuilder::new().memory_size(128 << 20).memories(1).instances(32).tables(32).table_elements(100_000).trap_on_grow_failure(true).build();
        let mut store = Store::new(self.0.engine(), Host(take(objects), ResourceTable::new(), WasiCtx::default(), limits, bytes));
        store.data_mut().1.set_max_capacity(64); // Handles.
        store.limiter(|host| &mut host.3); store.set_epoch_deadline(tenths);
        let called = Core::instantiate(&mut store, &self.0, &self.1).and_then(|persist| call(&persist, &mut store));
        *objects = take(&mut store.data_mut().0);
        called
    }
}
