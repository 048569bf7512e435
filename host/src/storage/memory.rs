//! Stores objects in memory, for tests and for states that need not outlive the
//! process.

use std::collections::BTreeMap;
use std::ops::{Bound, Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use persist_model::{ErrorCode, PersistError, Precondition, Result};
use persist_paths::key::check_key;

use super::boot_time::since_boot;
use super::{
    ByteRange, Capabilities, MAX_READ, ObjectInfo, ReadOptions, StorageAdapter, StorageReader, StorageWriter, WriteOptions, copy_through,
    delete_if_absent,
};
use crate::system::fork;

/// Stores objects in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    objects: Mutex<BTreeMap<String, Object>>,
    /// Counts the writes, for etags.
    writes: AtomicU64,
}

#[derive(Clone)]
struct Object {
    info: ObjectInfo,
    bytes: Arc<Vec<u8>>,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never prints the state itself.
        self.info.fmt(f)
    }
}

impl MemoryStorage {
    /// Returns an empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> Objects<'_> {
        let no_fork = fork::hold_off();
        // No change is left half done under the lock, so a panic spoils nothing.
        let objects = self.0.objects.lock().unwrap_or_else(PoisonError::into_inner);
        Objects { objects, _no_fork: no_fork }
    }

    fn missing(&self, key: &str) -> PersistError {
        PersistError::new(ErrorCode::NotFound, "no object has this key").at(self.locate(key))
    }
}

/// The objects, locked. No fork happens meanwhile, since the child would have the lock
/// without the thread that releases it.
struct Objects<'a> {
    objects: MutexGuard<'a, BTreeMap<String, Object>>,
    _no_fork: MutexGuard<'static, ()>,
}

impl Deref for Objects<'_> {
    type Target = BTreeMap<String, Object>;

    fn deref(&self) -> &Self::Target {
        &self.objects
    }
}

impl DerefMut for Objects<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.objects
    }
}

fn check(precondition: &Precondition, existing: Option<&Object>) -> Result<()> {
    match precondition {
        Precondition::None => Ok(()),
        Precondition::IfAbsent if existing.is_none() => Ok(()),
        Precondition::IfAbsent => Err(PersistError::new(ErrorCode::AlreadyExists, "an object with this key already exists")),
        Precondition::IfMatch(etag) if existing.and_then(|object| object.info.etag.as_ref()) == Some(etag) => Ok(()),
        Precondition::IfMatch(_) => Err(PersistError::new(ErrorCode::PreconditionFailed, "the object does not have the expected etag")),
    }
}

impl StorageAdapter for MemoryStorage {
    fn summary(&self) -> String {
        "objects in memory".to_owned()
    }

    fn locate(&self, key: &str) -> String {
        format!("memory://{key}")
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { if_absent: true, if_match: true, copy_range: true, content_type: true, attributes: true, storage_time: true }
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        check_key(key)?;
        Ok(Box::new(MemoryWriter { storage: self.clone(), key: key.to_owned(), options, bytes: Vec::new() }))
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        check_key(key)?;
        let mut object = self.objects().get(key).cloned().ok_or_else(|| self.missing(key))?;
        object.info.storage_time = since_boot();
        if options.if_match.is_some() && options.if_match != object.info.etag {
            return Err(PersistError::new(ErrorCode::PreconditionFailed, "the object has been replaced").at(self.locate(key)));
        }
        let (start, end) = options.range.within(object.info.size);
        Ok(Box::new(MemoryReader { object, position: start, end }))
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        check_key(key)?;
        let found = self.objects().get(key).map(|object| object.info.clone());
        found.map(|info| ObjectInfo { storage_time: since_boot(), ..info }).ok_or_else(|| self.missing(key))
    }

    fn delete_object(&self, key: &str, precondition: Precondition) -> Result<()> {
        check_key(key)?;
        if precondition == Precondition::IfAbsent {
            return Err(delete_if_absent().at(self.locate(key)));
        }
        let mut objects = self.objects();
        let existing = objects.get(key).ok_or_else(|| self.missing(key))?;
        check(&precondition, Some(existing)).map_err(|error| error.at(self.locate(key)))?;
        objects.remove(key);
        Ok(())
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let from = match start_after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        };
        let objects = self.objects();
        let found = objects.range::<str, _>((from, Bound::Unbounded)).map(|(_, object)| &object.info);
        Ok(found.take_while(|info| info.key.starts_with(prefix)).take(limit as usize).cloned().collect())
    }
}

struct MemoryWriter {
    storage: MemoryStorage,
    key: String,
    options: WriteOptions,
    bytes: Vec<u8>,
}

impl StorageWriter for MemoryWriter {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.bytes
            .try_reserve(chunk.len())
            .map_err(|_| PersistError::new(ErrorCode::NoSpace, "no memory is left for the object").at(self.storage.locate(&self.key)))?;
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn copy_range(&mut self, source: &str, offset: u64, length: u64, if_match: Option<&str>) -> Result<()> {
        let range = ByteRange::Span { offset, length };
        let mut reader = self.storage.clone().open_read(source, ReadOptions { range, if_match: if_match.map(str::to_owned) })?;
        copy_through(self, &mut *reader, length).map_err(|error| error.at(self.storage.locate(source)))
    }

    fn commit(self: Box<Self>) -> Result<ObjectInfo> {
        let Self { storage, key, options, bytes } = *self;
        let mut objects = storage.objects();
        check(&options.precondition, objects.get(&key)).map_err(|error| error.at(storage.locate(&key)))?;
        let number = storage.0.writes.fetch_add(1, Ordering::Relaxed);
        let modified = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let info = ObjectInfo {
            key: key.clone(),
            size: bytes.len() as u64,
            etag: Some(format!("m{number}")),
            modified: modified.and_then(|since| u64::try_from(since.as_millis()).ok()),
            content_type: options.content_type,
            attributes: sorted(options.attributes),
            storage_time: since_boot(),
        };
        objects.insert(key, Object { info: info.clone(), bytes: Arc::new(bytes) });
        Ok(info)
    }
}

fn sorted(mut attributes: Vec<(String, String)>) -> Vec<(String, String)> {
    attributes.sort_unstable();
    attributes
}

struct MemoryReader {
    object: Object,
    position: u64,
    end: u64,
}

impl StorageReader for MemoryReader {
    fn info(&self) -> &ObjectInfo {
        &self.object.info
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        let start = self.position;
        self.position = start.saturating_add(u64::from(max.min(MAX_READ))).min(self.end);
        let index = |position| usize::try_from(position).unwrap_or(usize::MAX);
        Ok(self.object.bytes.get(index(start)..index(self.position)).unwrap_or_default().to_vec())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::system::process::child;

    #[test]
    fn a_child_reads_even_if_its_parent_was_listing() {
        let storage = MemoryStorage::new();
        for number in 0..1000 {
            storage.open_write(&format!("{number}"), WriteOptions::default()).unwrap().commit().unwrap();
        }
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    storage.list_objects("", None, u32::MAX).unwrap();
                }
            });
            let ended = (0..10).all(|_| child::ends(|| drop(storage.stat("0").unwrap())));
            is_done.store(true, Ordering::Relaxed);
            assert!(ended);
        });
    }
}
