//! The host library, as an embedding program uses it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use persist_host::{
    ByteRange, Codec, CopyOptions, Engine, ErrorCode, ListEntry, LocalFileStorage, MemoryStorage, ObjectInfo, PersistError, Precondition,
    ReadOptions, SnapshotOptions, StorageAdapter, StorageReader, WriteOptions, component_hash,
};
use persist_test_support::command::{chat_bytes, files, noise};
use persist_test_support::pass_on;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use sha2::{Digest, Sha256};

fn on_memory() -> Engine {
    Engine::builder().storage(MemoryStorage::new()).build().expect("an engine")
}

fn fails<T>(result: Result<T, PersistError>) -> PersistError {
    result.err().expect("it fails")
}

#[test]
fn an_error_says_what_led_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::builder().storage(LocalFileStorage::new(folder.path())).build().expect("an engine");
    std::fs::write(folder.path().join("file"), "").expect("a file");
    for (key, number) in [("missing.json.gz", libc::ENOENT), ("file/x.json.gz", libc::ENOTDIR)] {
        let error = fails(engine.restore(key));
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.and_then(std::io::Error::raw_os_error), Some(number), "{error:?}");
    }
    // What the component finds has no other cause.
    std::fs::write(folder.path().join("x.json.gz"), "not a snapshot").expect("a file");
    assert!(std::error::Error::source(&fails(engine.restore("x.json.gz"))).is_none());
}

#[test]
fn a_state_streams_in_and_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::builder().storage(LocalFileStorage::new(folder.path())).build().expect("an engine");
    let state = chat_bytes(7_654_321);
    for key in ["a/x.gz", "a/x.zst"] {
        let mut writer = engine.writer(key, SnapshotOptions::default()).expect("it opens");
        for chunk in state.chunks(77_777) {
            writer.write_all(chunk).expect("it is written");
        }
        let saved = writer.commit().expect("it is saved");
        assert_eq!(engine.metadata(key).expect("it is there"), saved);
        let mut restored = Vec::new();
        let mut reader = engine.reader(key).expect("it opens");
        assert_eq!(reader.metadata(), &saved);
        reader.read_to_end(&mut restored).expect("it is read");
        assert!(restored == state);
        assert!(engine.restore(key).expect("it is restored") == state);
        let mut checked = 0;
        engine.verify_with(key, |bytes| checked = bytes).expect("it is right");
        assert_eq!(checked, saved.stored_size);
    }
    assert_eq!(files(folder.path()), ["a", "a/x.gz", "a/x.zst"]);
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::builder().storage(LocalFileStorage::new(folder.path())).build().expect("an engine");
    let mut writer = engine.writer("x.gz", SnapshotOptions::default()).expect("it opens");
    writer.write_state(&chat_bytes(5_000_000)).expect("it is written");
    assert_eq!(files(folder.path()).len(), 1, "a temporary file");
    drop(writer);
    assert_eq!(files(folder.path()), Vec::<String>::new());
    assert!(!engine.exists("x.gz").expect("it can tell"));
}

#[test]
fn preconditions_are_enforced() {
    let engine = on_memory();
    let options = |precondition| SnapshotOptions::default().precondition(precondition);
    let first = engine.snapshot("x", b"1", &options(Precondition::IfAbsent)).expect("nothing is there");
    let error = fails(engine.snapshot("x", b"2", &options(Precondition::IfAbsent)));
    assert!(matches!(error, PersistError::AlreadyExists(_)));
    let etag = first.etag.expect("memory gives etags");
    engine.snapshot("x", b"3", &options(Precondition::IfMatch(etag.clone()))).expect("it is the one");
    let error = fails(engine.snapshot("x", b"4", &options(Precondition::IfMatch(etag.clone()))));
    assert!(matches!(error, PersistError::Conflict(_)));
    assert_eq!(error.location(), Some("memory://x"));
    assert!(matches!(fails(engine.delete("x", Precondition::IfMatch(etag))), PersistError::Conflict(_)));
    assert_eq!(engine.restore("x").expect("it is restored"), b"3");
    engine.delete("x", Precondition::None).expect("it is deleted");
    assert!(matches!(fails(engine.delete("x", Precondition::None)), PersistError::NotFound(_)));
}

