//! A host of the component that is independent of ours: its own bindings generated from
//! `wit/`, and objects in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::precompiled;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "core",
        with: {
            "persist:snapshot/storage.writer": super::Writer,
            "persist:snapshot/storage.reader": super::Reader,
        },
    });
}

pub use bindings::Core;
pub use bindings::exports::persist::snapshot::{snapshots, timelines};
use bindings::persist::snapshot::storage;

/// The stored objects.
pub type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// An object being written.
pub struct Writer {
    key: String,
    bytes: Vec<u8>,
}

/// An object being read.
pub struct Reader {
    info: storage::ObjectInfo,
    rest: Vec<u8>,
}

/// A host with objects in memory, which records some of the calls.
pub struct Host {
    objects: Objects,
    table: ResourceTable,
    wasi: WasiCtx,
    /// The largest write of the guest in bytes, to check that memory is bounded.
    pub largest_write: usize,
    pub dropped_writers: usize,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn missing() -> storage::Error {
    storage::Error {
        code: storage::ErrorCode::NotFound,
        retryable: false,
        key: None,
        message: "it is not there".to_owned(),
        details: vec![("where".to_owned(), "here".to_owned())],
    }
}

/// Returns the error for a capability that is not claimed.
fn unsupported() -> storage::Error {
    let code = storage::ErrorCode::Unsupported;
    storage::Error { code, retryable: false, key: None, message: "not here".to_owned(), details: Vec::new() }
}

impl Host {
    fn info(&self, key: &str) -> Result<storage::ObjectInfo, storage::Error> {
        let size = self.objects.lock().unwrap().get(key).map(|bytes| bytes.len() as u64).ok_or_else(missing)?;
        Ok(storage::ObjectInfo {
            key: key.to_owned(),
            size,
            etag: None,
            modified: None,
            content_type: None,
            attributes: Vec::new(),
            storage_time: None,
        })
    }
}

impl storage::Host for Host {
    fn capabilities(&mut self) -> storage::CapabilitySet {
        storage::CapabilitySet::empty()
    }

    fn open_write(&mut self, key: String, _: storage::WriteOptions) -> Result<Resource<Writer>, storage::Error> {
        Ok(self.table.push(Writer { key, bytes: Vec::new() }).unwrap())
    }

    fn open_read(&mut self, key: String, options: storage::ReadOptions) -> Result<Resource<Reader>, storage::Error> {
        let info = self.info(&key)?;
        let (start, end) = match options.range {
            storage::ByteRange::All => (0, info.size),
            storage::ByteRange::Span(span) => (span.offset.min(info.size), span.offset.saturating_add(span.length).min(info.size)),
            storage::ByteRange::Suffix(length) => (info.size.saturating_sub(length), info.size),
        };
        let rest = self.objects.lock().unwrap()[&key][start as usize..end as usize].to_vec();
        Ok(self.table.push(Reader { info, rest }).unwrap())
    }

    fn read_many(&mut self, _: Vec<storage::ReadRequest>) -> Result<Vec<Result<storage::ReadAnswer, storage::Error>>, storage::Error> {
        Err(unsupported())
    }

    fn stat(&mut self, key: String) -> Result<storage::ObjectInfo, storage::Error> {
        self.info(&key)
    }

    fn delete(&mut self, key: String, _: storage::Precondition) -> Result<(), storage::Error> {
        self.objects.lock().unwrap().remove(&key).map(drop).ok_or_else(missing)
    }

    fn delete_many(&mut self, _: Vec<String>) -> Result<Vec<storage::DeleteFailure>, storage::Error> {
        Err(unsupported())
    }

    fn list_objects(
        &mut self,
        prefix: String,
        start_after: Option<String>,
        limit: u32,
    ) -> Result<Vec<storage::ObjectInfo>, storage::Error> {
        let keys: Vec<String> = self.objects.lock().unwrap().keys().cloned().collect();
        let wanted = keys.iter().filter(|key| key.starts_with(&prefix) && start_after.as_ref().is_none_or(|after| *key > after));
        wanted.take(limit as usize).map(|key| self.info(key)).collect()
    }

