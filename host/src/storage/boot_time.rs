//! The time since the machine was started: a clock that nobody sets, for
//! storages on this machine.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine was started, also while it slept.
pub(super) fn since_boot() -> Option<u64> {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    // Goes on while the machine sleeps, as no other does there.
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u64::try_from(time.tv_nsec).ok()?;
    Some(seconds * 1000 + nanoseconds / 1_000_000)
}
