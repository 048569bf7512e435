//! Workers that have nothing to do, and the threads that all operations share.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::*;
use crate::{Engine, MemoryStorage, SnapshotOptions};

fn twice(_: &mut Guest, number: &u32) -> Result<u32> {
    Ok(2 * number)
}

#[test]
fn workers_with_nothing_to_do_are_there_for_others() {
    let engine = Engine::builder().storage(MemoryStorage::new()).workers(2).build().unwrap();
    let (mut guest, pool) = (engine.guest().unwrap(), Arc::clone(engine.pool()));
    let began = Instant::now();
    let mut workers = pool.workers(&guest, 1, twice).unwrap();
    workers.submit(1);
    assert_eq!(workers.next(&mut guest), Some(Ok(2)));
    if began.elapsed() < IDLE / 2 {
        assert!(pool.workers(&guest, 1, twice).is_none(), "the only one is taken");
    }
    let mut others = loop {
        if let Some(others) = pool.workers(&guest, 1, twice) {
            break others;
        }
        assert!(began.elapsed() < 20 * IDLE, "the worker is not given back");
        thread::sleep(IDLE / 20);
    };
    assert!(began.elapsed() > IDLE / 2);
    // The operation that lent it continues without it.
    workers.submit(2);
    others.submit(3);
    assert_eq!((workers.next(&mut guest), others.next(&mut guest)), (Some(Ok(4)), Some(Ok(6))));
    assert_eq!((workers.count(), others.count()), (0, 1));
    // And with it, once it is given back.
    drop(others);
    workers.submit(4);
    assert_eq!((workers.count(), workers.next(&mut guest)), (1, Some(Ok(8))));
    assert_eq!(workers.next(&mut guest), None);
}

/// Sets a flag when it is dropped.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn many_operations_share_the_threads_of_an_engine() {
    let engine = Engine::builder().storage(MemoryStorage::new()).workers(3).build().unwrap();
    let crew = Arc::clone(&engine.pool().crew);
    let mut random = 1_u32;
    let state: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *b"state of an agent, in words and numbers".get(random as usize >> 16 & 31).unwrap()
    })
    .take(12_000_000)
    .collect();
    let done = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(crew.threads());
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        // Also when an operation panics.
        let ended = Ended(&done);
        thread::scope(|scope| {
            for thread in 0..6 {
                let (engine, state) = (&engine, &state);
                scope.spawn(move || {
                    for _ in 0..2 {
                        let key = format!("{thread}.zst");
                        engine.snapshot(&key, state, &SnapshotOptions::default()).unwrap();
                        assert!(engine.restore(&key).unwrap() == *state);
                    }
                });
            }
        });
        drop(ended);
        watching.join().unwrap()
    });
    // In addition to those of the operations.
    assert_eq!(most, 2);
    // They wait for more work until the engine is dropped.
    assert_eq!(crew.threads(), 2);
    drop(engine);
    let began = Instant::now();
    while crew.threads() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "{} threads are left", crew.threads());
        thread::sleep(Duration::from_millis(1));
    }
}