    fn list_level(&mut self, _: String, _: Option<String>, _: u32) -> Result<Vec<storage::LevelEntry>, storage::Error> {
        Err(unsupported())
    }
}

impl storage::HostWriter for Host {
    fn write(&mut self, writer: Resource<Writer>, chunk: Vec<u8>) -> Result<(), storage::Error> {
        self.largest_write = self.largest_write.max(chunk.len());
        self.table.get_mut(&writer).unwrap().bytes.extend_from_slice(&chunk);
        Ok(())
    }

    fn copy_range(&mut self, _: Resource<Writer>, _: String, _: storage::Span, _: Option<String>) -> Result<(), storage::Error> {
        Err(unsupported())
    }

    fn commit(&mut self, writer: Resource<Writer>) -> Result<storage::ObjectInfo, storage::Error> {
        let writer = self.table.delete(writer).unwrap();
        self.objects.lock().unwrap().insert(writer.key.clone(), writer.bytes);
        self.info(&writer.key)
    }

    fn drop(&mut self, writer: Resource<Writer>) -> wasmtime::Result<()> {
        self.dropped_writers += 1;
        self.table.delete(writer)?;
        Ok(())
    }
}

impl storage::HostReader for Host {
    fn info(&mut self, reader: Resource<Reader>) -> storage::ObjectInfo {
        self.table.get(&reader).unwrap().info.clone()
    }

    fn read(&mut self, reader: Resource<Reader>, max: u32) -> Result<Vec<u8>, storage::Error> {
        let rest = &mut self.table.get_mut(&reader).unwrap().rest;
        // Shorter than requested, which a storage is allowed to return.
        let now = rest.len().min(max as usize).min(50_000);
        Ok(rest.drain(..now).collect())
    }

    fn drop(&mut self, reader: Resource<Reader>) -> wasmtime::Result<()> {
        self.table.delete(reader)?;
        Ok(())
    }
}

/// Returns options with everything that the component would make up.
pub fn options() -> snapshots::SaveOptions {
    snapshots::SaveOptions {
        agent_id: "agent".to_owned(),
        session_id: "session".to_owned(),
        snapshot_index: 0,
        description: None,
        labels: Vec::new(),
        content_type: None,
        extra: Some(r#"{"adapter":{"name":"test"}}"#.to_owned()),
        codec: None,
        level: None,
        snapshot_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        timestamp: Some("2026-01-31T12:00:00Z".to_owned()),
        precondition: storage::Precondition::None,
        state_size_hint: None,
        attributes: Vec::new(),
        host_hashes: false,
    }
}

/// Returns the compiled component, which is loaded once per process. It checks epochs as
/// in our own host, so that it is as fast.
fn engine() -> (&'static Engine, &'static Component) {
    static COMPILED: std::sync::LazyLock<(Engine, Component)> = std::sync::LazyLock::new(|| {
        let engine = Engine::new(&precompiled::settings()).unwrap();
        // SAFETY: it was compiled by this build, just now or earlier.
        let component = unsafe { Component::deserialize(&engine, precompiled::precompiled(persist_host::COMPONENT)) }.unwrap();
        (engine, component)
    });
    (&COMPILED.0, &COMPILED.1)
}

/// Returns an instance of the component and its store.
pub fn start(objects: &Objects) -> (Store<Host>, Core) {
    let (engine, component) = engine();
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
    storage::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host).unwrap();
    let host = Host {
        objects: Arc::clone(objects),
        table: ResourceTable::new(),
        wasi: WasiCtx::builder().build(),
        largest_write: 0,
        dropped_writers: 0,
    };
    let mut store = Store::new(engine, host);
    // Epochs never advance.
    store.set_epoch_deadline(1);
    let persist = Core::instantiate(&mut store, component, &linker).unwrap();
    (store, persist)
}
