//! A hostile component is contained: the host survives, the caller gets an error that
//! says why, nothing becomes visible in the storage, and the next operation on the same
//! engine works.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use persist_host::{DiffSource, Engine, ErrorCode, LocalFileStorage, MemoryStorage, PersistError, Precondition, SnapshotOptions};
use persist_test_support::command::files;
use persist_test_support::precompiled;
use tempfile::TempDir;

const MEMORY: usize = 64 << 20;
const DEADLINE: Duration = Duration::from_millis(300);

/// A deadline that is not reached even on a busy machine.
const PATIENT: Duration = Duration::from_secs(60);

static HOSTILE: LazyLock<Vec<u8>> =
    LazyLock::new(|| precompiled::precompiled(&fs::read(persist_test_support::built::library("hostile-guest")).expect("the component")));

fn engine() -> (Engine, TempDir) {
    engine_with(DEADLINE)
}

fn engine_with(deadline: Duration) -> (Engine, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("root")).expect("a folder");
    let storage = LocalFileStorage::new(folder.path().join("root"));
    // The component is called for a listing only if there are objects.
    for behaviour in BEHAVIOURS {
        let below = folder.path().join("root").join(behaviour);
        fs::create_dir_all(&below).expect("a folder");
        fs::write(below.join("object"), "an object").expect("a file");
    }
    // SAFETY: it was compiled by this build, just now or earlier.
    let engine = unsafe { Engine::builder().storage(MemoryStorage::new()).precompiled_component(HOSTILE.as_slice()) };
    let engine = engine.storage(storage).memory_limit(MEMORY).deadline(deadline);
    (engine.build().expect("an engine"), folder)
}

/// The keys that make the component misbehave.
const BEHAVIOURS: [&str; 14] = [
    "trap/x",
    "overflow/x",
    "loop/x",
    "bloat/x",
    "leak/x",
    "flood/x",
    "hold/x",
    "escape/x",
    "reserved/x",
    "print/x",
    "sleep/x",
    "exit/x",
    "read/x",
    "environment/x",
];

