//! The import `persist:snapshot/storage`, implemented on a map in memory.
//!
//! A storage need not support what it does not claim in `capabilities`: such calls fail
//! with `unsupported`. This one claims `if-absent`, which timelines need, and nothing else.

use std::collections::BTreeMap;

use bytes::Bytes;
use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};

use crate::bindings::storage::{
    ByteRange, CapabilitySet, DeleteFailure, Error, ErrorCode, Host, HostReader, HostWriter, LevelEntry, ObjectInfo, Precondition,
    ReadAnswer, ReadOptions, ReadRequest, Span, WriteOptions,
};
use crate::bindings::{Reader, Writer, types};

/// The most handles that a component may hold at once.
const MAX_HANDLES: usize = 64;

/// The most bytes that one read returns, whatever the component asks for.
const MAX_READ_BYTES: usize = 1 << 20;

/// What each object costs in addition to its key and bytes, so that empty objects are not free.
const OBJECT_OVERHEAD_BYTES: usize = 4096;

const MAX_KEY_BYTES: usize = 1024;
const MAX_LISTED: u32 = 1000;

/// The stored objects, by key.
pub type Objects = BTreeMap<String, Bytes>;

/// The storage of one call.
pub struct MemoryStorage {
    /// What is stored.
    pub objects: Objects,
    /// The open writers and readers, and the handles of WASI.
    pub handles: ResourceTable,
    /// How many bytes the component may still write.
    writable_bytes: usize,
}

impl MemoryStorage {
    /// A storage with these objects, to which a component may add this many bytes.
    pub fn new(objects: Objects, writable_bytes: usize) -> Self {
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(MAX_HANDLES);
        Self { objects, handles, writable_bytes }
    }

    fn object(&self, key: &str) -> Result<&Bytes> {
        check_key(key)?;
        self.objects.get(key).ok_or_else(|| refusal(ErrorCode::NotFound, "no object has this key"))
    }

    /// Deducts bytes from what the component may still write.
    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.writable_bytes =
            self.writable_bytes.checked_sub(bytes).ok_or_else(|| refusal(ErrorCode::NoSpace, "this call may not write any more"))?;
        Ok(())
    }
}

/// An error that is returned to the component. Any other error stops it.
fn refusal(code: ErrorCode, message: &str) -> wasmtime::Error {
    Error { code, retryable: false, key: None, message: message.to_owned(), details: Vec::new() }.into()
}

/// The answer to everything that `capabilities` does not claim.
fn unsupported() -> wasmtime::Error {
    refusal(ErrorCode::Unsupported, "this storage has no precondition except if-absent, and no batches")
}

fn check_key(key: &str) -> Result<()> {
    let is_path = key.split('/').all(|part| !["", ".", ".."].contains(&part));
    if is_path && key.len() <= MAX_KEY_BYTES && !key.contains(char::is_control) {
        return Ok(());
    }
    Err(refusal(ErrorCode::InvalidKey, "a key is a path of up to 1,024 bytes, without '.', '..' or control characters"))
}

fn object_info(key: &str, object: &[u8]) -> ObjectInfo {
    ObjectInfo {
        key: key.to_owned(),
        size: object.len() as u64,
        etag: None,
        modified: None,
        content_type: None,
        attributes: Vec::new(),
        storage_time: None,
    }
}

impl types::Host for MemoryStorage {
    fn convert_error(&mut self, error: wasmtime::Error) -> Result<Error> {
        error.downcast()
    }
}

impl Host for MemoryStorage {
    fn capabilities(&mut self) -> Result<CapabilitySet> {
        Ok(CapabilitySet::IF_ABSENT)
    }

    fn open_write(&mut self, key: String, options: WriteOptions) -> Result<Resource<Writer>> {
        let if_absent = match options.precondition {
            Precondition::None => false,
            Precondition::IfAbsent => true,
            Precondition::IfMatch(_) => return Err(unsupported()),
        };
        check_key(&key)?;
        self.spend(key.len() + OBJECT_OVERHEAD_BYTES)?;
        Ok(self.handles.push(Writer { key, if_absent, bytes: Vec::new() })?)
    }

