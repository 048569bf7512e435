//! The component `storage-fs` as a storage, in a host that only knows WASI.

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bindings::exports::persist::snapshot::storage as wit;
use persist_host::{
    ByteRange, Capabilities, DeleteFailure, LevelEntry, ObjectInfo, PersistError, Precondition, ReadAnswer, ReadOptions, ReadRequest,
    Result, StorageAdapter, StorageReader, StorageWriter, WriteOptions,
};
use persist_model::error::ErrorDetail;
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::wasi_files::bindings::{self};
use crate::wasi_files::{Wasi, WasiFiles};

pub use crate::wasi_files::{BUILT, LINK, Os, RENAME, ROOT, SYNC_FILE, SYNC_FOLDER, built};

persist_model::code_conversions!(bindings::exports::persist::snapshot::storage);

/// Files in a folder, accessed through the component.
#[derive(Clone)]
pub struct WasiStorage(WasiFiles);

impl fmt::Debug for WasiStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WasiStorage")
    }
}

impl WasiStorage {
    pub fn new(folder: &Path) -> Self {
        Self(WasiFiles::new(folder))
    }

    /// Returns the calls recorded since the last time.
    pub fn take_calls(&self) -> Vec<&'static str> {
        self.0.take_calls()
    }

    /// Returns how often a folder was read since the last time.
    pub fn take_lists(&self) -> usize {
        self.0.take_lists()
    }

    /// Makes reading a folder fail after this many more reads.
    pub fn close_after(&self, reads: usize, os: Os) {
        self.0.close_after(reads, os);
    }

    /// From now on, makes a call fail.
    pub fn inject(&self, fault: Option<(&'static str, Os)>) {
        self.0.inject(fault);
    }

    fn call<T>(
        &self,
        key: &str,
        call: impl FnOnce(&wit::Guest, &mut Store<Wasi>) -> wasmtime::Result<std::result::Result<T, wit::Error>>,
    ) -> Result<T> {
        self.0.call(call).map_err(|error| self.error(key, error))
    }

    /// Converts an error of the component for a key, unless the error names another key.
    fn error(&self, key: &str, error: wit::Error) -> PersistError {
        let location = self.locate(error.key.as_deref().unwrap_or(key));
        let mut detail = ErrorDetail::new(error.code.into(), error.message);
        (detail.location, detail.retryable, detail.facts) = (Some(location), error.retryable, error.details);
        PersistError::from_detail(detail)
    }
}

fn info(info: wit::ObjectInfo) -> ObjectInfo {
    let wit::ObjectInfo { key, size, etag, modified, content_type, attributes, storage_time } = info;
    let info = ObjectInfo::new(key, size).etag(etag).modified(modified);
    info.content_type(content_type).attributes(attributes).storage_time(storage_time)
}

fn range(range: ByteRange) -> wit::ByteRange {
    match range {
        ByteRange::All => wit::ByteRange::All,
        ByteRange::Span { offset, length } => wit::ByteRange::Span(wit::Span { offset, length }),
        ByteRange::Suffix(length) => wit::ByteRange::Suffix(length),
    }
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
        "files through WASI".to_owned()
    }

    fn locate(&self, key: &str) -> String {
        format!("/files/new/folder/{key}")
    }

    fn capabilities(&self) -> Capabilities {
        use wit::CapabilitySet as Can;
        let claimed = self.0.call(|storage, store| storage.call_capabilities(store));
        // Every storage of the native host has these.
        assert!(claimed.contains(Can::READ_MANY | Can::DELETE_MANY | Can::LIST_LEVEL));
        Capabilities::default()
            .if_absent(claimed.contains(Can::IF_ABSENT))
            .if_match(claimed.contains(Can::IF_MATCH))
            .copy_range(claimed.contains(Can::COPY_RANGE))
            .content_type(claimed.contains(Can::CONTENT_TYPE))
            .attributes(claimed.contains(Can::ATTRIBUTES))
            .storage_time(claimed.contains(Can::STORAGE_TIME))
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        let options = wit::WriteOptions {
            precondition: precondition(options.precondition),
            object_size_hint: options.object_size_hint,
            content_type: options.content_type,
            attributes: options.attributes,
        };
        let handle = self.call(key, |storage, store| storage.call_open_write(store, key, &options))?;
        Ok(Box::new(Writer { storage: self.clone(), key: key.to_owned(), handle: Some(handle) }))
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        let options = wit::ReadOptions { range: range(options.range), if_match: options.if_match };
        let handle = self.call(key, |storage, store| storage.call_open_read(store, key, &options))?;
        let found = self.0.call(|storage, store| storage.reader().call_info(store, handle));
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

    fn read_many(&self, requests: &[ReadRequest]) -> Result<Vec<Result<ReadAnswer>>> {
        let asked: Vec<wit::ReadRequest> = requests
            .iter()
            .map(|request| wit::ReadRequest { key: request.key.clone(), range: range(request.range), if_match: request.if_match.clone() })
            .collect();
        let answers = self.call("", |storage, store| storage.call_read_many(store, &asked))?;
        let answer = |(request, answer): (&ReadRequest, std::result::Result<wit::ReadAnswer, wit::Error>)| {
            let answer = answer.map_err(|error| self.error(&request.key, error))?;
            Ok(ReadAnswer::new(info(answer.info), answer.bytes))
        };
        Ok(requests.iter().zip(answers).map(answer).collect())
    }

    fn delete_many(&self, keys: &[String]) -> Result<Vec<DeleteFailure>> {
        let failures = self.call("", |storage, store| storage.call_delete_many(store, keys))?;
        let failure = |failure: wit::DeleteFailure| DeleteFailure::new(failure.key.clone(), self.error(&failure.key, failure.error));
        Ok(failures.into_iter().map(failure).collect())
    }

    fn list_level(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<LevelEntry>> {
        let listed = self.call(prefix, |storage, store| storage.call_list_level(store, prefix, start_after, limit))?;
        let entry = |entry| match entry {
            wit::LevelEntry::Object(found) => LevelEntry::Object(info(found)),
            wit::LevelEntry::Prefix(prefix) => LevelEntry::Prefix(prefix),
        };
        Ok(listed.into_iter().map(entry).collect())
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

    fn copy_range(&mut self, source: &str, offset: u64, length: u64, if_match: Option<&str>) -> Result<()> {
        let handle = self.handle.expect("it is not committed");
        let span = wit::Span { offset, length };
        self.storage.call(source, |storage, store| storage.writer().call_copy_range(store, handle, source, span, if_match))
    }

    fn commit(mut self: Box<Self>) -> Result<ObjectInfo> {
        let handle = self.handle.take().expect("it is committed once");
        self.storage.call(&self.key, |storage, store| storage.writer().call_commit(store, handle)).map(info)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            self.storage.0.drop_handle(handle);
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
        self.storage.0.drop_handle(self.handle);
    }
}

pub fn below(folder: &Path) -> Arc<dyn StorageAdapter> {
    Arc::new(WasiStorage::new(folder))
}

/// Returns an empty storage, and what has to live as long as the storage.
pub fn fresh() -> (Arc<dyn StorageAdapter>, Box<dyn Any>) {
    let folder = tempfile::tempdir().expect("a folder");
    (below(folder.path()), Box::new(folder))
}