#[test]
fn options_reach_the_snapshot() {
    let engine = on_memory();
    let options = SnapshotOptions::default()
        .agent_id("support".to_owned())
        .session_id("s".to_owned())
        .snapshot_index(5)
        .description(Some("d".to_owned()))
        .labels([("a".to_owned(), "1".to_owned())].into())
        .content_type(Some("text/plain".to_owned()))
        .extra(Some(r#"{"adapter": {"name": "x"}}"#.to_owned()))
        .codec(Some(Codec::Zstd))
        .level(Some(-7));
    let saved = engine.snapshot("x", b"state", &options).expect("it is saved");
    let flat = serde_json::to_value(&saved).expect("JSON");
    assert_eq!(flat["adapter"]["name"], "x");
    assert_eq!((flat["compression_algorithm"].as_str(), flat["labels"]["a"].as_str()), (Some("zstd"), Some("1")));
    let error = fails(engine.snapshot("x", b"", &options.extra(Some("{\"key\":1}".to_owned()))));
    assert!(matches!(error, PersistError::Configuration(_)), "{error:?}");
    assert_eq!(engine.restore("x").expect("it is restored"), b"state");
}

#[test]
fn a_listing_spans_several_pages() {
    let engine = on_memory();
    for number in 0..450 {
        engine.snapshot(&format!("s/{number:04}"), b"{}", &SnapshotOptions::default()).expect("it is saved");
    }
    engine.storage().save(&"memory://s/0100".parse().expect("a location"), b"damaged").expect("it is saved");
    let entries: Vec<_> = engine.list("s/").collect::<Result<_, _>>().expect("it is listed");
    assert_eq!(entries.len(), 450);
    for (number, entry) in entries.iter().enumerate() {
        let expected = format!("s/{number:04}");
        match entry {
            ListEntry::Snapshot(metadata) => assert_eq!(metadata.key, expected),
            ListEntry::Unreadable { key, error } => {
                assert_eq!((key.as_str(), number), (expected.as_str(), 100));
                assert_eq!(error.code(), ErrorCode::NotASnapshot);
            }
        }
    }
    assert_eq!(engine.list("nothing/").count(), 0);
}

#[test]
fn memory_is_limited_and_the_engine_survives() {
    let small = Engine::builder().storage(MemoryStorage::new()).memory_limit(3 << 20).build().expect("an engine");
    let error = fails(small.snapshot("x", &chat_bytes(6_000_000), &SnapshotOptions::default()));
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::MemoryLimit, 9), "{error:?}");
    assert!(!small.exists("x").expect("it can tell"), "nothing was stored");
    small.snapshot("x", b"small", &SnapshotOptions::default()).expect("what fits is saved");
}

#[test]
fn a_limit_above_that_of_the_pool_works() {
    let large = Engine::builder().storage(MemoryStorage::new()).memory_limit(5 << 30).build().expect("an engine");
    large.snapshot("x", &chat_bytes(3_000_000), &SnapshotOptions::default()).expect("it is saved");
    assert_eq!(large.restore("x").expect("it is restored"), chat_bytes(3_000_000));
}

#[test]
fn the_total_memory_of_all_operations_is_limited() {
    let engine = Engine::builder().storage(MemoryStorage::new()).total_memory_limit(30 << 20).workers(1).build().expect("an engine");
    let state = chat_bytes(3_000_000);
    let mut writers = Vec::new();
    let error = loop {
        let opened = engine.writer(&format!("{}", writers.len()), SnapshotOptions::default()).and_then(|mut writer| {
            writer.write_state(&state)?;
            Ok(writer)
        });
        match opened {
            Ok(writer) => writers.push(writer),
            Err(error) => break error,
        }
        assert!(writers.len() < 100, "nothing limits them");
    };
    assert!(writers.len() > 1, "there is room for several");
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::LimitExceeded, 9), "{error:?}");
    assert!(error.to_string().contains("at once") && error.detail().hint.is_some(), "{error:?}");
    // The others continue, and release their memory.
    let count = writers.len();
    for writer in writers.drain(..) {
        writer.commit().expect("it is saved");
    }
    for _ in 0..3 * count {
        assert!(engine.restore("0").expect("it is restored") == state);
    }
}

