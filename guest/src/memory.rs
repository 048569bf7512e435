//! A storage in memory, for tests, fuzzing and benchmarks of the library. The
//! component gets its storage from the host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use crate::error::{Error, ErrorCode, Result};
use crate::storage::{ByteRange, ObjectInfo, Precondition, Reader, Storage, WriteOptions, Writer};

/// Objects in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    shared: Rc<RefCell<Shared>>,
    /// Whether this handle does not tell the time.
    is_clockless: bool,
}

#[derive(Debug, Default)]
struct Shared {
    objects: BTreeMap<String, (ObjectInfo, Rc<Vec<u8>>)>,
    writes: u64,
    reads: Vec<u64>,
    /// The storage's clock in milliseconds since 1970.
    now: u64,
}

fn missing() -> Error {
    Error::new(ErrorCode::NotFound, "no object has this key")
}

impl MemoryStorage {
    /// Stores an object without any checks.
    pub fn put(&self, key: &str, bytes: Vec<u8>) -> ObjectInfo {
        let mut shared = self.shared.borrow_mut();
        shared.writes += 1;
        let etag = Some(shared.writes.to_string());
        let now = Some(shared.now);
        let info = ObjectInfo { key: key.to_owned(), size: bytes.len() as u64, etag, modified: now, storage_time: now };
        shared.objects.insert(key.to_owned(), (info.clone(), Rc::new(bytes)));
        info
    }

    /// Returns an object's bytes.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.borrow().objects.get(key).map(|(_, bytes)| bytes.to_vec())
    }

    /// Moves the storage's clock forward.
    pub fn advance(&self, time: std::time::Duration) {
        self.shared.borrow_mut().now += u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    }

    /// Returns a storage of its own with the same objects.
    #[must_use]
    pub fn copied(&self) -> Self {
        let copy = Self::default();
        for key in self.keys() {
            copy.put(&key, self.get(&key).unwrap_or_default());
        }
        copy
    }

    /// Returns the keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        self.shared.borrow().objects.keys().cloned().collect()
    }

    /// Returns a handle of the same objects that does not tell the time.
    #[must_use]
    pub fn without_clock(&self) -> Self {
        Self { is_clockless: true, ..self.clone() }
    }

    /// The info as of now.
    fn shown(&self, info: &ObjectInfo) -> ObjectInfo {
        ObjectInfo { storage_time: (!self.is_clockless).then(|| self.shared.borrow().now), ..info.clone() }
    }

    /// The number of bytes that each reader opened so far has returned.
    pub fn reads(&self) -> Vec<u64> {
        self.shared.borrow().reads.clone()
    }

    fn check(&self, key: &str, precondition: &Precondition) -> Result<()> {
        let shared = self.shared.borrow();
        let existing = shared.objects.get(key);
        match precondition {
            Precondition::None => Ok(()),
            Precondition::IfAbsent if existing.is_none() => Ok(()),
            Precondition::IfAbsent => Err(Error::new(ErrorCode::AlreadyExists, "an object has this key")),
            Precondition::IfMatch(etag) if existing.is_some_and(|(info, _)| info.etag.as_ref() == Some(etag)) => Ok(()),
            Precondition::IfMatch(_) => Err(Error::new(ErrorCode::PreconditionFailed, "the object does not have the expected etag")),
        }
    }
}

impl Storage for MemoryStorage {
    type Writer = MemoryWriter;
    type Reader = MemoryReader;

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<MemoryWriter> {
        Ok(MemoryWriter { storage: self.clone(), key: key.to_owned(), precondition: options.precondition, bytes: Vec::new() })
    }

    fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<MemoryReader> {
        let info = self.stat(key)?;
        let mut shared = self.shared.borrow_mut();
        let bytes = shared.objects.get(key).map(|(_, bytes)| Rc::clone(bytes)).ok_or_else(missing)?;
        if if_match.is_some() && if_match != info.etag.as_deref() {
            return Err(Error::new(ErrorCode::PreconditionFailed, "the object was replaced"));
        }
        let (start, end) = match range {
            ByteRange::All => (0, info.size),
            ByteRange::Span { offset, length } => (offset.min(info.size), offset.saturating_add(length).min(info.size)),
            ByteRange::Suffix(length) => (info.size.saturating_sub(length), info.size),
        };
        let number = shared.reads.len();
        shared.reads.push(0);
        Ok(MemoryReader { storage: self.clone(), number, info, bytes, position: start, end })
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        self.shared.borrow().objects.get(key).map(|(info, _)| self.shown(info)).ok_or_else(missing)
    }

    fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        self.stat(key)?;
        self.check(key, &precondition)?;
        self.shared.borrow_mut().objects.remove(key);
        Ok(())
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let from = match start_after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        };
        let shared = self.shared.borrow();
        let found = shared.objects.range::<str, _>((from, Bound::Unbounded)).map(|(_, (info, _))| info);
        Ok(found.take_while(|info| info.key.starts_with(prefix)).take(limit as usize).map(|info| self.shown(info)).collect())
    }
}

/// An object being written.
#[derive(Debug)]
pub struct MemoryWriter {
    storage: MemoryStorage,
    key: String,
    precondition: Precondition,
    bytes: Vec<u8>,
}

impl Writer for MemoryWriter {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn commit(self) -> Result<ObjectInfo> {
        self.storage.check(&self.key, &self.precondition)?;
        let info = self.storage.put(&self.key, self.bytes);
        Ok(self.storage.shown(&info))
    }
}

/// An object being read.
#[derive(Debug)]
pub struct MemoryReader {
    storage: MemoryStorage,
    number: usize,
    info: ObjectInfo,
    bytes: Rc<Vec<u8>>,
    position: u64,
    end: u64,
}

impl Reader for MemoryReader {
    fn info(&self) -> ObjectInfo {
        self.info.clone()
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        let start = self.position;
        self.position = start.saturating_add(u64::from(max)).min(self.end);
        if let Some(given) = self.storage.shared.borrow_mut().reads.get_mut(self.number) {
            *given += self.position - start;
        }
        let index = |position| usize::try_from(position).unwrap_or(usize::MAX);
        Ok(self.bytes.get(index(start)..index(self.position)).unwrap_or_default().to_vec())
    }
}
