//! A component whose blocks cause faults, or are not its own.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use persist_host::{Engine, ErrorCode, LocalFileStorage, MemoryStorage, SnapshotOptions};
use persist_test_support::command::files;
use persist_test_support::precompiled;

/// Creates an engine with a component whose blocks have 64 bytes, and which does what a
/// block says when it is encoded or decoded.
///
/// The deadline is short if it is what ends a block, and otherwise long enough for a busy
/// machine.
fn hostile(root: &Path, says: &str) -> Engine {
    static HOSTILE: LazyLock<Vec<u8>> =
        LazyLock::new(|| precompiled::precompiled(&fs::read(persist_test_support::built::library("hostile-guest")).unwrap()));
    // SAFETY: it was compiled by this build, just now or earlier.
    let engine = unsafe { Engine::builder().storage(MemoryStorage::new()).precompiled_component(HOSTILE.as_slice()) };
    engine
        .storage(LocalFileStorage::new(root))
        .memory_limit(64 << 20)
        .deadline(if says.starts_with("loop") { Duration::from_millis(500) } else { Duration::from_secs(20) })
        .workers(3)
        .build()
        .expect("an engine")
}

const FAULTS: [(&str, ErrorCode); 3] = [("trap/", ErrorCode::Other), ("loop/", ErrorCode::Deadline), ("bloat/", ErrorCode::MemoryLimit)];

/// Returns a state of ten blocks, one of which causes the fault.
fn faulty(says: &str, at: usize) -> Vec<u8> {
    let mut state = vec![b'.'; 640];
    state[at * 64..at * 64 + says.len()].copy_from_slice(says.as_bytes());
    state
}

#[test]
fn a_fault_in_a_block_is_one_clean_error() {
    let folder = tempfile::tempdir().unwrap();
    for (says, code) in FAULTS {
        let engine = hostile(folder.path(), says);
        // All at once, where the operation's own instance works too, and slowly, where
        // the workers do everything.
        for (at, pause) in [(0, 0), (2, 0), (9, 0), (0, 20), (2, 20), (8, 20)] {
            let state = faulty(says, at);
            let mut writer = engine.writer("blocks/x", SnapshotOptions::default()).expect("a writer");
            let began = Instant::now();
            let written = state.chunks(64).try_for_each(|block| {
                std::thread::sleep(Duration::from_millis(pause));
                writer.write_state(block)
            });
            let error = written.and_then(|()| writer.commit().map(drop)).expect_err("a worker failed");
            assert_eq!(error.code(), code, "{says} in block {at}: {error:?}");
            assert!(error.location().is_some_and(|location| location.ends_with("blocks/x")), "{error:?}");
            assert!(began.elapsed() < Duration::from_secs(10));
            assert_eq!(files(folder.path()), Vec::<String>::new());
        }
        // Without a fault it works as before, since all workers were returned.
        let mut writer = engine.writer("blocks/x", SnapshotOptions::default()).expect("a writer");
        writer.write_state(&[b'.'; 640]).expect("ten blocks");
        writer.commit().expect("nonsense is passed on");
    }
}

#[test]
fn a_fault_while_reading_a_block_is_one_clean_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("blocks")).unwrap();
    let path = folder.path().join("blocks/x");
    for (says, code) in FAULTS.into_iter().chain([("no", ErrorCode::Other)]) {
        let engine = hostile(folder.path(), says);
        for (at, pause) in [(0, 0), (2, 0), (9, 0), (0, 20), (2, 20), (9, 20)] {
            fs::write(&path, faulty(says, at)).unwrap();
            let began = Instant::now();
            let mut reader = engine.reader("blocks/x").expect("it opens");
            for number in 0..at {
                std::thread::sleep(Duration::from_millis(pause));
                assert_eq!(reader.next_chunk().expect("it is before the fault").map(|block| block.len()), Some(64), "block {number}");
            }
            let error = reader.next_chunk().map(drop).expect_err("a worker failed");
            assert_eq!(error.code(), code, "{says} in block {at}: {error:?}");
            assert!(error.location().is_some_and(|location| location.ends_with("blocks/x")), "{error:?}");
            assert_eq!(reader.next_chunk().map(drop), Err(error));
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        fs::write(&path, [b'.'; 640]).unwrap();
        assert_eq!(engine.restore("blocks/x").expect("it is read"), [b'.'; 640]);
    }
}

#[test]
fn blocks_of_another_object_are_read_from_that_object() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("blocks")).unwrap();
    fs::write(folder.path().join("blocks/elsewhere"), [b'.'; 640]).unwrap();
    let other: Vec<u8> = (0..10).flat_map(|number| [&b"."[..], &[b'0' + number; 63]].concat()).collect();
    fs::write(folder.path().join("blocks/other"), &other).unwrap();
    let engine = hostile(folder.path(), "no");
    assert_eq!(engine.restore("blocks/elsewhere").expect("it is read"), other);
    // Only from the expected version. If the object is gone, reading fails.
    let mut reader = engine.reader("blocks/elsewhere").expect("it opens");
    assert!(reader.next_chunk().expect("the first").is_some());
    fs::remove_file(folder.path().join("blocks/other")).unwrap();
    let error = loop {
        match reader.next_chunk() {
            Ok(chunk) => assert!(chunk.is_some(), "the end was reached"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::NotFound, "{error:?}");
    assert!(error.location().is_some_and(|location| location.ends_with("blocks/other")), "{error:?}");
}

#[test]
fn blocks_of_invalid_size_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = hostile(folder.path(), "");
    for key in ["none/x", "huge/x"] {
        let error = engine.writer(key, SnapshotOptions::default()).map(drop).expect_err("no snapshot has such blocks");
        assert!(error.to_string().contains("blocks of"), "{error:?}");
        assert!(error.location().is_some_and(|location| location.ends_with(key)), "{error:?}");
    }
}
