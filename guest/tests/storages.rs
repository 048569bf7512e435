//! Imperfect storages: objects that are replaced while they are read, short reads, no etags.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::rc::Rc;

use persist_guest::codec::{Codec, Decoder};
use persist_guest::error::{ErrorCode, Result};
use persist_guest::memory::MemoryStorage;
use persist_guest::restore::Restorer;
use persist_guest::storage::{ByteRange, ObjectInfo, Precondition, Storage, WriteOptions};
use persist_guest::{SaveOptions, snapshots, verify};

mod support;

use support::{KEY, noise, options, text};

#[test]
fn metadata_is_one_small_read() {
    let storage = MemoryStorage::default();
    snapshots::save(&storage, KEY, &noise(20 << 20), options(Codec::Gzip)).unwrap();
    snapshots::metadata(&storage, KEY).unwrap();
    assert_eq!(storage.reads(), [65_536]);
}

/// A storage whose behaviour a test can change. Clones share it.
#[derive(Clone)]
struct Special {
    storage: MemoryStorage,
    /// Whether objects have etags.
    has_etags: bool,
    /// How many bytes each read falls short.
    missing: u64,
    /// Runs before an object is opened. Its argument tells whether an etag is required.
    on_open: Rc<dyn Fn(bool)>,
    /// The size hint of the last write.
    size_hint: Rc<Cell<Option<u64>>>,
}

impl Special {
    fn new(storage: &MemoryStorage) -> Self {
        Self { storage: storage.clone(), has_etags: true, missing: 0, on_open: Rc::new(|_| {}), size_hint: Rc::default() }
    }
}

struct SpecialReader(<MemoryStorage as Storage>::Reader, bool);

impl persist_guest::storage::Reader for SpecialReader {
    fn info(&self) -> ObjectInfo {
        let info = self.0.info();
        ObjectInfo { etag: info.etag.filter(|_| self.1), ..info }
    }
    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        self.0.read(max)
    }
}

impl Storage for Special {
    type Writer = <MemoryStorage as Storage>::Writer;
    type Reader = SpecialReader;
    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Self::Writer> {
        self.size_hint.set(options.object_size_hint);
        self.storage.open_write(key, options)
    }
    fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<SpecialReader> {
        (self.on_open)(if_match.is_some());
        let size = self.storage.stat(key)?.size;
        let range = match range {
            ByteRange::All => ByteRange::Span { offset: 0, length: size - self.missing.min(size) },
            ByteRange::Span { offset, length } => ByteRange::Span { offset, length: length.saturating_sub(self.missing) },
            ByteRange::Suffix(length) => ByteRange::Span { offset: size.saturating_sub(length), length: length.min(size) },
        };
        self.storage.open_read(key, range, if_match).map(|reader| SpecialReader(reader, self.has_etags))
    }
    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        let info = self.storage.stat(key)?;
        Ok(ObjectInfo { etag: info.etag.filter(|_| self.has_etags), ..info })
    }
    fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        self.storage.delete(key, precondition)
    }
    fn list_objects(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        self.storage.list_objects(prefix, after, limit)
    }
}

#[test]
fn two_versions_are_never_mixed_where_a_storage_has_no_etags() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (first, second) = (noise(3_000_000), text(3_000_000, 5));
        let storage = MemoryStorage::default();
        snapshots::save(&storage, KEY, &second, options(codec)).unwrap();
        let replacement = storage.get(KEY).unwrap();
        // Replaces the object when it is opened once more after it was opened `after` times.
        let special = |after: u32| {
            snapshots::save(&storage, KEY, &first, options(codec)).unwrap();
            let (opened, storage_of_another, replacement) = (Cell::new(0), storage.clone(), replacement.clone());
            let on_open = move |_| {
                if opened.replace(opened.get() + 1) == after {
                    storage_of_another.put(KEY, replacement.clone());
                }
            };
            Special { has_etags: false, on_open: Rc::new(on_open), ..Special::new(&storage) }
        };
        // It is replaced after the head is read and before the data is.
        assert!(snapshots::restore(&special(1), KEY).unwrap() == second, "a restore in one call starts again");
        assert!(verify::verify(&special(1), KEY).is_ok());
        // A stream can't take back what it has returned, so it reports what happened.
        let mut restorer = Restorer::open(&special(1), KEY, true).unwrap();
        let error = loop {
            match restorer.read(1 << 20) {
                Ok(chunk) => assert!(!chunk.is_empty(), "the end was reached"),
                Err(error) => break error,
            }
        };
        assert_eq!((error.code, error.retryable), (ErrorCode::PreconditionFailed, true));
        // A damaged snapshot that was not replaced is reported as damaged.
        let mut damaged = replacement.clone();
        damaged[40] ^= 1;
        storage.put(KEY, damaged);
        let unchanged = Special { has_etags: false, ..Special::new(&storage) };
        assert_eq!(snapshots::restore(&unchanged, KEY).unwrap_err().code, ErrorCode::Integrity);
    }
}

#[test]
fn a_short_read_is_not_a_damaged_snapshot() {
    let storage = MemoryStorage::default();
    snapshots::save(&storage, KEY, &noise(3_000_000), options(Codec::Gzip)).unwrap();
    let short = Special { missing: 1, ..Special::new(&storage) };
    for error in [snapshots::restore(&short, KEY).unwrap_err(), verify::verify(&short, KEY).unwrap_err()] {
        assert_eq!((error.code, error.retryable), (ErrorCode::Io, true), "{error}");
    }
    let restorer = Restorer::open(&short, KEY, false).unwrap();
    let block = restorer.plan(0, 1).remove(0);
    let slice = vec![0; block.slice_length() - 1];
    assert_eq!(Decoder::default().decode(&block, &slice, &mut Vec::new()).unwrap_err().code, ErrorCode::Io);
}

#[test]
fn a_snapshot_that_is_replaced_while_it_is_opened_is_read_as_one_of_the_two() {
    // Large enough for two requests. The second one finds the other object.
    let storage = MemoryStorage::default();
    let (first, second) = (noise(200_000), text(900_000, 8));
    snapshots::save(&storage, KEY, &second, options(Codec::Gzip)).unwrap();
    let replacement = storage.get(KEY).unwrap();
    for (times, outcome) in [(1, Ok(&second)), (2, Ok(&second)), (100, Err(ErrorCode::PreconditionFailed))] {
        snapshots::save(&storage, KEY, &first, options(Codec::Gzip)).unwrap();
        let (left, storage_of_another, replacement) = (Cell::new(times), storage.clone(), replacement.clone());
        let on_open = move |has_etag| {
            if has_etag && left.get() > 0 {
                left.set(left.get() - 1);
                storage_of_another.put(KEY, replacement.clone());
            }
        };
        let restored = snapshots::restore(&Special { on_open: Rc::new(on_open), ..Special::new(&storage) }, KEY);
        assert!(restored.as_ref().map_err(|error| error.code) == outcome, "{times}");
    }
}

#[test]
fn a_storage_is_told_the_largest_possible_size() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        for size in [0, 1, 100_000, 5_000_000] {
            let told = Special::new(&MemoryStorage::default());
            let options = SaveOptions { description: Some("d".repeat(40_000)), ..options(codec) };
            let saved = snapshots::save(&told, KEY, &noise(size), options).unwrap();
            assert!(told.size_hint.get().unwrap() >= saved.stored_size, "{} {size}", codec.name());
        }
    }
}
