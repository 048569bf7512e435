//! Checks whether the system allows more threads.

use std::io;
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

/// How long a thread that has ended may still be counted.
const SETTLING: Duration = Duration::from_millis(5);

/// Checks that `count` more threads can run at this moment. Call it before using a
/// library that panics if it can't start its threads.
///
/// # Errors
/// Why a thread could not be started.
pub fn check_threads(count: usize) -> io::Result<()> {
    let mut waiting = Vec::with_capacity(count);
    let mut outcome = Ok(());
    for _ in 0..count {
        let (end, ended) = mpsc::channel::<()>();
        let started = Builder::new().name("persist-probe".to_owned()).spawn(move || {
            let _ = ended.recv();
        });
        match started {
            Ok(thread) => waiting.push((end, thread)),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    for (end, thread) in waiting {
        drop(end);
        // Joined, so that it no longer counts, whatever happened to the others.
        let _ = thread.join();
    }
    if outcome.is_err() {
        // The system may still count a thread for a moment after it was joined.
        std::thread::sleep(SETTLING);
    }
    outcome
}

/// Starts something that has its own threads, with as many as the system allows, at
/// most `most` and at least one. One more is left for what it starts later.
///
/// # Errors
/// Why not even one thread could be started.
#[cfg(feature = "s3")]
pub(crate) fn first_allowed<T>(most: usize, start: impl Fn(usize) -> io::Result<T>) -> io::Result<T> {
    let mut count = most.max(1);
    loop {
        match check_threads(count + 1) {
            Ok(()) => return start(count),
            Err(_) if count > 1 => count -= 1,
            Err(error) => return Err(error),
        }
    }
}
