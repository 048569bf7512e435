//! Blocks on several instances at once: the same bytes and the same errors as
//! on one, and whatever a worker does is one clean error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

#[allow(dead_code, reason = "the tests build another package than the host does")]
#[path = "../xtask/src/component.rs"]
mod component;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use persist_host::{CancelToken, Codec, CompileCache, Engine, ErrorCode, LocalFileStorage, PersistError, SnapshotOptions};
use support::{chat_bytes, compile_cache, files, noise};

fn engine(root: &Path, workers: usize) -> Engine {
    let storage = LocalFileStorage::new(root).durability(persist_host::Durability::None);
    let cache = CompileCache::Folder(compile_cache());
    Engine::builder().storage(storage).compile_cache(cache).workers(workers).build().expect("an engine")
}

fn options(codec: Codec) -> SnapshotOptions {
    SnapshotOptions {
        codec: Some(codec),
        snapshot_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        timestamp: Some("2026-01-31T12:00:00Z".to_owned()),
        ..SnapshotOptions::default()
    }
}

const MIB: usize = 1 << 20;

#[test]
fn any_number_of_workers_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let engines = [1, 2, 3, 8].map(|workers| (workers, engine(folder.path(), workers)));
    let sizes = [0, 1, MIB / 4, MIB / 4 + 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 1, 4 * MIB, 13_000_001];
    let mut compared = 0;
    for codec in [Codec::Gzip, Codec::Zstd] {
        for size in sizes {
            for state in [chat_bytes(size as u64), noise(size)] {
                let mut expected = None;
                for (workers, engine) in &engines {
                    // In one piece, whose size is known, and in odd ones.
                    engine.snapshot("whole", &state, &options(codec)).expect("it is saved");
                    let mut writer = engine.writer("pieces", options(codec)).expect("a writer");
                    for piece in state.chunks(777_777) {
                        writer.write_state(piece).expect("it is written");
                    }
                    writer.commit().expect("it is saved");
                    for key in ["whole", "pieces"] {
                        let stored = fs::read(folder.path().join(key)).unwrap();
                        let expected = expected.get_or_insert_with(|| stored.clone());
                        assert!(stored == *expected, "{workers} workers, {size} bytes of {codec:?}, {key}");
                        assert!(engine.restore(key).expect("it is restored") == state);
                        compared += 1;
                    }
                }
            }
        }
    }
    println!("{compared} snapshots by 1, 2, 3 and 8 workers, the same bytes for each state");
}

#[test]
fn errors_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (one, three) = (engine(folder.path(), 1), engine(folder.path(), 3));
    for codec in [Codec::Gzip, Codec::Zstd] {
        one.snapshot("x", &chat_bytes(9_000_000), &options(codec)).unwrap();
        let whole = fs::read(folder.path().join("x")).unwrap();
        let mut damages: Vec<Vec<u8>> = Vec::new();
        for part in 0..40 {
            let mut damaged = whole.clone();
            damaged[whole.len() / 41 * (part + 1)] ^= 0x10;
            damages.push(damaged);
        }
        damages.push(whole[..whole.len() / 2].to_vec());
        damages.push([&whole[..1000], &whole[2000..]].concat());
        damages.push([&whole[..], b"x"].concat());
        for damaged in damages {
            fs::write(folder.path().join("x"), damaged).unwrap();
            let read = |engine: &Engine| -> (usize, PersistError) {
                let mut given = 0;
                let mut read = || {
                    let mut reader = engine.reader("x")?;
                    while let Some(chunk) = reader.next_chunk()? {
                        given += chunk.len();
                    }
                    // It goes on failing.
                    Ok::<_, PersistError>(())
                };
                let error = read().expect_err("it is damaged");
                (given, error)
            };
            assert_eq!(read(&one), read(&three));
        }
        // After an error a reader gives the same one again.
        let mut reader = three.reader("x").and_then(|mut reader| reader.next_chunk().map(|_| reader));
        if let Ok(reader) = &mut reader {
            let first = std::iter::from_fn(|| Some(reader.next_chunk())).find(Result::is_err);
            assert_eq!(first, Some(reader.next_chunk()));
        }
    }
}