type Operation = (&'static str, fn(&Engine, &str) -> Result<(), PersistError>);

/// Every operation that calls the component.
const OPERATIONS: [Operation; 11] = [
    ("snapshot", |engine, key| engine.snapshot(key, b"state", &SnapshotOptions::default()).map(drop)),
    ("writer", |engine, key| engine.writer(key, SnapshotOptions::default()).map(drop)),
    ("restore", |engine, key| engine.restore(key).map(drop)),
    ("metadata", |engine, key| engine.metadata(key).map(drop)),
    ("verify", |engine, key| engine.verify(key).map(drop)),
    ("exists", |engine, key| engine.exists(key).map(drop)),
    ("delete", |engine, key| engine.delete(key, Precondition::None)),
    ("list", |engine, key| engine.list(key).next().transpose().map(drop)),
    ("salvage", |engine, key| engine.salvage(key).and_then(|mut salvager| salvager.next_chunk().map(drop))),
    ("diff", |engine, key| {
        let mut diff = engine.diff(DiffSource::Object(key.to_owned()), DiffSource::Bytes(Vec::new()))?;
        diff.next().transpose().map(drop)
    }),
    ("copy", |engine, key| engine.copy(key, engine, "copied", Precondition::None, |_| {}).map(drop)),
];

/// Runs every operation with a key that makes the component misbehave.
fn every_operation(behaviour: &str, check: impl Fn(&str, Result<(), PersistError>)) {
    let (engine, folder) = engine();
    let before = files(folder.path());
    for (name, operation) in OPERATIONS {
        let began = Instant::now();
        check(name, operation(&engine, behaviour));
        assert!(began.elapsed() < Duration::from_secs(20), "{behaviour}, {name}: it was not stopped");
        assert_eq!(files(folder.path()), before, "{behaviour}, {name}: something became visible");
        assert_eq!(engine.exists("fine"), Ok(true), "{behaviour}, {name}: the next operation");
    }
}

fn stopped_by(code: ErrorCode, exit_code: u8, says: &str) -> impl Fn(&str, Result<(), PersistError>) {
    move |name, outcome| {
        let error = outcome.expect_err(name);
        assert_eq!((error.code(), error.exit_code()), (code, exit_code), "{name}: {error:?}");
        assert!(error.to_string().contains(says), "{name}: {error}");
    }
}

#[test]
fn a_trap_is_an_error() {
    every_operation("trap/x", stopped_by(ErrorCode::Other, 1, "the component failed"));
    every_operation("overflow/x", stopped_by(ErrorCode::Other, 1, "the component failed"));
}

#[test]
fn a_loop_ends_at_the_deadline() {
    every_operation("loop/x", stopped_by(ErrorCode::Deadline, 9, "computed for more than"));
}

#[test]
fn growing_memory_ends_at_the_memory_limit() {
    every_operation("bloat/x", stopped_by(ErrorCode::MemoryLimit, 9, "bytes of memory"));
}

#[test]
fn handles_and_copies_are_limited() {
    every_operation("leak/x", |name, outcome| {
        assert!(matches!(outcome, Err(PersistError::Other(_) | PersistError::ResourceLimit(_))), "{name}: {outcome:?}");
    });
    every_operation("flood/x", |name, outcome| {
        assert!(matches!(outcome, Err(PersistError::Other(_) | PersistError::ResourceLimit(_))), "{name}: {outcome:?}");
    });
}

#[test]
fn calls_that_are_not_linked_trap() {
    for behaviour in ["print/x", "sleep/x", "exit/x", "read/x", "environment/x"] {
        every_operation(behaviour, |name, outcome| {
            assert!(matches!(outcome, Err(PersistError::Other(_))), "{behaviour}, {name}: {outcome:?}");
        });
    }
}

#[test]
fn hostile_arguments_reach_nothing() {
    let outside = |folder: &Path| files(folder).into_iter().filter(|name| !name.starts_with("root")).collect::<Vec<_>>();
    let (engine, folder) = engine();
    let before = files(folder.path());
    for (name, operation) in OPERATIONS {
        // The component asserts that each of its attempts is refused, and would trap
        // otherwise.
        for behaviour in ["escape/x", "reserved/x"] {
            if let Err(error) = operation(&engine, behaviour) {
                assert!(!error.to_string().contains("the component failed"), "{name}, {behaviour}: {error}");
            }
        }
    }
    assert_eq!(outside(folder.path()), Vec::<String>::new());
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_writer_that_is_never_committed_leaves_nothing() {
    let (engine, folder) = engine_with(PATIENT);
    let before = files(folder.path());
    for (name, operation) in OPERATIONS {
        let _ = operation(&engine, "hold/x");
        assert_eq!(files(folder.path()), before, "{name}");
    }
}

#[test]
fn misbehaving_later_is_contained_too() {
    for (behaviour, code) in [("late-trap", ErrorCode::Other), ("late-loop", ErrorCode::Deadline), ("late-bloat", ErrorCode::MemoryLimit)] {
        let (engine, folder) = engine_with(if code == ErrorCode::Deadline { DEADLINE } else { PATIENT });
        let before = files(folder.path());
        let mut writer = engine.writer(behaviour, SnapshotOptions::default()).expect("it opens");
        assert_eq!(writer.write_state(b"state").expect_err("it fails").code(), code);
        // A stopped instance stays stopped and returns the same error.
        assert_eq!(writer.write_state(b"state").expect_err("it fails").code(), code);
        assert_eq!(writer.commit().expect_err("it fails").code(), code);
        let mut reader = engine.reader(behaviour).expect("it opens");
        assert_eq!(reader.next_chunk().expect_err("it fails").code(), code);
        assert_eq!(engine.exists("fine"), Ok(true));
        assert_eq!(files(folder.path()), before);
    }
}

#[test]
fn nonsense_is_passed_on_unchanged() {
    let (engine, folder) = engine_with(PATIENT);
    let metadata = engine.metadata("nonsense").expect("it answers");
    assert_eq!(metadata.snapshot_index, u64::MAX);
    // It cannot be serialised as JSON, which is an error and not a panic.
    assert!(serde_json::to_string(&metadata).is_err());
    assert!(metadata.ratio().is_infinite());
    let mut reader = engine.reader("endless").expect("it opens");
    for _ in 0..10 {
        assert!(reader.next_chunk().expect("it reads").is_some_and(|chunk| chunk.len() > 8 << 20));
    }
    let saved = engine.snapshot("nonsense", b"state", &SnapshotOptions::default()).expect("it claims so");
    assert_eq!(saved.uncompressed_size, u64::MAX);
    assert!(!folder.path().join("root/nonsense").exists(), "nothing was stored");
}

#[test]
fn no_instance_sees_what_another_left() {
    let (engine, _folder) = engine_with(PATIENT);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    engine.metadata("stain/x").expect("memory is filled");
                    let _ = engine.metadata("trap/x");
                    engine.metadata("look/x").expect("and is empty to the next one");
                }
            });
        }
    });
}

#[test]
fn a_component_with_other_imports_is_not_started() {
    // (component (import "wasi:sockets/tcp" (instance)))
    let name = b"wasi:sockets/tcp";
    let length = u8::try_from(name.len()).unwrap();
    let wanting = [b"\0asm\x0d\0\x01\0".as_slice(), &[7, 3, 1, 0x42, 0], &[10, length + 5, 1, 0, length], name, &[5, 0]].concat();
    // SAFETY: it was compiled just now.
    let error = unsafe { Engine::builder().storage(MemoryStorage::new()).precompiled_component(precompiled::precompiled(&wanting)) }
        .build()
        .expect_err("it is refused");
    assert!(error.to_string().contains("imports wasi:sockets/tcp"), "{error}");
}
