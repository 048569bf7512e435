//! Storages that are not as good as they might be: objects that are replaced
//! while they are read, reads that give too little, no etags.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};
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

/// What replaces an object, and when: after so many more are opened.
type Replacement = Rc<RefCell<Option<(u32, Vec<u8>)>>>;

/// A storage of which a test decides what is special. Clones are the same.
#[derive(Clone)]
struct Special {
    storage: MemoryStorage,
    /// Whether objects have etags.
    has_etags: bool,
    /// Replaces the object when it is opened for the so-manieth time.
    replacement: Replacement,
    /// How much less each read gives than there is.
    missing: u64,
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
        self.storage.open_write(key, options)
    }
    fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<SpecialReader> {
        let mut replacement = self.replacement.borrow_mut();
        match replacement.take() {
            Some((0, bytes)) => drop(self.storage.put(key, bytes)),
            Some((left, bytes)) => *replacement = Some((left - 1, bytes)),
            None => {}
        }
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
        let special = |after| {
            snapshots::save(&storage, KEY, &first, options(codec)).unwrap();
            let replacement = Rc::new(RefCell::new(Some((after, replacement.clone()))));
            Special { storage: storage.clone(), has_etags: false, replacement, missing: 0 }
        };
        // After the head was read and before the data is.
        assert!(snapshots::restore(&special(1), KEY).unwrap() == second, "a restore in one call begins anew");
        assert!(verify::verify(&special(1), KEY).is_ok());
        // What was given out can't be taken back: a stream says what happened.
        let mut restorer = Restorer::open(&special(1), KEY, true).unwrap();
        let error = loop {
            match restorer.read(1 << 20) {
                Ok(chunk) => assert!(!chunk.is_empty(), "the end was reached"),
                Err(error) => break error,
            }
        };
        assert_eq!((error.code, error.retryable), (ErrorCode::PreconditionFailed, true));
        // A damaged snapshot that nobody replaced is damaged.
        let mut damaged = replacement.clone();
        damaged[40] ^= 1;
        storage.put(KEY, damaged);
        let unchanged = Special { storage: storage.clone(), has_etags: false, replacement: Rc::default(), missing: 0 };
        assert_eq!(snapshots::restore(&unchanged, KEY).unwrap_err().code, ErrorCode::Integrity);
    }
}

#[test]
fn a_storage_that_gives_less_than_there_is_is_not_a_damaged_snapshot() {
    let storage = MemoryStorage::default();
    snapshots::save(&storage, KEY, &noise(3_000_000), options(Codec::Gzip)).unwrap();
    let short = Special { storage, has_etags: true, replacement: Rc::default(), missing: 1 };
    for error in [snapshots::restore(&short, KEY).unwrap_err(), verify::verify(&short, KEY).unwrap_err()] {
        assert_eq!((error.code, error.retryable), (ErrorCode::Io, true), "{error}");
    }
    let restorer = Restorer::open(&short, KEY, false).unwrap();
    let block = restorer.plan(0, 1).remove(0);
    let slice = vec![0; block.slice_length() - 1];
    assert_eq!(Decoder::default().decode(&block, &slice, &mut Vec::new()).unwrap_err().code, ErrorCode::Io);
}

#[test]
fn a_snapshot_that_is_replaced_while_it_is_opened_is_read_as_one_of_both() {
    // Large enough for two requests: the second finds another object.
    #[derive(Clone)]
    struct Replacing(MemoryStorage, Rc<Cell<u32>>, Vec<u8>);
    impl Storage for Replacing {
        type Writer = <MemoryStorage as Storage>::Writer;
        type Reader = <MemoryStorage as Storage>::Reader;
        fn open_write(&self, key: &str, options: WriteOptions) -> Result<Self::Writer> {
            self.0.open_write(key, options)
        }
        fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<Self::Reader> {
            if if_match.is_some() && self.1.get() > 0 {
                self.1.set(self.1.get() - 1);
                self.0.put(key, self.2.clone());
            }
            self.0.open_read(key, range, if_match)
        }
        fn stat(&self, key: &str) -> Result<ObjectInfo> {
            self.0.stat(key)
        }
        fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
            self.0.delete(key, precondition)
        }
        fn list_objects(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
            self.0.list_objects(prefix, after, limit)
        }
    }
    let storage = MemoryStorage::default();
    let (first, second) = (noise(200_000), text(900_000, 8));
    snapshots::save(&storage, KEY, &second, options(Codec::Gzip)).unwrap();
    let replacement = storage.get(KEY).unwrap();
    for (times, outcome) in [(1, Ok(&second)), (2, Ok(&second)), (100, Err(ErrorCode::PreconditionFailed))] {
        snapshots::save(&storage, KEY, &first, options(Codec::Gzip)).unwrap();
        let replacing = Replacing(storage.clone(), Rc::new(Cell::new(times)), replacement.clone());
        let restored = snapshots::restore(&replacing, KEY);
        assert!(restored.as_ref().map_err(|error| error.code) == outcome, "{times}");
    }
}

#[test]
fn a_storage_is_told_the_most_that_the_object_can_have() {
    #[derive(Clone)]
    struct Told(MemoryStorage, Rc<Cell<Option<u64>>>);
    impl Storage for Told {
        type Writer = <MemoryStorage as Storage>::Writer;
        type Reader = <MemoryStorage as Storage>::Reader;
        fn open_write(&self, key: &str, options: WriteOptions) -> Result<Self::Writer> {
            self.1.set(options.object_size_hint);
            self.0.open_write(key, options)
        }
        fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<Self::Reader> {
            self.0.open_read(key, range, if_match)
        }
        fn stat(&self, key: &str) -> Result<ObjectInfo> {
            self.0.stat(key)
        }
        fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
            self.0.delete(key, precondition)
        }
        fn list_objects(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
            self.0.list_objects(prefix, after, limit)
        }
    }
    for codec in [Codec::Gzip, Codec::Zstd] {
        for size in [0, 1, 100_000, 5_000_000] {
            let told = Told(MemoryStorage::default(), Rc::default());
            let options = SaveOptions { description: Some("d".repeat(40_000)), ..options(codec) };
            let saved = snapshots::save(&told, KEY, &noise(size), options).unwrap();
            assert!(told.1.get().unwrap() >= saved.stored_size, "{} {size}", codec.name());
        }
    }
}