    fn open_read(&mut self, key: String, options: ReadOptions) -> Result<Resource<Reader>> {
        if options.if_match.is_some() {
            return Err(unsupported());
        }
        let object = self.object(&key)?;
        let info = object_info(&key, object);
        let (start, end) = match options.range {
            ByteRange::All => (0, info.size),
            ByteRange::Span(span) => (span.offset.min(info.size), span.offset.saturating_add(span.length).min(info.size)),
            ByteRange::Suffix(length) => (info.size.saturating_sub(length), info.size),
        };
        let rest = object.slice(usize::try_from(start)?..usize::try_from(end)?);
        Ok(self.handles.push(Reader { info, rest })?)
    }

    fn read_many(&mut self, _requests: Vec<ReadRequest>) -> Result<Vec<Result<ReadAnswer, Error>>> {
        Err(unsupported())
    }

    fn stat(&mut self, key: String) -> Result<ObjectInfo> {
        Ok(object_info(&key, self.object(&key)?))
    }

    fn delete(&mut self, key: String, precondition: Precondition) -> Result<()> {
        match precondition {
            Precondition::None => {}
            Precondition::IfAbsent => return Err(refusal(ErrorCode::InvalidArgument, "a delete can't have the precondition if-absent")),
            Precondition::IfMatch(_) => return Err(unsupported()),
        }
        self.object(&key)?;
        self.objects.remove(&key);
        Ok(())
    }

    fn delete_many(&mut self, _keys: Vec<String>) -> Result<Vec<DeleteFailure>> {
        Err(unsupported())
    }

    fn list_objects(&mut self, prefix: String, start_after: Option<String>, limit: u32) -> Result<Vec<ObjectInfo>> {
        if !(1..=MAX_LISTED).contains(&limit) {
            return Err(refusal(ErrorCode::InvalidArgument, "the limit of a listing is 1 to 1,000"));
        }
        // The map is in the order of the keys' bytes, as the contract requires.
        let wanted = self.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && Some(*key) > start_after.as_ref());
        Ok(wanted.take(limit as usize).map(|(key, object)| object_info(key, object)).collect())
    }

    fn list_level(&mut self, _prefix: String, _start_after: Option<String>, _limit: u32) -> Result<Vec<LevelEntry>> {
        Err(unsupported())
    }
}

impl HostWriter for MemoryStorage {
    fn write(&mut self, writer: Resource<Writer>, chunk: Vec<u8>) -> Result<()> {
        self.spend(chunk.len())?;
        self.handles.get_mut(&writer)?.bytes.extend(chunk);
        Ok(())
    }

    fn copy_range(&mut self, _writer: Resource<Writer>, _source: String, _span: Span, _if_match: Option<String>) -> Result<()> {
        Err(unsupported())
    }

    fn commit(&mut self, writer: Resource<Writer>) -> Result<ObjectInfo> {
        let Writer { key, if_absent, bytes } = self.handles.delete(writer)?;
        // Not earlier: the component may hold two writers of one key.
        if if_absent && self.objects.contains_key(&key) {
            return Err(refusal(ErrorCode::AlreadyExists, "an object has this key"));
        }
        let info = object_info(&key, &bytes);
        // Boxed, to free the spare capacity of the vector.
        self.objects.insert(key, bytes.into_boxed_slice().into());
        Ok(info)
    }

    fn drop(&mut self, writer: Resource<Writer>) -> Result<()> {
        self.handles.delete(writer)?;
        Ok(())
    }
}

impl HostReader for MemoryStorage {
    fn info(&mut self, reader: Resource<Reader>) -> Result<ObjectInfo> {
        Ok(self.handles.get(&reader)?.info.clone())
    }

    fn read(&mut self, reader: Resource<Reader>, max: u32) -> Result<Vec<u8>> {
        let rest = &mut self.handles.get_mut(&reader)?.rest;
        let length = rest.len().min(max as usize).min(MAX_READ_BYTES);
        Ok(rest.split_to(length).into())
    }

    fn drop(&mut self, reader: Resource<Reader>) -> Result<()> {
        self.handles.delete(reader)?;
        Ok(())
    }
}