#[test]
fn computing_time_is_limited_without_counting_storage() {
    let hasty = Engine::builder().storage(MemoryStorage::new()).deadline(Duration::from_millis(1)).build().expect("an engine");
    let options = SnapshotOptions::default().codec(Some(Codec::Gzip)).level(Some(9));
    let error = fails(hasty.snapshot("x", &chat_bytes(20_000_000), &options));
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::Deadline, 9), "{error:?}");
    assert!(!hasty.exists("x").expect("it can tell"), "nothing was stored");
}

#[test]
fn one_engine_serves_many_threads() {
    let engine = on_memory();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let engine = engine.clone();
            scope.spawn(move || {
                for number in 0..10 {
                    let key = format!("{thread}/{number}.zst");
                    let state = format!("state {number} of {thread}").repeat(1000);
                    engine.snapshot(&key, state.as_bytes(), &SnapshotOptions::default()).expect("it is saved");
                    assert_eq!(engine.restore(&key).expect("it is restored"), state.as_bytes());
                }
            });
        }
    });
    assert_eq!(engine.list("").count(), 80);
}

#[test]
fn a_shared_storage_is_shared() {
    let storage = MemoryStorage::new();
    let one = Engine::builder().storage(storage.clone()).build().expect("an engine");
    let two = one.with_storage(Arc::new(storage));
    one.snapshot("x", b"{}", &SnapshotOptions::default()).expect("it is saved");
    assert_eq!(two.restore("x").expect("it is restored"), b"{}");
    assert_eq!(two.with_storage(Arc::new(MemoryStorage::new())).exists("x"), Ok(false));
    assert_eq!(component_hash(), <[u8; 32]>::from(Sha256::digest(persist_host::COMPONENT)));
}

#[test]
fn keys_are_confined_to_the_root() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    std::fs::create_dir_all(&root).expect("a folder");
    std::fs::write(folder.path().join("secret"), "secret").expect("a file");
    std::os::unix::fs::symlink(folder.path(), root.join("out")).expect("a link");
    std::os::unix::fs::symlink(folder.path().join("secret"), root.join("file")).expect("a link");
    std::os::unix::fs::symlink("circle", root.join("circle")).expect("a link");
    let engine = Engine::builder().storage(LocalFileStorage::new(&root)).build().expect("an engine");
    for key in ["out/secret", "file", "../secret", "circle", "out/../secret"] {
        let error = fails(engine.restore(key));
        assert_eq!(error.code(), ErrorCode::InvalidKey, "{key}: {error:?}");
    }
    assert_eq!(fails(engine.snapshot("out/new", b"{}", &SnapshotOptions::default())).code(), ErrorCode::InvalidKey);
    assert_eq!(engine.list("").count(), 0, "the targets of links are not listed");
    // Writing to a link replaces the link and keeps its target.
    engine.snapshot("file", b"{}", &SnapshotOptions::default()).expect("it is saved");
    assert_eq!(std::fs::read(folder.path().join("secret")).expect("the file"), b"secret");
    assert_eq!(engine.restore("file").expect("it is restored"), b"{}");
}

/// Replacing a folder by a link out of the root during a write does not make the write
/// leave the root.
#[test]
fn a_folder_swapped_for_a_link_leads_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    std::fs::create_dir_all(root.join("keys")).expect("a folder");
    std::fs::create_dir(&outside).expect("a folder");
    let engine = Engine::builder().storage(LocalFileStorage::new(&root)).build().expect("an engine");
    let mut writer = engine.writer("keys/x.gz", SnapshotOptions::default()).expect("it opens");
    writer.write_state(&chat_bytes(2_000_000)).expect("it is written");
    std::fs::rename(root.join("keys"), root.join("moved")).expect("it is moved");
    std::os::unix::fs::symlink(&outside, root.join("keys")).expect("a link");
    writer.write_state(&chat_bytes(2_000_000)).expect("it is written");
    // The object may end up in the folder where it was begun, or the write may fail, but
    // nothing goes outside.
    let committed = writer.commit();
    assert_eq!(files(&outside), Vec::<String>::new());
    assert!(committed.is_err() || root.join("moved/x.gz").exists());
    for result in [engine.restore("keys/x.gz").map(drop), engine.snapshot("keys/y.gz", b"{}", &SnapshotOptions::default()).map(drop)] {
        assert_eq!(fails(result).code(), ErrorCode::InvalidKey);
    }
    assert_eq!(files(&outside), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("engine.proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_state_round_trips_through_the_component(
        bytes in prop::collection::vec(any::<u8>(), 0..5000),
        repeat in 1..600_usize,
        zstd in any::<bool>(),
        chunk in 1..3_000_000_usize,
    ) {
        let engine = on_memory();
        let state = bytes.repeat(repeat);
        let key = if zstd { "x.zst" } else { "x.gz" };
        let mut writer = engine.writer(key, SnapshotOptions::default()).unwrap();
        for part in state.chunks(chunk) {
            writer.write_state(part).unwrap();
        }
        let saved = writer.commit().unwrap();
        prop_assert_eq!(saved.uncompressed_size, state.len() as u64);
        prop_assert!(engine.restore(key).unwrap() == state);
        prop_assert_eq!(engine.verify(key).unwrap(), saved);
    }
}

