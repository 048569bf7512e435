//! Ties values to the process that made them. A forked child gets a copy of the memory,
//! but none of the threads: locks that they held are never released, and files that are
//! being written belong to the parent.

use std::sync::atomic::{AtomicPtr, Ordering};

use persist_model::{ErrorCode, PersistError, Result};

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// Returns the current process.
    pub(crate) fn this() -> Self {
        Self(std::process::id())
    }

    /// Returns whether this is the current process.
    pub(crate) fn is_this(self) -> bool {
        self == Self::this()
    }

    /// # Errors
    /// `Configuration` in another process.
    pub(crate) fn check(self) -> Result<()> {
        if self.is_this() {
            return Ok(());
        }
        Err(PersistError::new(
            ErrorCode::InvalidArgument,
            "this object was opened before this process was forked, and belongs to the parent process",
        )
        .hint("open it again in this process; for an engine, use after_fork"))
    }
}

/// A value that each process has its own copy of. A forked child starts with a new one,
/// since a lock of its parent may be held by a thread that does not exist in the child.
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<(Process, T)>,
    make: fn() -> T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self { current: AtomicPtr::new(std::ptr::null_mut()), make }
    }

    /// Returns the value of this process.
    pub(crate) fn get(&'static self) -> &'static T {
        let mut found = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: it is null, or was leaked below and is only shared since then.
            if let Some((process, value)) = unsafe { found.as_ref() }
                && process.is_this()
            {
                return value;
            }
            let new = Box::into_raw(Box::new((Process::this(), (self.make)())));
            match self.current.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => found = new,
                Err(other) => {
                    // SAFETY: it was made just above, and nothing else refers to it.
                    drop(unsafe { Box::from_raw(new) });
                    found = other;
                }
            }
        }
    }
}

/// A value that is used and dropped only by the process that made it. In other
/// processes it is leaked.
pub(crate) struct OfProcess<T> {
    process: Process,
    /// None only after it was taken.
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
        self.value.as_mut().ok_or_else(|| PersistError::new(ErrorCode::Other, "it was already taken"))
    }

    /// # Errors
    /// `Configuration` in another process.
    pub(crate) fn take(mut self) -> Result<T> {
        self.process.check()?;
        self.value.take().ok_or_else(|| PersistError::new(ErrorCode::Other, "it was already taken"))
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if !self.process.is_this() {
            std::mem::forget(self.value.take());
        }
    }
}

/// Forks children for tests.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod child {
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// Returns whether a child that runs this ends instead of waiting forever.
    pub(crate) fn ends(run: impl FnOnce()) -> bool {
        const DONE: i32 = 7;
        // SAFETY: nothing that the child runs needs a thread of its parent, which is
        // what is tested. It ends without cleaning up anything of the parent.
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
