//! The maximum number of instances in a process, which all its engines share. These tests
//! have their own process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::{Mutex, PoisonError};

use persist_host::{Codec, Engine, ErrorCode, MemoryStorage, SnapshotOptions};
use persist_test_support::command::chat_bytes;

/// Held by the test that uses all instances.
static ALL: Mutex<()> = Mutex::new(());

fn options(codec: Codec) -> SnapshotOptions {
    SnapshotOptions::default().codec(Some(codec))
}

#[test]
fn concurrent_operations_are_limited_and_later_ones_work() {
    let _all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let engines = [0, 1].map(|_| Engine::builder().storage(MemoryStorage::new()).build().expect("an engine"));
    let open = |number: usize| engines[number % 2].writer(&format!("{number}"), SnapshotOptions::default());
    let mut writers: Vec<_> = (0..1000).map(|number| open(number).expect("a writer")).collect();
    let error = open(1000).map(drop).expect_err("there is no room");
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::LimitExceeded, 9), "{error:?}");
    assert!(error.to_string().contains("1000 snapshots") && error.detail().hint.is_some(), "{error:?}");
    writers.pop();
    let mut last = open(1000).expect("there is room again");
    last.write_state(b"state").expect("it is written");
    last.commit().expect("it is saved");
    drop(writers);
    assert_eq!(engines[0].restore("1000").expect("it is restored"), b"state");
}

#[test]
fn workers_without_an_instance_leave_the_work_to_the_operation() {
    let _all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let state = chat_bytes(6_000_000);
    // One more instance than this fits.
    let engine = Engine::builder().storage(MemoryStorage::new()).workers(3).build().expect("an engine");
    let mut writers: Vec<_> = (0..999).map(|_| engine.writer("open", options(Codec::Gzip)).expect("a writer")).collect();
    engine.snapshot("x", &state, &options(Codec::Zstd)).expect("it is saved");
    assert!(engine.restore("x").expect("it is restored") == state);
    // The same for one of the writers that were open all the time.
    writers.push(engine.writer("open", options(Codec::Gzip)).expect("a writer"));
    let mut last = writers.pop().expect("a writer");
    last.write_state(&state).expect("it is written");
    last.commit().expect("it is saved");
    assert!(engine.restore("open").expect("it is restored") == state);
}
