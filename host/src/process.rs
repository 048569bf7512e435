//! What belongs to the process that made it. A child that is forked off gets a
//! copy of the memory, but none of the threads: what they were holding is held
//! for ever, and files that are being written are the parent's.

use std::sync::atomic::{AtomicPtr, Ordering};

use crate::error::{ErrorCode, PersistError, Result};

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// The one that runs.
    pub(crate) fn this() -> Self {
        Self(std::process::id())
    }

    /// Whether it is the one that runs.
    pub(crate) fn is_this(self) -> bool {
        self == Self::this()
    }

    /// # Errors
    /// `Configuration` in another process.
    pub(crate) fn check(self) -> Result<()> {
        if self.is_this() {
            return Ok(());
        }
        Err(PersistError::new(ErrorCode::InvalidArgument, "it was opened before this process was forked off, and is its parent's")
            .hint("open it anew in this process; an engine, with after_fork"))
    }
}

/// A value of which each process has its own. A child that is forked off begins with
/// a new one: a lock of its parent may be held by a thread that is not there.
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<(Process, T)>,
    make: fn() -> T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self { current: AtomicPtr::new(std::ptr::null_mut()), make }
    }

    /// That of this process.
    pub(crate) fn get(&'static self) -> &'static T {
        let mut found = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: it is null, or what was leaked below, and is shared from then on.
            if let Some((process, value)) = unsafe { found.as_ref() }
                && process.is_this()
            {
                return value;
            }
            let new = Box::into_raw(Box::new((Process::this(), (self.make)())));
            match self.current.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => found = new,
                Err(other) => {
                    // SAFETY: it was made just above, and nobody else has it.
                    drop(unsafe { Box::from_raw(new) });
                    found = other;
                }
            }
        }
    }
}

/// A value that only the process that made it uses and drops. Elsewhere it is
/// left as it is.
pub(crate) struct OfProcess<T> {
    process: Process,
    /// None only once it is taken out.
    value: Option<T>,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { process: Process::this(), value: Some(value) }
    }

    /// # Errors
    /// `Configuration` in another process.
    pub(crate) fn get(&mut self) -> Result<&mut T> {
        self.process.check()?;
        self.value.as_mut().ok_or_else(|| PersistError::new(ErrorCode::Other, "it is not there any more"))
    }

    /// # Errors
    /// `Configuration` in another process.
    pub(crate) fn take(mut self) -> Result<T> {
        self.process.check()?;
        self.value.take().ok_or_else(|| PersistError::new(ErrorCode::Other, "it is not there any more"))
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if !self.process.is_this() {
            std::mem::forget(self.value.take());
        }
    }
}

/// Children that tests fork off.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod child {
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// Whether a child that runs this comes to its end, and does not wait for ever.
    pub(crate) fn ends(run: impl FnOnce()) -> bool {
        const DONE: i32 = 7;
        // SAFETY: of what the child runs nothing needs a thread of its parent; that is
        // what is tested. It ends without cleaning up what is the parent's.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                run();
                // SAFETY: it ends the process.
                unsafe { libc::_exit(DONE) }
            }
            ForkResult::Parent { child } => child,
        };
        let began = Instant::now();
        loop {
            match waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::StillAlive if began.elapsed() < Duration::from_secs(20) => std::thread::sleep(Duration::from_millis(5)),
                WaitStatus::StillAlive => {
                    kill(child, Signal::SIGKILL).unwrap();
                    waitpid(child, None).unwrap();
                    return false;
                }
                status => return status == WaitStatus::Exited(child, DONE),
            }
        }
    }
}
