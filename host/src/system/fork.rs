//! Makes forks wait until no thread holds a lock that the child needs. That thread would
//! not exist in the child, and the lock would never be released: those of wasmtime, held
//! while code is loaded, and those of storages in memory.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::system::process::PerProcess;

/// Held together with such a lock, and during a fork.
static HOLDS_OFF: PerProcess<Mutex<()>> = PerProcess::new(Mutex::default);

/// How long a fork waits: many times what loading takes. The wait is limited because a
/// loading thread may itself wait for the forking thread, for example if it logs
/// through Python and needs the interpreter lock.
const PATIENCE: Duration = Duration::from_millis(500);

thread_local! {
    static FORKING: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// The process that was the first to load anything; 0 before that.
static FIRST: AtomicU32 = AtomicU32::new(0);

/// Returns whether this process was forked from one that had begun to load code. What
/// libraries set up once per process, such as threads and files, may belong to the
/// parent.
pub(crate) fn is_child() -> bool {
    let this = std::process::id();
    matches!(FIRST.compare_exchange(0, this, Ordering::AcqRel, Ordering::Acquire), Err(first) if first != this)
}

/// Holds off forks until the result is dropped.
pub(crate) fn hold_off() -> MutexGuard<'static, ()> {
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    if !IS_REGISTERED.load(Ordering::Acquire) {
        // Two threads may register twice at the same time, which does no harm.
        // SAFETY: both are functions without arguments that never unwind and that exist
        // as long as the program does. If registering fails for lack of memory, forks
        // simply do not wait.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
        IS_REGISTERED.store(true, Ordering::Release);
    }
    HOLDS_OFF.get().lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn before() {
    if FORKING.try_with(|forking| forking.borrow().is_some()).unwrap_or(false) {
        return;
    }
    let began = Instant::now();
    let held = loop {
        match HOLDS_OFF.get().try_lock() {
            Ok(held) => break Some(held),
            Err(TryLockError::Poisoned(held)) => break Some(held.into_inner()),
            Err(TryLockError::WouldBlock) if began.elapsed() > PATIENCE => break None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_micros(100)),
        }
    };
    // A thread that is ending has no thread-local value any more.
    let _ = FORKING.try_with(|forking| *forking.borrow_mut() = held);
}

/// Runs in the parent and in the child, on the thread that forked.
extern "C" fn after() {
    let _ = FORKING.try_with(|forking| drop(forking.borrow_mut().take()));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::system::process::child;

    #[test]
    fn a_child_loads_even_if_a_thread_of_its_parent_was_loading_for_ever() {
        let (loads, is_loading) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let loading = thread::spawn(move || {
            let held = hold_off();
            loads.send(()).unwrap();
            let _ = ends.recv();
            drop(held);
        });
        is_loading.recv().unwrap();
        assert!(child::ends(|| drop(hold_off())));
        end.send(()).unwrap();
        loading.join().unwrap();
    }
}
