//! Whether the system allows more threads. Libraries that start threads of their
//! own panic where they get none.

use std::io;
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

/// For how long, at most, a thread that has ended is still counted.
const SETTLING: Duration = Duration::from_millis(5);

/// Whether so many threads more can run at once, at this moment.
///
/// # Errors
/// Why not.
pub(crate) fn are_allowed(count: usize) -> io::Result<()> {
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
        // Only once it is gone its place is free again, whatever came of the others.
        let _ = thread.join();
    }
    if outcome.is_err() {
        // The system counts a thread for a moment after it can be joined.
        std::thread::sleep(SETTLING);
    }
    outcome
}

/// Starts something that has threads of its own: with as many as are allowed, at
/// most so many, and at least one. One more is left over for what it starts later.
///
/// # Errors
/// Why there is not even one.
#[cfg(feature = "s3")]
pub(crate) fn first_allowed<T>(most: usize, start: impl Fn(usize) -> io::Result<T>) -> io::Result<T> {
    let mut count = most.max(1);
    loop {
        match are_allowed(count + 1) {
            Ok(()) => return start(count),
            Err(_) if count > 1 => count -= 1,
            Err(error) => return Err(error),
        }
    }
}
