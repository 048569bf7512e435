//! Workers without memory, and operations that are cancelled.

use std::time::{Duration, Instant};

use persist_host::{CancelToken, Codec, Engine, ErrorCode, LocalFileStorage, MemoryStorage};
use persist_test_support::command::{chat_bytes, files, noise};

use crate::helpers::{engine, options};

#[test]
fn workers_without_memory_leave_the_work_to_the_operation() {
    let state = chat_bytes(6_000_000);
    // Just enough for one instance.
    let engines = [1, 2].map(|workers| {
        Engine::builder().storage(MemoryStorage::new()).total_memory_limit(12 << 20).workers(workers).build().expect("an engine")
    });
    for engine in &engines {
        for _ in 0..5 {
            engine.snapshot("x", &state, &options(Codec::Zstd)).expect("it is saved");
            assert!(engine.restore("x").expect("it is restored") == state);
        }
    }
}

#[test]
fn a_failed_worker_stores_nothing_and_the_next_save_works() {
    let folder = tempfile::tempdir().unwrap();
    let small =
        Engine::builder().storage(LocalFileStorage::new(folder.path())).memory_limit(6 << 20).workers(2).build().expect("an engine");
    let mut writer = small.writer("x.zst", options(Codec::Zstd)).expect("a writer");
    let state = chat_bytes(20_000_000);
    let error = writer.write_state(&state).and_then(|()| writer.commit().map(drop)).expect_err("zstd needs more");
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::MemoryLimit, 9), "{error:?}");
    assert_eq!(files(folder.path()), Vec::<String>::new());
    small.snapshot("x.gz", &state, &options(Codec::Gzip)).expect("gzip needs less");
    assert!(small.restore("x.gz").expect("it is restored") == state);
}

#[test]
fn cancelling_stops_the_workers_too() {
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
    engine.snapshot("x", &state, &options(Codec::Zstd)).expect("the workers are available again");
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(engine.with_cancel(&token).restore("x").expect_err("it was cancelled").code(), ErrorCode::Cancelled);

    // A slow reader has the next blocks ready, but is still cancelled.
    let token = CancelToken::new();
    let mut reader = engine.with_cancel(&token).reader("x").expect("it opens");
    reader.next_chunk().expect("it is read");
    std::thread::sleep(Duration::from_millis(300));
    token.cancel();
    assert_eq!(reader.next_chunk().map(drop).expect_err("it was cancelled").code(), ErrorCode::Cancelled);
}
