//! The time since the machine started: a clock that is never set, for storages on this
//! machine.

use rustix::time::{ClockId, clock_gettime};

/// Returns the milliseconds since the machine started, including time in which it
/// slept.
pub(super) fn since_boot() -> Option<u64> {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    // The only clock there that continues while the machine sleeps.
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u64::try_from(time.tv_nsec).ok()?;
    Some(seconds * 1000 + nanoseconds / 1_000_000)
}