/// A storage in which an object appears to be replaced during the first read of the whole
/// object.
#[derive(Debug, Default)]
struct Replaced {
    memory: MemoryStorage,
    reads: AtomicU32,
}

struct ReplacedReader {
    reader: Box<dyn StorageReader>,
    /// The number of reads before it fails, or `None` if it does not fail.
    left: Option<u32>,
}

impl StorageReader for ReplacedReader {
    fn info(&self) -> &ObjectInfo {
        self.reader.info()
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>, PersistError> {
        if self.left == Some(0) {
            return Err(PersistError::new(ErrorCode::PreconditionFailed, "replaced"));
        }
        self.left = self.left.map(|left| left - 1);
        self.reader.read(max)
    }
}

impl StorageAdapter for Replaced {
    pass_on!(memory: summary, locate, capabilities, open_write, stat, delete_object, list_objects);

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>, PersistError> {
        let is_whole = matches!(options.range, ByteRange::All);
        let is_first = is_whole && self.reads.fetch_add(1, Ordering::Relaxed) == 0;
        Ok(Box::new(ReplacedReader { reader: self.memory.open_read(key, options)?, left: is_first.then_some(2) }))
    }
}

/// Work that reports progress.
type Work<'a> = &'a dyn Fn(&Engine, &mut dyn FnMut(u64));

#[test]
fn progress_restarts_with_the_work() {
    let state = noise(5_000_000);
    let told = |work: Work<'_>| {
        let engine = Engine::builder().storage(Replaced::default()).build().expect("an engine");
        let saved = engine.snapshot("x.zst", &state, &SnapshotOptions::default()).expect("it is saved");
        let mut told = Vec::new();
        work(&engine, &mut |done| told.push(done));
        let falls = told.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert_eq!((falls, told.last(), told.iter().max()), (1, Some(&saved.stored_size), Some(&saved.stored_size)), "{told:?}");
    };
    told(&|engine, tell| engine.verify_with("x.zst", tell).map(drop).expect("it is right"));
    let elsewhere = on_memory();
    told(&|engine, tell| {
        let copied = engine.copy("x.zst", &elsewhere, "y.zst", Precondition::None, tell).expect("it is copied");
        assert!(copied.is_new);
    });
}

#[test]
fn a_copy_replaces_other_objects_only_if_told_to() {
    let (source, target) = (on_memory(), on_memory());
    source.snapshot("x", b"state", &SnapshotOptions::default()).expect("it is saved");
    let put = |bytes: &[u8]| {
        let mut writer = target.storage().open_write("y", WriteOptions::default()).expect("a writer");
        writer.write(bytes).expect("it is written");
        writer.commit().expect("it is stored");
    };
    put(b"notes");
    let error = fails(source.copy("x", &target, "y", Precondition::None, |_| {}));
    assert_eq!((error.code(), error.location()), (ErrorCode::NotASnapshot, Some("memory://y")));
    let error = fails(source.copy("x", &target, "y", Precondition::IfAbsent, |_| {}));
    assert_eq!(error.code(), ErrorCode::AlreadyExists);
    let options = CopyOptions::default().replaces_anything(true);
    assert!(source.copy("x", &target, "y", options, |_| {}).expect("it is copied").is_new);
    assert_eq!(target.restore("y").expect("it is there"), b"state");
}