#[test]
fn a_fault_in_a_worker_is_one_clean_error() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    let hostile = fs::read(component::build_package(workspace, "hostile-guest", &target).expect("it builds")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::builder()
        .component(hostile)
        .storage(LocalFileStorage::new(folder.path()))
        .compile_cache(CompileCache::Folder(compile_cache()))
        .memory_limit(64 << 20)
        .deadline(Duration::from_millis(300))
        .workers(3)
        .build()
        .expect("an engine");
    // Its blocks have 64 bytes, and do what the state says.
    for (says, code) in [("trap/", ErrorCode::Other), ("loop/", ErrorCode::Deadline), ("bloat/", ErrorCode::MemoryLimit)] {
        for at in [0, 2, 9] {
            let mut state = vec![b'.'; 640];
            state[at * 64..at * 64 + says.len()].copy_from_slice(says.as_bytes());
            let mut writer = engine.writer("blocks/x", SnapshotOptions::default()).expect("a writer");
            let began = Instant::now();
            let written = writer.write_state(&state);
            let error = written.and_then(|()| writer.commit().map(drop)).expect_err("a worker failed");
            assert_eq!(error.code(), code, "{says} in block {at}: {error:?}");
            assert!(error.location().is_some_and(|location| location.ends_with("blocks/x")), "{error:?}");
            assert!(began.elapsed() < Duration::from_secs(10));
            assert_eq!(files(folder.path()), Vec::<String>::new());
        }
    }
    // Without a fault it is as it ever was, and all workers were given back.
    let mut writer = engine.writer("blocks/x", SnapshotOptions::default()).expect("a writer");
    writer.write_state(&[b'.'; 640]).expect("ten blocks");
    writer.commit().expect("nonsense is passed on");
}

#[test]
fn a_failed_worker_stores_nothing_and_the_next_save_works() {
    let folder = tempfile::tempdir().unwrap();
    let small = Engine::builder()
        .storage(LocalFileStorage::new(folder.path()))
        .compile_cache(CompileCache::Folder(compile_cache()))
        .memory_limit(6 << 20)
        .workers(2)
        .build()
        .expect("an engine");
    let mut writer = small.writer("x.zst", options(Codec::Zstd)).expect("a writer");
    let state = chat_bytes(20_000_000);
    let error = writer.write_state(&state).and_then(|()| writer.commit().map(drop)).expect_err("zstd needs more");
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::MemoryLimit, 9), "{error:?}");
    assert_eq!(files(folder.path()), Vec::<String>::new());
    small.snapshot("x.gz", &state, &options(Codec::Gzip)).expect("gzip needs less");
    assert!(small.restore("x.gz").expect("it is restored") == state);
}

#[test]
fn cancelling_ends_the_workers_too() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path(), 3);
    let token = CancelToken::new();
    let state = noise(60_000_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            token.cancel();
        });
        let began = Instant::now();
        let error = engine.with_cancel(&token).snapshot("x", &state, &options(Codec::Gzip)).expect_err("it was cancelled");
        assert_eq!(error.code(), ErrorCode::Cancelled, "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(3));
    });
    assert_eq!(files(folder.path()), Vec::<String>::new());
    engine.snapshot("x", &state, &options(Codec::Zstd)).expect("the workers are there again");
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(engine.with_cancel(&token).restore("x").expect_err("it was cancelled").code(), ErrorCode::Cancelled);

    // Who reads slowly finds the next blocks ready, and is told all the same.
    let token = CancelToken::new();
    let mut reader = engine.with_cancel(&token).reader("x").expect("it opens");
    reader.next_chunk().expect("it is read");
    std::thread::sleep(Duration::from_millis(300));
    token.cancel();
    assert_eq!(reader.next_chunk().map(drop).expect_err("it was cancelled").code(), ErrorCode::Cancelled);
}

/// Workers that run in this process.
fn workers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").map(|tasks| tasks.flatten().collect()).unwrap_or_else(|_| Vec::new());
    let names = tasks.iter().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("persist-worker")).count()
}

/// Alone in its process, so that all workers are its own: it runs itself.
#[test]
fn many_operations_share_the_workers_of_an_engine() {
    const INSIDE: &str = "PERSIST_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        let inside = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["many_operations_share", "--nocapture"])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(inside.success());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path(), 3);
    let state = chat_bytes(12_000_000);
    let done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(workers());
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (engine, state) = (&engine, &state);
                scope.spawn(move || {
                    for _ in 0..2 {
                        let key = thread.to_string();
                        engine.snapshot(&key, state, &options(Codec::Zstd)).expect("it is saved");
                        assert!(engine.restore(&key).expect("it is restored") == *state);
                    }
                });
            }
        });
        done.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    // Beside those of the operations.
    assert_eq!(most, 2);
    // They wait for more, until the engine is dropped.
    assert_eq!(workers(), 2);
    drop(engine);
    let began = Instant::now();
    while workers() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "{} threads are left", workers());
        std::thread::sleep(Duration::from_millis(1));
    }
}
